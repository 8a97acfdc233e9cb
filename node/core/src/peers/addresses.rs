//! The address book, and what `addr` and `getaddr` do to it.
//!
//! Every address is routable as long as one could dial it: a testnet lives on private addresses. Each peer may bring a
//! bounded number of addresses per time, and the book is bounded, so that a flood pushes out only what was never
//! reached.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::Duration,
};

use bitcoin::p2p::{Address, ServiceFlags, message::NetworkMessage};
use rand_chacha::ChaCha12Rng;

use crate::{
    db::Db,
    io::ConnId,
    outbox::Outbox,
    peers::{
        chance::{below, jittered, shuffle},
        info::AddressInfo,
    },
    store::{StoreError, Table},
    time::{Instant, Now},
};

mod news;

use self::news::{MAX_NEWS, News};

/// Addresses kept.
const MAX_ADDRESSES: usize = 4096;
/// Addresses in one message (Bitcoin Core's `MAX_ADDR_TO_SEND`).
const MAX_IN_MESSAGE: usize = 1000;
/// Addresses that one answer names, and that a node knows before it stops passing on news: with so many known by so many,
/// newcomers are found, and find others, without everybody being told.
const ENOUGH: usize = 128;
/// News are not older than this, in seconds, and are not passed on twice within it.
const NEWS_AGE: u32 = 600;
/// Addresses a peer may bring at once, and how many more each second.
const BURST: u32 = 1000;
const PER_SECOND: u32 = 10;
/// News of addresses waits this long for another write to go with: a commit for every `addr` message would be most of what
/// a starting node writes. Whoever is killed forgets at most what it heard within this time.
const SAVE_PAUSE: Duration = Duration::from_secs(1);
/// `getaddr` is answered at most this often to one peer.
const ANSWER_INTERVAL: Duration = Duration::from_secs(1);
/// Failed attempts after which an address is no longer told to others.
const MAX_FAILURES_TOLD: u32 = 3;
/// The pause after failed attempts doubles up to this many times.
const MAX_DOUBLINGS: u32 = 3;

#[derive(Clone, Copy, Debug)]
struct Entry {
    services: u64,
    last_seen: u32,
    last_success: Option<u32>,
    failures: u32,
    /// Not dialled before.
    next_attempt: Instant,
    /// When it was last passed on, in seconds since the epoch.
    told: Option<u32>,
}

/// What a peer may still do to us.
#[derive(Clone, Copy, Debug)]
struct Allowance {
    addresses: u32,
    refilled: Instant,
    answered: Option<Instant>,
}

/// Knows where nodes may be.
#[derive(Debug)]
pub(crate) struct Addresses {
    own: SocketAddr,
    services: ServiceFlags,
    pause: Duration,
    rng: ChaCha12Rng,
    book: BTreeMap<SocketAddr, Entry>,
    /// Not written yet.
    changed: BTreeSet<SocketAddr>,
    /// When it is written at the latest.
    save_at: Option<Instant>,
    peers: BTreeMap<ConnId, Allowance>,
    news: News,
    /// Addresses that were not known and then were.
    learned: u64,
}

impl Addresses {
    /// The book as the store has it.
    pub(crate) fn open(
        own: SocketAddr,
        services: ServiceFlags,
        pause: Duration,
        rng: ChaCha12Rng,
        db: &Db,
    ) -> Result<Self, StoreError> {
        let mut book = BTreeMap::new();
        db.scan(Table::Address, &mut |key, value| {
            if let Some((address, entry)) = read(key, value) {
                book.insert(address, entry);
            }
        })?;
        let (changed, peers) = (BTreeSet::new(), BTreeMap::new());
        Ok(Self {
            own,
            services,
            pause,
            rng,
            book,
            changed,
            save_at: None,
            peers,
            news: News::default(),
            learned: 0,
        })
    }

    /// Writes what has changed, if anything else is written too or it has waited long enough.
    pub(crate) fn save(&mut self, now: Instant, db: &mut Db) {
        if self.changed.is_empty() {
            return;
        }
        let due = *self.save_at.get_or_insert(now + SAVE_PAUSE);
        if now < due && !db.is_dirty() {
            return;
        }
        self.save_at = None;
        for address in std::mem::take(&mut self.changed) {
            let key = address.to_string().into_bytes();
            match self.book.get(&address) {
                Some(entry) => db.put(Table::Address, key, write(entry)),
                None => db.delete(Table::Address, key),
            }
        }
    }

