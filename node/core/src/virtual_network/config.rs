//! A node's configuration as tests and simulations begin with.

use std::{collections::BTreeSet, net::IpAddr};

use netsplit_api::config::{
    Behaviour, ChainConfig, ChainNetwork, DNS_PORT, Discovery, Durability, NodeConfig, P2P_PORT,
    PROBE_PORT, Password, PeerLimits, RPC_PORT, Relay, Role, Sync, Timers,
};
use sha2::{Digest as _, Sha256};

/// A full node called `name` at `ip` with default limits and timers that finds peers by `addr`, DNS and bootstrap, but
/// is told neither seeds nor addresses yet. Its seed derives from its name.
#[must_use]
pub fn config(name: &str, ip: [u8; 4]) -> NodeConfig {
    NodeConfig {
        name: name.to_owned(),
        roles: BTreeSet::from([Role::Full]),
        address: IpAddr::from(ip),
        p2p_port: P2P_PORT,
        rpc_port: RPC_PORT,
        dns_port: DNS_PORT,
        probe_port: PROBE_PORT,
        rpc_user: "netsplit".to_owned(),
        rpc_password: Password(String::new()),
        data_dir: String::new(),
        seed: hex::encode(Sha256::digest(name)),
        chain: ChainConfig {
            network: ChainNetwork::Regtest,
            block_interval_ms: 1000,
            premine: None,
        },
        discovery: vec![Discovery::Bootstrap, Discovery::Dns, Discovery::Addr],
        relay: Relay::Flood,
        sync: Sync::Headers,
        dns_seeds: Vec::new(),
        bootstrap: Vec::new(),
        peers: PeerLimits::default(),
        timers: Timers::default(),
        miner: None,
        behaviour: Behaviour::Honest,
        durability: Durability::Process,
        clock_offset_ms: 0,
    }
}
