//! Starting a run with as few engine calls as possible: images, then the reaper; while that comes to life the network, the
//! agent and all nodes are created; then all nodes are started, eight in flight, without asking in between how they are.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use futures_util::{FutureExt, future::BoxFuture};
use netsplit_faults::{agent::client::AgentClient, protocol::Message};
use netsplit_plan::{node_config::RunContext, plan::PlannedNode};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use super::{
    document::{Document, Lease, Recipe},
    engine::{ContainerSpec, Engine, EngineError},
    events, flight,
    image::{Image, Programs},
    labels::Identity,
    network::{self, Subnet},
    node::{self, NodeTemplate},
    reaper::{self, ReaperHandle},
    stream::LastWords,
    teardown::{self, By},
    testnet::{DockerTestnet, Held},
};
pub(super) use crate::clock::now;
use crate::{
    Launch, Progress, ProgressSink, RunInfo, RuntimeError, Timestamp, clock,
    document::Credentials,
    feed::Feed,
    journal::{Entry, Journal, Thing},
    owner::Owner,
};

/// What a launch needs besides what it is asked for.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    /// Programs to pack.
    pub(super) programs: Programs,
    /// The engine's socket on the engine's host.
    pub(super) socket: String,
    /// Bytes of memory a node may have.
    pub(super) node_memory: Option<i64>,
}

/// Launches, or removes everything made so far and says why. Once `stop` is set, nothing new is begun.
pub(super) async fn launch(
    engine: Arc<dyn Engine>,
    settings: Settings,
    launch: Launch,
    progress: ProgressSink,
    stop: Arc<AtomicBool>,
) -> Result<DockerTestnet, RuntimeError> {
    let run = launch.run.clone();
    let attempt = Attempt::begin(engine.clone(), settings, launch, progress.clone(), stop).await?;
    let journal = attempt.journal.clone();
    match attempt.run().await {
        Ok(testnet) => Ok(testnet),
        Err(mut error) => {
            match teardown::remove_run(&*engine, &run, By::Client, &progress).await {
                Ok(teardown) => (error.removed, error.left) = (teardown.removed, teardown.left),
                Err(failed) => error.left = vec![format!("everything of run `{run}`: {failed}")],
            }
            journal.note(Entry::Ended {
                left: error.left.clone(),
            });
            Err(error)
        }
    }
}

struct Attempt {
    engine: Arc<dyn Engine>,
    settings: Settings,
    launch: Launch,
    progress: ProgressSink,
    identity: Identity,
    started: Timestamp,
    journal: Arc<Journal>,
    own: Image,
    node: Image,
    node_is_small: bool,
    credentials: Credentials,
    /// One side of the launch failed, or nobody wants it any more: nothing new is begun.
    failed: Arc<AtomicBool>,
}

/// The agent's line and what comes out of it.
type Agent = (AgentClient, mpsc::Receiver<Message>, LastWords);

impl Attempt {
    /// Everything that creates nothing in the engine.
    async fn begin(
        engine: Arc<dyn Engine>,
        settings: Settings,
        launch: Launch,
        progress: ProgressSink,
        failed: Arc<AtomicBool>,
    ) -> Result<Self, RuntimeError> {
        let programs = settings.programs.clone();
        let (own, node) = read_images(programs).await?;
        let owner = Owner::current().map_err(|error| {
            RuntimeError::with_source("failed to find out who this process is", error)
        })?;
        let journal = Journal::begin(&launch.directory, &launch.run, &owner);
        let journal = journal.map_err(|error| journal_failed(&launch.directory, error))?;
        let started = clock::now();
        let identity = Identity {
            run: launch.run.clone(),
            name: launch.name.clone(),
            owner,
            ownership: launch.ownership,
            started: clock::seconds(started),
        };
        Ok(Self {
            node_is_small: node.is_some(),
            node: node.unwrap_or_else(|| own.clone()),
            own,
            credentials: Credentials::random()?,
            journal: Arc::new(journal),
            engine,
            settings,
            launch,
            progress,
            identity,
            started,
            failed,
        })
    }

