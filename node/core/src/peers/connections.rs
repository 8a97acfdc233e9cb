//! Whom to dial and whom to keep.
//!
//! Peers are dialled while there are too few of them. A peer lost to silence is remembered and dialled again for as long
//! as there is room, so that a cut leaves nothing behind once it is healed. Of two connections with the same node the
//! one dialled by the lower address stays, which both ends find out by themselves.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use netsplit_api::config::{PeerLimits, Timers};
use rand_chacha::ChaCha12Rng;

use crate::{
    io::ConnId,
    outbox::{Effect, Farewell, Outbox},
    peers::{
        chance::{jittered, pick},
        roster::{Connection, Link, Phase, Roster},
    },
    time::Instant,
};

/// Lost peers remembered.
const MAX_LOST: usize = 64;
/// Lost peers dialled at the same time.
const MAX_REDIALS: usize = 6;
/// Those who look in, at the same time.
const MAX_VISITORS: usize = 8;
/// Connections that have not introduced themselves, beyond the limit of peers.
const MAX_STRANGERS: usize = 32;
/// Those of one host, so that none can keep the others out.
const MAX_STRANGERS_OF_HOST: usize = 8;

/// Decides about connections; holds none.
#[derive(Debug)]
pub(crate) struct Connections {
    own: SocketAddr,
    limits: PeerLimits,
    dial: Duration,
    redial: Duration,
    rng: ChaCha12Rng,
    next_conn: u64,
    /// When dials under way are given up.
    dials: BTreeMap<ConnId, (SocketAddr, Instant)>,
    /// Peers to win back, and when to try next.
    lost: BTreeMap<SocketAddr, Instant>,
    /// Peers that `addnode` asked for, and when to try next.
    added: BTreeMap<SocketAddr, Instant>,
}

impl Connections {
    pub(crate) fn new(
        own: SocketAddr,
        limits: PeerLimits,
        timers: &Timers,
        rng: ChaCha12Rng,
    ) -> Self {
        Self {
            own,
            limits,
            dial: Duration::from_millis(timers.dial_ms),
            redial: Duration::from_millis(timers.redial_ms),
            rng,
            next_conn: 1,
            dials: BTreeMap::new(),
            lost: BTreeMap::new(),
            added: BTreeMap::new(),
        }
    }

    /// Dials `remote`.
    pub(crate) fn dial(&mut self, remote: SocketAddr, now: Instant, out: &mut Outbox) -> ConnId {
        let conn = ConnId(self.next_conn);
        self.next_conn += 1;
        self.dials.insert(conn, (remote, now + self.dial));
        out.push(Effect::Dial(conn, remote));
        conn
    }

    /// How many more peers to look for.
    pub(crate) fn vacancies(&self, roster: &Roster) -> usize {
        // Winning back the lost may take for ever, so these attempts do not count.
        let hopeful = |c: &Connection| !self.lost.contains_key(&c.remote);
        let under_way = roster.taken() + roster.attempts(&hopeful);
        let missing = usize::from(self.limits.min).saturating_sub(under_way);
        let outbound = roster.ready_outbound() + roster.attempts(&hopeful);
        let unheard = usize::from(self.limits.outbound).saturating_sub(outbound);
        missing.max(unheard).min(self.room(roster))
    }

    fn room(&self, roster: &Roster) -> usize {
        let taken = roster.taken() + roster.attempts(&|_| true);
        usize::from(self.limits.max).saturating_sub(taken)
    }

    /// Whether there is room for one who has just connected from `host` and not said who he is.
    pub(crate) fn admits(&self, host: IpAddr, roster: &Roster) -> bool {
        let stranger =
            |c: &Connection| !c.link.is_outbound() && !c.is_ready() && c.remote.ip() == host;
        roster.len() < usize::from(self.limits.max) + MAX_STRANGERS
            && roster.iter().filter(|(_, c)| stranger(c)).count() < MAX_STRANGERS_OF_HOST
    }

    /// `conn` is connected or given up: it is a dial no more.
    pub(crate) fn dial_over(&mut self, conn: ConnId) {
        self.dials.remove(&conn);
    }

    /// A peer is there: nothing more to win back. Attempts that became needless end.
    pub(crate) fn peer_connected(&mut self, conn: ConnId, roster: &Roster, out: &mut Outbox) {
        if let Some(address) = roster.get(conn).and_then(|peer| peer.listens_at) {
            self.lost.remove(&address);
        }
        let peers = roster.peers().count();
        if peers < usize::from(self.limits.min)
            || roster.ready_outbound() < usize::from(self.limits.outbound)
        {
            return;
        }
        let needless = |(_, c): &(ConnId, &Connection)| {
            c.link == Link::Outbound
                && c.phase == Phase::Dialling
                && !self.lost.contains_key(&c.remote)
        };
        for (conn, _) in roster.iter().filter(needless) {
            out.hang_up(conn, Farewell::Surplus("enough peers".to_owned()));
        }
    }

    /// A peer went silent: it is to be won back.
    pub(crate) fn lost(&mut self, address: SocketAddr, now: Instant) {
        let next = now + jittered(&mut self.rng, self.redial / 2);
        self.lost.insert(address, next);
        if self.lost.len() > MAX_LOST {
            // The dead do not keep out those who may come back.
            let others: Vec<SocketAddr> = self.lost.keys().copied().collect();
            let others = others.into_iter().filter(|lost| *lost != address);
            if let Some(victim) = pick(&mut self.rng, &others.collect::<Vec<_>>()) {
                self.lost.remove(victim);
            }
        }
    }

