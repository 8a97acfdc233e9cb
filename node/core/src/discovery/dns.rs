//! DNS seeds: asked at the start, and again while peers are missing, soon at first and seldom when they know nothing new.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use netsplit_api::{config::Timers, event::Event};
use rand_chacha::ChaCha12Rng;

use crate::{
    discovery::{Discovery, pace::Pace, with_port},
    io::{ConnId, QueryId},
    outbox::{Effect, Outbox},
    time::Instant,
};

/// The first repetition comes after this.
const FIRST_RETRY: Duration = Duration::from_millis(50);
/// Addresses taken from one answer.
const MAX_ANSWER: usize = 256;

/// Asks DNS seeds.
#[derive(Debug)]
pub(crate) struct Dns {
    seeds: Vec<SocketAddr>,
    /// Port of the nodes a seed names.
    port: u16,
    pace: Pace,
    /// Whether there was no peer at the last search.
    is_alone: bool,
    next_query: u64,
    asked: BTreeMap<QueryId, SocketAddr>,
}

impl Dns {
    pub(crate) fn new(
        seeds: Vec<SocketAddr>,
        port: u16,
        timers: &Timers,
        rng: ChaCha12Rng,
    ) -> Self {
        let interval = Duration::from_millis(timers.dns_ms);
        Self {
            seeds,
            port,
            pace: Pace::new(FIRST_RETRY, interval, rng),
            is_alone: true,
            next_query: 0,
            asked: BTreeMap::new(),
        }
    }

    fn ask(&mut self, now: Instant, out: &mut Outbox) {
        self.pace.asked(now);
        for seed in &self.seeds {
            if self.asked.values().any(|asked| asked == seed) {
                continue;
            }
            let query = QueryId(self.next_query);
            self.next_query += 1;
            self.asked.insert(query, *seed);
            out.push(Effect::Resolve(query, *seed));
        }
    }
}

impl Discovery for Dns {
    fn started(&mut self, now: Instant, out: &mut Outbox) {
        self.ask(now, out);
    }

    fn search(&mut self, now: Instant, peers: &[ConnId], out: &mut Outbox) {
        self.is_alone = peers.is_empty();
        if self.pace.is_due(now) {
            self.ask(now, out);
        }
    }

    fn satisfied(&mut self) {
        self.pace.satisfied();
    }

    fn news(&mut self, now: Instant) {
        self.pace.news(now);
    }

    fn resolved(&mut self, query: QueryId, result: &Result<Vec<IpAddr>, String>, out: &mut Outbox) {
        let Some(seed) = self.asked.remove(&query) else {
            return;
        };
        let (count, error) = match result {
            Ok(ips) => (ips.len(), None),
            Err(reason) => (0, Some(reason.clone())),
        };
        out.event(Event::DnsSeedQueried {
            server: seed.to_string(),
            addresses: u32::try_from(count).unwrap_or(u32::MAX),
            error,
        });
        if let Ok(ips) = result {
            self.pace.answered(self.is_alone);
            let taken = &ips[..ips.len().min(MAX_ANSWER)];
            out.push(Effect::Found(with_port(taken, self.port)));
        }
    }

    fn next_search(&self) -> Option<Instant> {
        (!self.seeds.is_empty()).then_some(self.pace.next())
    }
}
