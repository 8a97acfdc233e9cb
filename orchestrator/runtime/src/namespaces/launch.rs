//! Starting a run: the supervisor, which holds everything that follows, then its agent and the first nodes at once.

use std::{
    fs::OpenOptions,
    io,
    os::{fd::OwnedFd, unix::fs::OpenOptionsExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use netsplit_faults::{agent::client::AgentClient, codec};
use netsplit_plan::plan::{NodeName, PlannedNode};
use serde::{Deserialize, Serialize};
use tokio::{io::AsyncWriteExt, net::UnixStream, sync::mpsc, time::timeout};

use super::{
    client::{self, Client, Failure},
    logs, nodes,
    nodes::{RANGE, Template},
    process::Process,
    protocol::{Begin, Door, Limits, Message, NodeSpec, Phase, SUPERVISOR_LOG},
    runs,
    testnet::{Held, NamespacesTestnet},
};
use crate::{
    Launch, NetEvent, Progress, ProgressSink, RunInfo, RuntimeError, Timestamp, clock,
    document::{Credentials, Document},
    driven::Driven,
    feed::{Feed, LAST_LINES},
    journal::{About, Entry, Journal, Thing},
    owner::Owner,
};

/// How long a supervisor that ended its stream may take to end itself.
const LINGER: Duration = Duration::from_secs(1);

/// What further nodes are made from, beside what the supervisor knows.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Recipe {
    pub(super) limits: Limits,
}

/// Launches, or removes everything made so far and says why. Dropping the future ends the supervisor's stream, and with it
/// everything.
pub(super) async fn launch(
    launch: Launch,
    limits: Limits,
    progress: ProgressSink,
) -> Result<NamespacesTestnet, RuntimeError> {
    let attempt = Attempt::begin(launch, limits, progress)?;
    let (stream, child, guard) = attempt.start_supervisor()?;
    match attempt.run(stream, &guard).await {
        Ok((client, driven)) => {
            let held = Held {
                child,
                journal: attempt.journal.clone(),
                ownership: attempt.launch.ownership,
            };
            let directory = attempt.directory;
            Ok(NamespacesTestnet::new(
                client,
                driven,
                directory,
                Some(held),
            ))
        }
        Err(error) => Err(attempt.undone(error, child).await),
    }
}

struct Attempt {
    launch: Launch,
    /// The run's directory, absolute.
    directory: PathBuf,
    program: (PathBuf, Vec<String>),
    limits: Limits,
    progress: ProgressSink,
    journal: Arc<Journal>,
    credentials: Credentials,
    started: Timestamp,
}

impl Attempt {
    /// Everything before the first process.
    fn begin(launch: Launch, limits: Limits, progress: ProgressSink) -> Result<Self, RuntimeError> {
        let program = program(launch.node_binary.as_deref())?;
        let unusable = |error| {
            let path = launch.directory.display();
            RuntimeError::with_source(
                format!("failed to make the run's directory `{path}`"),
                error,
            )
        };
        let directory = std::path::absolute(&launch.directory).map_err(unusable)?;
        nodes::private(&directory).map_err(unusable)?;
        let owner = Owner::current().map_err(|error| {
            RuntimeError::with_source("failed to find out who this process is", error)
        })?;
        let started = clock::now();
        let journal = write_journal(&launch, &directory, &owner, started).map_err(|error| {
            let path = directory.display();
            RuntimeError::with_source(format!("failed to write the journal in `{path}`"), error)
        })?;
        Ok(Self {
            launch,
            directory,
            program,
            limits,
            progress,
            journal: Arc::new(journal),
            credentials: Credentials::random()?,
            started,
        })
    }

    /// Starts the supervisor's process, whose life depends on the stream that is returned. What is seen of it from here is
    /// its guard.
    fn start_supervisor(&self) -> Result<(UnixStream, Child, Owner), RuntimeError> {
        let start = || -> io::Result<_> {
            let (near, far) = std::os::unix::net::UnixStream::pair()?;
            near.set_nonblocking(true)?;
            let log = OpenOptions::new()
                .create(true)
                .append(true)
                .mode(0o600)
                .open(self.directory.join(SUPERVISOR_LOG))?;
            let child = Command::new("/proc/self/exe")
                .arg("supervisor")
                .arg(&self.directory)
                .stdin(OwnedFd::from(far))
                .stdout(Stdio::null())
                .stderr(log)
                .spawn()?;
            let guard = Owner::of(child.id())?;
            Ok((UnixStream::from_std(near)?, child, guard))
        };
        let (stream, child, guard) = start().map_err(|error| {
            RuntimeError::with_source("failed to start the run's supervisor", error)
        })?;
        self.journal.note(Entry::Keeper {
            process: guard.clone(),
        });
        Ok((stream, child, guard))
    }

    async fn run(
        &self,
        stream: UnixStream,
        guard: &Owner,
    ) -> Result<(Client, Driven<Recipe>), RuntimeError> {
        // While the supervisor comes to life; from here on the guard removes them if this process dies.
        let first = self.first_nodes();
        let document = self.document();
        let specs = self.prepare(&document, &first)?;
        self.phase("agent", 1);
        let (client, pushes) = self.begun(stream, guard).await?;
        let feed = Feed::open();
        let told = Told {
            directory: self.directory.clone(),
            progress: self.progress.downgrade(),
        };
        feed.tell(|events| told.tell(pushes, events));
        // Listening before the first node starts: no death goes by unseen.
        let watched = client.watch().await;
        watched.map_err(|error| error.during("failed to watch the nodes' processes"))?;
        let agent = self.agent(&feed, guard).await?;
        let driven = Driven::new(agent, feed, document, None, Vec::new());
        let launched = async {
            let launched = client.launch(specs).await;
            launched.map_err(|error| self.explained(error, "failed to start the nodes"))
        };
        let configured = async {
            let introduced = driven.introduce(first.iter().map(|node| node.name.clone()));
            introduced.await.map_err(|error| RuntimeError {
                operation: "failed to prepare the agent for cutting links".to_owned(),
                ..error
            })
        };
        tokio::try_join!(launched, configured)?;
        driven.keep(|_| ()).await?;
        driven.follow(async { Ok(()) }).await?;
        Ok((client, driven))
    }

    /// The session with a supervisor that has made its routing namespace.
    async fn begun(
        &self,
        mut stream: UnixStream,
        guard: &Owner,
    ) -> Result<(Client, mpsc::UnboundedReceiver<Message>), RuntimeError> {
        let operation = "failed to make the run's namespaces";
        let door = codec::encode(&Door::Supervisor);
        let door = door.map_err(|error| RuntimeError::with_source(operation, error))?;
        // If it is gone already, the first request tells.
        let _ = stream.write_all(&door).await;
        let (client, pushes) = Client::new(stream);
        let begin = Begin {
            run: self.launch.run.clone(),
            name: self.launch.name.clone(),
            started: clock::seconds(self.started),
            subnet: RANGE,
            program: self.program.clone(),
        };
        match client.begin(begin).await {
            Ok(notes) => {
                for note in notes {
                    tracing::info!(note, "the run's supervisor");
                }
                Ok((client, pushes))
            }
            Err(error) => {
                if let (Failure::Lost(_), Ok(Some(process))) = (&error, Process::hold(guard)) {
                    // So that its log is complete.
                    let _ = timeout(LINGER, process.ended()).await;
                }
                Err(self.explained(error, operation))
            }
        }
    }

    /// The run's agent, which is in the supervisor's process.
    async fn agent(&self, feed: &Feed, guard: &Owner) -> Result<AgentClient, RuntimeError> {
        let operation = "failed to connect to the run's agent";
        let stream = client::connect(&self.directory, Door::Agent).await;
        let stream = stream.map_err(|error| RuntimeError::with_source(operation, error))?;
        if let Ok(credentials) = stream.peer_cred()
            && let Some(process) = credentials.pid().and_then(|pid| u32::try_from(pid).ok())
            && process != guard.pid
            && let Ok(process) = Owner::of(process)
        {
            self.journal.note(Entry::Keeper { process });
        }
        Ok(hear(feed, stream, &self.directory))
    }

    fn document(&self) -> Document<Recipe> {
        let info = RunInfo {
            run: self.launch.run.clone(),
            name: self.launch.name.clone(),
            runtime: super::NAME.to_owned(),
            plan: self.launch.plan.clone(),
            addresses: nodes::addresses(&self.launch.plan),
            started: self.started,
        };
        Document {
            info,
            credentials: self.credentials.clone(),
            subnet: (RANGE.0.into(), RANGE.1),
            made_from: Recipe {
                limits: self.limits,
            },
            runner: serde_json::Value::Null,
        }
    }

    /// Nodes that do not join later.
    fn first_nodes(&self) -> Vec<&PlannedNode> {
        let nodes = self.launch.plan.nodes.iter();
        nodes.filter(|node| !node.joins).collect()
    }

    fn prepare(
        &self,
        document: &Document<Recipe>,
        nodes: &[&PlannedNode],
    ) -> Result<Vec<NodeSpec>, RuntimeError> {
        let template = Template {
            directory: &self.directory,
            context: document.context(),
            limits: self.limits,
        };
        let all = nodes::all(&self.directory);
        nodes::private(&all).map_err(|error| {
            RuntimeError::with_source(format!("failed to make `{}`", all.display()), error)
        })?;
        let prepare = |node: &&PlannedNode| template.prepare(&self.launch.plan, node);
        nodes.iter().map(prepare).collect()
    }

    fn phase(&self, name: &'static str, total: usize) {
        // Progress is a courtesy: nobody has to listen.
        let _ = self.progress.send(Progress::Phase { name, total });
    }

    /// A failure of the supervisor; if it is gone, with what it said last.
    fn explained(&self, failure: Failure, operation: &str) -> RuntimeError {
        let gone = matches!(failure, Failure::Lost(_));
        let error = failure.during(operation);
        if !gone {
            return error;
        }
        let words = logs::last(&self.directory.join(SUPERVISOR_LOG), LAST_LINES);
        let words = words.unwrap_or_default();
        words.into_iter().fold(error, RuntimeError::hint)
    }

    /// The error, once everything made so far is removed.
    async fn undone(&self, mut error: RuntimeError, mut child: Child) -> RuntimeError {
        // The supervisor's stream is closed, so it is ending; only what hangs has to be killed.
        error.left = runs::end(&self.directory, &self.progress).await.left;
        reap(&mut child);
        error
    }
}

/// Takes note of the end of a process that has ended.
pub(super) fn reap(child: &mut Child) {
    if let Err(error) = child.try_wait() {
        tracing::debug!(%error, "the guard cannot be reaped");
    }
}

/// Tells what the agent behind `stream` tells, from the time it is asked to.
pub(super) fn hear(feed: &Feed, stream: UnixStream, directory: &Path) -> AgentClient {
    let (reader, writer) = stream.into_split();
    let (agent, pushes) = AgentClient::new(reader, writer);
    let log = directory.join(SUPERVISOR_LOG);
    feed.hear(pushes, move || logs::last(&log, 1).ok()?.pop());
    agent
}

/// What a supervisor pushes, told to others.
pub(super) struct Told {
    /// The run's directory.
    pub(super) directory: PathBuf,
    /// Who hears of a launch's progress while it lasts.
    pub(super) progress: mpsc::WeakUnboundedSender<Progress>,
}

impl Told {
    /// Runs until the stream ends, which is the agent's loss too.
    pub(super) async fn tell(
        self,
        mut pushes: mpsc::UnboundedReceiver<Message>,
        events: mpsc::Sender<NetEvent>,
    ) {
        let mut seen = None;
        while let Some(message) = pushes.recv().await {
            match message {
                Message::Reply { .. } => {}
                Message::Progress { phase, done, total } => {
                    self.progress(&mut seen, phase, done, total);
                }
                Message::Exited { node, code, .. } => {
                    if events.send(self.exited(node, code)).await.is_err() {
                        return;
                    }
                }
            }
        }
        let reason = "its supervisor's stream ended".to_owned();
        // The receiver may be gone: then nobody wants to know.
        let _ = events.send(NetEvent::AgentLost { reason }).await;
    }

    fn exited(&self, node: NodeName, code: i32) -> NetEvent {
        let log = nodes::log(&self.directory, &node);
        NetEvent::NodeExited {
            node,
            code: Some(code.into()),
            last_lines: logs::last(&log, LAST_LINES).unwrap_or_default(),
        }
    }

    /// One step for each node that is done since the last message.
    fn progress(&self, seen: &mut Option<(Phase, usize)>, phase: Phase, done: usize, total: usize) {
        let Some(progress) = self.progress.upgrade() else {
            return;
        };
        let name = match phase {
            Phase::Network => "network",
            Phase::Start => "start",
        };
        let before = match *seen {
            Some((last, before)) if last == phase => before,
            _ => {
                let _ = progress.send(Progress::Phase { name, total });
                0
            }
        };
        for number in before..done {
            let item = format!("{} of {total}", number + 1);
            let _ = progress.send(Progress::Step { name, item });
        }
        *seen = Some((phase, done));
    }
}

fn write_journal(
    launch: &Launch,
    directory: &Path,
    owner: &Owner,
    started: Timestamp,
) -> io::Result<Journal> {
    let journal = Journal::begin(directory, &launch.run, owner)?;
    journal.note(Entry::About(About {
        name: launch.name.clone(),
        ownership: launch.ownership,
        started: clock::seconds(started),
        host: runs::host(),
    }));
    journal.intend([Thing::Directory(nodes::all(directory))])?;
    Ok(journal)
}

/// The program that nodes run and its first arguments: the one that is named, the small one beside this program, or this
/// program itself.
fn program(named: Option<&Path>) -> Result<(PathBuf, Vec<String>), RuntimeError> {
    let operation = "failed to find the nodes' program";
    let failed = |error| RuntimeError::with_source(operation, error);
    if let Some(named) = named {
        let path = named.canonicalize().map_err(|error| {
            let operation = format!("failed to find the nodes' program `{}`", named.display());
            RuntimeError::with_source(operation, error)
        })?;
        return Ok((path, Vec::new()));
    }
    let own = std::env::current_exe().map_err(failed)?;
    let beside = own.with_file_name("netsplit-node");
    if beside.is_file() {
        return Ok((beside, Vec::new()));
    }
    if !own.is_file() {
        let gone = format!("this program is not at `{}` any more", own.display());
        return Err(RuntimeError::new(operation).hint(gone));
    }
    Ok((own, vec!["node".to_owned()]))
}
