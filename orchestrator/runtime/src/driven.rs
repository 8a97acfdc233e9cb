//! The side of a testnet that its agent carries, the same whatever its nodes run on: calls, events, links, tunnels, and
//! the document.

use std::{future::Future, time::Duration};

use netsplit_api::rpc::RpcError;
use netsplit_faults::{
    agent::client::{AgentClient, AgentError, RpcAnswer},
    link::{Applied, Counters, LinkTable},
};
use netsplit_plan::plan::{NodeName, PlannedNode};
use serde::Serialize;
use serde_json::Value;
use tokio::{
    net::TcpStream,
    sync::{Mutex, MutexGuard, OnceCell},
};

use crate::{
    CallError, NetEvent, RunInfo, RuntimeError,
    document::{Credentials, Document},
    feed::Feed,
};

/// A node that has not answered by then does not answer.
const RPC_TIMEOUT: Duration = Duration::from_secs(30);

/// A testnet as its agent sees it. `M`: what its runtime makes further nodes from.
pub(crate) struct Driven<M> {
    agent: AgentClient,
    pub(crate) feed: Feed,
    followed: OnceCell<()>,
    info: RunInfo,
    credentials: Credentials,
    device: Option<String>,
    document: Mutex<Document<M>>,
    /// Nodes the agent has been told of.
    known: Mutex<Vec<NodeName>>,
}

impl<M: Serialize> Driven<M> {
    pub(crate) fn new(
        agent: AgentClient,
        feed: Feed,
        document: Document<M>,
        device: Option<String>,
        known: Vec<NodeName>,
    ) -> Self {
        Self {
            agent,
            feed,
            followed: OnceCell::new(),
            info: document.info.clone(),
            credentials: document.credentials.clone(),
            device,
            document: Mutex::new(document),
            known: Mutex::new(known),
        }
    }

    /// Facts about the run.
    pub(crate) const fn info(&self) -> &RunInfo {
        &self.info
    }

    /// User name and password of the nodes' control API.
    pub(crate) fn credentials(&self) -> (String, String) {
        let Credentials { user, password } = &self.credentials;
        (user.clone(), password.0.clone())
    }

    /// A planned node.
    pub(crate) fn planned(&self, node: &NodeName) -> Result<&PlannedNode, RuntimeError> {
        let nodes = &mut self.info.plan.nodes.iter();
        nodes
            .find(|planned| planned.name == *node)
            .ok_or_else(|| RuntimeError::new(format!("there is no node `{node}`")))
    }

