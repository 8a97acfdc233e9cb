//! `version` and `verack`: how a connection becomes a peer.
//!
//! The side that dialled speaks first. What comes before a peer's `version` and, but for `verack`, before its
//! `verack` is ignored, and so is a second `version`, as in Bitcoin Core (`net_processing.cpp`).

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use bitcoin::p2p::{
    Address, ServiceFlags, message::NetworkMessage, message_network::VersionMessage,
};
use rand_chacha::ChaCha12Rng;
use rand_core::Rng as _;

use crate::{
    io::ConnId,
    outbox::{Farewell, Outbox},
    peers::roster::Link,
    time::{Instant, Now},
};

/// Protocol version we speak (Bitcoin Core's `PROTOCOL_VERSION`).
pub const PROTOCOL_VERSION: u32 = 70016;
/// Oldest version we speak with (Bitcoin Core's `MIN_PEER_PROTO_VERSION`).
const MIN_VERSION: u32 = 31800;
/// Our user agent (BIP14).
pub const USER_AGENT: &str = "/netsplit:0.1.0/";
/// Longest user agent taken, in bytes (Bitcoin Core's `MAX_SUBVERSION_LENGTH`).
const MAX_USER_AGENT: usize = 256;

/// What we say of ourselves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Introduction {
    /// Where we listen; `None` for one who only visits.
    pub listens_at: Option<SocketAddr>,
    /// What we offer.
    pub services: ServiceFlags,
    /// Whether we want transactions.
    pub relay: bool,
}

#[derive(Debug)]
enum State {
    /// Its `version` has not come.
    AwaitingVersion,
    /// Its `version` has come, its `verack` has not.
    AwaitingVerack(Box<VersionMessage>),
}

#[derive(Debug)]
struct Candidate {
    remote: SocketAddr,
    link: Link,
    introduction: Introduction,
    /// The number in our `version`, by which we know ourselves.
    nonce: u64,
    deadline: Instant,
    state: State,
}

/// Connections that are not peers yet.
#[derive(Debug)]
pub(crate) struct Handshake {
    timeout: Duration,
    rng: ChaCha12Rng,
    candidates: BTreeMap<ConnId, Candidate>,
}

impl Handshake {
    pub(crate) const fn new(timeout: Duration, rng: ChaCha12Rng) -> Self {
        Self { timeout, rng, candidates: BTreeMap::new() }
    }

    /// A connection exists. The side that dialled introduces itself.
    pub(crate) fn connected(
        &mut self,
        conn: ConnId,
        (remote, link): (SocketAddr, Link),
        introduction: Introduction,
        (now, height): (Now, u32),
        out: &mut Outbox,
    ) {
        let nonce = self.rng.next_u64();
        let deadline = now.mono + self.timeout;
        let state = State::AwaitingVersion;
        let candidate = Candidate { remote, link, introduction, nonce, deadline, state };
        if link.is_outbound() {
            out.send(conn, NetworkMessage::Version(version(&candidate, now, height)));
        }
        self.candidates.insert(conn, candidate);
    }

    pub(crate) fn disconnected(&mut self, conn: ConnId) {
        self.candidates.remove(&conn);
    }

    /// The peer introduces itself; `Some` if we are to judge it now. A repeated introduction is ignored.
    pub(crate) fn received_version(
        &mut self,
        conn: ConnId,
        theirs: VersionMessage,
        out: &mut Outbox,
    ) -> Option<VersionMessage> {
        let ourselves = self.candidates.values().any(|other| {
            other.link.is_outbound() && other.nonce == theirs.nonce && theirs.nonce != 0
        });
        let candidate = self.candidates.get_mut(&conn)?;
        if !matches!(candidate.state, State::AwaitingVersion) {
            return None;
        }
        if let Err(reason) = compatible(candidate.link, &theirs) {
            out.misbehaved(conn, reason);
            return None;
        }
        if ourselves && !candidate.link.is_outbound() {
            out.hang_up(conn, Farewell::Surplus("connected to ourselves".to_owned()));
            return None;
        }
        candidate.state = State::AwaitingVerack(Box::new(theirs.clone()));
        Some(theirs)
    }

    /// We want this peer.
    pub(crate) fn welcome(&mut self, conn: ConnId, now: Now, height: u32, out: &mut Outbox) {
        let Some(candidate) = self.candidates.get(&conn) else { return };
        if !candidate.link.is_outbound() {
            out.send(conn, NetworkMessage::Version(version(candidate, now, height)));
        }
        out.send(conn, NetworkMessage::Verack);
    }

    /// The peer agrees; `Some` when it is a peer from now on.
    pub(crate) fn received_verack(&mut self, conn: ConnId) -> Option<VersionMessage> {
        let candidate = self.candidates.remove(&conn)?;
        match candidate.state {
            State::AwaitingVerack(version) => Some(*version),
            State::AwaitingVersion => {
                self.candidates.insert(conn, candidate);
                None
            }
        }
    }

    pub(crate) fn on_timer(&self, now: Instant, out: &mut Outbox) {
        for (conn, _) in self.candidates.iter().filter(|(_, c)| c.deadline <= now) {
            out.hang_up(*conn, Farewell::Silence("handshake timed out".to_owned()));
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.candidates.values().map(|candidate| candidate.deadline).min()
    }
}

/// Whether one can talk with whoever sent `theirs`.
fn compatible(link: Link, theirs: &VersionMessage) -> Result<(), String> {
    if theirs.version < MIN_VERSION {
        return Err(format!("protocol version {} is too old", theirs.version));
    }
    if theirs.user_agent.len() > MAX_USER_AGENT {
        return Err("user agent is too long".to_owned());
    }
    let visits = is_visit(link, theirs);
    if !visits && !link.is_manual() && !theirs.services.has(ServiceFlags::WITNESS) {
        return Err("does not offer witness data".to_owned());
    }
    Ok(())
}

/// Whether this is one who looks in: a crawler, an address fetch, a light client. It offers nothing and wants no flood.
pub(crate) fn is_visit(link: Link, theirs: &VersionMessage) -> bool {
    !link.is_outbound() && !theirs.relay && !theirs.services.has(ServiceFlags::NETWORK)
}

fn version(candidate: &Candidate, now: Now, height: u32) -> VersionMessage {
    let Introduction { listens_at, services, relay } = candidate.introduction;
    let unspecified = SocketAddr::from(([0, 0, 0, 0], 0));
    VersionMessage {
        version: PROTOCOL_VERSION,
        services,
        timestamp: i64::from(now.wall.seconds()),
        receiver: Address::new(&candidate.remote, ServiceFlags::NONE),
        sender: Address::new(&listens_at.unwrap_or(unspecified), services),
        nonce: candidate.nonce,
        user_agent: USER_AGENT.to_owned(),
        start_height: i32::try_from(height).unwrap_or(i32::MAX),
        relay,
    }
}
