//! A DNS seed's survey of the testnet: who can be reached by handshake, now.
//!
//! Everyone who asks the seed is visited, and everyone visited is asked for others. Those reached are named, visited
//! again at an interval, longer where there are many, and no longer named after the first failed visit; they are still tried
//! for a while.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use bitcoin::p2p::message::NetworkMessage;
use netsplit_api::{config::Timers, event::Event};
use rand_chacha::ChaCha12Rng;

use crate::{
    io::ConnId,
    outbox::{Farewell, Outbox},
    peers::chance::jittered,
    time::Instant,
};

/// Addresses surveyed.
const MAX_TARGETS: usize = 8192;
/// Visits at the same time.
const MAX_VISITS: usize = 32;
/// Of those, visits to addresses that are known by hearsay only: whoever tells of many cannot keep the rest waiting.
const MAX_HEARSAY_VISITS: usize = 16;
/// A visited node has this long to tell of others.
const STAY: Duration = Duration::from_millis(500);
/// First pause after a failed visit to somebody who was never reached; doubles up to the survey's interval.
const FIRST_RETRY: Duration = Duration::from_millis(50);
/// Failed visits in a row after which an address is dropped.
const MAX_FAILURES: u32 = 20;
/// Time for each visit to somebody who is known to be there: a survey of many takes longer than the configured interval,
/// and does not take more of the machine than one of few.
const VISIT: Duration = Duration::from_millis(20);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// To be visited at that time.
    Waiting(Instant),
    /// Being visited.
    Visiting,
}

#[derive(Clone, Copy, Debug)]
struct Target {
    state: State,
    is_reached: bool,
    /// Nobody at this address ever asked the seed or was reached: others told of it.
    is_hearsay: bool,
    failures: u32,
}

impl Target {
    fn new(is_hearsay: bool, now: Instant) -> Self {
        Self {
            state: State::Waiting(now),
            is_reached: false,
            is_hearsay,
            failures: 0,
        }
    }
}

/// Surveys the testnet for the role `dns-seed`.
#[derive(Debug)]
pub(crate) struct Crawler {
    port: u16,
    interval: Duration,
    rng: ChaCha12Rng,
    targets: BTreeMap<SocketAddr, Target>,
    /// Visits under way; those who answered, and when to leave.
    visits: BTreeMap<ConnId, (SocketAddr, Option<Instant>)>,
}

impl Crawler {
    pub(crate) fn new(port: u16, timers: &Timers, rng: ChaCha12Rng) -> Self {
        let interval = Duration::from_millis(timers.crawl_ms);
        Self {
            port,
            interval,
            rng,
            targets: BTreeMap::new(),
            visits: BTreeMap::new(),
        }
    }

    /// Those reached and not forgotten, in ascending order. Without ports, as DNS wants it.
    pub(crate) fn reached(&self) -> impl Iterator<Item = IpAddr> {
        let named = |(at, target): (&SocketAddr, &Target)| {
            (target.is_reached && at.port() == self.port).then_some(at.ip())
        };
        self.targets.iter().filter_map(named)
    }

    /// Somebody asked the seed: perhaps a node, to be visited at once.
    pub(crate) fn asked_by(&mut self, ip: IpAddr, now: Instant) {
        let address = SocketAddr::new(ip, self.port);
        if let Some(target) = self.targets.get_mut(&address) {
            target.is_hearsay = false;
            if !target.is_reached && target.state != State::Visiting {
                *target = Target::new(false, now);
            }
        } else if self.targets.len() < MAX_TARGETS || self.forget_hearsay() {
            self.targets.insert(address, Target::new(false, now));
        }
    }

    /// There may be a node at `address`.
    pub(crate) fn heard_of(&mut self, address: SocketAddr, now: Instant) {
        if self.targets.len() < MAX_TARGETS {
            let target = Target::new(true, now);
            self.targets.entry(address).or_insert(target);
        }
    }

    /// Makes room for one who asked; `false` if nobody can be forgotten for him.
    fn forget_hearsay(&mut self) -> bool {
        let idle = |target: &Target| target.is_hearsay && target.state != State::Visiting;
        let victim = self.targets.iter().find(|(_, target)| idle(target));
        match victim.map(|(address, _)| *address) {
            Some(address) => self.targets.remove(&address).is_some(),
            None => false,
        }
    }

