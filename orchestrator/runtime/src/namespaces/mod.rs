//! Testnets of processes in Linux namespaces: no daemon, no root.
//!
//! A run is one process tree, the supervisor and its nodes, below one guard; a directory, and in it a socket that answers as
//! long as the run lives.
//!
//! - `protocol`: what the client and a run's supervisor say to each other.
//! - [`supervisor`]: the process that a run is.
//! - `client`, `process`, `readable`: how others speak to it, and watch its process.
//! - `nodes`, `logs`: what nodes are made of, and what they leave behind to be read.
//! - `launch`, `testnet`: a run's life. `runs`: which there are, and their end.
//! - `doctor`: whether a run could live here.

mod client;
mod doctor;
mod launch;
mod logs;
mod nodes;
mod process;
pub(crate) mod protocol;
mod readable;
mod runs;
pub mod supervisor;
mod testnet;

use std::path::PathBuf;

use async_trait::async_trait;
use netsplit_plan::plan::Plan;

use self::{protocol::Limits, testnet::NamespacesTestnet};
use crate::{
    Diagnosis, Launch, ProgressSink, RunId, RunSummary, Runtime, RuntimeError, Teardown, Testnet,
};

/// What this runtime is called.
const NAME: &str = "namespaces";

/// Runs testnets as processes of this user.
#[derive(Clone, Debug)]
pub struct Namespaces {
    runs: PathBuf,
    limits: Limits,
}

impl Namespaces {
    /// Testnets whose directories are below `runs`, usually `$XDG_STATE_HOME/netsplit`. The program of this process has to
    /// have the subcommand `supervisor DIRECTORY` ([`supervisor::serve`]).
    pub fn new(runs: impl Into<PathBuf>) -> Self {
        Self {
            runs: runs.into(),
            limits: Limits::default(),
        }
    }

    /// Limits every node to so many bytes of memory, where the machine lets us.
    #[must_use]
    pub const fn with_node_memory(mut self, bytes: u64) -> Self {
        self.limits.memory = Some(bytes);
        self
    }

    /// Limits every node to so many processors' worth of time, e.g. 0.5, where the machine lets us.
    #[must_use]
    pub const fn with_node_cpus(mut self, cpus: f64) -> Self {
        self.limits.cpus = Some(cpus);
        self
    }
}

#[async_trait]
impl Runtime for Namespaces {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn check(&self, plan: &Plan) -> Result<(), RuntimeError> {
        let count = plan.nodes.len();
        if count > nodes::MOST_NODES {
            let most = nodes::MOST_NODES;
            return Err(RuntimeError::new(format!(
                "{count} nodes do not fit into one network: it has {most} addresses"
            ))
            .hint("use fewer nodes"));
        }
        if let Some((reason, remedy)) =
            supervisor::room::too_tight(&supervisor::room::bounds(), count)
        {
            return Err(RuntimeError::new(reason).hint(remedy));
        }
        // What else may be missing shows only when it is tried.
        let testnet = crate::doctor::start(self).await?;
        crate::doctor::remove(testnet).await;
        Ok(())
    }

    async fn launch(
        &self,
        launch: Launch,
        progress: ProgressSink,
    ) -> Result<Box<dyn Testnet>, RuntimeError> {
        let launched = Box::pin(launch::launch(launch, self.limits, progress));
        Ok(Box::new(launched.await?))
    }

    async fn list(&self) -> Result<Vec<RunSummary>, RuntimeError> {
        runs::list(&self.runs).await
    }

    async fn attach(&self, run: &RunId) -> Result<Box<dyn Testnet>, RuntimeError> {
        let Some(found) = runs::find(&self.runs, run).await? else {
            let operation = format!("failed to connect to run `{run}`");
            return Err(RuntimeError::new(operation).hint("there is no such run"));
        };
        let attached = Box::pin(NamespacesTestnet::attach(found.directory, run));
        Ok(Box::new(attached.await?))
    }

    async fn remove(&self, run: &RunId, progress: ProgressSink) -> Result<Teardown, RuntimeError> {
        runs::remove(&self.runs, run, &progress).await
    }

    async fn gc(&self) -> Result<Vec<(RunId, Teardown)>, RuntimeError> {
        runs::collect(&self.runs).await
    }

    async fn doctor(&self) -> Vec<Diagnosis> {
        doctor::examine(self).await
    }
}
