//! A testnet on a Docker engine: processes through the engine, everything else through the agent.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures_util::StreamExt;
use netsplit_faults::{
    agent::client::AgentClient,
    link::{Applied, Counters, LinkTable},
};
use netsplit_plan::plan::{NodeName, NodeVerb};
use serde_json::Value;
use tokio::{net::TcpStream, sync::mpsc};

use super::{
    document::{Document, Lease, Recipe},
    engine::{ContainerState, Engine, EngineError, ErrorKind},
    events,
    labels::{Identity, NODE, Part, of_run},
    network,
    node::{self, NodeTemplate},
    reaper::ReaperHandle,
    teardown::{self, By},
};
use crate::{
    CallError, NetEvent, NodeState, Ownership, ProgressSink, RunId, RunInfo, RuntimeError,
    Teardown, Testnet, Timestamp, clock,
    driven::Driven,
    feed::Feed,
    journal::{Entry, Journal, Thing},
};

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
    driven: Driven<Recipe>,
    template: NodeTemplate,
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
        let device = Some(network::device(&document.info.run));
        Self {
            engine,
            driven: Driven::new(agent, feed, document, device, known),
            template,
            held: None,
        }
    }

    /// The nodes run: the agent is told of them and given the document, and its events begin.
    pub(super) async fn launched(mut self, held: Held) -> Result<Self, RuntimeError> {
        self.driven.keep(|_| ()).await?;
        self.driven.introduce([]).await?;
        self.driven.follow(async { Ok(()) }).await?;
        self.held = Some(held);
        Ok(self)
    }

    /// Connects to a run whose agent lives.
    pub(super) async fn attach(engine: Arc<dyn Engine>, run: &RunId) -> Result<Self, RuntimeError> {
        let (agent, document, known, identity, feed) = connect(&*engine, run).await?;
        let template = document.template(identity);
        Ok(Self::new(engine, agent, feed, document, template, known))
    }

    fn container(&self, node: &NodeName) -> Result<String, RuntimeError> {
        let planned = self.driven.planned(node)?;
        Ok(node::name(&self.info().run, &planned.name))
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
    feed.hear(pushes, move || pipe.last_words.lines().pop());
    Ok((client, document, known, identity, feed))
}

/// Whether a run was let go; `None` when its agent does not say.
pub(super) async fn lease(engine: &dyn Engine, run: &RunId) -> Option<Lease> {
    connect(engine, run)
        .await
        .ok()
        .map(|(_, document, ..)| document.made_from.lease)
}

#[async_trait]
impl Testnet for DockerTestnet {
    fn info(&self) -> &RunInfo {
        self.driven.info()
    }

    fn now(&self) -> Timestamp {
        clock::now()
    }

    async fn sleep_until(&self, at: Timestamp) {
        clock::sleep_until(at).await;
    }

    async fn next_event(&self) -> Option<NetEvent> {
        let watch = async {
            let (engine, run) = (self.engine.clone(), self.info().run.clone());
            events::watch(&self.driven.feed, engine, run, None);
            Ok(())
        };
        self.driven.next_event(watch).await
    }

    async fn rpc(&self, node: &NodeName, method: &str, params: Value) -> Result<Value, CallError> {
        self.driven.rpc(node, method, params).await
    }

    async fn apply(&self, table: LinkTable) -> Result<Applied, RuntimeError> {
        self.driven.apply(table).await
    }

    async fn counters(&self) -> Result<Counters, RuntimeError> {
        self.driven.counters().await
    }

    async fn node(&self, node: &NodeName, verb: NodeVerb) -> Result<(), RuntimeError> {
        let container = self.container(node)?;
        self.change(&container, verb).await.map_err(|error| {
            let verb = format!("{verb:?}").to_lowercase();
            error.during(format_args!("failed to {verb} node `{node}`"))
        })
    }

    async fn join(&self, node: &NodeName) -> Result<(), RuntimeError> {
        let spec = self
            .template
            .spec(&self.info().plan, self.driven.planned(node)?)?;
        let operation = format!("failed to let `{node}` join");
        if let Some(held) = &self.held {
            let intent = held.journal.intend([Thing::Container(spec.name.clone())]);
            intent.map_err(|error| RuntimeError::with_source(&operation, error))?;
        }
        let created = self.engine.create_container(&spec).await;
        created.map_err(|error| error.during(&operation))?;
        let started = self.engine.start_container(&spec.name).await;
        started.map_err(|error| error.during(&operation))?;
        self.driven.introduce([node.clone()]).await
    }

    async fn states(&self) -> Result<BTreeMap<NodeName, NodeState>, RuntimeError> {
        let states = events::node_states(&*self.engine, &self.info().run).await;
        let states = states.map_err(|error| error.during("failed to ask how the nodes are"))?;
        let nodes = self.info().plan.nodes.iter().map(|planned| {
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
        stream: TcpStream,
    ) -> Result<(), RuntimeError> {
        self.driven.tunnel(node, port, stream).await
    }

    fn credentials(&self) -> (String, String) {
        self.driven.credentials()
    }

    async fn put_state(&self, state: Value) -> Result<(), RuntimeError> {
        self.driven.keep(|document| document.runner = state).await
    }

    async fn get_state(&self) -> Result<Value, RuntimeError> {
        self.driven.get_state().await
    }

    async fn detach(mut self: Box<Self>) -> Result<(), RuntimeError> {
        let Some(held) = self.held.take() else {
            return Ok(());
        };
        if self.template.identity.ownership == Ownership::Owned {
            // The stream closes with `held`, and the reaper does what it is for.
            return Err(RuntimeError::new(format!(
                "run `{}` was started to end with its maker and cannot be left alone",
                self.info().run
            )));
        }
        let detached = |document: &mut Document| document.made_from.lease = Lease::Detached;
        self.driven.keep(detached).await?;
        held.reaper.detach(&*self.engine, &self.info().run).await?;
        held.journal.note(Entry::Detached);
        Ok(())
    }

    async fn teardown(mut self: Box<Self>, progress: ProgressSink) -> Teardown {
        self.driven.feed.close();
        // Kept to the end: the reaper finishes what we cannot.
        let held = self.held.take();
        if let Some(held) = &held {
            held.reaper.expect_end();
        }
        let run = &self.info().run;
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
            tracing::warn!(run = %self.info().run, "dropped without teardown: the reaper removes it");
        }
    }
}