    /// Whom to visit now. The caller dials and says which connection it is.
    pub(crate) fn due(&mut self, now: Instant) -> Vec<SocketAddr> {
        let room = MAX_VISITS.saturating_sub(self.visits.len());
        let mut room_for_hearsay = self.room_for_hearsay();
        let mut due: Vec<(bool, Instant, SocketAddr)> = self
            .targets
            .iter()
            .filter_map(|(address, target)| match target.state {
                State::Waiting(at) if at <= now => Some((target.is_hearsay, at, *address)),
                State::Waiting(_) | State::Visiting => None,
            })
            .collect();
        due.sort_unstable();
        due.retain(|(is_hearsay, _, _)| {
            let fits = !is_hearsay || room_for_hearsay > 0;
            room_for_hearsay -= usize::from(*is_hearsay && fits);
            fits
        });
        due.into_iter()
            .take(room)
            .map(|(_, _, address)| address)
            .collect()
    }

    fn room_for_hearsay(&self) -> usize {
        let visited = self.visits.values().map(|(address, _)| address);
        let hearsay = visited
            .filter_map(|address| self.targets.get(address))
            .filter(|target| target.is_hearsay);
        MAX_HEARSAY_VISITS.saturating_sub(hearsay.count())
    }

    /// The visit to `address` is connection `conn`.
    pub(crate) fn visiting(&mut self, conn: ConnId, address: SocketAddr) {
        self.visits.insert(conn, (address, None));
        if let Some(target) = self.targets.get_mut(&address) {
            target.state = State::Visiting;
        }
    }

    /// The handshake is complete: the node exists.
    pub(crate) fn peer_connected(&mut self, conn: ConnId, now: Instant, out: &mut Outbox) {
        let Some((address, leave)) = self.visits.get_mut(&conn) else {
            return;
        };
        *leave = Some(now + STAY);
        let Some(target) = self.targets.get_mut(address) else {
            return;
        };
        target.failures = 0;
        target.is_hearsay = false;
        if !target.is_reached {
            target.is_reached = true;
            out.event(Event::DnsNodeReached {
                address: address.to_string(),
            });
        }
        out.send(conn, NetworkMessage::GetAddr);
    }

    /// A visited node told of others, or only of itself: then more may follow.
    pub(crate) fn received_addr(
        &mut self,
        conn: ConnId,
        told: &[SocketAddr],
        now: Instant,
        out: &mut Outbox,
    ) {
        let Some((visited, Some(_))) = self.visits.get(&conn).copied() else {
            return;
        };
        for address in told {
            self.heard_of(*address, now);
        }
        if told.iter().any(|address| *address != visited) {
            out.hang_up(conn, Farewell::Surplus("visit is over".to_owned()));
        }
    }

    /// A visit ended, by whomever.
    pub(crate) fn disconnected(
        &mut self,
        conn: ConnId,
        reason: &str,
        now: Instant,
        out: &mut Outbox,
    ) {
        let Some((address, answered)) = self.visits.remove(&conn) else {
            return;
        };
        let known = self.targets.len();
        let Some(target) = self.targets.get_mut(&address) else {
            return;
        };
        if answered.is_some() {
            let survey = VISIT * u32::try_from(known).unwrap_or(u32::MAX);
            let next = now + jittered(&mut self.rng, self.interval.max(survey));
            target.state = State::Waiting(next);
            return;
        }
        if target.is_reached {
            target.is_reached = false;
            let reason = reason.to_owned();
            out.event(Event::DnsNodeForgotten {
                address: address.to_string(),
                reason,
            });
        }
        target.failures += 1;
        if target.failures > MAX_FAILURES {
            self.targets.remove(&address);
            return;
        }
        let pause = (FIRST_RETRY * 2_u32.pow(target.failures.min(10))).min(self.interval);
        target.state = State::Waiting(now + jittered(&mut self.rng, pause));
    }

