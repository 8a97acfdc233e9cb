//! A testnet of processes: these through the supervisor, everything else through the agent.

use std::{collections::BTreeMap, path::PathBuf, process::Child, sync::Arc, time::Duration};

use async_trait::async_trait;
use netsplit_faults::link::{Applied, Counters, LinkTable};
use netsplit_plan::plan::{NodeName, NodeVerb};
use serde_json::Value;
use tokio::{net::TcpStream, sync::mpsc, time::timeout};

use super::{
    client::{self, Client},
    launch::{Recipe, Told, hear, reap},
    logs::{self, Follower},
    nodes::{self, Template},
    protocol::{Door, Message},
    runs,
};
use crate::{
    CallError, NetEvent, NodeState, Ownership, ProgressSink, RunId, RunInfo, RuntimeError,
    Teardown, Testnet, Timestamp, clock,
    document::Document,
    driven::{Driven, lost},
    feed::Feed,
    journal::{Entry, Journal},
};

/// How long a run may take to answer a new client.
const CONNECT: Duration = Duration::from_secs(15);

/// What only the maker of a run has.
#[derive(Debug)]
pub(super) struct Held {
    /// The guard, our child.
    pub(super) child: Child,
    pub(super) journal: Arc<Journal>,
    pub(super) ownership: Ownership,
}

/// A testnet of processes in namespaces.
pub(crate) struct NamespacesTestnet {
    /// Of the maker: the stream that an owned run depends on.
    supervisor: Client,
    driven: Driven<Recipe>,
    directory: PathBuf,
    held: Option<Held>,
}

impl NamespacesTestnet {
    pub(super) const fn new(
        supervisor: Client,
        driven: Driven<Recipe>,
        directory: PathBuf,
        held: Option<Held>,
    ) -> Self {
        Self {
            supervisor,
            driven,
            directory,
            held,
        }
    }

    /// Connects to the run in this directory.
    ///
    /// # Errors
    /// When nobody answers there.
    pub(super) async fn attach(directory: PathBuf, run: &RunId) -> Result<Self, RuntimeError> {
        let operation = format!("failed to connect to run `{run}`");
        match timeout(CONNECT, Self::connect(directory, &operation)).await {
            Ok(connected) => connected,
            Err(late) => Err(RuntimeError::with_source(operation, late)),
        }
    }

    async fn connect(directory: PathBuf, operation: &str) -> Result<Self, RuntimeError> {
        let open = async |door| {
            let stream = client::connect(&directory, door).await;
            stream.map_err(|error| {
                RuntimeError::with_source(operation, error)
                    .hint("its supervisor does not run; `netsplit down` removes what is left")
            })
        };
        let (supervisor, pushes) = Client::new(open(Door::Supervisor).await?);
        let feed = Feed::open();
        let agent = hear(&feed, open(Door::Agent).await?, &directory);
        let told = Told {
            directory: directory.clone(),
            progress: mpsc::unbounded_channel().0.downgrade(),
        };
        feed.tell(|events| told.tell(pushes, events));
        let state = agent.get_state().await;
        let state = state.map_err(|error| lost(operation, error))?;
        let document: Document<Recipe> = serde_json::from_value(state).map_err(|error| {
            RuntimeError::with_source(operation, error)
                .hint("it may still be starting, or have been made by another version of netsplit")
        })?;
        let status = supervisor.status().await;
        let status = status.map_err(|error| error.during(operation))?;
        let known = status.nodes.into_keys().collect();
        let driven = Driven::new(agent, feed, document, None, known);
        Ok(Self::new(supervisor, driven, directory, None))
    }

    /// Begins to hear of processes that end.
    async fn watch(&self) -> Result<(), RuntimeError> {
        let watched = self.supervisor.watch().await;
        watched.map_err(|error| error.during("failed to watch the nodes' processes"))
    }

    fn log(&self, node: &NodeName) -> Result<PathBuf, RuntimeError> {
        let planned = self.driven.planned(node)?;
        Ok(nodes::log(&self.directory, &planned.name))
    }

