//! The old way: `getblocks` is answered with an `inv` of up to 500 hashes, these are asked for in order, and when the
//! last one is sent the peer shows its tip so that we ask again.
//!
//! One peer delivers at a time, so that every block comes after its parent; the next one takes over when it stalls.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use bitcoin::{BlockHash, block::Header};
use netsplit_api::config::Timers;

use crate::{
    chain::{BlockStatus, Chain, HeaderError},
    io::ConnId,
    sync::{PeerFacts, Sync, Turn, getblocks, getdata, in_flight::InFlight, serve::MAX_INVENTORY},
    time::Instant,
};

/// Blocks asked of one peer at a time.
const WINDOW: usize = 16;
/// Hashes remembered of what one peer has.
const MAX_ANNOUNCED: usize = 2000;

#[derive(Debug)]
enum State {
    /// What it announced is all it had to tell.
    Idle,
    /// Its last announcement was full: its tip, alone, will say that there is more.
    Continues,
    /// It announced more than is remembered: it is asked again when that is done.
    Overflowed,
}

#[derive(Debug)]
struct Peer {
    facts: PeerFacts,
    state: State,
    /// What it has, in its order, and we may lack.
    announced: VecDeque<BlockHash>,
    /// It let us wait and has not delivered since.
    stalls: bool,
}

/// Block-by-block synchronisation.
#[derive(Debug)]
pub(crate) struct Blocks {
    peers: BTreeMap<ConnId, Peer>,
    in_flight: InFlight<BlockHash>,
}

fn lacks(chain: &Chain, hash: &BlockHash) -> bool {
    chain
        .header(hash)
        .is_none_or(|info| info.status == BlockStatus::HeaderOnly)
}

impl Blocks {
    pub(crate) fn new(timers: &Timers) -> Self {
        let timeout = Duration::from_millis(timers.request_ms);
        Self {
            peers: BTreeMap::new(),
            in_flight: InFlight::new(timeout),
        }
    }

    fn fetch(&mut self, turn: &mut Turn<'_>) {
        let mut order: Vec<(bool, ConnId)> = self
            .peers
            .iter()
            .map(|(conn, peer)| (peer.stalls, *conn))
            .collect();
        order.sort_unstable();
        for (_, conn) in order {
            let chosen = self.choose(conn, turn.chain);
            for hash in &chosen {
                self.in_flight.asked(conn, *hash, turn.now);
            }
            if !chosen.is_empty() {
                turn.out.send(conn, getdata(&chosen));
            }
            self.go_on(conn, turn);
        }
    }

    /// Asks a peer for more whose announcements were too many.
    fn go_on(&mut self, conn: ConnId, turn: &mut Turn<'_>) {
        let Some(peer) = self.peers.get_mut(&conn) else {
            return;
        };
        if peer.announced.is_empty() && matches!(peer.state, State::Overflowed) {
            peer.state = State::Idle;
            turn.out
                .send(conn, getblocks(turn.chain, &turn.chain.tip().hash));
        }
    }

    fn choose(&mut self, conn: ConnId, chain: &Chain) -> Vec<BlockHash> {
        let room = WINDOW.saturating_sub(self.in_flight.count(conn));
        let Some(peer) = self.peers.get_mut(&conn) else {
            return Vec::new();
        };
        while peer
            .announced
            .front()
            .is_some_and(|hash| !lacks(chain, hash))
        {
            peer.announced.pop_front();
        }
        let mut chosen = Vec::new();
        for hash in &peer.announced {
            if chosen.len() == room {
                break;
            }
            if self.in_flight.contains(hash) {
                if self.in_flight.is_asked(conn, hash) {
                    continue;
                }
                // Somebody else delivers this branch.
                break;
            }
            if lacks(chain, hash) {
                chosen.push(*hash);
            }
        }
        chosen
    }
}