    pub(crate) fn on_timer(&self, now: Instant, out: &mut Outbox) {
        let over = |leave: &Option<Instant>| leave.is_some_and(|at| at <= now);
        for (conn, _) in self.visits.iter().filter(|(_, (_, leave))| over(leave)) {
            out.hang_up(*conn, Farewell::Surplus("visit is over".to_owned()));
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let leaving = self.visits.values().filter_map(|(_, leave)| *leave).min();
        let hears = self.room_for_hearsay() > 0;
        let waiting = |target: &Target| match target.state {
            State::Waiting(at) if hears || !target.is_hearsay => Some(at),
            State::Waiting(_) | State::Visiting => None,
        };
        let visiting = if self.visits.len() < MAX_VISITS {
            self.targets.values().filter_map(waiting).min()
        } else {
            None
        };
        [leaving, visiting].into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random;

    const GUEST: ConnId = ConnId(1);

    fn node() -> SocketAddr {
        ([11, 0, 0, 2], 18444).into()
    }

    fn at(millis: u64) -> Instant {
        Instant(millis * 1_000_000)
    }

    fn named(crawler: &Crawler) -> Vec<IpAddr> {
        crawler.reached().collect()
    }

    fn crawler() -> (Crawler, Outbox) {
        let rng = random::stream(&[1; 32], "crawler");
        (
            Crawler::new(18444, &Timers::default(), rng),
            Outbox::default(),
        )
    }

    #[test]
    fn one_who_asks_is_visited_at_once_and_named_only_when_reached() {
        let (mut crawler, mut out) = crawler();
        crawler.asked_by(node().ip(), at(0));
        assert_eq!(crawler.due(at(0)), [node()]);
        crawler.visiting(GUEST, node());
        assert!(crawler.due(at(0)).is_empty(), "one visit at a time");
        assert!(named(&crawler).is_empty());
        crawler.peer_connected(GUEST, at(5), &mut out);
        assert_eq!(named(&crawler), [node().ip()]);
        assert_eq!(out.said_to(GUEST), [NetworkMessage::GetAddr]);
        // It tells of itself, then of another one: the visit is over.
        crawler.received_addr(GUEST, &[node()], at(6), &mut out);
        assert!(out.hung_up().is_empty());
        let other = ([11, 0, 0, 3], 18444).into();
        crawler.received_addr(GUEST, &[node(), other], at(7), &mut out);
        assert_eq!(out.hung_up().len(), 1);
        crawler.disconnected(GUEST, "visit is over", at(8), &mut out);
        assert_eq!(crawler.due(at(8)), [other], "the other one is next");
    }

    #[test]
    fn hearsay_does_not_keep_those_waiting_who_asked() {
        let (mut crawler, mut out) = crawler();
        let hearsay = |n: usize| {
            let [high, low] = u16::try_from(n).expect("few").to_be_bytes();
            SocketAddr::from(([12, 0, high, low], 18444))
        };
        for n in 0..MAX_TARGETS {
            crawler.heard_of(hearsay(n), at(0));
        }
        let first = crawler.due(at(0));
        assert_eq!(first.len(), MAX_HEARSAY_VISITS);
        for (number, address) in (100..).zip(&first) {
            crawler.visiting(ConnId(number), *address);
        }
        assert_eq!(
            crawler.next_deadline(),
            None,
            "nothing to do until one answers"
        );
        crawler.asked_by(node().ip(), at(1));
        assert_eq!(crawler.due(at(1)), [node()]);
        crawler.visiting(GUEST, node());
        crawler.disconnected(ConnId(100), "dial timed out", at(2), &mut out);
        assert_eq!(
            crawler.due(at(2)).len(),
            1,
            "one takes the place of another"
        );
    }

    #[test]
    fn the_first_failed_visit_ends_being_named_and_others_follow() {
        let (mut crawler, mut out) = crawler();
        crawler.asked_by(node().ip(), at(0));
        crawler.visiting(GUEST, node());
        crawler.peer_connected(GUEST, at(5), &mut out);
        crawler.disconnected(GUEST, "visit is over", at(500), &mut out);
        assert!(crawler.due(at(1_000)).is_empty());
        assert_eq!(crawler.due(at(3_100)), [node()]);
        crawler.visiting(ConnId(2), node());
        crawler.disconnected(ConnId(2), "dial timed out", at(4_000), &mut out);
        assert!(named(&crawler).is_empty());
        assert_eq!(crawler.due(at(4_200)), [node()], "tried again soon");
    }

    #[test]
    fn many_nodes_are_visited_more_seldom_than_few() {
        let visits = |nodes: u8| {
            let (mut crawler, mut out) = crawler();
            let ips = (0..nodes).flat_map(|a| (1..=10).map(move |b| [11, 0, a, b]));
            for ip in ips {
                crawler.asked_by(IpAddr::from(ip), at(0));
            }
            let mut visits = 0;
            for ms in (0..20_000).step_by(10) {
                for address in crawler.due(at(ms)) {
                    visits += 1;
                    let conn = ConnId(visits);
                    crawler.visiting(conn, address);
                    crawler.peer_connected(conn, at(ms), &mut out);
                    crawler.disconnected(conn, "visit is over", at(ms), &mut out);
                }
            }
            visits / 20
        };
        assert!((8..=14).contains(&visits(2)), "20 nodes, each every 2 s");
        assert!((40..=80).contains(&visits(40)), "400 nodes");
        assert!(
            (50..=110).contains(&visits(100)),
            "1,000 nodes, the first visits included"
        );
    }
}
