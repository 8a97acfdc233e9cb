//! Peers know peers: `getaddr` to everyone we dial, and to some peer again while others are missing, seldom when they know
//! nobody new.

use std::time::Duration;

use bitcoin::p2p::message::NetworkMessage;
use netsplit_api::config::Timers;
use rand_chacha::ChaCha12Rng;

use crate::{
    discovery::{Discovery, pace::Pace},
    io::ConnId,
    outbox::Outbox,
    peers::{chance::pick, roster::Link},
    time::Instant,
};

/// Asks peers for addresses.
#[derive(Debug)]
pub(crate) struct Addr {
    pace: Pace,
    rng: ChaCha12Rng,
}

impl Addr {
    pub(crate) fn new(timers: &Timers, rng: ChaCha12Rng, pace: ChaCha12Rng) -> Self {
        // Answers come once a second at most.
        let interval = Duration::from_millis(timers.dns_ms.max(1_000));
        let pace = Pace::new(interval, interval, pace);
        Self { pace, rng }
    }
}

impl Discovery for Addr {
    fn peer_connected(&mut self, conn: ConnId, link: Link, out: &mut Outbox) {
        if link.is_outbound() {
            out.send(conn, NetworkMessage::GetAddr);
        }
    }

    fn search(&mut self, now: Instant, peers: &[ConnId], out: &mut Outbox) {
        if !self.pace.is_due(now) {
            return;
        }
        self.pace.asked(now);
        if let Some(conn) = pick(&mut self.rng, peers) {
            self.pace.answered(false);
            out.send(*conn, NetworkMessage::GetAddr);
        }
    }

    fn satisfied(&mut self) {
        self.pace.satisfied();
    }

    fn news(&mut self, now: Instant) {
        self.pace.news(now);
    }

    fn next_search(&self) -> Option<Instant> {
        Some(self.pace.next())
    }
}
