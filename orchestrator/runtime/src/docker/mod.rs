//! Testnets of containers on a Docker engine.
//!
//! One reaper, one internal bridge network, one agent and the nodes, all labelled; the engine is the truth about what
//! runs. Only this folder names bollard, and in it only `client` and `bodies`.
//!
//! - `engine`: the calls a run is made of; `client`, `bodies`: them, by bollard; `stream`: a container's stdin and stdout.
//! - `labels`, `network`, `image`, `node`: what things of a run are called and made of.
//! - `launch`, `flight`, `pending`, `testnet`, `events`, `document`: a run's life.
//! - [`reaper`], `teardown`, `gc`: its end.
//! - `doctor`: whether a run could live here.

mod bodies;
mod client;
mod doctor;
mod document;
mod engine;
mod events;
mod flight;
mod gc;
mod image;
mod labels;
mod launch;
mod network;
mod node;
mod pending;
pub mod reaper;
mod stream;
mod teardown;
mod testnet;

use std::{
    env,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use async_trait::async_trait;
use netsplit_plan::plan::Plan;

use self::{
    client::BollardEngine,
    engine::Engine,
    image::{Image, Programs},
    launch::Settings,
    pending::Pending,
    teardown::By,
    testnet::DockerTestnet,
};
use crate::{
    Diagnosis, Launch, ProgressSink, RunId, RunSummary, Runtime, RuntimeError, Teardown, Testnet,
};

/// What this runtime is called.
const NAME: &str = "docker";

/// Most nodes on one bridge: it has 1023 ports, and starts fail shortly before (moby#44973).
const MOST_NODES: usize = 1000;

/// Runs testnets on a Docker engine.
#[derive(Clone)]
pub struct Docker {
    engine: Arc<dyn Engine>,
    socket: String,
    node_memory: Option<i64>,
    runs: Option<PathBuf>,
    old_images: image::old::Rule,
    pending: Pending,
}

impl std::fmt::Debug for Docker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Docker")
            .field("socket", &self.socket)
            .finish_non_exhaustive()
    }
}

impl Docker {
    /// Connects to the engine that `DOCKER_HOST` names, else to the local one.
    ///
    /// # Errors
    /// No engine, no permission, an engine older than API 1.41; each with a hint.
    pub async fn connect() -> Result<Self, RuntimeError> {
        let engine = Arc::new(BollardEngine::connect().await?);
        Ok(Self {
            engine,
            socket: BollardEngine::socket(),
            node_memory: None,
            runs: state_home(),
            old_images: Default::default(),
            pending: Pending::default(),
        })
    }

    /// Looks for journals of dead runs below this directory, instead of `$XDG_STATE_HOME/netsplit`.
    #[must_use]
    pub fn with_runs(mut self, directory: impl Into<PathBuf>) -> Self {
        self.runs = Some(directory.into());
        self
    }

    /// Collects images of this name alone, once they were not used for so many whole seconds; for use beside other runs.
    #[must_use]
    pub fn with_old_images(mut self, name: impl Into<String>, unused: Duration) -> Self {
        let name = Some(name.into());
        self.old_images = image::old::Rule { name, unused };
        self
    }

    /// Limits every node to so many bytes of memory.
    #[must_use]
    pub const fn with_node_memory(mut self, bytes: i64) -> Self {
        self.node_memory = Some(bytes);
        self
    }

    fn settings(&self, node_binary: Option<&Path>) -> Settings {
        Settings {
            programs: Programs::of_this_process(node_binary),
            socket: self.socket.clone(),
            node_memory: self.node_memory,
        }
    }
}

/// Where runs keep their directories (XDG Base Directory Specification).
fn state_home() -> Option<PathBuf> {
    let state = env::var_os("XDG_STATE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute());
    let home = || env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/state"));
    state.or_else(home).map(|path| path.join("netsplit"))
}

#[async_trait]
impl Runtime for Docker {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn check(&self, plan: &Plan) -> Result<(), RuntimeError> {
        let nodes = plan.nodes.len();
        if nodes > MOST_NODES {
            return Err(RuntimeError::new(format!(
                "{nodes} nodes do not fit on one bridge network: it holds {MOST_NODES}"
            ))
            .hint("use fewer nodes"));
        }
        match tokio::task::spawn_blocking(|| Image::check(Path::new("/proc/self/exe"))).await {
            Ok(checked) => checked,
            Err(error) => Err(RuntimeError::with_source(
                "failed to read the own program",
                error,
            )),
        }
    }

    async fn launch(
        &self,
        launch: Launch,
        progress: ProgressSink,
    ) -> Result<Box<dyn Testnet>, RuntimeError> {
        let settings = self.settings(launch.node_binary.as_deref());
        let (run, stop) = (launch.run.clone(), Arc::new(AtomicBool::new(false)));
        let launched = launch::launch(
            self.engine.clone(),
            settings,
            launch,
            progress,
            stop.clone(),
        );
        let testnet = Box::pin(self.pending.wait(&run, stop, launched)).await?;
        Ok(Box::new(testnet))
    }

    async fn list(&self) -> Result<Vec<RunSummary>, RuntimeError> {
        gc::list(&*self.engine).await
    }

    async fn attach(&self, run: &RunId) -> Result<Box<dyn Testnet>, RuntimeError> {
        Ok(Box::new(
            DockerTestnet::attach(self.engine.clone(), run).await?,
        ))
    }

    async fn remove(&self, run: &RunId, progress: ProgressSink) -> Result<Teardown, RuntimeError> {
        let before = self.pending.settled(run).await;
        let mut teardown = teardown::remove_run(&*self.engine, run, By::Client, &progress).await?;
        teardown.removed += before;
        Ok(teardown)
    }

    async fn gc(&self) -> Result<Vec<(RunId, Teardown)>, RuntimeError> {
        gc::collect(&*self.engine, self.runs.as_deref(), &self.old_images).await
    }

    async fn doctor(&self) -> Vec<Diagnosis> {
        doctor::examine(self).await
    }
}

#[cfg(test)]
mod tests;
