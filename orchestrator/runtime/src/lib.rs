//! Where testnets run: every backend behind the two traits of this page.
//!
//! [`Runtime`] makes testnets and cleans up after dead ones; [`Testnet`] is one that runs. A runtime owns time, so that a
//! scenario can run unchanged under virtual time. Runtimes never call each other.
//!
//! - [`docker`]: containers on a Docker engine.
//! - [`error`]: what can go wrong, by operation, with hints.
//! - [`fake`]: a runtime in memory, for tests.
//! - [`journal`]: what a run is about to create, written down before; [`owner`]: whether its maker lives.
//! - [`namespaces`]: processes in Linux namespaces.
//! - `driven`, `document`, `feed`: what a testnet does through its agent, whatever it runs on; `doctor`, `state`, `clock`,
//!   `random`: other things that runtimes share.

mod clock;
pub mod docker;
mod doctor;
mod document;
mod driven;
pub mod error;
pub mod fake;
mod feed;
pub mod journal;
pub mod namespaces;
pub mod owner;
mod random;
mod state;

use std::{collections::BTreeMap, fmt, net::IpAddr, path::PathBuf, time::Duration};

use async_trait::async_trait;
use netsplit_api::{event::EventRecord, rpc::RpcError};
use netsplit_faults::link::{Applied, Counters, LinkTable};
use netsplit_plan::plan::{NodeName, NodeVerb, Plan};
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use crate::error::RuntimeError;

/// Identity of one run, e.g. `partition-7f3a9c21`: the topology's name and 8 random hex digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(pub String);

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A point on the runtime's clock, in nanoseconds since the Unix epoch (virtual time has an epoch of its own).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub u64);

impl std::ops::Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, rhs: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(rhs.as_nanos()).unwrap_or(u64::MAX)),
        )
    }
}

impl std::ops::Sub for Timestamp {
    type Output = Duration;

    /// Zero when `rhs` is later.
    fn sub(self, rhs: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(rhs.0))
    }
}

/// Who ends a testnet when its maker is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ownership {
    /// It lives and dies with the process that made it (`test`).
    Owned,
    /// It is owned until it is ready, then left behind (`up`, `test --keep`).
    Detachable,
}

/// What a runtime is asked to start.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The plan.
    pub plan: Plan,
    /// Identity of the run.
    pub run: RunId,
    /// Name people call it by; unique among running testnets.
    pub name: String,
    /// Who ends it.
    pub ownership: Ownership,
    /// Directory for the journal.
    pub directory: PathBuf,
    /// Binary packed into the nodes' image, if not the default one.
    pub node_binary: Option<PathBuf>,
}

/// How far a launch or a teardown is. Sent as it happens; never blocks the sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// A phase began: `image`, `network`, `reaper`, `agent`, `create`, `start`, `remove` …
    Phase {
        /// Its name.
        name: &'static str,
        /// Number of things it will do.
        total: usize,
    },
    /// One more of the phase's things is done.
    Step {
        /// The phase.
        name: &'static str,
        /// What is done, e.g. a node's name.
        item: String,
    },
}

/// Where progress goes.
pub type ProgressSink = tokio::sync::mpsc::UnboundedSender<Progress>;

/// Facts about a run that every command needs; kept by the agent, so that the engine's socket is enough to find them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunInfo {
    /// Identity.
    pub run: RunId,
    /// Name people call it by.
    pub name: String,
    /// `docker`, …
    pub runtime: String,
    /// The plan.
    pub plan: Plan,
    /// Address of every planned node, joiners included.
    pub addresses: BTreeMap<NodeName, IpAddr>,
    /// When the launch began.
    pub started: Timestamp,
}

/// Where a node's process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    /// Planned to join later.
    Planned,
    /// Its process runs.
    Running,
    /// Frozen.
    Paused,
    /// Its process ended.
    Exited,
}

/// Something a testnet tells without being asked.
#[derive(Clone, Debug)]
pub enum NetEvent {
    /// A node said what happened.
    Node {
        /// Who.
        node: NodeName,
        /// Which start of it.
        incarnation: u64,
        /// What.
        record: EventRecord,
    },
    /// A node's event stream was interrupted; it is being opened again.
    NodeSilent {
        /// Who.
        node: NodeName,
        /// Why.
        reason: String,
    },
    /// A node's process ended, whether by a step or not.
    NodeExited {
        /// Who.
        node: NodeName,
        /// Exit code, if the engine told one; 128 + n for signal n.
        code: Option<i64>,
        /// Its last log lines.
        last_lines: Vec<String>,
    },
    /// The agent is gone and with it every cut: nothing seen from now on proves anything.
    AgentLost {
        /// Why.
        reason: String,
    },
    /// The run's guard is gone: nobody would clean up after this process if it were killed. Only the run's maker is told.
    ReaperLost {
        /// Why.
        reason: String,
    },
}

/// What a teardown achieved.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Teardown {
    /// Things removed.
    pub removed: usize,
    /// Things that could not be removed, with the reason.
    pub left: Vec<String>,
}

/// A run found by [`Runtime::list`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunSummary {
    /// Identity.
    pub run: RunId,
    /// Name people call it by.
    pub name: String,
    /// Where it runs: `docker`, …
    pub runtime: String,
    /// `starting`, `owned`, `detached` or `dead`.
    pub state: String,
    /// Number of nodes.
    pub nodes: usize,
    /// When it was started, seconds since the epoch.
    pub started: u64,
}

/// One line of `doctor`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnosis {
    /// What was tried.
    pub what: String,
    /// Whether it works.
    pub ok: bool,
    /// What was seen.
    pub detail: String,
    /// What would help, if it does not work.
    pub hint: Option<String>,
}