    /// When changes are written at the latest, or news passed on.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let deadlines = [self.save_at, self.news.next_deadline()];
        deadlines.into_iter().flatten().min()
    }

    /// How many addresses were learned that were not known, since the node started.
    pub(crate) const fn learned(&self) -> u64 {
        self.learned
    }

    /// Everything known.
    pub(crate) fn iter(&self) -> impl Iterator<Item = AddressInfo> {
        self.book.iter().map(|(address, entry)| AddressInfo {
            address: *address,
            services: entry.services,
            last_seen: entry.last_seen,
            last_success: entry.last_success,
            failures: entry.failures,
        })
    }

    /// Takes an address from a discovery: fresh, so it may be dialled at once unless that has just failed.
    pub(crate) fn found(&mut self, address: SocketAddr, now: Now) {
        self.insert(address, ServiceFlags::NONE, now.wall.seconds());
    }

    /// A peer is there: it hears where we are, if we can be dialled.
    pub(crate) fn peer_connected(
        &mut self,
        conn: ConnId,
        (listens_at, services): (Option<SocketAddr>, ServiceFlags),
        now: Now,
        out: &mut Outbox,
    ) {
        let allowance = Allowance {
            addresses: BURST,
            refilled: now.mono,
            answered: None,
        };
        self.peers.insert(conn, allowance);
        let seconds = now.wall.seconds();
        if let Some(address) = listens_at.filter(|address| self.insert(*address, services, seconds))
        {
            let entry = self.book.get_mut(&address).expect("just inserted");
            entry.services = services.to_u64();
            entry.last_success = Some(seconds);
            entry.failures = 0;
            entry.next_attempt = now.mono;
            self.changed.insert(address);
        }
        let own = Address::new(&self.own, self.services);
        out.send(conn, NetworkMessage::Addr(vec![(seconds, own)]));
    }

    pub(crate) fn peer_disconnected(
        &mut self,
        conn: ConnId,
        address: Option<SocketAddr>,
        now: Now,
    ) {
        self.peers.remove(&conn);
        let next = now.mono + jittered(&mut self.rng, self.pause);
        if let Some(entry) = address.and_then(|address| self.book.get_mut(&address)) {
            entry.next_attempt = entry.next_attempt.max(next);
        }
    }

    /// Nobody at `address` wanted to be our peer; it is left alone for a while.
    pub(crate) fn attempt_failed(&mut self, address: SocketAddr, now: Now) {
        let Some(entry) = self.book.get_mut(&address) else {
            return;
        };
        let pause = self.pause * 2_u32.pow(entry.failures.min(MAX_DOUBLINGS)) / 2;
        entry.failures = entry.failures.saturating_add(1);
        entry.next_attempt = now.mono + jittered(&mut self.rng, pause);
        self.changed.insert(address);
    }

    /// `address` is ourselves or not to be dialled: forgotten.
    pub(crate) fn forget(&mut self, address: SocketAddr) {
        if self.book.remove(&address).is_some() {
            self.changed.insert(address);
        }
    }

    /// Somewhere to dial now: with few failures, else by chance.
    pub(crate) fn candidate(
        &mut self,
        now: Instant,
        busy: &dyn Fn(SocketAddr) -> bool,
    ) -> Option<SocketAddr> {
        let free: Vec<(u32, SocketAddr)> = self
            .book
            .iter()
            .filter(|(address, entry)| entry.next_attempt <= now && !busy(**address))
            .map(|(address, entry)| (entry.failures, *address))
            .collect();
        let fewest = free.iter().map(|(failures, _)| *failures).min()?;
        let best: Vec<SocketAddr> = free
            .iter()
            .filter(|(failures, _)| *failures == fewest)
            .map(|(_, a)| *a)
            .collect();
        Some(best[below(&mut self.rng, best.len())])
    }

    /// When the next address may be dialled again, if that is later than `now`.
    pub(crate) fn next_candidate(
        &self,
        now: Instant,
        busy: &dyn Fn(SocketAddr) -> bool,
    ) -> Option<Instant> {
        let later = self
            .book
            .iter()
            .filter(|(a, entry)| entry.next_attempt > now && !busy(**a));
        later.map(|(_, entry)| entry.next_attempt).min()
    }

    /// Passes on news that have waited long enough to some of those who are `ready`.
    pub(crate) fn on_timer(
        &mut self,
        now: Instant,
        ready: impl Iterator<Item = ConnId>,
        out: &mut Outbox,
    ) {
        self.news.on_timer(now, ready, &mut self.rng, out);
    }

    /// Addresses from a peer; those that were taken are returned. News among them are passed on soon.
    pub(crate) fn received_addr(
        &mut self,
        conn: ConnId,
        told: &[(u32, Address)],
        now: Now,
        out: &mut Outbox,
    ) -> Vec<SocketAddr> {
        if told.len() > MAX_IN_MESSAGE {
            out.misbehaved(conn, format!("{} addresses in one message", told.len()));
            return Vec::new();
        }
        let allowed = self.allow(conn, told.len(), now.mono);
        let seconds = now.wall.seconds();
        let mut taken = Vec::new();
        for (time, address) in &told[..allowed] {
            let Ok(socket) = address.socket_addr() else {
                continue;
            };
            let time = if *time > seconds.saturating_add(NEWS_AGE) {
                seconds.saturating_sub(5 * 24 * 3600)
            } else {
                *time
            };
            if !self.insert(socket, address.services, time) {
                continue;
            }
            taken.push(socket);
            let few = self.book.len() <= ENOUGH;
            let entry = self.book.get_mut(&socket).expect("just inserted");
            let fresh = seconds.saturating_sub(time) < NEWS_AGE;
            let untold = entry
                .told
                .is_none_or(|at| seconds.saturating_sub(at) >= NEWS_AGE);
            if told.len() <= MAX_NEWS && fresh && untold && few {
                entry.told = Some(seconds);
                let news = (time, address.clone());
                self.news.add(conn, news, now.mono, &mut self.rng);
            }
        }
        taken
    }

    /// Answers with addresses in some order; those of connected peers (`live`) are marked as seen now.
    pub(crate) fn received_getaddr(
        &mut self,
        conn: ConnId,
        live: &dyn Fn(SocketAddr) -> bool,
        now: Now,
        out: &mut Outbox,
    ) {
        let Some(allowance) = self.peers.get_mut(&conn) else {
            return;
        };
        if allowance
            .answered
            .is_some_and(|at| now.mono - at < ANSWER_INTERVAL)
        {
            return;
        }
        allowance.answered = Some(now.mono);
        let seconds = now.wall.seconds();
        let mut known: Vec<(u32, Address)> = self
            .book
            .iter()
            .filter(|(address, entry)| entry.failures < MAX_FAILURES_TOLD || live(**address))
            .map(|(address, entry)| {
                let time = if live(*address) {
                    seconds
                } else {
                    entry.last_seen
                };
                (
                    time,
                    Address::new(address, ServiceFlags::from(entry.services)),
                )
            })
            .collect();
        shuffle(&mut self.rng, &mut known);
        known.truncate(ENOUGH);
        if !known.is_empty() {
            out.send(conn, NetworkMessage::Addr(known));
        }
    }

    /// How many of `asked` addresses `conn` may bring now.
    fn allow(&mut self, conn: ConnId, asked: usize, now: Instant) -> usize {
        let Some(allowance) = self.peers.get_mut(&conn) else {
            return 0;
        };
        let seconds = u32::try_from((now - allowance.refilled).as_secs()).unwrap_or(u32::MAX);
        if seconds > 0 {
            allowance.refilled = now;
            let more = seconds.saturating_mul(PER_SECOND);
            allowance.addresses = allowance.addresses.saturating_add(more).min(BURST);
        }
        let asked = u32::try_from(asked).unwrap_or(u32::MAX);
        let allowed = asked.min(allowance.addresses);
        allowance.addresses -= allowed;
        usize::try_from(allowed).expect("at most what was asked")
    }

    /// `false` if it is no address to dial, or there is no room for it.
    fn insert(&mut self, address: SocketAddr, services: ServiceFlags, seen: u32) -> bool {
        if !is_dialable(address) || address == self.own {
            return false;
        }
        if let Some(entry) = self.book.get_mut(&address) {
            if seen > entry.last_seen.saturating_add(NEWS_AGE) {
                self.changed.insert(address);
            }
            entry.last_seen = entry.last_seen.max(seen);
            return true;
        }
        if self.book.len() >= MAX_ADDRESSES && !self.make_room() {
            return false;
        }
        let entry = Entry {
            services: services.to_u64(),
            last_seen: seen,
            last_success: None,
            failures: 0,
            next_attempt: Instant(0),
            told: None,
        };
        self.changed.insert(address);
        self.book.insert(address, entry);
        self.learned += 1;
        true
    }

    /// Forgets some address that was never reached.
    fn make_room(&mut self) -> bool {
        let unproven: Vec<SocketAddr> = self
            .book
            .iter()
            .filter(|(_, entry)| entry.last_success.is_none())
            .map(|(address, _)| *address)
            .collect();
        if unproven.is_empty() {
            return false;
        }
        let victim = unproven[below(&mut self.rng, unproven.len())];
        self.forget(victim);
        true
    }
}

