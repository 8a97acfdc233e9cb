//! DNS seeds: asked at the start, and again while peers are missing, soon at first.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use netsplit_api::{config::Timers, event::Event};

use crate::{
    discovery::{Discovery, with_port},
    io::{ConnId, QueryId},
    outbox::{Effect, Outbox},
    time::Instant,
};

/// The first repetition comes after this, and each later one after twice the time, up to the configured interval.
const FIRST_RETRY: Duration = Duration::from_millis(50);
/// Addresses taken from one answer.
const MAX_ANSWER: usize = 256;

/// Asks DNS seeds.
#[derive(Debug)]
pub(crate) struct Dns {
    seeds: Vec<SocketAddr>,
    /// Port of the nodes a seed names.
    port: u16,
    interval: Duration,
    pause: Duration,
    next: Instant,
    next_query: u64,
    asked: BTreeMap<QueryId, SocketAddr>,
}

impl Dns {
    pub(crate) fn new(seeds: Vec<SocketAddr>, port: u16, timers: &Timers) -> Self {
        let interval = Duration::from_millis(timers.dns_ms);
        Self {
            seeds,
            port,
            interval,
            pause: FIRST_RETRY.min(interval),
            next: Instant(0),
            next_query: 0,
            asked: BTreeMap::new(),
        }
    }

    fn ask(&mut self, now: Instant, out: &mut Outbox) {
        self.next = now + self.pause;
        self.pause = (self.pause * 2).min(self.interval);
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

    fn search(&mut self, now: Instant, _peers: &[ConnId], out: &mut Outbox) {
        if now >= self.next {
            self.ask(now, out);
        }
    }

    fn satisfied(&mut self) {
        self.pause = FIRST_RETRY.min(self.interval);
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
            let taken = &ips[..ips.len().min(MAX_ANSWER)];
            out.push(Effect::Found(with_port(taken, self.port)));
        }
    }

    fn next_search(&self) -> Option<Instant> {
        (!self.seeds.is_empty()).then_some(self.next)
    }
}
