//! Headers first: `getheaders` from everyone who may have more, then the blocks from several peers at once.
//!
//! Each peer is asked for the blocks below the best header *it* has shown, so that a branch whose blocks nobody gives
//! cannot keep the node from a lesser branch that is there (Bitcoin Core's `FindNextBlocksToDownload`). A node that
//! keeps headers only asks for nothing else.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use bitcoin::{BlockHash, Work, block::Header};
use netsplit_api::config::Timers;

use crate::{
    chain::{BlockStatus, Chain, HeaderError},
    io::ConnId,
    sync::{PeerFacts, Sync, Turn, getdata, getheaders, in_flight::InFlight},
    time::Instant,
};

/// Headers in one message (Bitcoin Core's `MAX_HEADERS_RESULTS`).
pub(crate) const MAX_HEADERS: usize = 2000;
/// Blocks asked of one peer at a time (Bitcoin Core's `MAX_BLOCKS_IN_TRANSIT_PER_PEER`).
const WINDOW: usize = 16;
/// Blocks looked ahead for one peer (Bitcoin Core's `BLOCK_DOWNLOAD_WINDOW`).
const LOOK_AHEAD: usize = 1024;
/// Messages in a row with headers that do not connect, after which a peer goes (Bitcoin Core had 10).
const MAX_UNCONNECTED: u32 = 10;

#[derive(Debug)]
enum Asking {
    /// No `getheaders` of ours is unanswered.
    Nothing,
    /// Headers are due by then.
    Headers { until: Instant },
}

#[derive(Debug)]
struct Peer {
    facts: PeerFacts,
    asking: Asking,
    /// Another `getheaders` is due after the answer to this one.
    again: bool,
    /// The header with the most work it has shown.
    best: Option<(BlockHash, Work)>,
    /// Blocks below `best` that may be missing, lowest first.
    wanted: VecDeque<BlockHash>,
    /// Whether `wanted` reaches up to `best`.
    is_complete: bool,
    unconnected: u32,
}

/// Headers-first synchronisation.
#[derive(Debug)]
pub(crate) struct Headers {
    keeps_blocks: bool,
    timeout: Duration,
    peers: BTreeMap<ConnId, Peer>,
    in_flight: InFlight<BlockHash>,
    /// Who let a block wait or does not have it; others are asked before.
    avoid: BTreeMap<BlockHash, ConnId>,
}

impl Headers {
    pub(crate) fn new(keeps_blocks: bool, timers: &Timers) -> Self {
        let timeout = Duration::from_millis(timers.request_ms);
        Self {
            keeps_blocks,
            timeout,
            peers: BTreeMap::new(),
            in_flight: InFlight::new(timeout),
            avoid: BTreeMap::new(),
        }
    }

    /// Asks `conn` what it has beyond what we know.
    fn ask_headers(&mut self, conn: ConnId, turn: &mut Turn<'_>) {
        // One below the best header: then the answer shows whether the peer has that, too.
        let best = turn.chain.best_header().hash;
        let parent = turn
            .chain
            .header(&best)
            .map(|info| info.header.prev_blockhash);
        let from = parent
            .filter(|parent| turn.chain.header(parent).is_some())
            .unwrap_or(best);
        self.ask_headers_after(conn, &from, turn);
    }

    /// Asks `conn` what it has beyond `from`, or, if it still owes an answer, after that.
    fn ask_headers_after(&mut self, conn: ConnId, from: &BlockHash, turn: &mut Turn<'_>) {
        let Some(peer) = self.peers.get_mut(&conn) else {
            return;
        };
        if matches!(peer.asking, Asking::Headers { .. }) {
            peer.again = true;
            return;
        }
        peer.again = false;
        peer.asking = Asking::Headers {
            until: turn.now + self.timeout,
        };
        turn.out.send(conn, getheaders(turn.chain, from));
    }

    /// Asks for blocks wherever there is something to ask for.
    fn fetch(&mut self, turn: &mut Turn<'_>) {
        if !self.keeps_blocks {
            return;
        }
        let conns: Vec<ConnId> = self.peers.keys().copied().collect();
        for conn in conns {
            let chosen = self.choose(conn, turn.chain);
            if chosen.is_empty() {
                continue;
            }
            for hash in &chosen {
                self.in_flight.asked(conn, *hash, turn.now);
            }
            turn.out.send(conn, getdata(&chosen));
        }
    }