impl Sync for Blocks {
    fn peer_connected(&mut self, conn: ConnId, facts: PeerFacts, turn: &mut Turn<'_>) {
        let (state, announced) = (State::Idle, VecDeque::new());
        self.peers.insert(
            conn,
            Peer {
                facts,
                state,
                announced,
                stalls: false,
            },
        );
        if facts.has_blocks {
            turn.out
                .send(conn, getblocks(turn.chain, &turn.chain.tip().hash));
        }
    }

    fn peer_disconnected(&mut self, conn: ConnId, turn: &mut Turn<'_>) {
        self.peers.remove(&conn);
        self.in_flight.peer_disconnected(conn);
        self.fetch(turn);
    }

    fn received_inv(&mut self, conn: ConnId, hashes: &[BlockHash], turn: &mut Turn<'_>) {
        let Some(peer) = self.peers.get_mut(&conn) else {
            return;
        };
        if !peer.facts.has_blocks || hashes.is_empty() {
            return;
        }
        let lacking: Vec<BlockHash> = hashes
            .iter()
            .filter(|hash| lacks(turn.chain, hash))
            .copied()
            .collect();
        let was_full = matches!(peer.state, State::Continues);
        if hashes.len() >= MAX_INVENTORY {
            peer.state = State::Continues;
            if lacking.is_empty() {
                // A branch that lies here already; beyond its end there may be news.
                let last = hashes[hashes.len() - 1];
                turn.out.send(conn, getblocks(turn.chain, &last));
                return;
            }
        } else if was_full && lacking.len() == 1 && hashes.len() == 1 {
            peer.state = State::Idle;
            turn.out
                .send(conn, getblocks(turn.chain, &turn.chain.tip().hash));
            return;
        }
        for hash in lacking {
            if peer.announced.len() >= MAX_ANNOUNCED {
                peer.state = State::Overflowed;
                break;
            }
            if !peer.announced.contains(&hash) {
                peer.announced.push_back(hash);
            }
        }
        self.fetch(turn);
    }

    fn received_headers(
        &mut self,
        conn: ConnId,
        headers: &[Header],
        _result: &Result<usize, HeaderError>,
        turn: &mut Turn<'_>,
    ) {
        let hashes: Vec<BlockHash> = headers.iter().map(Header::block_hash).collect();
        self.received_inv(conn, &hashes, turn);
    }

    fn received_block(&mut self, conn: ConnId, hash: &BlockHash, now: Instant) -> bool {
        let asked = self.in_flight.over(hash).is_some();
        self.in_flight.is_delivering(conn, now);
        if let Some(peer) = self.peers.get_mut(&conn) {
            peer.stalls = false;
        }
        asked
    }

    fn block_unconnected(&mut self, conn: ConnId, hash: &BlockHash, turn: &mut Turn<'_>) {
        if let Some(peer) = self.peers.get_mut(&conn) {
            peer.announced.retain(|announced| announced != hash);
            turn.out
                .send(conn, getblocks(turn.chain, &turn.chain.tip().hash));
        }
    }

    fn chain_changed(&mut self, turn: &mut Turn<'_>) {
        self.fetch(turn);
    }

    fn received_notfound(&mut self, conn: ConnId, hashes: &[BlockHash], turn: &mut Turn<'_>) {
        let Some(peer) = self.peers.get_mut(&conn) else {
            return;
        };
        peer.announced
            .retain(|announced| !hashes.contains(announced));
        for hash in hashes {
            if self.in_flight.is_asked(conn, hash) {
                self.in_flight.over(hash);
            }
        }
        self.fetch(turn);
    }

    fn on_timer(&mut self, turn: &mut Turn<'_>) {
        for (_, conn) in self.in_flight.timed_out(turn.now) {
            if let Some(peer) = self.peers.get_mut(&conn) {
                peer.stalls = true;
            }
        }
        self.fetch(turn);
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.in_flight.next_deadline()
    }

    fn progress(&self, conn: ConnId) -> (Option<BlockHash>, u32) {
        (
            None,
            u32::try_from(self.in_flight.count(conn)).unwrap_or(u32::MAX),
        )
    }
}
