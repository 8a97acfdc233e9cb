//! What the agent keeps for us, so that the engine's socket is enough to find, drive and extend a run.

use std::net::IpAddr;

use netsplit_faults::protocol::Secret;
use netsplit_plan::node_config::RunContext;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{labels::Identity, node::NodeTemplate};
use crate::RunInfo;

/// Who a run's life depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Lease {
    /// Its maker, through the reaper.
    Starting,
    /// Nobody: it runs until it is taken down.
    Detached,
}

/// User name and password of the nodes' control API.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Credentials {
    pub(super) user: String,
    pub(super) password: Secret,
}

/// The document.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Document {
    pub(super) info: RunInfo,
    pub(super) credentials: Credentials,
    /// First address and prefix length of the run's network.
    pub(super) subnet: (IpAddr, u8),
    pub(super) lease: Lease,
    node_image: String,
    node_command: Vec<String>,
    node_memory: Option<i64>,
    /// The runner's own; null until it keeps something.
    pub(super) runner: Value,
}

impl Document {
    pub(super) fn new(
        info: RunInfo,
        template: &NodeTemplate,
        subnet: (IpAddr, u8),
        lease: Lease,
    ) -> Self {
        let credentials = Credentials {
            user: template.context.rpc_user.clone(),
            password: Secret(template.context.rpc_password.clone()),
        };
        Self {
            info,
            credentials,
            subnet,
            lease,
            node_image: template.image.clone(),
            node_command: template.command.clone(),
            node_memory: template.memory,
            runner: Value::Null,
        }
    }

    /// What further nodes are made from.
    pub(super) fn template(&self, identity: Identity) -> NodeTemplate {
        let context = RunContext {
            addresses: self.info.addresses.clone(),
            started_unix: u32::try_from(identity.started).unwrap_or(u32::MAX),
            rpc_user: self.credentials.user.clone(),
            rpc_password: self.credentials.password.0.clone(),
        };
        NodeTemplate {
            identity,
            image: self.node_image.clone(),
            command: self.node_command.clone(),
            context,
            memory: self.node_memory,
        }
    }
}