    async fn run(&self) -> Result<DockerTestnet, RuntimeError> {
        let (images, subnet) = tokio::join!(
            self.ensure_images(),
            network::free_subnet(&*self.engine, &self.launch.plan, &[]),
        );
        images?;
        let subnet = subnet?;
        self.wanted()?;
        let first = self.first_nodes();
        self.write_down(&first)?;
        self.phase("reaper", 1);
        let spec = node::reaper_spec(&self.identity, &self.own, &self.settings.socket);
        let reaper = reaper::create(&*self.engine, &spec).await?;
        // Listening before the first node starts: no death goes by unseen.
        let feed = Feed::open();
        events::watch(
            &feed,
            self.engine.clone(),
            self.launch.run.clone(),
            Some(self.identity.started),
        );
        // Neither side may be left while calls of its own are in flight: what they create would escape the removal.
        // The reaper is the first to be started.
        let (made, network) = oneshot::channel();
        let (watches, watched) = oneshot::channel();
        let (reaper, nodes, agent) = tokio::join!(
            biased;
            self.reaper_started(reaper, watches),
            self.network_and_nodes(subnet, &first, made, watched),
            self.agent_configured(network),
        );
        let reaper = reaper?;
        let (subnet, template) = nodes?;
        let (client, pushes, last_words) = agent?;
        self.wanted()?;
        let document = self.document(&template, subnet);
        let running = first.iter().map(|node| node.name.clone()).collect();
        feed.hear(pushes, move || last_words.lines().pop());
        let lease = Held {
            reaper,
            journal: self.journal.clone(),
        };
        let testnet = DockerTestnet::new(
            self.engine.clone(),
            client,
            feed,
            document,
            template,
            running,
        );
        testnet.launched(lease).await
    }

    fn phase(&self, name: &'static str, total: usize) {
        // Progress is a courtesy: nobody has to listen.
        let _ = self.progress.send(Progress::Phase { name, total });
    }

    async fn ensure_images(&self) -> Result<(), RuntimeError> {
        self.phase("image", 1);
        self.own.ensure(&*self.engine).await?;
        if self.node.reference != self.own.reference {
            self.node.ensure(&*self.engine).await?;
        }
        Ok(())
    }

    async fn reaper_started(
        &self,
        reaper: reaper::Dormant,
        watches: oneshot::Sender<()>,
    ) -> Result<ReaperHandle, RuntimeError> {
        let handle = reaper.start(&*self.engine).await;
        let handle = handle.inspect_err(|_| self.fail())?;
        // The nodes' side has ended if nobody listens; its error is the one that counts.
        let _ = watches.send(());
        Ok(handle)
    }

    /// Nodes that do not join later.
    fn first_nodes(&self) -> Vec<PlannedNode> {
        self.launch
            .plan
            .nodes
            .iter()
            .filter(|node| !node.joins)
            .cloned()
            .collect()
    }

    fn intend(&self, things: impl IntoIterator<Item = Thing>) -> Result<(), RuntimeError> {
        let intended = self.journal.intend(things);
        intended.map_err(|error| journal_failed(&self.launch.directory, error))
    }

    /// One sync for everything that follows.
    fn write_down(&self, nodes: &[PlannedNode]) -> Result<(), RuntimeError> {
        let run = &self.identity.run;
        let nodes = nodes
            .iter()
            .map(|planned| Thing::Container(node::name(run, &planned.name)));
        let first = [
            Thing::Container(node::reaper_name(run)),
            Thing::Network(network::name(run)),
            Thing::Container(node::agent_name(run)),
        ];
        self.intend(first.into_iter().chain(nodes))
    }

    async fn network_and_nodes(
        &self,
        subnet: Subnet,
        nodes: &[PlannedNode],
        made: oneshot::Sender<Subnet>,
        watched: oneshot::Receiver<()>,
    ) -> Result<(Subnet, NodeTemplate), RuntimeError> {
        self.phase("network", 1);
        let plan = &self.launch.plan;
        let subnet = network::create(&*self.engine, &self.identity, plan, subnet).await?;
        // The agent's side has ended if nobody listens; its error is the one that counts.
        let _ = made.send(subnet);
        let template = self.template(subnet);
        let specs: Vec<_> = nodes
            .iter()
            .map(|node| template.spec(plan, node))
            .collect::<Result<_, _>>()?;
        let engine = &*self.engine;
        self.all("create", &specs, |spec| engine.create_container(spec))
            .await?;
        // Nothing of the testnet runs before somebody watches over it.
        if watched.await.is_err() {
            return Err(RuntimeError::new("the nodes have no reaper"));
        }
        self.all("start", &specs, |spec| engine.start_container(&spec.name))
            .await?;
        Ok((subnet, template))
    }

