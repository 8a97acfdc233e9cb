//! What a node says happened, in the past tense.
//!
//! `GET /events?incarnation=I&after=SEQ` answers with newline-delimited JSON, one [`EventRecord`] a line, and
//! stays open. The answer's header [`INCARNATION_HEADER`] names this start of the node; when `incarnation` names another
//! one, or none, the stream begins with the oldest event that is still kept.

use serde::{Deserialize, Serialize};

/// Response header of `/events`: a number that changes with every start of the node.
pub const INCARNATION_HEADER: &str = "netsplit-incarnation";

/// One line of the event stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventRecord {
    /// Counts up by one within one incarnation, from 1.
    pub seq: u64,
    /// Nanoseconds since the epoch by the host's clock, whatever the node's clock offset.
    pub time_ns: u64,
    /// What happened.
    pub event: Event,
}

/// What happened. Hashes are hex as Bitcoin prints them; addresses are `ip:port`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    /// The node answers on its control port and listens for peers.
    NodeStarted {
        /// Number that changes with every start.
        incarnation: u64,
        /// Active tip.
        tip: String,
        /// Height of the active tip.
        height: u32,
    },
    /// The handshake with a peer is complete.
    PeerConnected {
        /// Number of the connection, unique in this incarnation.
        peer: u64,
        /// The peer's address.
        address: String,
        /// Whether the peer dialled us.
        inbound: bool,
        /// The peer's protocol version.
        version: u32,
        /// The peer's user agent.
        user_agent: String,
        /// The peer's height in its `version` message.
        height: i32,
    },
    /// A peer whose handshake was complete is gone.
    PeerDisconnected {
        /// Number of the connection.
        peer: u64,
        /// The peer's address.
        address: String,
        /// Why.
        reason: String,
    },
    /// A connection ended before its handshake was complete.
    HandshakeRefused {
        /// The other side's address.
        address: String,
        /// Whether the other side dialled us.
        inbound: bool,
        /// Why.
        reason: String,
    },
    /// A valid block was accepted into the block tree, on the active chain or beside it.
    BlockAccepted {
        /// Block hash.
        hash: String,
        /// Hash of the block before it.
        previous: String,
        /// Height.
        height: u32,
        /// Where it came from.
        source: BlockSource,
        /// Number of transactions.
        transactions: u32,
        /// Serialised size in bytes.
        size: u32,
    },
    /// A block was refused.
    BlockRejected {
        /// Block hash.
        hash: String,
        /// Reason with Bitcoin Core's reject words, e.g. `bad-txnmrklroot`.
        reason: String,
        /// Connection it came from, if any.
        peer: Option<u64>,
    },
    /// The active chain has a new tip.
    TipChanged {
        /// New tip.
        hash: String,
        /// Its height.
        height: u32,
        /// The tip before.
        previous: String,
    },
    /// Blocks left the active chain.
    ChainReorganised {
        /// Tip before.
        from: String,
        /// Tip after.
        to: String,
        /// Height of the last block both have.
        fork_height: u32,
        /// Number of blocks that left.
        disconnected: u32,
        /// Number of blocks that came.
        connected: u32,
    },
    /// A transaction entered the mempool.
    TransactionAccepted {
        /// Transaction id.
        txid: String,
        /// Connection it came from, if any.
        peer: Option<u64>,
    },
    /// A transaction was refused.
    TransactionRejected {
        /// Transaction id.
        txid: String,
        /// Reason with Bitcoin Core's reject words.
        reason: String,
        /// Connection it came from, if any.
        peer: Option<u64>,
    },
    /// A DNS seed was asked.
    DnsSeedQueried {
        /// The server's address.
        server: String,
        /// Number of addresses in its answer.
        addresses: u32,
        /// Why there was none, if there was none.
        error: Option<String>,
    },
    /// This DNS seed reached a node by handshake for the first time, or again after it had forgotten it.
    DnsNodeReached {
        /// The node's address.
        address: String,
    },
    /// This DNS seed no longer names a node.
    DnsNodeForgotten {
        /// The node's address.
        address: String,
        /// Why.
        reason: String,
    },
    /// Events were lost because the reader was too slow; `seq` is that of the last one lost.
    EventsLost {
        /// How many.
        count: u64,
    },
    /// The store refused a write or a read; the node stops.
    StoreFailed {
        /// What the store said.
        reason: String,
    },
}

/// Where a block came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BlockSource {
    /// Mined here.
    Mined,
    /// Sent by the peer with this connection number.
    Peer(u64),
    /// Handed in through JSON-RPC.
    Rpc,
}