    /// A dial failed or led nowhere; `refused` when somebody was there and did not want us.
    pub(crate) fn dial_failed(&mut self, address: SocketAddr, refused: bool, now: Instant) {
        let next = now + jittered(&mut self.rng, self.redial);
        if refused {
            self.lost.remove(&address);
        } else if let Some(at) = self.lost.get_mut(&address) {
            *at = next;
        }
        if let Some(at) = self.added.get_mut(&address) {
            *at = next;
        }
    }

    /// Nobody is to be won back at `address`.
    pub(crate) fn forget(&mut self, address: SocketAddr) {
        self.lost.remove(&address);
    }

    /// `addnode add`; `false` if it was there already.
    pub(crate) fn add(&mut self, address: SocketAddr, now: Instant) -> bool {
        self.added.insert(address, now).is_none()
    }

    /// `addnode remove`; `false` if it was not there.
    pub(crate) fn remove(&mut self, address: SocketAddr) -> bool {
        self.added.remove(&address).is_some()
    }

    /// What `addnode` asked for.
    pub(crate) fn added(&self) -> impl Iterator<Item = SocketAddr> {
        self.added.keys().copied()
    }

    /// Gives up late dials, and yields the addresses that are due to be dialled.
    pub(crate) fn on_timer(
        &mut self,
        now: Instant,
        roster: &Roster,
        out: &mut Outbox,
    ) -> Vec<(SocketAddr, Link)> {
        for (conn, _) in self
            .dials
            .iter()
            .filter(|(_, (_, deadline))| *deadline <= now)
        {
            out.hang_up(*conn, Farewell::Silence("dial timed out".to_owned()));
        }
        let mut due: Vec<(SocketAddr, Link)> = Vec::new();
        for (address, at) in self.added.iter_mut().filter(|(_, at)| **at <= now) {
            *at = now + self.redial;
            if !roster.knows(*address) {
                due.push((*address, Link::Manual));
            }
        }
        let redialling: BTreeSet<SocketAddr> = self
            .dials
            .values()
            .map(|(to, _)| *to)
            .filter(|to| self.lost.contains_key(to))
            .collect();
        let room = MAX_REDIALS
            .saturating_sub(redialling.len())
            .min(self.room(roster));
        let mut waiting: Vec<(Instant, SocketAddr)> = self
            .lost
            .iter()
            .filter(|(_, at)| **at <= now)
            .map(|(to, at)| (*at, *to))
            .collect();
        waiting.sort_unstable();
        let mut redials = 0;
        for (_, address) in waiting {
            if redials < room && !roster.knows(address) {
                redials += 1;
                due.push((address, Link::Outbound));
            }
            let next = now + jittered(&mut self.rng, self.redial);
            self.lost.insert(address, next);
        }
        due
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let dials = self.dials.values().map(|(_, deadline)| deadline);
        dials
            .chain(self.lost.values())
            .chain(self.added.values())
            .min()
            .copied()
    }

    /// Whether a newcomer who has introduced himself is to be kept; who has to go for him goes.
    pub(crate) fn judge(
        &mut self,
        conn: ConnId,
        (now, quiet): (Instant, &dyn Fn(ConnId) -> bool),
        roster: &Roster,
        out: &mut Outbox,
    ) -> Result<(), Farewell> {
        let Some(newcomer) = roster.get(conn) else {
            return Ok(());
        };
        if newcomer.link == Link::Crawl {
            return Ok(());
        }
        if newcomer.visits {
            return if roster.visitors().count() > MAX_VISITORS {
                Err(Farewell::Surplus("too many visitors".to_owned()))
            } else {
                Ok(())
            };
        }
        let leaving = self.settle_duplicates(conn, newcomer, quiet, roster, out)?;
        if roster.taken() - leaving < usize::from(self.limits.max) {
            return Ok(());
        }
        let needed = newcomer.link != Link::Outbound
            || roster.ready_outbound() < usize::from(self.limits.outbound);
        let evicted = if needed {
            self.evict(now, roster)
        } else {
            None
        };
        let Some(evicted) = evicted else {
            return Err(Farewell::Surplus("too many peers".to_owned()));
        };
        out.hang_up(
            evicted,
            Farewell::Surplus("evicted for a newcomer".to_owned()),
        );
        Ok(())
    }

    /// Leaves one connection with the node that `newcomer` is; yields how many counted ones end for it.
    fn settle_duplicates(
        &self,
        conn: ConnId,
        newcomer: &Connection,
        quiet: &dyn Fn(ConnId) -> bool,
        roster: &Roster,
        out: &mut Outbox,
    ) -> Result<usize, Farewell> {
        let Some(address) = newcomer.listens_at else {
            return Ok(0);
        };
        let mut leaving = 0;
        for (other, c) in roster.iter().filter(|(other, c)| {
            *other != conn && c.link != Link::Crawl && c.listens_at == Some(address)
        }) {
            let supersedes = c.phase == Phase::Dialling
                || quiet(other)
                || c.link.is_outbound() == newcomer.link.is_outbound()
                || newcomer.link.is_outbound() == (self.own < address);
            if !supersedes {
                return Err(Farewell::Surplus("already connected".to_owned()));
            }
            leaving += usize::from(c.phase >= Phase::Welcomed);
            out.hang_up(other, Farewell::Surplus("superseded".to_owned()));
        }
        Ok(leaving)
    }

    /// Some peer that dialled us and has been here for a while.
    fn evict(&mut self, now: Instant, roster: &Roster) -> Option<ConnId> {
        let settled: Vec<ConnId> = roster
            .peers()
            .filter(|(conn, c)| c.link == Link::Inbound && roster.age(*conn, now) > self.redial)
            .map(|(conn, _)| conn)
            .collect();
        pick(&mut self.rng, &settled).copied()
    }
}

#[cfg(test)]
mod tests;
