//! What each node of a plan is told at birth.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use netsplit_api::config::{
    ChainConfig, DNS_PORT, Discovery, MinerConfig, NodeConfig, P2P_PORT, PROBE_PORT, Password,
    Premine, RPC_PORT, Role,
};

use crate::plan::{NodeName, Plan, PlannedNode};

/// Directory of a node's store inside its container.
pub const DATA_DIR: &str = "/data";
/// How many nodes a `bootstrap` list names.
const BOOTSTRAP_NODES: usize = 3;

/// What is known of a run only when it starts.
#[derive(Clone, Debug)]
pub struct RunContext {
    /// Address of every planned node, joiners included.
    pub addresses: BTreeMap<NodeName, IpAddr>,
    /// When the run started, in seconds since the epoch.
    pub started_unix: u32,
    /// User name of the nodes' control API.
    pub rpc_user: String,
    /// Password of the nodes' control API.
    pub rpc_password: String,
}

impl Plan {
    /// What `node` is told at birth in this run. The newest premined block lies just in the past; joiners get no premine and
    /// fetch those blocks like any others.
    ///
    /// # Panics
    /// When `context` lacks the node's address: it holds that of every planned node.
    #[must_use]
    pub fn node_config(&self, node: &PlannedNode, context: &RunContext) -> NodeConfig {
        let address = *context
            .addresses
            .get(&node.name)
            .expect("the context holds every node's address");
        NodeConfig {
            name: node.name.0.clone(),
            roles: node.roles.clone(),
            address,
            p2p_port: P2P_PORT,
            rpc_port: RPC_PORT,
            dns_port: DNS_PORT,
            probe_port: PROBE_PORT,
            rpc_user: context.rpc_user.clone(),
            rpc_password: Password(context.rpc_password.clone()),
            data_dir: DATA_DIR.to_owned(),
            seed: node.seed.clone(),
            chain: self.chain_config(node, context),
            discovery: node.discovery.clone(),
            relay: node.relay,
            sync: node.sync,
            dns_seeds: self.dns_seeds(context),
            bootstrap: self.bootstrap(node, context),
            peers: node.peers,
            timers: node.timers,
            miner: node.share.map(|share| MinerConfig { share }),
            behaviour: node.behaviour,
            durability: node.durability,
            clock_offset_ms: 0,
        }
    }

    fn chain_config(&self, node: &PlannedNode, context: &RunContext) -> ChainConfig {
        let premine = (self.chain.premine > 0 && !node.joins).then(|| Premine {
            blocks: self.chain.premine,
            time: context.started_unix.saturating_sub(self.chain.premine + 1),
            payees: self.chain.payees.clone(),
        });
        ChainConfig {
            network: self.chain.network,
            block_interval_ms: self.chain.block_interval_ms,
            premine,
        }
    }

    fn dns_seeds(&self, context: &RunContext) -> Vec<SocketAddr> {
        let seeds = self
            .nodes
            .iter()
            .filter(|node| node.roles.contains(&Role::DnsSeed));
        seeds
            .filter_map(|node| context.addresses.get(&node.name))
            .map(|address| SocketAddr::new(*address, DNS_PORT))
            .collect()
    }

    fn bootstrap(&self, node: &PlannedNode, context: &RunContext) -> Vec<SocketAddr> {
        if !node.discovery.contains(&Discovery::Bootstrap) {
            return Vec::new();
        }
        let serves = |other: &&PlannedNode| {
            !other.joins
                && other.name != node.name
                && other.roles.iter().any(|r| *r != Role::DnsSeed)
        };
        self.nodes
            .iter()
            .filter(serves)
            .take(BOOTSTRAP_NODES)
            .filter_map(|other| context.addresses.get(&other.name))
            .map(|address| SocketAddr::new(*address, P2P_PORT))
            .collect()
    }
}
