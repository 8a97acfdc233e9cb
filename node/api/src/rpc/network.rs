//! Results of the methods that Core's help lists under "Network".

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Result of `getnetworkinfo`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NetworkInfo {
    /// Version in Core's notation; not Core's version.
    pub version: u32,
    /// User agent (BIP 14).
    pub subversion: String,
    /// Protocol version.
    pub protocolversion: u32,
    /// Services we offer, 16 hex digits.
    pub localservices: String,
    /// Their names.
    pub localservicesnames: Vec<String>,
    /// Whether we relay transactions.
    pub localrelay: bool,
    /// Always 0: the clocks of peers do not move ours.
    pub timeoffset: i64,
    /// Whether there is a network: always.
    pub networkactive: bool,
    /// Peers.
    pub connections: u32,
    /// Of these, how many dialled us.
    pub connections_in: u32,
    /// Of these, how many we dialled.
    pub connections_out: u32,
    /// Kinds of networks.
    pub networks: Vec<NetworkKind>,
    /// Lowest fee rate that is relayed, in bitcoins per 1000 virtual bytes.
    pub relayfee: f64,
    /// By how much a replacement must pay more, in the same unit.
    pub incrementalfee: f64,
    /// Where we listen.
    pub localaddresses: Vec<LocalAddress>,
    /// What Core would warn of: nothing.
    pub warnings: Vec<String>,
}

/// Whether a kind of network can be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkKind {
    /// `ipv4` or `ipv6`.
    pub name: String,
    /// Whether it is left out.
    pub limited: bool,
    /// Whether it can be used.
    pub reachable: bool,
    /// Always empty.
    pub proxy: String,
    /// Always false.
    pub proxy_randomize_credentials: bool,
}

/// An address we listen at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalAddress {
    /// IP address.
    pub address: String,
    /// Port.
    pub port: u16,
    /// How sure we are of it.
    pub score: u32,
}

/// An entry of `getpeerinfo`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PeerInfo {
    /// Number of the connection.
    pub id: u64,
    /// The peer's `ip:port`.
    pub addr: String,
    /// Our `ip:port`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub addrbind: Option<String>,
    /// `ipv4` or `ipv6`.
    pub network: String,
    /// Services the peer offers, 16 hex digits.
    pub services: String,
    /// Their names.
    pub servicesnames: Vec<String>,
    /// Whether the peer wants transactions announced.
    pub relaytxes: bool,
    /// When we last sent something; 0 if never.
    pub lastsend: u64,
    /// When we last received something; 0 if never.
    pub lastrecv: u64,
    /// When we last received a new valid transaction; 0 if never.
    pub last_transaction: u64,
    /// When we last received a new block; 0 if never.
    pub last_block: u64,
    /// Bytes sent.
    pub bytessent: u64,
    /// Bytes received.
    pub bytesrecv: u64,
    /// When the connection began.
    pub conntime: u64,
    /// The peer's clock minus ours in seconds.
    pub timeoffset: i64,
    /// Round-trip time of the last answered ping in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pingtime: Option<f64>,
    /// Shortest round-trip time in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minping: Option<f64>,
    /// The peer's protocol version.
    pub version: u32,
    /// The peer's user agent.
    pub subver: String,
    /// Whether the peer dialled us.
    pub inbound: bool,
    /// Whether we asked for compact blocks at once: never.
    pub bip152_hb_to: bool,
    /// Whether the peer did: ignored.
    pub bip152_hb_from: bool,
    /// Height in the peer's `version` message.
    pub startingheight: i32,
    /// Height of the best header that is known to be shared, -1 if none.
    pub synced_headers: i64,
    /// Height of the best block that is known to be shared, -1 if none.
    pub synced_blocks: i64,
    /// Heights of the blocks asked for. Only their number is known: all are -1.
    pub inflight: Vec<i64>,
    /// Special rights: none.
    pub permissions: Vec<String>,
    /// Lowest fee rate the peer takes: not asked.
    pub minfeefilter: f64,
    /// Bytes sent by kind of message: not counted.
    pub bytessent_per_msg: BTreeMap<String, u64>,
    /// Bytes received by kind of message: not counted.
    pub bytesrecv_per_msg: BTreeMap<String, u64>,
    /// `inbound`, `outbound-full-relay` or `manual`.
    pub connection_type: String,
    /// Always `v1`.
    pub transport_protocol_type: String,
    /// Always empty: version 1 of the transport has none.
    pub session_id: String,
}

/// An entry of `getnodeaddresses`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeAddress {
    /// When the node was last seen or said to be.
    pub time: u64,
    /// Services it is said to offer.
    pub services: u64,
    /// IP address.
    pub address: String,
    /// Port.
    pub port: u16,
    /// `ipv4` or `ipv6`.
    pub network: String,
}
