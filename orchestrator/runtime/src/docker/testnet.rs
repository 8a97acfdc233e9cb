//! A testnet on a Docker engine: processes through the engine, everything else through the agent.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures_util::StreamExt;
use netsplit_api::rpc::RpcError;
use netsplit_faults::{
    agent::client::{AgentClient, AgentError, RpcAnswer},
    link::{Applied, Counters, LinkTable},
};
use netsplit_plan::plan::{NodeName, NodeVerb, PlannedNode};
use serde_json::Value;
use tokio::{
    net::TcpStream,
    sync::{Mutex, OnceCell, mpsc},
};

use super::{
    document::{Document, Lease},
    engine::{ContainerState, Engine, EngineError, ErrorKind},
    events::{self, Feed},
    labels::{Identity, NODE, Part, of_run},
    launch::{configure, now},
    network::Subnet,
    node::{self, NodeTemplate},
    reaper::ReaperHandle,
    teardown::{self, By},
};
use crate::{
    CallError, NetEvent, NodeState, Ownership, ProgressSink, RunId, RunInfo, RuntimeError,
    Teardown, Testnet, Timestamp,
    journal::{Entry, Journal, Thing},
};

/// A node that has not answered by then does not answer.
const RPC_TIMEOUT: Duration = Duration::from_secs(30);
/// Seconds between SIGTERM and SIGKILL.
const STOP_SECONDS: i32 = 10;
/// How long an agent may take to answer a new client.
const CONNECT: Duration = Duration::from_secs(15);

/// What only the maker of a run has.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) reaper: ReaperHandle,
    pub(super) journal: Arc<Journal>,
}

/// A testnet on a Docker engine.
pub(crate) struct DockerTestnet {
    engine: Arc<dyn Engine>,
    agent: AgentClient,
    feed: Feed,
    followed: OnceCell<()>,
    info: RunInfo,
    template: NodeTemplate,
    document: Mutex<Document>,
    /// Nodes the agent has been told of.
    known: Mutex<Vec<NodeName>>,
    held: Option<Held>,
}

impl DockerTestnet {
    pub(super) fn new(
        engine: Arc<dyn Engine>,
        agent: AgentClient,
        feed: Feed,
        document: Document,
        template: NodeTemplate,
        known: Vec<NodeName>,
    ) -> Self {
        Self {
            engine,
            agent,
            feed,
            followed: OnceCell::new(),
            info: document.info.clone(),
            template,
            document: Mutex::new(document),
            known: Mutex::new(known),
            held: None,
        }
    }

    /// The nodes run: the agent is told of them and given the document, and its events begin.
    pub(super) async fn launched(mut self, held: Held) -> Result<Self, RuntimeError> {
        let document = self.document.get_mut();
        keep(&self.agent, document).await?;
        tell(&self.agent, &self.template, document, self.known.get_mut()).await?;
        self.agent
            .follow()
            .await
            .map_err(|error| lost("failed to follow the nodes' events", error))?;
        self.followed = OnceCell::new_with(Some(()));
        self.held = Some(held);
        Ok(self)
    }

    /// Connects to a run whose agent lives.
    pub(super) async fn attach(engine: Arc<dyn Engine>, run: &RunId) -> Result<Self, RuntimeError> {
        let (agent, document, known, identity, feed) = connect(&*engine, run).await?;
        let template = document.template(identity);
        Ok(Self::new(engine, agent, feed, document, template, known))
    }

    /// The run's network.
    pub(super) async fn subnet(&self) -> Subnet {
        let (first, prefix) = self.document.lock().await.subnet;
        match first {
            IpAddr::V4(first) => Subnet::new(first, prefix),
            IpAddr::V6(_) => unreachable!("networks are made from IPv4 subnets only"),
        }
    }

    /// Follows the nodes' events, unless that was done before.
    async fn follow(&self) -> Result<(), RuntimeError> {
        let follow = || async {
            self.feed
                .watch(self.engine.clone(), self.info.run.clone(), None);
            self.agent.follow().await
        };
        let followed = self.followed.get_or_try_init(follow).await;
        followed
            .map(|_| ())
            .map_err(|error| lost("failed to follow the nodes' events", error))
    }

    fn container(&self, node: &NodeName) -> Result<String, RuntimeError> {
        self.planned(node).map(|_| node::name(&self.info.run, node))
    }

    fn planned(&self, node: &NodeName) -> Result<&PlannedNode, RuntimeError> {
        let found = self
            .info
            .plan
            .nodes
            .iter()
            .find(|planned| planned.name == *node);
        found.ok_or_else(|| RuntimeError::new(format!("there is no node `{node}`")))
    }