    /// Blocks to ask of `conn` now, lowest first.
    fn choose(&mut self, conn: ConnId, chain: &Chain) -> Vec<BlockHash> {
        let room = WINDOW.saturating_sub(self.in_flight.count(conn));
        let Some(peer) = self.peers.get_mut(&conn) else {
            return Vec::new();
        };
        if room == 0 || !peer.facts.has_blocks || !peer.promises_more(chain) {
            return Vec::new();
        }
        peer.look_ahead(chain);
        let able: Vec<(ConnId, Work)> = self
            .peers
            .iter()
            .filter(|(other, p)| **other != conn && p.facts.has_blocks)
            .filter_map(|(other, p)| p.best.map(|(_, work)| (*other, work)))
            .collect();
        let peer = &self.peers[&conn];
        let mut chosen = Vec::new();
        for hash in &peer.wanted {
            if chosen.len() == room {
                break;
            }
            let Some(info) = chain.header(hash) else {
                continue;
            };
            let elsewhere = self.avoid.get(hash) == Some(&conn)
                && able.iter().any(|(other, work)| {
                    *work >= info.work && self.in_flight.count(*other) < WINDOW
                });
            let missing = info.status == BlockStatus::HeaderOnly;
            if missing && !elsewhere && !self.in_flight.contains(hash) {
                chosen.push(*hash);
            }
        }
        chosen
    }

    /// The peer has shown that it has `hash`.
    fn shown(&mut self, conn: ConnId, hash: &BlockHash, chain: &Chain) {
        let Some(peer) = self.peers.get_mut(&conn) else {
            return;
        };
        let Some(info) = chain.header(hash) else {
            return;
        };
        let better = peer.best.is_none_or(|(_, work)| info.work > work);
        if better && info.status != BlockStatus::Invalid {
            peer.best = Some((*hash, info.work));
            peer.is_complete = false;
        }
    }
}

impl Peer {
    /// Whether what it has shown has more work than the active chain.
    fn promises_more(&self, chain: &Chain) -> bool {
        self.best.is_some_and(|(_, work)| work > chain.tip().work)
    }

    /// Fills `wanted` with the lowest missing blocks below `best`.
    fn look_ahead(&mut self, chain: &Chain) {
        let missing = |hash: &BlockHash| {
            chain
                .header(hash)
                .is_some_and(|info| info.status == BlockStatus::HeaderOnly)
        };
        while self.wanted.front().is_some_and(|hash| !missing(hash)) {
            self.wanted.pop_front();
        }
        if self.is_complete || self.wanted.len() >= LOOK_AHEAD / 2 {
            return;
        }
        let Some((best, _)) = self.best else { return };
        self.wanted.clear();
        self.is_complete = true;
        let mut hash = best;
        while !chain.is_active(&hash) {
            let Some(info) = chain.header(&hash) else {
                break;
            };
            match info.status {
                BlockStatus::Invalid => {
                    self.wanted.clear();
                    self.best = None;
                    return;
                }
                BlockStatus::HeaderOnly => self.wanted.push_front(hash),
                BlockStatus::Stored => {}
            }
            if self.wanted.len() > LOOK_AHEAD {
                self.wanted.pop_back();
                self.is_complete = false;
            }
            hash = info.header.prev_blockhash;
        }
    }
}

impl Sync for Headers {
    fn peer_connected(&mut self, conn: ConnId, facts: PeerFacts, turn: &mut Turn<'_>) {
        let peer = Peer {
            facts,
            asking: Asking::Nothing,
            again: false,
            best: None,
            wanted: VecDeque::new(),
            is_complete: true,
            unconnected: 0,
        };
        self.peers.insert(conn, peer);
        self.ask_headers(conn, turn);
    }

    fn peer_disconnected(&mut self, conn: ConnId, turn: &mut Turn<'_>) {
        self.peers.remove(&conn);
        self.in_flight.peer_disconnected(conn);
        self.avoid.retain(|_, avoided| *avoided != conn);
        self.fetch(turn);
    }

