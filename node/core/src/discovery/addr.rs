//! Peers know peers: `getaddr` to everyone we dial, and to some peer again while others are missing.

use std::time::Duration;

use bitcoin::p2p::message::NetworkMessage;
use netsplit_api::config::Timers;
use rand_chacha::ChaCha12Rng;

use crate::{
    discovery::Discovery,
    io::ConnId,
    outbox::Outbox,
    peers::{chance::pick, roster::Link},
    time::Instant,
};

/// Asks peers for addresses.
#[derive(Debug)]
pub(crate) struct Addr {
    interval: Duration,
    rng: ChaCha12Rng,
    next: Instant,
}

impl Addr {
    pub(crate) fn new(timers: &Timers, rng: ChaCha12Rng) -> Self {
        // Answers come once a second at most.
        let interval = Duration::from_millis(timers.dns_ms.max(1_000));
        Self {
            interval,
            rng,
            next: Instant(0),
        }
    }
}

impl Discovery for Addr {
    fn peer_connected(&mut self, conn: ConnId, link: Link, out: &mut Outbox) {
        if link.is_outbound() {
            out.send(conn, NetworkMessage::GetAddr);
        }
    }

    fn search(&mut self, now: Instant, peers: &[ConnId], out: &mut Outbox) {
        if now < self.next {
            return;
        }
        self.next = now + self.interval;
        if let Some(conn) = pick(&mut self.rng, peers) {
            out.send(*conn, NetworkMessage::GetAddr);
        }
    }

    fn next_search(&self) -> Option<Instant> {
        Some(self.next)
    }
}
