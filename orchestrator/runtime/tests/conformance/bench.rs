//! A runtime under test, and what tests ask it for.

use std::{
    panic::{AssertUnwindSafe, resume_unwind},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use futures_util::FutureExt;
use netsplit_api::{
    config::{ChainNetwork, Role},
    event::Event,
};
use netsplit_plan::plan::{NodeName, Plan, PlannedChain, PlannedNode};
use netsplit_runtime::{
    Launch, NetEvent, Ownership, RunId, RunSummary, Runtime, RuntimeError, Teardown, Testnet,
    docker::Docker, namespaces::Namespaces,
};
use tokio::{sync::mpsc, time::timeout};

/// Nothing here takes longer unless it is stuck.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Docker,
    Namespaces,
}

impl Kind {
    pub(crate) fn named(name: &str) -> Self {
        match name {
            "docker" => Self::Docker,
            "namespaces" => Self::Namespaces,
            _ => panic!("no runtime is called `{name}`"),
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Namespaces => "namespaces",
        }
    }

    /// Things of a run beside its nodes that a removal counts: the agent and the network, or the supervisor.
    pub(crate) const fn others(self) -> usize {
        match self {
            Self::Docker => 2,
            Self::Namespaces => 1,
        }
    }
}

/// A runtime whose runs have their directories in a place of their own.
pub(crate) struct Bench {
    pub(crate) kind: Kind,
    pub(crate) runtime: Box<dyn Runtime>,
    home: PathBuf,
    _home: Option<tempfile::TempDir>,
}

impl Bench {
    pub(crate) async fn open(kind: Kind) -> Self {
        let home = tempfile::tempdir().unwrap();
        let bench = Self::at(kind, home.path()).await;
        Self {
            _home: Some(home),
            ..bench
        }
    }

    /// One whose runs are in a directory that somebody else made.
    pub(crate) async fn at(kind: Kind, home: &Path) -> Self {
        let runtime: Box<dyn Runtime> = match kind {
            Kind::Docker => {
                let docker = Docker::connect().await.expect("a Docker engine is needed");
                Box::new(docker.with_runs(home))
            }
            Kind::Namespaces => Box::new(Namespaces::new(home)),
        };
        Self {
            kind,
            runtime,
            home: home.to_owned(),
            _home: None,
        }
    }

    pub(crate) fn home(&self) -> &Path {
        &self.home
    }

    pub(crate) fn directory(&self, run: &RunId) -> PathBuf {
        self.home.join(&run.0)
    }

    pub(crate) fn request(&self, run: &RunId, nodes: &[&str], ownership: Ownership) -> Launch {
        Launch {
            plan: plan(nodes),
            run: run.clone(),
            name: run.0.clone(),
            ownership,
            directory: self.directory(run),
            node_binary: None,
        }
    }

    pub(crate) async fn try_launch(
        &self,
        launch: Launch,
    ) -> Result<Box<dyn Testnet>, RuntimeError> {
        let progress = mpsc::unbounded_channel().0;
        self.runtime.launch(launch, progress).await
    }

    pub(crate) async fn launch(
        &self,
        run: &RunId,
        nodes: &[&str],
        ownership: Ownership,
    ) -> Box<dyn Testnet> {
        let launched = self.try_launch(self.request(run, nodes, ownership)).await;
        launched.unwrap_or_else(|error| panic!("{error:?}"))
    }

    pub(crate) async fn remove(&self, run: &RunId) -> Teardown {
        let progress = mpsc::unbounded_channel().0;
        self.runtime.remove(run, progress).await.unwrap()
    }

    pub(crate) async fn find(&self, run: &RunId) -> Option<RunSummary> {
        let runs = self.runtime.list().await.unwrap();
        runs.into_iter().find(|found| found.run == *run)
    }

