//! What a node is told before it starts: one JSON document.
//!
//! Durations are whole milliseconds (`_ms`), byte strings are lower-case hex.

use std::{
    collections::BTreeSet,
    fmt,
    net::{IpAddr, SocketAddr},
};

use serde::{Deserialize, Serialize};

/// Environment variable that carries a node's [`NodeConfig`] as JSON.
pub const CONFIG_ENV: &str = "NETSPLIT_NODE_CONFIG";

/// Regtest's P2P port (Bitcoin Core `chainparams.cpp`).
pub const P2P_PORT: u16 = 18444;
/// Regtest's JSON-RPC port (Bitcoin Core `chainparamsbase.cpp`).
pub const RPC_PORT: u16 = 18443;
/// The DNS port (RFC 1035).
pub const DNS_PORT: u16 = 53;
/// UDP and TCP port of the reachability probes: fixed, so that a firewall can count the protocol's own packets apart.
pub const PROBE_PORT: u16 = 18460;

/// Everything a node knows at birth.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeConfig {
    /// The node's name in the topology, e.g. `full-1`.
    pub name: String,
    /// What the node does; at least one role.
    pub roles: BTreeSet<Role>,
    /// Own address on the testnet, announced to peers.
    pub address: IpAddr,
    /// TCP port of the P2P protocol.
    #[serde(default = "p2p_port")]
    pub p2p_port: u16,
    /// TCP port of JSON-RPC, `/events` and `/metrics`.
    #[serde(default = "rpc_port")]
    pub rpc_port: u16,
    /// UDP and TCP port of the DNS server; used by the role `dns-seed` only.
    #[serde(default = "dns_port")]
    pub dns_port: u16,
    /// UDP and TCP port probes are received on while a probe window is open.
    #[serde(default = "probe_port")]
    pub probe_port: u16,
    /// User name of the control API.
    pub rpc_user: String,
    /// Password of the control API.
    pub rpc_password: Password,
    /// Directory of the node's store, address book and keys.
    pub data_dir: String,
    /// 32 bytes of hex: the root of the node's random choices and keys.
    pub seed: String,
    /// The chain's rules.
    pub chain: ChainConfig,
    /// Ways to find peers, tried in this order.
    pub discovery: Vec<Discovery>,
    /// How blocks and transactions are spread.
    pub relay: Relay,
    /// How a node that lags catches up.
    pub sync: Sync,
    /// DNS servers to ask for first peers.
    #[serde(default)]
    pub dns_seeds: Vec<SocketAddr>,
    /// Addresses of nodes to dial first.
    #[serde(default)]
    pub bootstrap: Vec<SocketAddr>,
    /// How many peers to keep.
    pub peers: PeerLimits,
    /// Timeouts and intervals.
    pub timers: Timers,
    /// Present when the node mines on its own.
    #[serde(default)]
    pub miner: Option<MinerConfig>,
    /// Misbehaviour on purpose.
    #[serde(default)]
    pub behaviour: Behaviour,
    /// What a committed write survives.
    #[serde(default)]
    pub durability: Durability,
    /// Added to the wall clock the protocol sees, in milliseconds. Event times ignore it.
    #[serde(default)]
    pub clock_offset_ms: i64,
}

/// A secret that does not show itself in debug output.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Password(pub String);

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

/// What a node is for. A node may have several roles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// A DNS server that answers with nodes it has itself reached by handshake.
    DnsSeed,
    /// Relays; keeps headers only.
    Routing,
    /// Validates and keeps everything, serves others.
    Full,
    /// Holds keys, creates and broadcasts transactions.
    Wallet,
    /// A full node that creates blocks.
    Miner,
}

