//! One connection: in order, never corrupted, stalled by loss and cuts, as TCP makes it.

use std::{collections::VecDeque, fmt, net::SocketAddr, time::Duration};

use super::HostId;
use crate::{io::ConnId, time::Instant};

/// First retransmission timeout (Linux' `TCP_RTO_MIN`); it doubles each time.
pub(super) const FIRST_RETRANSMISSION: Duration = Duration::from_millis(200);
/// Longest retransmission timeout (Linux' `TCP_RTO_MAX`).
const LAST_RETRANSMISSION: Duration = Duration::from_secs(120);

/// Number of a connection, in the order of the attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StreamId(pub(super) u64);

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// One of the two ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Dialler,
    Acceptor,
}

impl Side {
    pub(super) const fn other(self) -> Self {
        match self {
            Self::Dialler => Self::Acceptor,
            Self::Acceptor => Self::Dialler,
        }
    }

    const fn index(self) -> usize {
        match self {
            Self::Dialler => 0,
            Self::Acceptor => 1,
        }
    }
}

/// What travels.
#[derive(Debug)]
pub(super) enum Segment {
    Bytes(Vec<u8>),
    /// No more will come.
    End,
    /// There is nobody.
    Reset,
}

#[derive(Debug, Default)]
struct End {
    host: Option<HostId>,
    /// `None` when the end is closed, or not yet there.
    conn: Option<ConnId>,
    /// Nothing reaches this end before.
    last_arrival: Instant,
    /// What was lost on the way to this end, and since when.
    stalled: VecDeque<Segment>,
    stalled_since: Instant,
}

#[derive(Debug)]
pub(super) struct Stream {
    remote: SocketAddr,
    target: Option<HostId>,
    ends: [End; 2],
}

impl Stream {
    pub(super) fn new(
        (host, conn): (HostId, ConnId),
        target: Option<HostId>,
        remote: SocketAddr,
    ) -> Self {
        let dialler = End {
            host: Some(host),
            conn: Some(conn),
            ..End::default()
        };
        Self {
            remote,
            target,
            ends: [dialler, End::default()],
        }
    }

    pub(super) const fn remote(&self) -> SocketAddr {
        self.remote
    }

    pub(super) const fn target(&self) -> Option<HostId> {
        self.target
    }

    pub(super) fn dialler(&self) -> HostId {
        self.ends[0].host.expect("set when the stream was made")
    }

    /// The other side is there; its answer arrives at `answered`, and nothing of it before.
    pub(super) fn accept(&mut self, host: HostId, conn: ConnId, answered: Instant) {
        self.ends[1].host = Some(host);
        self.ends[1].conn = Some(conn);
        self.ends[0].last_arrival = answered;
    }

    pub(super) fn host(&self, side: Side) -> Option<HostId> {
        self.ends[side.index()].host
    }

    pub(super) fn end(&self, side: Side) -> Option<(HostId, ConnId)> {
        let end = &self.ends[side.index()];
        Some((end.host?, end.conn?))
    }

    pub(super) fn is_open(&self, side: Side) -> bool {
        self.ends[side.index()].conn.is_some()
    }

    pub(super) fn close(&mut self, side: Side) {
        self.ends[side.index()].conn = None;
    }

    pub(super) fn is_over(&self) -> bool {
        self.ends.iter().all(|end| end.conn.is_none())
    }

    /// When something that could arrive at `at` does arrive, behind everything before.
    pub(super) fn arrival(&mut self, to: Side, at: Instant) -> Instant {
        let end = &mut self.ends[to.index()];
        end.last_arrival = end.last_arrival.max(at);
        end.last_arrival
    }

    pub(super) fn is_stalled(&self, to: Side) -> bool {
        !self.ends[to.index()].stalled.is_empty()
    }

    pub(super) fn stall(&mut self, to: Side, segment: Segment, now: Instant) {
        let end = &mut self.ends[to.index()];
        if end.stalled.is_empty() {
            end.stalled_since = now;
        }
        end.stalled.push_back(segment);
    }

    /// What stalled, and when the sender tries again.
    pub(super) fn resume(
        &mut self,
        to: Side,
        now: Instant,
    ) -> Option<(Instant, VecDeque<Segment>)> {
        let end = &mut self.ends[to.index()];
        if end.stalled.is_empty() {
            return None;
        }
        let mut at = end.stalled_since;
        let mut timeout = FIRST_RETRANSMISSION;
        while at < now {
            at = at + timeout;
            timeout = (timeout * 2).min(LAST_RETRANSMISSION);
        }
        Some((at, std::mem::take(&mut end.stalled)))
    }
}
