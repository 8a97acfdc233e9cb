//! What a run's agent keeps for us, so that whoever finds the agent can drive and extend the run.

use std::net::IpAddr;

use netsplit_api::config::{PROBE_PORT, RPC_PORT};
use netsplit_faults::protocol::{AgentNode, Configure, Secret};
use netsplit_plan::{node_config::RunContext, plan::NodeName};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{RunInfo, RuntimeError, clock, random};

/// Name of the control API's user.
const RPC_USER: &str = "netsplit";

/// User name and password of the nodes' control API.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Credentials {
    pub(crate) user: String,
    pub(crate) password: Secret,
}

impl Credentials {
    /// A new password of 128 random bits.
    pub(crate) fn random() -> Result<Self, RuntimeError> {
        Ok(Self {
            user: RPC_USER.to_owned(),
            password: Secret(random::hex::<16>()?),
        })
    }
}

/// The document. `M`: what a runtime makes further nodes from.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Document<M> {
    pub(crate) info: RunInfo,
    pub(crate) credentials: Credentials,
    /// First address and prefix length of the run's network.
    pub(crate) subnet: (IpAddr, u8),
    #[serde(flatten)]
    pub(crate) made_from: M,
    /// The runner's own; null until it keeps something.
    pub(crate) runner: Value,
}

impl<M> Document<M> {
    /// What is known of the run besides its plan.
    pub(crate) fn context(&self) -> RunContext {
        RunContext {
            addresses: self.info.addresses.clone(),
            started_unix: u32::try_from(clock::seconds(self.info.started)).unwrap_or(u32::MAX),
            rpc_user: self.credentials.user.clone(),
            rpc_password: self.credentials.password.0.clone(),
        }
    }

    /// What the agent is told about the run. `device`: the one that leads to the nodes, if they are all behind one.
    pub(crate) fn configure(&self, device: Option<String>, nodes: &[NodeName]) -> Configure {
        let node = |name: &NodeName| AgentNode {
            name: name.0.clone(),
            address: self.info.addresses[name],
        };
        Configure {
            run: self.info.run.0.clone(),
            device,
            subnet: self.subnet,
            rpc_user: self.credentials.user.clone(),
            rpc_password: self.credentials.password.clone(),
            rpc_port: RPC_PORT,
            probe_port: PROBE_PORT,
            nodes: nodes.iter().map(node).collect(),
        }
    }
}
