//! When a testnet is ready (design §6): a pure function of what the nodes said.
//!
//! RPC answers, which `NodeStarted` says; full, routing and miner nodes have at least min(`min_peers`, others reachable)
//! handshaken peers, wallets at least one; a DNS seed reached at least one node; one tip at `premine`.

use std::collections::{BTreeMap, BTreeSet};

use netsplit_api::config::Role;
use netsplit_plan::plan::{NodeName, Plan, PlannedNode};

use super::census::{Census, Entry};

/// Up to so many nodes what is waited for is told of the first node; above, how many are ready is told before it.
pub(crate) const FEW: usize = 40;

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

/// Who still lacks something. Every event costs a look at one node, however many there are.
#[derive(Debug)]
pub(crate) struct Readiness<'p> {
    premine: u32,
    /// The nodes that have to be ready, in the plan's order.
    nodes: Vec<&'p PlannedNode>,
    places: BTreeMap<&'p NodeName, usize>,
    /// How many of them serve.
    serving: usize,
    /// Places of those that are not ready yet.
    lacking: BTreeSet<usize>,
}

impl<'p> Readiness<'p> {
    /// Nobody is ready yet. `waiting` are the nodes that have to be.
    pub(crate) fn new(plan: &'p Plan, waiting: &BTreeSet<NodeName>) -> Self {
        let chosen = plan
            .nodes
            .iter()
            .filter(|node| waiting.contains(&node.name));
        let nodes: Vec<&PlannedNode> = chosen.collect();
        let places = nodes.iter().enumerate();
        Self {
            premine: plan.chain.premine,
            places: places.map(|(place, node)| (&node.name, place)).collect(),
            serving: nodes.iter().filter(|node| serves(node)).count(),
            lacking: (0..nodes.len()).collect(),
            nodes,
        }
    }

    /// Looks again at a node that said something.
    pub(crate) fn look(&mut self, node: &NodeName, census: &Census) {
        let Some(place) = self.places.get(node) else {
            return;
        };
        if self.lack(self.nodes[*place], census).is_some() {
            self.lacking.insert(*place);
        } else {
            self.lacking.remove(place);
        }
    }

    /// Whether the testnet is ready.
    pub(crate) fn is_complete(&self, census: &Census) -> bool {
        self.lacking.is_empty() && self.differing_premine(census).is_none()
    }

    /// What the testnet still waits for, in one line; `None` when it is ready.
    pub(crate) fn missing(&self, census: &Census) -> Option<String> {
        let Some(first) = self.lacking.first().map(|place| self.nodes[*place]) else {
            return self.differing_premine(census);
        };
        let lack = self.lack(first, census).unwrap_or_default();
        let (all, lacking) = (self.nodes.len(), self.lacking.len());
        Some(match lacking {
            _ if all > FEW => {
                let ready = all - lacking;
                format!("{ready} of {all} nodes ready; {} {lack}", first.name)
            }
            1 => format!("{} {lack}", first.name),
            more => format!("{} {lack}, and {} more nodes", first.name, more - 1),
        })
    }

    /// What one node lacks.
    fn lack(&self, node: &PlannedNode, census: &Census) -> Option<String> {
        let entry = census.of(&node.name).filter(|entry| entry.started);
        let Some(entry) = entry else {
            return Some("has not started".to_owned());
        };
        let reachable = self.serving - usize::from(serves(node));
        if node.roles.contains(&Role::DnsSeed) && entry.reached.is_empty() && reachable > 0 {
            return Some("has not reached any node yet".to_owned());
        }
        if only_seeds(node) {
            return None;
        }
        let needed = needed_peers(node, reachable);
        if entry.peers.len() < needed {
            return Some(format!("has {} of {needed} peers", entry.peers.len()));
        }
        let height = entry.tip.as_ref().map_or(0, |(height, _)| *height);
        (height < self.premine).then(|| format!("is at height {height} of {}", self.premine))
    }

    /// Every node that started at the height of the premine started at the same block.
    fn differing_premine(&self, census: &Census) -> Option<String> {
        let first_tip = |entry: &Entry| entry.first_tip.clone();
        let keep_chains = self.nodes.iter().filter(|node| !only_seeds(node));
        let mut tips = keep_chains.filter_map(|node| {
            let (height, tip) = census.of(&node.name).and_then(first_tip)?;
            (height == self.premine).then_some((&node.name, tip))
        });
        let (first, tip) = tips.next()?;
        let (other, different) = tips.find(|(_, other)| *other != tip)?;
        Some(format!(
            "{first} and {other} built different chains: {tip} and {different}"
        ))
    }
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

#[cfg(test)]
mod tests;
