//! Addresses of newcomers on their way to others.
//!
//! They wait a little for each other: when many nodes start at once, everybody hears of everybody, and a message for each
//! would cost more than all else together.

use std::time::Duration;

use bitcoin::p2p::{Address, message::NetworkMessage};
use rand_chacha::ChaCha12Rng;

use crate::{
    io::ConnId,
    outbox::Outbox,
    peers::chance::{jittered, shuffle},
    time::Instant,
};

/// A message with more addresses is an answer, not news, and is not passed on.
pub(super) const MAX_NEWS: usize = 10;
/// Peers that news are passed on to.
const NEWS_TO: usize = 2;
/// How long news wait for more.
const WAIT: Duration = Duration::from_millis(200);

/// What is to be passed on, and who told.
#[derive(Debug, Default)]
pub(super) struct News {
    waiting: Vec<(ConnId, (u32, Address))>,
    due: Option<Instant>,
}

impl News {
    pub(super) fn add(
        &mut self,
        from: ConnId,
        told: (u32, Address),
        now: Instant,
        rng: &mut ChaCha12Rng,
    ) {
        self.waiting.push((from, told));
        self.due.get_or_insert_with(|| now + jittered(rng, WAIT));
    }

    pub(super) const fn next_deadline(&self) -> Option<Instant> {
        self.due
    }

    /// Passes on what has waited long enough, to some of those who are `ready`, and to nobody what he told himself.
    pub(super) fn on_timer(
        &mut self,
        now: Instant,
        ready: impl Iterator<Item = ConnId>,
        rng: &mut ChaCha12Rng,
        out: &mut Outbox,
    ) {
        if self.due.is_none_or(|due| due > now) {
            return;
        }
        self.due = None;
        let mut peers: Vec<ConnId> = ready.collect();
        shuffle(rng, &mut peers);
        let waiting = std::mem::take(&mut self.waiting);
        // One more than is needed, for what one of the others told.
        let mut shares: Vec<(ConnId, Vec<(u32, Address)>)> = peers
            .into_iter()
            .take(NEWS_TO + 1)
            .map(|peer| (peer, Vec::new()))
            .collect();
        for (from, told) in waiting {
            let others = shares.iter_mut().filter(|(peer, _)| *peer != from);
            for (_, share) in others.take(NEWS_TO) {
                share.push(told.clone());
            }
        }
        for (peer, share) in shares {
            for message in share.chunks(MAX_NEWS) {
                out.send(peer, NetworkMessage::Addr(message.to_vec()));
            }
        }
    }
}