    async fn change(&self, container: &str, verb: NodeVerb) -> Result<(), EngineError> {
        match verb {
            NodeVerb::Kill => already(self.engine.kill_container(container).await),
            NodeVerb::Stop => self.engine.stop_container(container, STOP_SECONDS).await,
            NodeVerb::Start => self.engine.start_container(container).await,
            NodeVerb::Restart => {
                self.engine.stop_container(container, STOP_SECONDS).await?;
                self.engine.start_container(container).await
            }
            NodeVerb::Pause => self.engine.pause_container(container).await,
            NodeVerb::Resume => self.engine.unpause_container(container).await,
        }
    }
}

/// A process that is gone cannot be killed: that is what was wanted.
fn already(result: Result<(), EngineError>) -> Result<(), EngineError> {
    match result {
        Err(error) if error.kind == ErrorKind::Conflict => Ok(()),
        other => other,
    }
}

fn lost(operation: &str, error: AgentError) -> RuntimeError {
    RuntimeError::with_source(operation, error)
}

async fn keep(agent: &AgentClient, document: &Document) -> Result<(), RuntimeError> {
    let operation = "failed to keep the run's document with the agent";
    let value = serde_json::to_value(document)
        .map_err(|error| RuntimeError::with_source(operation, error))?;
    agent
        .put_state(value)
        .await
        .map_err(|error| lost(operation, error))
}

async fn tell(
    agent: &AgentClient,
    template: &NodeTemplate,
    document: &Document,
    nodes: &[NodeName],
) -> Result<(), RuntimeError> {
    let configure = configure(
        &template.identity,
        document.subnet,
        &template.context,
        nodes,
    );
    let told = agent.configure(configure).await;
    told.map_err(|error| lost("failed to tell the agent of the nodes", error))
}

/// What one finds of a run through the engine's socket.
type Found = (AgentClient, Document, Vec<NodeName>, Identity, Feed);

/// Finds the run's agent and asks it what it keeps.
pub(super) async fn connect(engine: &dyn Engine, run: &RunId) -> Result<Found, RuntimeError> {
    let operation = format!("failed to connect to run `{run}`");
    let found = engine.containers(&of_run(run)).await;
    let containers = found.map_err(|error| error.during(&operation))?;
    let agent = containers
        .iter()
        .find(|container| Part::of(&container.labels) == Some(Part::Agent))
        .filter(|container| container.state == ContainerState::Running);
    let Some((agent, identity)) =
        agent.and_then(|agent| Some((agent, Identity::read(&agent.labels)?)))
    else {
        return Err(RuntimeError::new(operation)
            .hint("its agent does not run; `netsplit down` removes what is left"));
    };
    let pipe = engine
        .exec(&agent.id, &["/netsplit", "agent", "connect"])
        .await;
    let pipe = pipe.map_err(|error| error.during(&operation))?;
    let (client, pushes) = AgentClient::new(pipe.reader, pipe.writer);
    let state = match tokio::time::timeout(CONNECT, client.get_state()).await {
        Ok(state) => state.map_err(|error| {
            let error = RuntimeError::with_source(&operation, error);
            pipe.last_words
                .lines()
                .into_iter()
                .fold(error, RuntimeError::hint)
        })?,
        Err(late) => return Err(RuntimeError::with_source(operation, late)),
    };
    let document: Document = serde_json::from_value(state).map_err(|error| {
        RuntimeError::with_source(operation, error)
            .hint("it may still be starting, or have been made by another version of netsplit")
    })?;
    let names = containers
        .iter()
        .filter_map(|container| container.labels.get(NODE));
    let known = names.cloned().map(NodeName).collect();
    let feed = Feed::open();
    feed.hear(pushes, pipe.last_words);
    Ok((client, document, known, identity, feed))
}

/// Whether a run was let go; `None` when its agent does not say.
pub(super) async fn lease(engine: &dyn Engine, run: &RunId) -> Option<Lease> {
    connect(engine, run)
        .await
        .ok()
        .map(|(_, document, ..)| document.lease)
}

#[async_trait]
impl Testnet for DockerTestnet {
    fn info(&self) -> &RunInfo {
        &self.info
    }

    fn now(&self) -> Timestamp {
        now()
    }

    async fn sleep_until(&self, at: Timestamp) {
        // Looked at again after each sleep: the wall clock may be set meanwhile.
        loop {
            let rest = at - now();
            if rest.is_zero() {
                return;
            }
            tokio::time::sleep(rest.min(Duration::from_secs(1))).await;
        }
    }

    async fn next_event(&self) -> Option<NetEvent> {
        if let Err(error) = self.follow().await {
            tracing::debug!(%error, "the agent's loss follows in the stream");
        }
        self.feed.next().await
    }