/// A way to run testnets.
#[async_trait]
pub trait Runtime: Send + Sync {
    /// `docker`, …
    fn name(&self) -> &'static str;

    /// Checks, before anything is created, that this plan can run here with every fault it asks for.
    ///
    /// # Errors
    /// Names what is missing and what would provide it.
    async fn check(&self, plan: &Plan) -> Result<(), RuntimeError>;

    /// Starts all nodes that do not join later and returns when every start call has returned. On failure everything
    /// made so far is removed first.
    ///
    /// # Errors
    /// The first failure, with whatever could not be removed.
    async fn launch(
        &self,
        launch: Launch,
        progress: ProgressSink,
    ) -> Result<Box<dyn Testnet>, RuntimeError>;

    /// Runs that the engine knows, dead ones included.
    ///
    /// # Errors
    /// When the engine cannot be asked.
    async fn list(&self) -> Result<Vec<RunSummary>, RuntimeError>;

    /// Connects to a running testnet.
    ///
    /// # Errors
    /// When it is not there or its agent does not answer.
    async fn attach(&self, run: &RunId) -> Result<Box<dyn Testnet>, RuntimeError>;

    /// Removes a run by its identity alone, whatever state it is in.
    ///
    /// # Errors
    /// When the engine cannot be asked; what could not be removed is in the [`Teardown`].
    async fn remove(&self, run: &RunId, progress: ProgressSink) -> Result<Teardown, RuntimeError>;

    /// Removes what dead runs left. Never touches a living one or what is not ours.
    ///
    /// # Errors
    /// When the engine cannot be asked.
    async fn gc(&self) -> Result<Vec<(RunId, Teardown)>, RuntimeError>;

    /// Tries everything a run needs and says what works.
    async fn doctor(&self) -> Vec<Diagnosis>;
}

/// A testnet that runs. All methods may be called at the same time.
#[async_trait]
pub trait Testnet: Send + Sync {
    /// Facts about the run.
    fn info(&self) -> &RunInfo;

    /// The time.
    fn now(&self) -> Timestamp;

    /// Returns when the clock has reached `at`.
    async fn sleep_until(&self, at: Timestamp);

    /// The next event; `None` when there will be no more. One caller at a time.
    async fn next_event(&self) -> Option<NetEvent>;

    /// Calls a node's JSON-RPC, over a path that no cut touches.
    ///
    /// # Errors
    /// The node's own error, or that it could not be reached.
    async fn rpc(&self, node: &NodeName, method: &str, params: Value) -> Result<Value, CallError>;

    /// Brings all links into the state of `table` and reads back what the kernel then holds.
    ///
    /// # Errors
    /// When the enforcer fails or is gone.
    async fn apply(&self, table: LinkTable) -> Result<Applied, RuntimeError>;

    /// Packets dropped so far by each cut in force.
    ///
    /// # Errors
    /// When the enforcer fails or is gone.
    async fn counters(&self) -> Result<Counters, RuntimeError>;

    /// Does something to a node's process and returns when it is done: gone, started (not yet ready), frozen, thawed.
    ///
    /// # Errors
    /// When the engine refuses.
    async fn node(&self, node: &NodeName, verb: NodeVerb) -> Result<(), RuntimeError>;

    /// Creates and starts a node that was planned to join.
    ///
    /// # Errors
    /// When the engine refuses.
    async fn join(&self, node: &NodeName) -> Result<(), RuntimeError>;

    /// Where every planned node's process is, by the engine's word.
    ///
    /// # Errors
    /// When the engine cannot be asked.
    async fn states(&self) -> Result<BTreeMap<NodeName, NodeState>, RuntimeError>;

    /// The last `lines` lines of a node's log, oldest first.
    ///
    /// # Errors
    /// When the engine cannot be asked.
    async fn logs(&self, node: &NodeName, lines: usize) -> Result<Vec<String>, RuntimeError>;

    /// Sends every new log line of a node until the receiver is dropped or the node is gone.
    ///
    /// # Errors
    /// When the engine cannot be asked.
    async fn follow_logs(
        &self,
        node: &NodeName,
        lines: tokio::sync::mpsc::Sender<String>,
    ) -> Result<(), RuntimeError>;

    /// Carries bytes between `stream` and a TCP port of a node until either side closes.
    ///
    /// # Errors
    /// When the node's port does not answer.
    async fn tunnel(
        &self,
        node: &NodeName,
        port: u16,
        stream: tokio::net::TcpStream,
    ) -> Result<(), RuntimeError>;

    /// User name and password of the nodes' control API, for `forward`.
    fn credentials(&self) -> (String, String);

    /// Keeps the runner's own document with the agent (faults in force, …).
    ///
    /// # Errors
    /// When the agent is gone.
    async fn put_state(&self, state: Value) -> Result<(), RuntimeError>;

    /// The document kept last; `Null` if none.
    ///
    /// # Errors
    /// When the agent is gone.
    async fn get_state(&self) -> Result<Value, RuntimeError>;

    /// Lets go: from now on the testnet lives without us. Only for [`Ownership::Detachable`].
    ///
    /// # Errors
    /// When the testnet cannot live alone.
    async fn detach(self: Box<Self>) -> Result<(), RuntimeError>;

    /// Removes everything, in reverse order, never stopping at a failure.
    async fn teardown(self: Box<Self>, progress: ProgressSink) -> Teardown;
}

/// A call to a node failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The node answered with an error.
    #[error("{0}")]
    Node(RpcError),
    /// The node did not answer.
    #[error("`{node}` did not answer: {reason}")]
    Unreachable {
        /// Which node.
        node: NodeName,
        /// Why.
        reason: String,
    },
}
