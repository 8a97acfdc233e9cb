//! The containers of a run: nodes, the agent, the reaper.

use std::{collections::BTreeMap, net::IpAddr};

use netsplit_api::config::{CONFIG_ENV, Role};
use netsplit_plan::{
    node_config::RunContext,
    plan::{NodeName, Plan, PlannedNode},
};

use super::{
    engine::{Attachment, ContainerSpec, Stdin},
    image::Image,
    labels::{Identity, Part},
    network,
};
use crate::{Ownership, RunId, RuntimeError};

/// Environment variable that tells the reaper its run.
pub(crate) const RUN_ENV: &str = "NETSPLIT_RUN";
/// Environment variable that tells the agent to end with its first client.
pub(crate) const OWNED_ENV: &str = "NETSPLIT_AGENT_OWNED";

/// Processes and threads a node may have: it needs a few, but a runaway must not take the host's.
const NODE_PIDS: i64 = 512;
const AGENT_PIDS: i64 = 1024;
const REAPER_PIDS: i64 = 64;

/// A node's container.
pub(crate) fn name(run: &RunId, node: &NodeName) -> String {
    format!("netsplit-{run}-{node}")
}

/// The agent's container; a node's name cannot contain a dot.
pub(crate) fn agent_name(run: &RunId) -> String {
    format!("netsplit-{run}.agent")
}

/// The reaper's container.
pub(crate) fn reaper_name(run: &RunId) -> String {
    format!("netsplit-{run}.reaper")
}

/// What all node containers of a run have in common; enough to make those that join later.
#[derive(Clone, Debug)]
pub(crate) struct NodeTemplate {
    pub(crate) identity: Identity,
    pub(crate) image: String,
    pub(crate) command: Vec<String>,
    pub(crate) context: RunContext,
    pub(crate) memory: Option<i64>,
}

impl NodeTemplate {
    pub(crate) fn spec(
        &self,
        plan: &Plan,
        node: &PlannedNode,
    ) -> Result<ContainerSpec, RuntimeError> {
        let config = plan.node_config(node, &self.context);
        let config = serde_json::to_string(&config).map_err(|error| {
            RuntimeError::with_source(format!("failed to configure `{}`", node.name), error)
        })?;
        // The DNS port lies below those that everybody may listen on.
        let capabilities = if node.roles.contains(&Role::DnsSeed) {
            vec!["NET_BIND_SERVICE"]
        } else {
            Vec::new()
        };
        let run = &self.identity.run;
        Ok(ContainerSpec {
            name: name(run, &node.name),
            image: self.image.clone(),
            command: self.command.clone(),
            env: vec![format!("{CONFIG_ENV}={config}")],
            labels: self.identity.labels(Part::Node, Some(&node.name)),
            network: Attachment::Network {
                name: network::name(run),
                address: self.context.addresses[&node.name],
            },
            capabilities,
            stdin: Stdin::Closed,
            socket: None,
            auto_remove: false,
            pids: NODE_PIDS,
            memory: self.memory,
        })
    }
}

/// How a node's program is started: the small binary is nothing else, ours has a subcommand for it.
pub(crate) fn node_command(image: &Image, small: bool) -> Vec<String> {
    let program = image.program.clone();
    if small {
        vec![program]
    } else {
        vec![program, "node".into()]
    }
}

pub(crate) fn agent_spec(identity: &Identity, image: &Image) -> ContainerSpec {
    let owned = identity.ownership == Ownership::Owned;
    ContainerSpec {
        name: agent_name(&identity.run),
        image: image.reference.clone(),
        command: vec![image.program.clone(), "agent".into()],
        env: agent_environment(owned),
        labels: identity.labels(Part::Agent, None),
        network: Attachment::Host,
        capabilities: vec!["NET_ADMIN"],
        stdin: if owned { Stdin::Once } else { Stdin::Kept },
        socket: None,
        auto_remove: false,
        pids: AGENT_PIDS,
        memory: None,
    }
}

fn agent_environment(owned: bool) -> Vec<String> {
    let owned = owned.then(|| format!("{OWNED_ENV}=1"));
    // For the tests that show that a broken cut is noticed; the agent of a release would not listen either.
    #[cfg(feature = "sabotage")]
    let sabotage = std::env::var("NETSPLIT_SABOTAGE")
        .ok()
        .map(|kind| format!("NETSPLIT_SABOTAGE={kind}"));
    #[cfg(not(feature = "sabotage"))]
    let sabotage = None;
    owned.into_iter().chain(sabotage).collect()
}

pub(crate) fn reaper_spec(identity: &Identity, image: &Image, socket: &str) -> ContainerSpec {
    ContainerSpec {
        name: reaper_name(&identity.run),
        image: image.reference.clone(),
        command: vec![image.program.clone(), "reaper".into()],
        env: vec![format!("{RUN_ENV}={}", identity.run)],
        labels: identity.labels(Part::Reaper, None),
        network: Attachment::None,
        capabilities: Vec::new(),
        stdin: Stdin::Once,
        socket: Some(socket.to_owned()),
        // It cannot remove itself: once it has exited, the engine does.
        auto_remove: true,
        pids: REAPER_PIDS,
        memory: None,
    }
}

/// Every planned node's address in the subnet.
pub(crate) fn addresses(plan: &Plan, subnet: network::Subnet) -> BTreeMap<NodeName, IpAddr> {
    plan.nodes
        .iter()
        .map(|node| (node.name.clone(), subnet.host(node.host)))
        .collect()
}