    /// Removes these runs after the test, whatever comes of it: nobody else ends a run that was let go.
    pub(crate) async fn removing(&self, runs: &[&RunId], test: impl Future<Output = ()>) {
        let ended = AssertUnwindSafe(test).catch_unwind().await;
        for run in runs {
            self.remove(run).await;
        }
        if let Err(panic) = ended {
            resume_unwind(panic);
        }
    }

    /// Waits until nothing of the run is to be seen, and makes sure that nothing is to be removed.
    pub(crate) async fn gone(&self, run: &RunId) {
        let since = Instant::now();
        while let Some(found) = self.find(run).await {
            assert!(since.elapsed() < PATIENCE, "{found:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(self.remove(run).await, Teardown::default());
        if self.kind == Kind::Namespaces {
            let nodes = self.directory(run).join("nodes");
            assert!(!nodes.exists(), "{}", nodes.display());
        }
    }
}

pub(crate) async fn teardown(testnet: Box<dyn Testnet>) -> Teardown {
    testnet.teardown(mpsc::unbounded_channel().0).await
}

/// A removal of everything.
pub(crate) fn removed(count: usize) -> Teardown {
    Teardown {
        removed: count,
        left: Vec::new(),
    }
}

/// A plan of nodes; those called `late…` join later.
pub(crate) fn plan(names: &[&str]) -> Plan {
    let node = |(place, name): (usize, &&str)| PlannedNode {
        name: NodeName((*name).into()),
        group: "n".into(),
        host: u32::try_from(place).unwrap() + 2,
        roles: [Role::Full].into(),
        zone: None,
        behaviour: Default::default(),
        seed: format!("{place:064x}"),
        discovery: Vec::new(),
        relay: Default::default(),
        sync: Default::default(),
        peers: Default::default(),
        timers: Default::default(),
        durability: Default::default(),
        share: None,
        joins: name.starts_with("late"),
    };
    Plan {
        name: "test".into(),
        description: String::new(),
        seed: 1,
        chain: PlannedChain {
            network: ChainNetwork::Regtest,
            block_interval_ms: 1000,
            premine: 0,
            payees: Vec::new(),
        },
        nodes: names.iter().enumerate().map(node).collect(),
        steps: Vec::new(),
        timeout_ms: None,
    }
}

/// An id nobody else on this machine has.
pub(crate) fn run_id(kind: &str) -> RunId {
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_micros();
    let now = u64::try_from(now).unwrap() & 0xffff_ffff;
    RunId(format!("test-{kind}-{now:08x}"))
}

pub(crate) fn name(name: &str) -> NodeName {
    NodeName(name.into())
}

/// The next event that `pick` takes.
pub(crate) async fn event<T>(testnet: &dyn Testnet, pick: impl Fn(NetEvent) -> Option<T>) -> T {
    let found = async {
        loop {
            let event = testnet.next_event().await.expect("the events go on");
            if let Some(found) = pick(event) {
                return found;
            }
        }
    };
    let found = timeout(PATIENCE, found).await;
    found.expect("the event comes in time")
}

/// The node and number of a start.
pub(crate) fn start(event: NetEvent) -> Option<(String, u64)> {
    match event {
        NetEvent::Node {
            node,
            incarnation,
            record,
        } => matches!(record.event, Event::NodeStarted { .. }).then_some((node.0, incarnation)),
        _ => None,
    }
}

/// The number of the start that a node told of.
pub(crate) async fn started(testnet: &dyn Testnet, wanted: &str) -> u64 {
    let of_wanted = |event| start(event).filter(|(node, _)| node == wanted);
    event(testnet, of_wanted).await.1
}

/// What a node ended with, and its last lines.
pub(crate) async fn exited(testnet: &dyn Testnet, wanted: &str) -> (Option<i64>, Vec<String>) {
    event(testnet, |event| match event {
        NetEvent::NodeExited {
            node,
            code,
            last_lines,
        } if node.0 == wanted => Some((code, last_lines)),
        _ => None,
    })
    .await
}
