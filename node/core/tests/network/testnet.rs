//! A testnet as most tests want it, and the seeds to try it with.

use std::{net::SocketAddr, time::Duration};

use bitcoin::{Block, BlockHash, ScriptBuf};
use netsplit_api::config::{MinerConfig, NodeConfig, Premine, Role};
use netsplit_core::{
    io::{Command, Reply},
    virtual_network::{Climate, HostId, Stuck, VirtualNetwork, config},
    wallet,
};

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// Runs `test` with every seed that once failed it, then with `count` others; the environment variable
/// `NETSPLIT_SEEDS` asks for another number of them.
pub(crate) fn with_seeds(name: &str, count: u64, test: impl Fn(u64)) {
    let path = format!("{}/tests/seeds/{name}.txt", env!("CARGO_MANIFEST_DIR"));
    let pinned = std::fs::read_to_string(path).unwrap_or_default();
    let pinned = pinned
        .lines()
        .filter_map(|line| line.split('#').next()?.trim().parse::<u64>().ok())
        .collect::<Vec<_>>();
    let count = std::env::var("NETSPLIT_SEEDS").map_or(count, |count| count.parse().unwrap());
    for seed in pinned.into_iter().chain(0..count) {
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| test(seed)));
        assert!(outcome.is_ok(), "{name}: failed with seed {seed}");
    }
}

/// A network, a DNS seed, and nodes that know nothing but that seed.
pub(crate) struct Testnet {
    pub(crate) network: VirtualNetwork,
    pub(crate) seed: HostId,
    pub(crate) nodes: Vec<HostId>,
    number: u64,
    premine: Option<Premine>,
}

impl Testnet {
    /// A DNS seed and nobody else.
    pub(crate) fn new(number: u64) -> Self {
        Self::with_climate(number, Climate::default())
    }

    pub(crate) fn with_climate(number: u64, climate: Climate) -> Self {
        let mut network = VirtualNetwork::with_climate(number, climate);
        let mut config = config("seed", [11, 0, 0, 1]);
        config.roles = [Role::DnsSeed].into();
        config.seed = root(number, 0);
        let seed = network.add(config);
        Self {
            network,
            seed,
            nodes: Vec::new(),
            number,
            premine: None,
        }
    }

    /// Nodes added from now on build these blocks first, paid to the nodes with the given indices.
    pub(crate) fn premined(mut self, blocks: u32, payees: &[usize]) -> Self {
        let payee = |index: &usize| {
            let seed = hex::decode(root(self.number, index + 1))
                .unwrap()
                .try_into()
                .unwrap();
            wallet::payee_script(&seed).to_hex_string()
        };
        let payees = payees.iter().map(payee).collect();
        self.premine = Some(Premine {
            blocks,
            time: 1_699_000_000,
            payees,
        });
        self
    }

    /// What the next node will be told.
    pub(crate) fn config(&self) -> NodeConfig {
        let index = self.nodes.len();
        let ip = [11, 1 + (index / 200) as u8, 0, 1 + (index % 200) as u8];
        let mut config = config(&format!("full-{}", index + 1), ip);
        config.seed = root(self.number, index + 1);
        config.dns_seeds = vec![SocketAddr::from(([11, 0, 0, 1], 53))];
        config.chain.premine.clone_from(&self.premine);
        config
    }

    pub(crate) fn add(&mut self, change: impl FnOnce(&mut NodeConfig)) -> HostId {
        let mut config = self.config();
        change(&mut config);
        let host = self.network.add(config);
        self.nodes.push(host);
        host
    }

    /// Adds `count` full nodes, one every 100 ms, the first `miners` of which mine one block a second together.
    pub(crate) fn populate(&mut self, count: usize, miners: usize) {
        for index in 0..count {
            self.add(|config| {
                if index < miners {
                    config.roles.insert(Role::Miner);
                    config.miner = Some(MinerConfig {
                        share: 1.0 / miners as f64,
                    });
                }
            });
            self.network.run_for(SECOND / 10);
        }
    }

    /// Waits until all nodes have as many peers as they must.
    pub(crate) fn connect(&mut self) -> Result<Duration, Stuck> {
        let nodes = self.nodes.clone();
        let enough = nodes.len().saturating_sub(1).min(8);
        self.network.run_until(
            |n| nodes.iter().all(|node| n.peers(*node) >= enough),
            10 * SECOND,
        )
    }

    /// Mines blocks on one node, each a little later than the one before.
    pub(crate) fn mine(&mut self, host: HostId, blocks: u32) -> Vec<BlockHash> {
        let script = ScriptBuf::from_bytes(vec![0x51]);
        let generate = Command::Generate { blocks, script };
        match self.network.command(host, generate).unwrap() {
            Reply::Generated(hashes) => hashes,
            other => panic!("{other:?} is no answer to generatetoaddress"),
        }
    }

    /// Waits until all nodes have one tip.
    pub(crate) fn converge(&mut self, limit: Duration) -> Result<Duration, Stuck> {
        let nodes = self.nodes.clone();
        self.network
            .run_until(|n| n.agree(nodes.iter().copied()), limit)
    }

    /// Where a node listens.
    pub(crate) fn address(&self, host: HostId) -> SocketAddr {
        let config = self.network.node(host).config();
        SocketAddr::new(config.address, config.p2p_port)
    }

    /// The active tip's block.
    pub(crate) fn tip_block(&self, host: HostId) -> Block {
        let node = self.network.node(host);
        node.chain()
            .block(node.db(), &node.chain().tip().hash)
            .unwrap()
            .unwrap()
    }
}

fn root(number: u64, index: usize) -> String {
    format!("{number:032x}{index:032x}")
}
