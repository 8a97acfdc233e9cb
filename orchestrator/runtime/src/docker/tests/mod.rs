//! The life of runs on an engine that exists only here.

#![expect(clippy::unwrap_used, reason = "tests")]

pub(super) mod fake_engine;
mod unwind;

use netsplit_api::config::ChainNetwork;
use netsplit_plan::plan::{NodeName, Plan, PlannedChain, PlannedNode};

/// A plan of so many full nodes, `n1`, `n2` …
pub(super) fn plan(count: u32) -> Plan {
    let node = |number: u32| PlannedNode {
        name: NodeName(format!("n{number}")),
        group: "n".into(),
        host: number + 1,
        roles: [netsplit_api::config::Role::Full].into(),
        zone: None,
        behaviour: Default::default(),
        seed: format!("{number:064x}"),
        discovery: Vec::new(),
        relay: Default::default(),
        sync: Default::default(),
        peers: Default::default(),
        timers: Default::default(),
        durability: Default::default(),
        share: None,
        joins: false,
    };
    Plan {
        name: "test".into(),
        description: String::new(),
        seed: 1,
        chain: PlannedChain {
            network: ChainNetwork::Regtest,
            block_interval_ms: 1000,
            premine: 0,
            payees: Vec::new(),
        },
        nodes: (1..=count).map(node).collect(),
        steps: Vec::new(),
        timeout_ms: None,
    }
}
