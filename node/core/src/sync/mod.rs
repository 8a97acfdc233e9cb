//! Catching up with peers that have more work, and serving those that have less.
//!
//! - [`blocks`]: `getblocks`, `inv`, `getdata`.
//! - [`headers`]: `getheaders` first, then blocks from several peers.
//! - [`in_flight`]: what was asked of whom.
//! - [`serve`]: answers to `getheaders`, `getblocks` and `getdata`.

use bitcoin::{
    BlockHash,
    block::Header,
    p2p::{
        message::NetworkMessage,
        message_blockdata::{GetBlocksMessage, GetHeadersMessage, Inventory},
    },
};
use netsplit_api::config::{Sync as Kind, Timers};

use crate::{
    chain::{Chain, HeaderError},
    io::ConnId,
    outbox::Outbox,
    peers::handshake::PROTOCOL_VERSION,
    time::Instant,
};

pub(crate) mod blocks;
pub(crate) mod headers;
pub(crate) mod in_flight;
pub(crate) mod serve;

/// What a strategy may look at, and where it puts what it wants done.
pub(crate) struct Turn<'a> {
    pub(crate) now: Instant,
    pub(crate) chain: &'a Chain,
    pub(crate) out: &'a mut Outbox,
}

/// What a strategy must know of a new peer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PeerFacts {
    /// Whether blocks can be had from it.
    pub(crate) has_blocks: bool,
}

/// A way to catch up. It asks; the node alone judges what comes, and tells.
pub(crate) trait Sync: std::fmt::Debug + Send {
    /// A peer is there: it may have more than we do.
    fn peer_connected(&mut self, conn: ConnId, facts: PeerFacts, turn: &mut Turn<'_>);

    /// A peer is gone: what was asked of it is asked elsewhere.
    fn peer_disconnected(&mut self, conn: ConnId, turn: &mut Turn<'_>);

    /// A peer has blocks with these hashes, in this order.
    fn received_inv(&mut self, conn: ConnId, hashes: &[BlockHash], turn: &mut Turn<'_>);

    /// A peer sent headers, and this is what the chain made of them.
    fn received_headers(
        &mut self,
        conn: ConnId,
        headers: &[Header],
        result: &Result<usize, HeaderError>,
        turn: &mut Turn<'_>,
    );

    /// A peer sent a block, not yet judged; whether it was asked for.
    fn received_block(&mut self, conn: ConnId, hash: &BlockHash, now: Instant) -> bool;

    /// The parent of a block that a peer sent is unknown; the block was not kept.
    fn block_unconnected(&mut self, conn: ConnId, hash: &BlockHash, turn: &mut Turn<'_>);

    /// The block tree has grown, or blocks in it were found invalid.
    fn chain_changed(&mut self, turn: &mut Turn<'_>);

    /// A peer does not have these blocks.
    fn received_notfound(&mut self, conn: ConnId, hashes: &[BlockHash], turn: &mut Turn<'_>);

    /// A deadline has passed.
    fn on_timer(&mut self, turn: &mut Turn<'_>);

    /// When [`on_timer`](Self::on_timer) is due.
    fn next_deadline(&self) -> Option<Instant>;

    /// Best header `conn` is known to have, and blocks asked of it.
    fn progress(&self, conn: ConnId) -> (Option<BlockHash>, u32);
}

/// The strategy `kind`. A node that keeps headers only asks for headers whatever `kind` says.
pub(crate) fn from_config(kind: Kind, keeps_blocks: bool, timers: &Timers) -> Box<dyn Sync> {
    match kind {
        Kind::Blocks if keeps_blocks => Box::new(blocks::Blocks::new(timers)),
        Kind::Blocks | Kind::Headers => Box::new(headers::Headers::new(keeps_blocks, timers)),
    }
}

fn getheaders(chain: &Chain, from: &BlockHash) -> NetworkMessage {
    NetworkMessage::GetHeaders(GetHeadersMessage {
        version: PROTOCOL_VERSION,
        locator_hashes: chain.locator(from),
        stop_hash: no_stop(),
    })
}

fn getblocks(chain: &Chain, from: &BlockHash) -> NetworkMessage {
    NetworkMessage::GetBlocks(GetBlocksMessage {
        version: PROTOCOL_VERSION,
        locator_hashes: chain.locator(from),
        stop_hash: no_stop(),
    })
}

fn getdata(hashes: &[BlockHash]) -> NetworkMessage {
    NetworkMessage::GetData(
        hashes
            .iter()
            .map(|hash| Inventory::WitnessBlock(*hash))
            .collect(),
    )
}

/// As a stop hash: none, as many as fit.
fn no_stop() -> BlockHash {
    bitcoin::hashes::Hash::all_zeros()
}