    fn received_inv(&mut self, conn: ConnId, hashes: &[BlockHash], turn: &mut Turn<'_>) {
        for hash in hashes {
            self.shown(conn, hash, turn.chain);
        }
        if hashes.iter().any(|hash| turn.chain.header(hash).is_none()) {
            self.ask_headers(conn, turn);
        }
        self.fetch(turn);
    }

    fn received_headers(
        &mut self,
        conn: ConnId,
        headers: &[Header],
        result: &Result<usize, HeaderError>,
        turn: &mut Turn<'_>,
    ) {
        let Some(peer) = self.peers.get_mut(&conn) else {
            return;
        };
        peer.asking = Asking::Nothing;
        let again = std::mem::take(&mut peer.again);
        match result {
            Ok(_) => peer.unconnected = 0,
            Err(HeaderError::MissingParent(_)) => {
                peer.unconnected += 1;
                if peer.unconnected > MAX_UNCONNECTED {
                    turn.out.misbehaved(conn, "headers do not connect");
                    return;
                }
                self.ask_headers(conn, turn);
                return;
            }
            Err(HeaderError::Invalid {
                reason, permanent, ..
            }) => {
                if *permanent {
                    turn.out
                        .misbehaved(conn, format!("invalid header: {reason}"));
                }
                return;
            }
        }
        if let Some(last) = headers.last().map(Header::block_hash) {
            self.shown(conn, &last, turn.chain);
            if headers.len() >= MAX_HEADERS {
                // Its branch goes on; ours may be another one.
                self.ask_headers_after(conn, &last, turn);
            }
        }
        if again {
            self.ask_headers(conn, turn);
        }
        self.fetch(turn);
    }

    fn received_block(&mut self, conn: ConnId, hash: &BlockHash, now: Instant) -> bool {
        let asked = self.in_flight.over(hash).is_some();
        self.in_flight.is_delivering(conn, now);
        self.avoid.remove(hash);
        asked
    }

    fn block_unconnected(&mut self, conn: ConnId, _hash: &BlockHash, turn: &mut Turn<'_>) {
        self.ask_headers(conn, turn);
    }

    fn chain_changed(&mut self, turn: &mut Turn<'_>) {
        self.fetch(turn);
    }

    fn received_notfound(&mut self, conn: ConnId, hashes: &[BlockHash], turn: &mut Turn<'_>) {
        for hash in hashes {
            if self.in_flight.is_asked(conn, hash) {
                self.in_flight.over(hash);
                self.avoid.insert(*hash, conn);
                if let Some(peer) = self.peers.get_mut(&conn) {
                    // It shows what it has anew with the next headers.
                    peer.best = None;
                    peer.wanted.clear();
                }
            }
        }
        self.fetch(turn);
    }

    fn on_timer(&mut self, turn: &mut Turn<'_>) {
        for (hash, conn) in self.in_flight.timed_out(turn.now) {
            self.avoid.insert(hash, conn);
        }
        let late: Vec<ConnId> = self
            .peers
            .iter()
            .filter(|(_, p)| matches!(p.asking, Asking::Headers { until } if until <= turn.now))
            .map(|(conn, _)| *conn)
            .collect();
        for conn in late {
            if let Some(peer) = self.peers.get_mut(&conn) {
                peer.asking = Asking::Nothing;
            }
            self.ask_headers(conn, turn);
        }
        self.fetch(turn);
    }

    fn next_deadline(&self) -> Option<Instant> {
        let headers = self.peers.values().filter_map(|peer| match peer.asking {
            Asking::Headers { until } => Some(until),
            Asking::Nothing => None,
        });
        headers.chain(self.in_flight.next_deadline()).min()
    }

    fn progress(&self, conn: ConnId) -> (Option<BlockHash>, u32) {
        let best = self
            .peers
            .get(&conn)
            .and_then(|peer| peer.best)
            .map(|(hash, _)| hash);
        (
            best,
            u32::try_from(self.in_flight.count(conn)).unwrap_or(u32::MAX),
        )
    }
}
