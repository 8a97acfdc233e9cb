//! Answers to `getheaders`, `getblocks` and `getdata`.
//!
//! Blocks leave in slices with a short pause between them, so that one who asks for everything at once takes neither
//! the node's memory nor its time.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use bitcoin::{
    BlockHash,
    consensus::{deserialize, serialize},
    hashes::Hash as _,
    p2p::{
        message::NetworkMessage,
        message_blockdata::{GetBlocksMessage, GetHeadersMessage, Inventory},
    },
};

use crate::{
    chain::{BlockStatus, Chain},
    db::Db,
    io::ConnId,
    mempool::Mempool,
    outbox::{Effect, Outbox},
    store::StoreError,
    sync::headers::MAX_HEADERS,
    time::Instant,
};

/// Hashes in an answer to `getblocks` (Bitcoin Core's `ProcessGetBlocks`).
pub(crate) const MAX_INVENTORY: usize = 500;
/// Hashes in a locator (Bitcoin Core's `MAX_LOCATOR_SZ`).
const MAX_LOCATOR: usize = 101;
/// Things asked for by one peer and not yet sent.
const MAX_QUEUE: usize = 50_000;
/// Bytes sent to one peer in one go.
const SLICE: usize = 1 << 20;
/// Pause between slices.
const PAUSE: Duration = Duration::from_millis(5);
/// `notfound` entries in one message.
const MAX_NOT_FOUND: usize = 1000;

#[derive(Debug, Default)]
struct Peer {
    queue: VecDeque<Inventory>,
    /// The last hash of a full answer to `getblocks`: when that is sent, the peer has to ask again.
    continue_after: Option<BlockHash>,
    /// When the next slice may go.
    next: Instant,
}

/// What answers are made of.
#[derive(Clone, Copy)]
pub(crate) struct Shelf<'a> {
    pub(crate) chain: &'a Chain,
    pub(crate) db: &'a Db,
    pub(crate) mempool: &'a Mempool,
}

/// Serves peers.
#[derive(Debug)]
pub(crate) struct Serve {
    keeps_blocks: bool,
    peers: BTreeMap<ConnId, Peer>,
}

impl Serve {
    pub(crate) const fn new(keeps_blocks: bool) -> Self {
        Self {
            keeps_blocks,
            peers: BTreeMap::new(),
        }
    }

    pub(crate) fn peer_connected(&mut self, conn: ConnId) {
        self.peers.insert(conn, Peer::default());
    }

    pub(crate) fn peer_disconnected(&mut self, conn: ConnId) {
        self.peers.remove(&conn);
    }

    pub(crate) fn received_getheaders(
        &self,
        conn: ConnId,
        asked: &GetHeadersMessage,
        chain: &Chain,
        out: &mut Outbox,
    ) {
        let locator = &asked.locator_hashes;
        if locator.len() > MAX_LOCATOR {
            out.misbehaved(conn, "locator is too long");
            return;
        }
        let stop = Some(&asked.stop_hash).filter(|hash| **hash != BlockHash::all_zeros());
        let headers = match stop {
            Some(stop) if locator.is_empty() => chain
                .header(stop)
                .map(|info| info.header)
                .into_iter()
                .collect(),
            _ if self.keeps_blocks => {
                chain.headers_after(&chain.find_fork(locator), stop, MAX_HEADERS)
            }
            _ => chain.best_headers_after(&chain.find_best_fork(locator), stop, MAX_HEADERS),
        };
        out.send(conn, NetworkMessage::Headers(headers));
    }

    pub(crate) fn received_getblocks(
        &mut self,
        conn: ConnId,
        asked: &GetBlocksMessage,
        chain: &Chain,
        out: &mut Outbox,
    ) {
        let Some(peer) = self.peers.get_mut(&conn) else {
            return;
        };
        if asked.locator_hashes.len() > MAX_LOCATOR {
            out.misbehaved(conn, "locator is too long");
            return;
        }
        let stop = Some(&asked.stop_hash).filter(|hash| **hash != BlockHash::all_zeros());
        let fork = chain.find_fork(&asked.locator_hashes);
        let hashes = chain.hashes_after(&fork, stop, MAX_INVENTORY);
        if hashes.len() == MAX_INVENTORY {
            peer.continue_after = hashes.last().copied();
        }
        if !hashes.is_empty() {
            let inventory = hashes.into_iter().map(Inventory::Block).collect();
            out.send(conn, NetworkMessage::Inv(inventory));
        }
    }

