//! `ping` and `pong` (BIP31): round-trip times, and the end of peers that are no longer heard.
//!
//! Any byte counts as a sign of life; a `pong` only measures. So nobody is asked for one who has just given one, and of a
//! quiet pair only the one who dialled asks: each ping costs both nodes more than anything else they do when idle.

use std::{collections::BTreeMap, time::Duration};

use bitcoin::p2p::message::NetworkMessage;
use rand_chacha::ChaCha12Rng;
use rand_core::Rng as _;

use crate::{
    io::ConnId,
    outbox::{Farewell, Outbox},
    time::Instant,
};

#[derive(Clone, Copy, Debug)]
enum State {
    AwaitingPong { nonce: u64, since: Instant },
    Idle,
}

/// Even a peer that is never quiet is pinged after this many intervals, to measure.
const MEASURED_EVERY: u32 = 8;

#[derive(Debug)]
struct Peer {
    state: State,
    /// A quiet peer is pinged after this long.
    patience: Duration,
    last_ping: Instant,
    last_heard: Instant,
    last: Option<Duration>,
    min: Option<Duration>,
}

/// Keeps an ear on every peer.
#[derive(Debug)]
pub(crate) struct Ping {
    interval: Duration,
    idle: Duration,
    rng: ChaCha12Rng,
    peers: BTreeMap<ConnId, Peer>,
}

impl Ping {
    pub(crate) const fn new(interval: Duration, idle: Duration, rng: ChaCha12Rng) -> Self {
        Self {
            interval,
            idle,
            rng,
            peers: BTreeMap::new(),
        }
    }

    pub(crate) fn peer_connected(
        &mut self,
        conn: ConnId,
        dialled: bool,
        now: Instant,
        out: &mut Outbox,
    ) {
        let state = State::Idle;
        let peer = Peer {
            state,
            // Who was dialled hears the other's ping before.
            patience: if dialled {
                self.interval
            } else {
                self.interval * 5 / 4
            },
            last_ping: now,
            last_heard: now,
            last: None,
            min: None,
        };
        self.peers.insert(conn, peer);
        self.ping(conn, now, out);
    }

    pub(crate) fn peer_disconnected(&mut self, conn: ConnId) {
        self.peers.remove(&conn);
    }

    /// Bytes came from `conn`.
    pub(crate) fn heard(&mut self, conn: ConnId, now: Instant) {
        if let Some(peer) = self.peers.get_mut(&conn) {
            peer.last_heard = now;
        }
    }

    /// Whether nothing has come from `conn` although an answer was due.
    pub(crate) fn is_quiet(&self, conn: ConnId, now: Instant) -> bool {
        let grace = self.interval + self.interval / 2;
        self.peers
            .get(&conn)
            .is_some_and(|peer| now - peer.last_heard > grace)
    }

    /// Asks for a sign of life now, unless one is already due.
    pub(crate) fn ping(&mut self, conn: ConnId, now: Instant, out: &mut Outbox) {
        let Some(peer) = self.peers.get_mut(&conn) else {
            return;
        };
        peer.last_ping = now;
        if matches!(peer.state, State::Idle) {
            let nonce = self.rng.next_u64();
            peer.state = State::AwaitingPong { nonce, since: now };
            out.send(conn, NetworkMessage::Ping(nonce));
        }
    }

    pub(crate) fn received_ping(conn: ConnId, nonce: u64, out: &mut Outbox) {
        out.send(conn, NetworkMessage::Pong(nonce));
    }

    /// A `pong` with another number than ours is ignored.
    pub(crate) fn received_pong(&mut self, conn: ConnId, nonce: u64, now: Instant) {
        let Some(peer) = self.peers.get_mut(&conn) else {
            return;
        };
        match peer.state {
            State::AwaitingPong {
                nonce: expected,
                since,
            } if expected == nonce => {
                let taken = now - since;
                peer.last = Some(taken);
                peer.min = Some(peer.min.map_or(taken, |min| min.min(taken)));
                peer.state = State::Idle;
            }
            State::AwaitingPong { .. } | State::Idle => {}
        }
    }

