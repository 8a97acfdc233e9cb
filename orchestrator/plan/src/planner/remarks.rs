//! What is allowed, but probably not meant.

use std::collections::BTreeMap;

use netsplit_api::config::{PeerLimits, Role};

use crate::plan::{Plan, PlannedNode};

/// One line for each thing in a plan that is worth a second look.
#[must_use]
pub fn remarks(plan: &Plan) -> Vec<String> {
    let takes_peers = |node: &&PlannedNode| node.roles.iter().any(|role| *role != Role::DnsSeed);
    let peers: Vec<&PlannedNode> = plan.nodes.iter().filter(takes_peers).collect();
    let others = peers.len().saturating_sub(1);
    // Nobody chose the usual number, which is too high for every small testnet.
    let usual = PeerLimits::default().min;
    let wanted: BTreeMap<&str, u16> = peers
        .iter()
        .filter(|node| node.peers.min != usual && usize::from(node.peers.min) > others)
        .map(|node| (node.group.as_str(), node.peers.min))
        .collect();
    let remark = |(group, min): (&str, u16)| {
        format!(
            "nodes of `{group}` are to have at least {min} peers, but there are only {others} others"
        )
    };
    wanted.into_iter().map(remark).collect()
}