    pub(crate) fn received_getdata(
        &mut self,
        conn: ConnId,
        asked: &[Inventory],
        now: Instant,
        shelf: Shelf<'_>,
        out: &mut Outbox,
    ) -> Result<(), StoreError> {
        let Some(peer) = self.peers.get_mut(&conn) else {
            return Ok(());
        };
        if peer.queue.len() + asked.len() > MAX_QUEUE {
            out.misbehaved(conn, "asks for too much");
            return Ok(());
        }
        peer.queue.extend(asked);
        if peer.next <= now {
            send_slice(conn, peer, now, shelf, out)
        } else {
            Ok(())
        }
    }

    pub(crate) fn on_timer(
        &mut self,
        now: Instant,
        shelf: Shelf<'_>,
        out: &mut Outbox,
    ) -> Result<(), StoreError> {
        for (conn, peer) in &mut self.peers {
            if !peer.queue.is_empty() && peer.next <= now {
                send_slice(*conn, peer, now, shelf, out)?;
            }
        }
        Ok(())
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.peers
            .values()
            .filter(|peer| !peer.queue.is_empty())
            .map(|peer| peer.next)
            .min()
    }
}

fn send_slice(
    conn: ConnId,
    peer: &mut Peer,
    now: Instant,
    shelf: Shelf<'_>,
    out: &mut Outbox,
) -> Result<(), StoreError> {
    let (mut sent, mut missing) = (0, Vec::new());
    while sent < SLICE
        && missing.len() < MAX_NOT_FOUND
        && let Some(item) = peer.queue.pop_front()
    {
        match item {
            Inventory::Block(hash)
            | Inventory::WitnessBlock(hash)
            | Inventory::CompactBlock(hash) => match stored(&hash, shelf)? {
                Some(bytes) => {
                    let stripped = matches!(item, Inventory::Block(_));
                    let bytes = if stripped {
                        without_witness(&bytes)?
                    } else {
                        bytes
                    };
                    sent += bytes.len();
                    out.push(Effect::SendBlock(conn, bytes));
                    if peer.continue_after == Some(hash) {
                        peer.continue_after = None;
                        let tip = Inventory::Block(shelf.chain.tip().hash);
                        out.send(conn, NetworkMessage::Inv(vec![tip]));
                    }
                }
                None => missing.push(item),
            },
            Inventory::Transaction(txid) | Inventory::WitnessTransaction(txid) => {
                match shelf.mempool.get(&txid) {
                    Some(entry) => {
                        sent += entry.tx.total_size();
                        out.send(
                            conn,
                            NetworkMessage::Tx(bitcoin::Transaction::clone(&entry.tx)),
                        );
                    }
                    None => missing.push(item),
                }
            }
            Inventory::WTx(_) | Inventory::Unknown { .. } | Inventory::Error => missing.push(item),
        }
    }
    if !missing.is_empty() {
        out.send(conn, NetworkMessage::NotFound(missing));
    }
    peer.next = now + PAUSE;
    Ok(())
}

fn stored(hash: &BlockHash, shelf: Shelf<'_>) -> Result<Option<Vec<u8>>, StoreError> {
    match shelf.chain.header(hash) {
        Some(info) if info.status == BlockStatus::Stored => shelf.chain.block_bytes(shelf.db, hash),
        Some(_) | None => Ok(None),
    }
}

/// For one who asked with `MSG_BLOCK` (BIP144).
fn without_witness(bytes: &[u8]) -> Result<Vec<u8>, StoreError> {
    let mut block: bitcoin::Block = deserialize(bytes)
        .map_err(|error| StoreError(format!("a stored block is damaged: {error}")))?;
    for input in block.txdata.iter_mut().flat_map(|tx| &mut tx.input) {
        input.witness.clear();
    }
    Ok(serialize(&block))
}