    pub(crate) fn on_timer(&mut self, now: Instant, out: &mut Outbox) {
        let due: Vec<ConnId> = self
            .peers
            .iter()
            .filter(|(_, peer)| self.deadline(peer) <= now)
            .map(|(conn, _)| *conn)
            .collect();
        for conn in due {
            if now - self.peers[&conn].last_heard >= self.idle {
                let reason = format!("silent for {} ms", self.idle.as_millis());
                out.hang_up(conn, Farewell::Silence(reason));
            } else {
                self.ping(conn, now, out);
            }
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.peers.values().map(|peer| self.deadline(peer)).min()
    }

    /// Round-trip time of the last ping, and the shortest.
    pub(crate) fn times(&self, conn: ConnId) -> (Option<Duration>, Option<Duration>) {
        self.peers
            .get(&conn)
            .map_or((None, None), |peer| (peer.last, peer.min))
    }

    fn deadline(&self, peer: &Peer) -> Instant {
        let quiet = peer.last_heard + peer.patience;
        let next_ping = quiet
            .max(peer.last_ping + self.interval)
            .min(peer.last_ping + self.interval * MEASURED_EVERY);
        next_ping.min(peer.last_heard + self.idle)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random;

    const BOB: ConnId = ConnId(7);
    const SECOND: Duration = Duration::from_secs(1);

    fn alice() -> Ping {
        Ping::new(SECOND, 4 * SECOND, random::stream(&[1; 32], "ping"))
    }

    fn asked(out: &mut Outbox) -> Vec<u64> {
        let nonce = |message| match message {
            NetworkMessage::Ping(nonce) => Some(nonce),
            _ => None,
        };
        out.said_to(BOB).into_iter().filter_map(nonce).collect()
    }

    #[test]
    fn a_new_peer_is_pinged_at_once_and_a_quiet_one_every_interval() {
        let (mut alice, mut out) = (alice(), Outbox::default());
        let mut now = Instant(0);
        alice.peer_connected(BOB, true, now, &mut out);
        for _ in 0..5 {
            let nonces = asked(&mut out);
            assert_eq!(nonces.len(), 1);
            alice.heard(BOB, now);
            alice.received_pong(BOB, nonces[0], now + SECOND / 10);
            assert_eq!(alice.times(BOB).0, Some(SECOND / 10));
            assert_eq!(alice.next_deadline(), Some(now + SECOND));
            now = now + SECOND;
            alice.on_timer(now, &mut out);
        }
        assert!(out.hung_up().is_empty());
    }

    #[test]
    fn the_shortest_time_is_remembered_and_a_wrong_answer_measures_nothing() {
        let (mut alice, mut out) = (alice(), Outbox::default());
        alice.peer_connected(BOB, true, Instant(0), &mut out);
        let first = asked(&mut out)[0];
        alice.received_pong(BOB, first ^ 1, Instant(0) + SECOND / 2);
        assert_eq!(alice.times(BOB), (None, None));
        alice.received_pong(BOB, first, Instant(0) + SECOND / 2);
        alice.on_timer(Instant(0) + SECOND, &mut out);
        let second = asked(&mut out)[0];
        alice.received_pong(BOB, second, Instant(0) + SECOND + SECOND * 3 / 4);
        assert_eq!(alice.times(BOB), (Some(SECOND * 3 / 4), Some(SECOND / 2)));
    }

    #[test]
    fn a_silent_peer_is_hung_up_on_and_one_that_chatters_is_not() {
        let (mut alice, mut out) = (alice(), Outbox::default());
        alice.peer_connected(BOB, true, Instant(0), &mut out);
        alice.heard(BOB, Instant(0) + 2 * SECOND);
        alice.on_timer(Instant(0) + 5 * SECOND, &mut out);
        assert!(out.hung_up().is_empty());
        alice.on_timer(Instant(0) + 6 * SECOND, &mut out);
        assert!(matches!(out.hung_up()[..], [(BOB, Farewell::Silence(_))]));
    }

    #[test]
    fn of_a_quiet_pair_only_the_one_who_dialled_asks() {
        let ends = [ConnId(1), ConnId(2)];
        let mut out = Outbox::default();
        let mut pair = [alice(), alice()];
        let mut asked = [0, 0];
        for (end, dialled) in [(0, true), (1, false)] {
            pair[end].peer_connected(ends[end], dialled, Instant(0), &mut out);
        }
        for ms in 0..10_000 {
            let now = Instant(ms * 1_000_000);
            for end in [0, 1] {
                pair[end].on_timer(now, &mut out);
                for message in out.said_to(ends[end]) {
                    let NetworkMessage::Ping(nonce) = message else {
                        panic!("{message:?}")
                    };
                    asked[end] += 1;
                    pair[1 - end].heard(ends[1 - end], now);
                    pair[end].heard(ends[end], now);
                    pair[end].received_pong(ends[end], nonce, now);
                }
            }
        }
        assert_eq!(asked, [10, 2], "the other one now and then, to measure");
        assert!(out.hung_up().is_empty());
    }

    #[test]
    fn a_peer_that_chatters_is_pinged_to_measure_only() {
        let (mut alice, mut out) = (alice(), Outbox::default());
        alice.peer_connected(BOB, true, Instant(0), &mut out);
        alice.heard(BOB, Instant(0) + SECOND / 2);
        let mut pings = 0;
        for second in 1..=24 {
            let now = Instant(0) + SECOND * second;
            alice.on_timer(now, &mut out);
            for nonce in asked(&mut out) {
                pings += 1;
                alice.received_pong(BOB, nonce, now);
            }
            alice.heard(BOB, now);
            alice.heard(BOB, now + SECOND / 2);
        }
        assert_eq!(pings, 1 + 24 / MEASURED_EVERY);
    }
}
