//! The table of connections: facts that every manager may read and [`crate::node`] alone writes.

use std::{collections::BTreeMap, net::SocketAddr};

use bitcoin::p2p::{Magic, ServiceFlags};

use crate::{
    io::ConnId,
    time::{Instant, Now, WallTime},
    wire::Decoder,
};

/// How a connection came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    /// The other side dialled.
    Inbound,
    /// We dialled, on our own initiative.
    Outbound,
    /// We dialled because `addnode` said so.
    Manual,
    /// We dialled to see whether somebody is there (role `dns-seed`).
    Crawl,
}

impl Link {
    /// Whether we dialled.
    pub(crate) fn is_outbound(self) -> bool {
        self != Self::Inbound
    }

    pub(crate) fn is_manual(self) -> bool {
        self == Self::Manual
    }
}

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Dialled, not connected.
    Dialling,
    /// Connected, and nothing known of the other side.
    Connected,
    /// Its introduction was taken.
    Welcomed,
    /// A peer.
    Ready,
}

/// What a peer said of itself in `version`.
#[derive(Clone, Debug)]
pub(crate) struct Introduced {
    pub(crate) version: u32,
    pub(crate) services: ServiceFlags,
    pub(crate) user_agent: String,
    pub(crate) start_height: i32,
    pub(crate) relay: bool,
    pub(crate) time_offset: i64,
}

/// What has gone over a connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Traffic {
    pub(crate) last_send: Option<WallTime>,
    pub(crate) last_received: Option<WallTime>,
    pub(crate) last_block: Option<WallTime>,
    pub(crate) last_transaction: Option<WallTime>,
    pub(crate) bytes_sent: u64,
    pub(crate) bytes_received: u64,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Connection {
    /// Its number in events.
    pub(crate) id: u64,
    pub(crate) remote: SocketAddr,
    pub(crate) link: Link,
    pub(crate) phase: Phase,
    /// Where the other side listens, as far as known.
    pub(crate) listens_at: Option<SocketAddr>,
    /// It looks in only: not counted, not kept.
    pub(crate) visits: bool,
    pub(crate) began: Now,
    pub(crate) introduced: Option<Introduced>,
    pub(crate) traffic: Traffic,
    pub(crate) decoder: Decoder,
}

impl Connection {
    pub(crate) fn is_ready(&self) -> bool {
        self.phase == Phase::Ready
    }

    /// Whether blocks can be had from it.
    pub(crate) fn has_blocks(&self) -> bool {
        self.introduced
            .as_ref()
            .is_some_and(|peer| peer.services.has(ServiceFlags::NETWORK))
    }

    /// Whether it counts among the peers we keep.
    fn counts(&self) -> bool {
        !self.visits && self.link != Link::Crawl
    }
}

/// All connections.
#[derive(Debug)]
pub(crate) struct Roster {
    magic: Magic,
    next_id: u64,
    connections: BTreeMap<ConnId, Connection>,
}

impl Roster {
    pub(crate) const fn new(magic: Magic) -> Self {
        Self {
            magic,
            next_id: 0,
            connections: BTreeMap::new(),
        }
    }

    pub(crate) fn insert(&mut self, conn: ConnId, remote: SocketAddr, link: Link, began: Now) {
        let phase = if link.is_outbound() {
            Phase::Dialling
        } else {
            Phase::Connected
        };
        let connection = Connection {
            id: self.next_id,
            remote,
            link,
            phase,
            listens_at: link.is_outbound().then_some(remote),
            visits: false,
            began,
            introduced: None,
            traffic: Traffic::default(),
            decoder: Decoder::new(self.magic),
        };
        self.next_id += 1;
        self.connections.insert(conn, connection);
    }

    pub(crate) fn remove(&mut self, conn: ConnId) -> Option<Connection> {
        self.connections.remove(&conn)
    }

    pub(crate) fn get(&self, conn: ConnId) -> Option<&Connection> {
        self.connections.get(&conn)
    }

    pub(crate) fn get_mut(&mut self, conn: ConnId) -> Option<&mut Connection> {
        self.connections.get_mut(&conn)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (ConnId, &Connection)> {
        self.connections
            .iter()
            .map(|(conn, connection)| (*conn, connection))
    }

    pub(crate) fn len(&self) -> usize {
        self.connections.len()
    }

    /// Peers that count, in the order of their numbers.
    pub(crate) fn peers(&self) -> impl Iterator<Item = (ConnId, &Connection)> {
        self.iter().filter(|(_, c)| c.is_ready() && c.counts())
    }

    /// Those who look in.
    pub(crate) fn visitors(&self) -> impl Iterator<Item = (ConnId, &Connection)> {
        self.iter().filter(|(_, c)| c.visits)
    }

    /// Peers and those about to become one.
    pub(crate) fn taken(&self) -> usize {
        self.iter()
            .filter(|(_, c)| c.counts() && c.phase >= Phase::Welcomed)
            .count()
    }

    /// Our own attempts that may yet become peers, of those that `count` wants counted.
    pub(crate) fn attempts(&self, count: &dyn Fn(&Connection) -> bool) -> usize {
        let attempt =
            |c: &Connection| c.counts() && c.link.is_outbound() && c.phase < Phase::Welcomed;
        self.iter().filter(|(_, c)| attempt(c) && count(c)).count()
    }

    /// Peers we dialled that have blocks, almost peers included.
    pub(crate) fn ready_outbound(&self) -> usize {
        let ready = |c: &Connection| {
            c.counts() && c.phase >= Phase::Welcomed && c.link.is_outbound() && c.has_blocks()
        };
        self.iter().filter(|(_, c)| ready(c)).count()
    }

    /// Whether something is under way with whoever listens at `address`.
    pub(crate) fn knows(&self, address: SocketAddr) -> bool {
        self.iter().any(|(_, c)| {
            c.link != Link::Crawl && (c.listens_at == Some(address) || c.remote == address)
        })
    }

    /// The connection that events and `getpeerinfo` call `id`.
    pub(crate) fn by_id(&self, id: u64) -> Option<ConnId> {
        self.iter().find(|(_, c)| c.id == id).map(|(conn, _)| conn)
    }

    /// Age of a connection.
    pub(crate) fn age(&self, conn: ConnId, now: Instant) -> std::time::Duration {
        self.get(conn)
            .map_or_else(Default::default, |c| now - c.began.mono)
    }
}