    /// The document; nobody else changes it meanwhile.
    pub(crate) async fn document(&self) -> MutexGuard<'_, Document<M>> {
        self.document.lock().await
    }

    /// Changes the document and keeps it with the agent.
    pub(crate) async fn keep(
        &self,
        change: impl FnOnce(&mut Document<M>),
    ) -> Result<(), RuntimeError> {
        let operation = "failed to keep the run's document with the agent";
        let mut document = self.document.lock().await;
        change(&mut document);
        let value = serde_json::to_value(&*document)
            .map_err(|error| RuntimeError::with_source(operation, error))?;
        let kept = self.agent.put_state(value).await;
        kept.map_err(|error| lost(operation, error))
    }

    /// Tells the agent of the nodes known so far and of these.
    pub(crate) async fn introduce(
        &self,
        nodes: impl IntoIterator<Item = NodeName>,
    ) -> Result<(), RuntimeError> {
        let mut known = self.known.lock().await;
        known.extend(nodes);
        let configure = {
            let document = self.document.lock().await;
            document.configure(self.device.clone(), &known)
        };
        let told = self.agent.configure(configure).await;
        told.map_err(|error| lost("failed to tell the agent of the nodes", error))
    }

    /// Follows the nodes' events, unless that was done before; `watch` begins whatever else there is to be told.
    pub(crate) async fn follow(
        &self,
        watch: impl Future<Output = Result<(), RuntimeError>>,
    ) -> Result<(), RuntimeError> {
        let follow = || async {
            watch.await?;
            let followed = self.agent.follow().await;
            followed.map_err(|error| lost("failed to follow the nodes' events", error))
        };
        self.followed.get_or_try_init(follow).await.map(|_| ())
    }

    /// The next event; `watch` as for [`Driven::follow`].
    pub(crate) async fn next_event(
        &self,
        watch: impl Future<Output = Result<(), RuntimeError>>,
    ) -> Option<NetEvent> {
        if let Err(error) = self.follow(watch).await {
            tracing::debug!(%error, "the agent's loss follows in the stream");
        }
        self.feed.next().await
    }

    pub(crate) async fn rpc(
        &self,
        node: &NodeName,
        method: &str,
        params: Value,
    ) -> Result<Value, CallError> {
        match self
            .agent
            .rpc(node.as_ref(), method, params, RPC_TIMEOUT)
            .await
        {
            Ok(answer) => answered(node, answer),
            Err(error) => Err(CallError::Unreachable {
                node: node.clone(),
                reason: error.to_string(),
            }),
        }
    }

    pub(crate) async fn apply(&self, table: LinkTable) -> Result<Applied, RuntimeError> {
        let applied = self.agent.apply(table).await;
        applied.map_err(|error| lost("failed to change the links", error))
    }

    pub(crate) async fn counters(&self) -> Result<Counters, RuntimeError> {
        let counters = self.agent.counters().await;
        counters.map_err(|error| lost("failed to read the counters of dropped packets", error))
    }

    pub(crate) async fn tunnel(
        &self,
        node: &NodeName,
        port: u16,
        mut stream: TcpStream,
    ) -> Result<(), RuntimeError> {
        self.planned(node)?;
        let operation = format!("failed to reach port {port} of `{node}`");
        let tunnel = self.agent.open_tunnel(node.as_ref(), port).await;
        let mut tunnel = tunnel.map_err(|error| lost(&operation, error))?;
        let copied = tokio::io::copy_bidirectional(&mut stream, &mut tunnel).await;
        copied
            .map(|_| ())
            .map_err(|error| RuntimeError::with_source(operation, error))
    }

    /// The runner's own document, as it was kept last by anybody.
    pub(crate) async fn get_state(&self) -> Result<Value, RuntimeError> {
        let state = self.agent.get_state().await;
        let state = state.map_err(|error| lost("failed to read the run's document", error))?;
        Ok(state.get("runner").cloned().unwrap_or_default())
    }
}

/// A failure of the agent as one of ours.
pub(crate) fn lost(operation: &str, error: AgentError) -> RuntimeError {
    RuntimeError::with_source(operation, error)
}

/// Takes a JSON-RPC answer apart.
fn answered(node: &NodeName, answer: RpcAnswer) -> Result<Value, CallError> {
    let RpcAnswer { status, mut body } = answer;
    if let Some(error) = body.get("error").filter(|error| !error.is_null()) {
        return match serde_json::from_value::<RpcError>(error.clone()) {
            Ok(error) => Err(CallError::Node(error)),
            Err(_) => Err(unreadable(node, status, error)),
        };
    }
    match body.get_mut("result") {
        Some(result) if (200..300).contains(&status) => Ok(result.take()),
        _ => Err(unreadable(node, status, &body)),
    }
}

fn unreadable(node: &NodeName, status: u16, body: &Value) -> CallError {
    let body: String = body.to_string().chars().take(200).collect();
    let reason = format!("its answer is no JSON-RPC (HTTP status {status}): {body}");
    CallError::Unreachable {
        node: node.clone(),
        reason,
    }
}

#[cfg(test)]
mod tests {
    use netsplit_api::rpc::code;
    use serde_json::json;

    use super::*;

    fn answer(status: u16, body: Value) -> Result<Value, CallError> {
        answered(&NodeName("a".into()), RpcAnswer { status, body })
    }

    #[test]
    fn an_answer_is_a_result_or_the_nodes_own_error() {
        assert_eq!(
            answer(200, json!({"result": 7, "error": null, "id": 1})),
            Ok(json!(7))
        );
        assert_eq!(
            answer(200, json!({"result": null, "error": null})),
            Ok(Value::Null)
        );
        let error = json!({"result": null, "error": {"code": -32601, "message": "no"}});
        let expected = RpcError::new(code::METHOD_NOT_FOUND, "no");
        assert_eq!(answer(404, error), Err(CallError::Node(expected)));
    }

    #[test]
    fn what_is_no_json_rpc_is_no_answer() {
        for (status, body) in [
            (401, Value::Null),
            (200, json!({})),
            (500, json!({"result": 1})),
        ] {
            let result = answer(status, body);
            assert!(
                matches!(result, Err(CallError::Unreachable { .. })),
                "{status}"
            );
        }
    }
}