impl Role {
    /// The role's name in a topology.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DnsSeed => "dns-seed",
            Self::Routing => "routing",
            Self::Full => "full",
            Self::Wallet => "wallet",
            Self::Miner => "miner",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The chain's rules.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChainConfig {
    /// Which Bitcoin network's parameters apply.
    pub network: ChainNetwork,
    /// Mean time between blocks over all miners, in milliseconds.
    pub block_interval_ms: u64,
    /// Blocks every node builds for itself before it starts; absent on nodes that join later.
    #[serde(default)]
    pub premine: Option<Premine>,
}

/// Bitcoin network whose parameters apply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum ChainNetwork {
    /// Bitcoin Core's regression-test network.
    #[default]
    Regtest,
}

/// Blocks that exist before the testnet starts, the same on every node by construction.
///
/// Block `h` (1 to `blocks`) has time `time + h` and pays its whole subsidy to `payees[(h - 1) % payees.len()]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Premine {
    /// Number of blocks on top of the genesis block.
    pub blocks: u32,
    /// Seconds since the epoch; block times count up from here.
    pub time: u32,
    /// Output scripts in hex, paid in turn; never empty.
    pub payees: Vec<String>,
}

/// How peers are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Discovery {
    /// Addresses given in the configuration.
    Bootstrap,
    /// DNS seeds.
    Dns,
    /// `addr` and `getaddr` exchange with peers.
    Addr,
}

/// How blocks and transactions are spread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Relay {
    /// Announce to every peer that may not have it.
    #[default]
    Flood,
}

/// How a node that lags catches up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Sync {
    /// `getheaders` first, then blocks from several peers.
    #[default]
    Headers,
    /// `getblocks`, `inv`, `getdata`.
    Blocks,
}

/// Misbehaviour on purpose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Behaviour {
    /// None.
    #[default]
    Honest,
}

/// What a committed write survives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Durability {
    /// The death of the process.
    #[default]
    Process,
    /// Loss of power: every commit is synced to disk.
    Power,
}

/// How many peers to keep: dial while `total < min` or `outbound < outbound`, never above `max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerLimits {
    /// Dial while fewer peers than this are connected.
    pub min: u16,
    /// Dial while fewer outbound peers than this are connected.
    pub outbound: u16,
    /// Refuse above this.
    pub max: u16,
}

impl Default for PeerLimits {
    fn default() -> Self {
        Self {
            min: 8,
            outbound: 4,
            max: 15,
        }
    }
}

/// Timeouts and intervals in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timers {
    /// From connection to the end of the handshake.
    pub handshake_ms: u64,
    /// A dial that has not connected by then is given up.
    pub dial_ms: u64,
    /// A ping is sent to a peer that has said nothing for this long.
    pub ping_ms: u64,
    /// A peer that has said nothing for this long is dropped; also the sockets' `TCP_USER_TIMEOUT`.
    pub idle_ms: u64,
    /// A peer lost to silence is dialled again this often while there is room.
    pub redial_ms: u64,
    /// DNS seeds are asked again this often while peers are missing.
    pub dns_ms: u64,
    /// A block or transaction asked of one peer is asked of another after this.
    pub request_ms: u64,
    /// A DNS seed tries a node it knows again this often, or every 20 ms some node where that is longer, and forgets it
    /// when that fails.
    pub crawl_ms: u64,
}

impl Default for Timers {
    /// Values for a testnet on one machine: a dead link is noticed, and a healed one used again, within seconds.
    fn default() -> Self {
        Self {
            handshake_ms: 5_000,
            dial_ms: 800,
            ping_ms: 1_000,
            idle_ms: 3_500,
            redial_ms: 500,
            dns_ms: 500,
            request_ms: 2_000,
            crawl_ms: 2_000,
        }
    }
}

/// Mining on the node's own initiative.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MinerConfig {
    /// Share of the testnet's planned hash power, above 0 and at most 1.
    pub share: f64,
}

const fn p2p_port() -> u16 {
    P2P_PORT
}
const fn rpc_port() -> u16 {
    RPC_PORT
}
const fn dns_port() -> u16 {
    DNS_PORT
}
const fn probe_port() -> u16 {
    PROBE_PORT
}