    /// Returns when the node's process has ended, or the run.
    async fn ended(&self, node: &NodeName) -> Result<(), RuntimeError> {
        let operation = format!("failed to watch the process of `{node}`");
        let stream = client::connect(&self.directory, Door::Supervisor).await;
        let stream = stream.map_err(|error| RuntimeError::with_source(&operation, error))?;
        let (client, mut pushes) = Client::new(stream);
        let asked = async {
            // Watching before looking: its end cannot fall between the two.
            client.watch().await?;
            client.status().await
        };
        let status = asked.await.map_err(|error| error.during(operation))?;
        let state = status.nodes.get(node).map(|node| node.state);
        if !matches!(state, Some(NodeState::Running | NodeState::Paused)) {
            return Ok(());
        }
        while let Some(message) = pushes.recv().await {
            if matches!(message, Message::Exited { node: ended, .. } if ended == *node) {
                break;
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Testnet for NamespacesTestnet {
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
        self.driven.next_event(self.watch()).await
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
        self.driven.planned(node)?;
        self.supervisor.act(node, verb).await.map_err(|error| {
            let verb = format!("{verb:?}").to_lowercase();
            error.during(format_args!("failed to {verb} node `{node}`"))
        })
    }

    async fn join(&self, node: &NodeName) -> Result<(), RuntimeError> {
        let planned = self.driven.planned(node)?;
        let spec = {
            let document = self.driven.document().await;
            let template = Template {
                directory: &self.directory,
                context: document.context(),
                limits: document.made_from.limits,
            };
            template.prepare(&self.driven.info().plan, planned)?
        };
        let launched = self.supervisor.launch(vec![spec]).await;
        launched.map_err(|error| error.during(format_args!("failed to let `{node}` join")))?;
        self.driven.introduce([node.clone()]).await
    }

    async fn states(&self) -> Result<BTreeMap<NodeName, NodeState>, RuntimeError> {
        let status = self.supervisor.status().await;
        let status = status.map_err(|error| error.during("failed to ask how the nodes are"))?;
        let nodes = self.driven.info().plan.nodes.iter().map(|planned| {
            let state = match status.nodes.get(&planned.name) {
                Some(node) => node.state,
                None if planned.joins => NodeState::Planned,
                None => NodeState::Exited,
            };
            (planned.name.clone(), state)
        });
        Ok(nodes.collect())
    }

    async fn logs(&self, node: &NodeName, lines: usize) -> Result<Vec<String>, RuntimeError> {
        let log = self.log(node)?;
        let operation = format!("failed to read the log of `{node}`");
        match tokio::task::spawn_blocking(move || logs::last(&log, lines)).await {
            Ok(read) => read.map_err(|error| RuntimeError::with_source(operation, error)),
            Err(error) => Err(RuntimeError::with_source(operation, error)),
        }
    }

    async fn follow_logs(
        &self,
        node: &NodeName,
        lines: mpsc::Sender<String>,
    ) -> Result<(), RuntimeError> {
        let log = self.log(node)?;
        let failed = |error| {
            RuntimeError::with_source(format!("failed to follow the log of `{node}`"), error)
        };
        let follower = Follower::open(&log).map_err(failed)?;
        let mut watched = Ok(());
        let end = async { watched = self.ended(node).await };
        follower.follow(end, &lines).await.map_err(failed)?;
        watched
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
        let run = &self.driven.info().run;
        if held.ownership == Ownership::Owned {
            // The stream closes with `self`, and the supervisor with it.
            return Err(RuntimeError::new(format!(
                "run `{run}` was started to end with its maker and cannot be left alone"
            )));
        }
        let detached = self.supervisor.detach().await;
        detached.map_err(|error| error.during(format_args!("failed to let go of run `{run}`")))?;
        held.journal.note(Entry::Detached);
        Ok(())
    }

    async fn teardown(mut self: Box<Self>, progress: ProgressSink) -> Teardown {
        self.driven.feed.close();
        let teardown = runs::end(&self.directory, &progress).await;
        if let Some(mut held) = self.held.take() {
            reap(&mut held.child);
        }
        teardown
    }
}

impl Drop for NamespacesTestnet {
    fn drop(&mut self) {
        if self.held.is_some() {
            let run = &self.driven.info().run;
            tracing::warn!(%run, "dropped without teardown: its supervisor ends with the stream");
        }
    }
}