    async fn rpc(&self, node: &NodeName, method: &str, params: Value) -> Result<Value, CallError> {
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

    async fn apply(&self, table: LinkTable) -> Result<Applied, RuntimeError> {
        let applied = self.agent.apply(table).await;
        applied.map_err(|error| lost("failed to change the links", error))
    }

    async fn counters(&self) -> Result<Counters, RuntimeError> {
        let counters = self.agent.counters().await;
        counters.map_err(|error| lost("failed to read the counters of dropped packets", error))
    }

    async fn node(&self, node: &NodeName, verb: NodeVerb) -> Result<(), RuntimeError> {
        let container = self.container(node)?;
        self.change(&container, verb).await.map_err(|error| {
            let verb = format!("{verb:?}").to_lowercase();
            error.during(format_args!("failed to {verb} node `{node}`"))
        })
    }

    async fn join(&self, node: &NodeName) -> Result<(), RuntimeError> {
        let spec = self.template.spec(&self.info.plan, self.planned(node)?)?;
        let operation = format!("failed to let `{node}` join");
        if let Some(held) = &self.held {
            let intent = held.journal.intend([Thing::Container(spec.name.clone())]);
            intent.map_err(|error| RuntimeError::with_source(&operation, error))?;
        }
        let created = self.engine.create_container(&spec).await;
        created.map_err(|error| error.during(&operation))?;
        let started = self.engine.start_container(&spec.name).await;
        started.map_err(|error| error.during(&operation))?;
        let mut known = self.known.lock().await;
        known.push(node.clone());
        let document = self.document.lock().await;
        tell(&self.agent, &self.template, &document, &known).await
    }

    async fn states(&self) -> Result<BTreeMap<NodeName, NodeState>, RuntimeError> {
        let states = events::node_states(&*self.engine, &self.info.run).await;
        let states = states.map_err(|error| error.during("failed to ask how the nodes are"))?;
        let nodes = self.info.plan.nodes.iter().map(|planned| {
            let state = match states.get(&planned.name) {
                Some(ContainerState::Running) => NodeState::Running,
                Some(ContainerState::Paused) => NodeState::Paused,
                Some(ContainerState::Exited | ContainerState::Created) => NodeState::Exited,
                None if planned.joins => NodeState::Planned,
                None => NodeState::Exited,
            };
            (planned.name.clone(), state)
        });
        Ok(nodes.collect())
    }

    async fn logs(&self, node: &NodeName, lines: usize) -> Result<Vec<String>, RuntimeError> {
        let logs = self.engine.logs(&self.container(node)?, lines).await;
        logs.map_err(|error| error.during(format_args!("failed to read the log of `{node}`")))
    }

    async fn follow_logs(
        &self,
        node: &NodeName,
        lines: mpsc::Sender<String>,
    ) -> Result<(), RuntimeError> {
        let mut log = self.engine.follow_logs(&self.container(node)?);
        loop {
            let line = tokio::select! {
                line = log.next() => line,
                () = lines.closed() => return Ok(()),
            };
            let Some(line) = line else { return Ok(()) };
            let line = line.map_err(|error| {
                error.during(format_args!("failed to follow the log of `{node}`"))
            })?;
            if lines.send(line).await.is_err() {
                return Ok(());
            }
        }
    }

    async fn tunnel(
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

    fn credentials(&self) -> (String, String) {
        (
            self.template.context.rpc_user.clone(),
            self.template.context.rpc_password.clone(),
        )
    }

    async fn put_state(&self, state: Value) -> Result<(), RuntimeError> {
        let mut document = self.document.lock().await;
        document.runner = state;
        keep(&self.agent, &document).await
    }

    async fn get_state(&self) -> Result<Value, RuntimeError> {
        let state = self.agent.get_state().await;
        let state = state.map_err(|error| lost("failed to read the run's document", error))?;
        Ok(state.get("runner").cloned().unwrap_or_default())
    }

    async fn detach(mut self: Box<Self>) -> Result<(), RuntimeError> {
        let Some(held) = self.held.take() else {
            return Ok(());
        };
        if self.template.identity.ownership == Ownership::Owned {
            // The stream closes with `held`, and the reaper does what it is for.
            return Err(RuntimeError::new(format!(
                "run `{}` was started to end with its maker and cannot be left alone",
                self.info.run
            )));
        }
        let document = self.document.get_mut();
        document.lease = Lease::Detached;
        keep(&self.agent, document).await?;
        held.reaper.detach(&*self.engine, &self.info.run).await?;
        held.journal.note(Entry::Detached);
        Ok(())
    }

    async fn teardown(mut self: Box<Self>, progress: ProgressSink) -> Teardown {
        self.feed.close();
        // Kept to the end: the reaper finishes what we cannot.
        let held = self.held.take();
        if let Some(held) = &held {
            held.reaper.expect_end();
        }
        let run = &self.info.run;
        let removed = teardown::remove_run(&*self.engine, run, By::Client, &progress).await;
        let teardown = removed.unwrap_or_else(|error| Teardown {
            removed: 0,
            left: vec![format!("everything of run `{run}`: {error}")],
        });
        if let Some(held) = held {
            held.journal.note(Entry::Ended {
                left: teardown.left.clone(),
            });
        }
        teardown
    }
}

impl Drop for DockerTestnet {
    fn drop(&mut self) {
        if self.held.is_some() {
            tracing::warn!(run = %self.info.run, "dropped without teardown: the reaper removes it");
        }
    }
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