    /// One phase over all nodes; the first failure stops it.
    async fn all<'a>(
        &self,
        phase: &'static str,
        specs: &'a [ContainerSpec],
        call: impl Fn(&'a ContainerSpec) -> BoxFuture<'a, Result<(), EngineError>>,
    ) -> Result<(), RuntimeError> {
        self.phase(phase, specs.len());
        let mut first = Ok(());
        let work = |spec: &'a ContainerSpec| -> BoxFuture<'a, _> {
            Box::pin(call(spec).map(move |result| (spec, result)))
        };
        flight::for_all(specs, &self.failed, work, |(spec, result)| match result {
            Ok(()) => self.step(phase, spec),
            Err(error) if first.is_ok() => {
                self.fail();
                let operation = format!("failed to {phase} container `{}`", spec.name);
                first = Err(error.during(operation));
            }
            Err(_) => {}
        })
        .await;
        first
    }

    fn step(&self, name: &'static str, spec: &ContainerSpec) {
        let item = spec
            .labels
            .get(super::labels::NODE)
            .unwrap_or(&spec.name)
            .clone();
        let _ = self.progress.send(Progress::Step { name, item });
    }

    fn document(&self, template: &NodeTemplate, subnet: Subnet) -> Document {
        let info = RunInfo {
            run: self.launch.run.clone(),
            name: self.launch.name.clone(),
            runtime: super::NAME.to_owned(),
            plan: self.launch.plan.clone(),
            addresses: template.context.addresses.clone(),
            started: self.started,
        };
        Document {
            info,
            credentials: self.credentials.clone(),
            subnet: subnet.parts(),
            made_from: Recipe::new(template, Lease::Starting),
            runner: Value::Null,
        }
    }

    fn template(&self, subnet: Subnet) -> NodeTemplate {
        NodeTemplate {
            identity: self.identity.clone(),
            image: self.node.reference.clone(),
            command: node::node_command(&self.node, self.node_is_small),
            context: RunContext {
                addresses: node::addresses(&self.launch.plan, subnet),
                started_unix: u32::try_from(self.identity.started).unwrap_or(u32::MAX),
                rpc_user: self.credentials.user.clone(),
                rpc_password: self.credentials.password.0.clone(),
            },
            memory: self.settings.node_memory,
        }
    }

    /// The agent, once it has shown that it can cut this network. It learns of the nodes when they run: asking for them
    /// earlier would only teach the kernel that they are unreachable.
    async fn agent_configured(
        &self,
        network: oneshot::Receiver<Subnet>,
    ) -> Result<Agent, RuntimeError> {
        self.phase("agent", 1);
        let agent = self.start_agent().await.inspect_err(|_| self.fail())?;
        let Ok(subnet) = network.await else {
            return Err(RuntimeError::new("the agent has no network to serve"));
        };
        let document = self.document(&self.template(subnet), subnet);
        let configure = document.configure(Some(network::device(&self.identity.run)), &[]);
        agent.0.configure(configure).await.map_err(|error| {
            self.fail();
            let operation = "failed to prepare the agent for cutting links";
            let error = RuntimeError::with_source(operation, error);
            agent.2.lines().into_iter().fold(error, RuntimeError::hint)
        })?;
        Ok(agent)
    }

    /// An error when the launch was given up.
    fn wanted(&self) -> Result<(), RuntimeError> {
        if self.failed.load(Ordering::Relaxed) {
            return Err(RuntimeError::new("the launch was given up"));
        }
        Ok(())
    }

    fn fail(&self) {
        self.failed.store(true, Ordering::Relaxed);
    }

    async fn start_agent(&self) -> Result<Agent, RuntimeError> {
        let spec = node::agent_spec(&self.identity, &self.own);
        let operation = |what: &str| format!("failed to {what} the agent `{}`", spec.name);
        let create = self.engine.create_container(&spec).await;
        create.map_err(|error| error.during(operation("create")))?;
        let pipe = self.engine.attach(&spec.name).await;
        let pipe = pipe.map_err(|error| error.during(operation("attach to")))?;
        let start = self.engine.start_container(&spec.name).await;
        start.map_err(|error| error.during(operation("start")))?;
        let (client, pushes) = AgentClient::new(pipe.reader, pipe.writer);
        Ok((client, pushes, pipe.last_words))
    }
}

async fn read_images(programs: Programs) -> Result<(Image, Option<Image>), RuntimeError> {
    let read = move || {
        let own = Image::read("netsplit", &programs.own)?;
        let node = programs
            .node
            .as_deref()
            .map(|path| Image::read("netsplit-node", path));
        Ok((own, node.transpose()?))
    };
    match tokio::task::spawn_blocking(read).await {
        Ok(images) => images,
        Err(error) => Err(RuntimeError::with_source(
            "failed to read the programs",
            error,
        )),
    }
}

fn journal_failed(directory: &Path, error: std::io::Error) -> RuntimeError {
    let operation = format!("failed to write the journal in `{}`", directory.display());
    RuntimeError::with_source(operation, error)
}