/// Whether a node could listen there.
fn is_dialable(address: SocketAddr) -> bool {
    let ip = address.ip();
    let broadcast = matches!(ip, std::net::IpAddr::V4(ip) if ip.is_broadcast());
    address.port() != 0 && !ip.is_unspecified() && !ip.is_multicast() && !broadcast
}

/// Services, last seen, last success (0 if never), failures; little-endian.
fn write(entry: &Entry) -> Vec<u8> {
    let mut bytes = entry.services.to_le_bytes().to_vec();
    for field in [
        entry.last_seen,
        entry.last_success.unwrap_or(0),
        entry.failures,
    ] {
        bytes.extend_from_slice(&field.to_le_bytes());
    }
    bytes
}

fn read(key: &[u8], value: &[u8]) -> Option<(SocketAddr, Entry)> {
    let address = std::str::from_utf8(key).ok()?.parse().ok()?;
    let field = |at: usize| {
        let bytes = value.get(at..at + 4)?.try_into().ok()?;
        Some(u32::from_le_bytes(bytes))
    };
    let services = u64::from_le_bytes(value.get(..8)?.try_into().ok()?);
    let entry = Entry {
        services,
        last_seen: field(8)?,
        last_success: field(12).filter(|seconds| *seconds != 0),
        // A new start is a new chance.
        failures: field(16)?.min(1),
        next_attempt: Instant(0),
        told: None,
    };
    Some((address, entry))
}

#[cfg(test)]
mod tests;
