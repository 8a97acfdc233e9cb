//! A runtime without processes, for the tests of whoever drives one: it records what it is asked, answers from a
//! script, and can be told to fail at any call.
//!
//! Its clock is tokio's: under `#[tokio::test(start_paused = true)]` time is virtual and jumps to the next thing that
//! happens. Nodes have no behaviour of their own; what they say and answer comes from the test, except for the probes
//! and sockets, which are answered from the link table in force.
//!
//! - [`net`]: the script and the record.
//! - `links`: which packets pass.
//! - `testnet`: the [`Testnet`] over both.

mod links;
pub mod net;
mod testnet;

use async_trait::async_trait;
use netsplit_plan::plan::Plan;

pub use self::net::{Call, FakeNet};
use self::testnet::FakeTestnet;
use crate::{
    Diagnosis, Launch, Progress, ProgressSink, RunId, RunSummary, Runtime, RuntimeError, Teardown,
    Testnet,
};

/// Runs one testnet at a time, in memory.
#[derive(Clone, Debug, Default)]
pub struct FakeRuntime {
    net: FakeNet,
}

impl FakeRuntime {
    /// A runtime whose nodes start at once and connect to each other as far as the link table lets them.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The script and the record; may be used before, while and after a testnet runs.
    #[must_use]
    pub const fn net(&self) -> &FakeNet {
        &self.net
    }
}

#[async_trait]
impl Runtime for FakeRuntime {
    fn name(&self) -> &'static str {
        "fake"
    }

    async fn check(&self, _plan: &Plan) -> Result<(), RuntimeError> {
        self.net.record(Call::Check)
    }

    async fn launch(
        &self,
        launch: Launch,
        progress: ProgressSink,
    ) -> Result<Box<dyn Testnet>, RuntimeError> {
        self.net.record(Call::Launch {
            run: launch.run.clone(),
        })?;
        let nodes = launch.plan.nodes.iter().filter(|node| !node.joins);
        let names: Vec<_> = nodes.map(|node| node.name.clone()).collect();
        for phase in ["create", "start"] {
            // Progress is a courtesy: nobody has to listen.
            let _ = progress.send(Progress::Phase {
                name: phase,
                total: names.len(),
            });
            for name in &names {
                let _ = progress.send(Progress::Step {
                    name: phase,
                    item: name.0.clone(),
                });
            }
        }
        let info = self.net.begin(launch, "fake");
        for name in &names {
            self.net.started(name);
        }
        Ok(Box::new(FakeTestnet::new(self.net.clone(), info)))
    }

    async fn list(&self) -> Result<Vec<RunSummary>, RuntimeError> {
        self.net.record(Call::List)?;
        Ok(self.net.summary().into_iter().collect())
    }

    async fn attach(&self, run: &RunId) -> Result<Box<dyn Testnet>, RuntimeError> {
        self.net.record(Call::Attach { run: run.clone() })?;
        match self.net.info().filter(|info| info.run == *run) {
            Some(info) => Ok(Box::new(FakeTestnet::new(self.net.clone(), info))),
            None => Err(RuntimeError::new(format!("there is no run `{run}`"))),
        }
    }

    async fn remove(&self, run: &RunId, progress: ProgressSink) -> Result<Teardown, RuntimeError> {
        self.net.record(Call::Remove { run: run.clone() })?;
        Ok(self.net.end(&progress))
    }

    async fn gc(&self) -> Result<Vec<(RunId, Teardown)>, RuntimeError> {
        self.net.record(Call::Gc)?;
        Ok(Vec::new())
    }

    async fn doctor(&self) -> Vec<Diagnosis> {
        vec![Diagnosis {
            what: "memory".into(),
            ok: true,
            detail: "the fake runtime needs nothing else".into(),
            hint: None,
        }]
    }
}

#[cfg(test)]
mod tests;
