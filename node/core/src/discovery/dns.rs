//! DNS seeds: one is asked at the start, and one after the other while peers are missing, soon at first and seldom when they
//! know nothing new.

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
    peers::chance::shuffle,
    time::Instant,
};

/// The first repetition comes after this.
const FIRST_RETRY: Duration = Duration::from_millis(50);
/// Addresses taken from one answer.
const MAX_ANSWER: usize = 256;

/// Asks DNS seeds.
#[derive(Debug)]
pub(crate) struct Dns {
    /// In the order they are asked.
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
        mut seeds: Vec<SocketAddr>,
        port: u16,
        timers: &Timers,
        mut rng: ChaCha12Rng,
    ) -> Self {
        shuffle(&mut rng, &mut seeds);
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

    /// Asks the next seed that does not owe an answer. One at a time: each visits whoever asks it.
    fn ask(&mut self, now: Instant, out: &mut Outbox) {
        self.pace.asked(now);
        let owes = |seed: &&SocketAddr| self.asked.values().any(|asked| asked == *seed);
        let Some(at) = self.seeds.iter().position(|seed| !owes(&seed)) else {
            return;
        };
        let seed = self.seeds[at];
        // The others come first next time.
        self.seeds.rotate_left(at + 1);
        let query = QueryId(self.next_query);
        self.next_query += 1;
        self.asked.insert(query, seed);
        out.push(Effect::Resolve(query, seed));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random;

    #[test]
    fn seeds_are_asked_one_after_the_other_and_a_dead_one_is_passed_over() {
        let seeds: Vec<SocketAddr> = (1..=3).map(|n| ([11, 0, 0, n], 53).into()).collect();
        let rng = random::stream(&[1; 32], "dns");
        let mut dns = Dns::new(seeds.clone(), 18444, &Timers::default(), rng);
        let mut out = Outbox::default();
        let mut asked = |dns: &mut Dns, now: Instant| {
            dns.search(now, &[], &mut out);
            std::iter::from_fn(|| out.next())
                .filter_map(|effect| match effect {
                    Effect::Resolve(query, seed) => Some((query, seed)),
                    _ => None,
                })
                .collect::<Vec<_>>()
        };
        let mut order = Vec::new();
        for round in 0..3 {
            let queries = asked(&mut dns, Instant(round * 1_000_000_000));
            assert_eq!(queries.len(), 1, "one at a time");
            order.push(queries[0]);
        }
        let names: std::collections::BTreeSet<_> = order.iter().map(|(_, seed)| *seed).collect();
        assert_eq!(names.len(), 3, "every seed in turn");
        assert!(
            asked(&mut dns, Instant(3_000_000_000)).is_empty(),
            "all owe an answer"
        );
        dns.resolved(order[1].0, &Ok(Vec::new()), &mut Outbox::default());
        let queries = asked(&mut dns, Instant(10_000_000_000));
        assert_eq!(queries[0].1, order[1].1, "the others still owe theirs");
    }
}
