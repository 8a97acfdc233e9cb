//! JSON-RPC: Bitcoin Core's error codes, and result types with Core's field names (as of version 29).
//!
//! - [`blockchain`], [`network`], [`rawtransactions`], [`wallet`]: results, by Core's groups of methods.
//!
//! Amounts are in whole bitcoins as Core sends them, hashes and byte strings in hex, times in seconds since the epoch.

pub mod blockchain;
pub mod network;
pub mod rawtransactions;
pub mod wallet;

use std::fmt;

use serde::{Deserialize, Serialize};

/// A JSON-RPC error as Bitcoin Core sends it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RpcError {
    /// One of the codes in [`code`].
    pub code: i32,
    /// What went wrong.
    pub message: String,
}

impl RpcError {
    /// An error with this code and text.
    pub fn new(code: i32, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }
}

impl fmt::Display for RpcError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Some of Core's texts begin with this word, and whoever shows an error says it already.
        let message = self.message.strip_prefix("Error: ");
        let message = message.unwrap_or(&self.message);
        write!(f, "{message} (code {})", self.code)
    }
}

impl std::error::Error for RpcError {}

/// Bitcoin Core's error codes (`src/rpc/protocol.h`).
pub mod code {
    /// The request is not a valid JSON-RPC request.
    pub const INVALID_REQUEST: i32 = -32600;
    /// There is no such method.
    pub const METHOD_NOT_FOUND: i32 = -32601;
    /// Parameters of the wrong number.
    pub const INVALID_PARAMS: i32 = -32602;
    /// Something in the node went wrong.
    pub const INTERNAL_ERROR: i32 = -32603;
    /// The request is not JSON.
    pub const PARSE_ERROR: i32 = -32700;
    /// Standard error of a command; also what a help text comes back as.
    pub const MISC_ERROR: i32 = -1;
    /// A parameter is of the wrong type.
    pub const TYPE_ERROR: i32 = -3;
    /// The wallet could not do it.
    pub const WALLET_ERROR: i32 = -4;
    /// There is no such block, transaction or address.
    pub const INVALID_ADDRESS_OR_KEY: i32 = -5;
    /// Not enough coins.
    pub const WALLET_INSUFFICIENT_FUNDS: i32 = -6;
    /// A parameter is out of range, missing or twice there.
    pub const INVALID_PARAMETER: i32 = -8;
    /// No wallet is loaded.
    pub const WALLET_NOT_FOUND: i32 = -18;
    /// Bytes could not be decoded.
    pub const DESERIALIZATION_ERROR: i32 = -22;
    /// The node is already in the list.
    pub const CLIENT_NODE_ALREADY_ADDED: i32 = -23;
    /// The node is not in the list.
    pub const CLIENT_NODE_NOT_ADDED: i32 = -24;
    /// A transaction or block could not be checked.
    pub const VERIFY_ERROR: i32 = -25;
    /// A transaction or block was refused by the rules.
    pub const VERIFY_REJECTED: i32 = -26;
    /// The transaction is already in the chain.
    pub const VERIFY_ALREADY_IN_CHAIN: i32 = -27;
    /// The node is still starting.
    pub const IN_WARMUP: i32 = -28;
    /// There is no such connection.
    pub const CLIENT_NODE_NOT_CONNECTED: i32 = -29;
    /// The address is not an IP address or a network.
    pub const CLIENT_INVALID_IP_OR_SUBNET: i32 = -30;
}

/// Result of `x_status`: one call that says how a node is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Height of the active tip.
    pub height: u32,
    /// Active tip.
    pub tip: String,
    /// Handshaken peers.
    pub peers: u32,
    /// Of these, how many dialled us.
    pub inbound: u32,
    /// Of these, how many we dialled.
    pub outbound: u32,
    /// Transactions in the mempool.
    pub mempool: u32,
    /// Resident memory in bytes.
    pub rss_bytes: u64,
    /// Nodes a DNS seed can name now; 0 for others.
    pub dns_nodes: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_does_not_say_that_it_is_one() {
        let shown = |text: &str| RpcError::new(code::INVALID_ADDRESS_OR_KEY, text).to_string();
        assert_eq!(shown("Error: Invalid address"), "Invalid address (code -5)");
        assert_eq!(shown("Block not found"), "Block not found (code -5)");
    }
}
