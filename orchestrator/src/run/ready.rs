//! When a testnet is ready (design §6): a pure function of what the nodes said.
//!
//! RPC answers, which `NodeStarted` says; full, routing and miner nodes have at least min(`min_peers`, others reachable)
//! handshaken peers, wallets at least one; a DNS seed reached at least one node; one tip at `premine`.

use std::collections::BTreeSet;

use netsplit_api::config::Role;
use netsplit_plan::plan::{NodeName, Plan, PlannedNode};

use super::census::{Census, Entry};

/// Whether the node's only role is to be a DNS seed: it keeps neither peers nor a chain.
pub(crate) fn only_seeds(node: &PlannedNode) -> bool {
    node.roles.iter().all(|role| *role == Role::DnsSeed)
}

/// Whether others can dial the node and stay connected: light wallets do not serve.
pub(crate) fn serves(node: &PlannedNode) -> bool {
    node.roles
        .iter()
        .any(|role| matches!(role, Role::Full | Role::Routing | Role::Miner))
}

/// What the testnet still waits for, in one line; `None` when it is ready. `waiting` are the nodes that have to be.
pub(crate) fn missing(
    plan: &Plan,
    waiting: &BTreeSet<NodeName>,
    census: &Census,
) -> Option<String> {
    let nodes: Vec<&PlannedNode> = plan
        .nodes
        .iter()
        .filter(|node| waiting.contains(&node.name))
        .collect();
    let lacking: Vec<String> = nodes
        .iter()
        .filter_map(|node| {
            let lack = lack(plan, &nodes, node, census.of(&node.name))?;
            Some(format!("{} {lack}", node.name))
        })
        .collect();
    if let Some(first) = lacking.first() {
        return Some(match lacking.len() {
            1 => first.clone(),
            more => format!("{first}, and {} more nodes", more - 1),
        });
    }
    differing_premine(plan, &nodes, census)
}

/// What one node lacks.
fn lack(
    plan: &Plan,
    nodes: &[&PlannedNode],
    node: &PlannedNode,
    entry: Option<&Entry>,
) -> Option<String> {
    let Some(entry) = entry.filter(|entry| entry.started) else {
        return Some("has not started".to_owned());
    };
    let others = nodes.iter().filter(|other| other.name != node.name);
    if node.roles.contains(&Role::DnsSeed)
        && entry.reached.is_empty()
        && others.clone().any(|other| serves(other))
    {
        return Some("has not reached any node yet".to_owned());
    }
    if only_seeds(node) {
        return None;
    }
    let reachable = others.filter(|other| serves(other)).count();
    let needed = needed_peers(node, reachable);
    if entry.peers.len() < needed {
        return Some(format!("has {} of {needed} peers", entry.peers.len()));
    }
    let height = entry.tip.as_ref().map_or(0, |(height, _)| *height);
    (height < plan.chain.premine)
        .then(|| format!("is at height {height} of {}", plan.chain.premine))
}

/// How many peers the node must have when so many others can be reached.
fn needed_peers(node: &PlannedNode, reachable: usize) -> usize {
    let wanted = if serves(node) {
        usize::from(node.peers.min)
    } else {
        1
    };
    wanted.min(reachable)
}

/// Every node that started at the height of the premine started at the same block.
fn differing_premine(plan: &Plan, nodes: &[&PlannedNode], census: &Census) -> Option<String> {
    let mut tips = nodes
        .iter()
        .filter(|node| !only_seeds(node))
        .filter_map(|node| {
            let (height, tip) = census.of(&node.name)?.first_tip.as_ref()?;
            (*height == plan.chain.premine).then_some((&node.name, tip))
        });
    let (first, tip) = tips.next()?;
    let (other, different) = tips.find(|(_, other)| *other != tip)?;
    Some(format!(
        "{first} and {other} built different chains: {tip} and {different}"
    ))
}

#[cfg(test)]
mod tests;
