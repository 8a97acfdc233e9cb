//! The process that keeps a run: first process of the pid namespace all nodes live in, and owner of the routing namespace.
//!
//! Its death, however it comes, kills every node, and the kernel removes the namespaces with everything in them.
//!
//! - [`isolate`]: into namespaces of its own; [`guard`]: who stays outside and removes what the kernel does not.
//! - [`session`]: one client; [`nodes`]: the nodes' processes; [`log`]: what they write.
//! - [`spawn`]: the thread that enters nodes' namespaces; [`router`], [`links`]: the network between them.
//! - [`limits`]: bounds on single nodes; [`room`]: what bounds them all.

mod guard;
pub(crate) mod isolate;
mod limits;
mod links;
mod log;
mod nodes;
pub(crate) mod room;
mod router;
mod session;
mod spawn;

use std::{
    env, fs, io,
    os::{fd::AsFd, unix::net::UnixStream as StdStream},
    path::Path,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use netsplit_faults::{
    agent::Host,
    codec,
    protocol::Configure,
    routed::{Relay, Routed, Segment},
};
use nix::{
    sys::stat::{Mode, umask},
    unistd::{dup2_stdin, setsid},
};
use tokio::{
    io::AsyncWriteExt,
    net::{UnixListener, UnixStream},
    runtime::{Builder, Runtime},
    signal::unix::{SignalKind, signal},
    sync::Notify,
    task::{JoinError, JoinSet},
};

use self::{
    isolate::{PROC_SYS, Side, Step},
    limits::Groups,
    nodes::Nodes,
    room::Bound,
    router::Router,
    session::{Client, refusal},
    spawn::Spawner,
};
use super::protocol::{Begin, Door, Lease, Message, NODES, Request, SOCKET, Status};
use crate::RuntimeError;

/// The hidden subcommand `supervisor`: keeps the run whose directory this is. Standard input is the maker's stream. Must be
/// called before anything else is done in the process, while it has one thread. Returns in two processes: what the guard
/// is to exit with, and the supervisor.
///
/// # Errors
/// When the run could not be kept, or something of it could not be removed. The maker was told.
pub fn serve(directory: &Path) -> Result<u8, RuntimeError> {
    let settled = settle(directory).map_err(failed("failed to become a supervisor"));
    let isolated = settled.and_then(|machine| Ok((isolate::enter()?, machine)));
    match isolated {
        Ok((Side::Guard(child), machine)) => guard::watch(child, machine.groups.ok().as_ref()),
        Ok((Side::Supervisor, machine)) => match isolate::enter_rest() {
            Ok(()) => supervise(machine),
            Err(error) => Err(refuse(error)),
        },
        Err(error) => Err(refuse(error)),
    }
}

/// What was seen of the machine before leaving it.
struct Machine {
    /// Where limits of nodes are set, or why they cannot be.
    groups: Result<Groups, String>,
    /// What bounds the number of nodes.
    bounds: Vec<Bound>,
}

fn failed<E: Into<io::Error>>(operation: &'static str) -> impl FnOnce(E) -> RuntimeError {
    move |error| RuntimeError::with_source(operation, error.into())
}

/// An error with all its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}

/// Away from whoever started this, into the run's directory, whose files are nobody else's business.
fn settle(directory: &Path) -> io::Result<Machine> {
    // A process that leads its group is refused: started by hand, from a shell. It need not be alone then.
    let _ = setsid();
    umask(Mode::S_IRWXG | Mode::S_IRWXO);
    env::set_current_dir(directory)?;
    room::raise()?;
    Ok(Machine {
        groups: Groups::find(&format!("netsplit-{}", std::process::id())),
        bounds: room::bounds(),
    })
}

/// Answers the maker's first request with what went wrong.
fn refuse(error: RuntimeError) -> RuntimeError {
    let answer = async {
        let mut stream = maker()?;
        let _: Option<Door> = codec::read(&mut stream).await?;
        if let Some(Request { id, .. }) = codec::read(&mut stream).await? {
            let body = refusal(&error);
            let reply = codec::encode(&Message::Reply { id, body })?;
            stream.write_all(&reply).await?;
        }
        io::Result::Ok(())
    };
    // Whoever does not hear it finds it in our log.
    let _ = event_loop().and_then(|event_loop| event_loop.block_on(answer));
    error
}

/// Standard input as the stream it is, and nothing in its place.
fn maker() -> io::Result<UnixStream> {
    let stream = StdStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    dup2_stdin(fs::File::open("/dev/null")?)?;
    stream.set_nonblocking(true)?;
    UnixStream::from_std(stream)
}

fn event_loop() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

/// Keeps the run, in the namespaces that are its own.
fn supervise(machine: Machine) -> Result<u8, RuntimeError> {
    log::to_stderr();
    let event_loop = event_loop().map_err(failed("failed to start the event loop"))?;
    let supervisor = Arc::new(Supervisor::new(machine));
    let kept = event_loop.block_on(supervisor.keep());
    // Whatever is still at work ends with the process.
    event_loop.shutdown_background();
    kept.map_err(failed("failed to keep the run"))?;
    Ok(0)
}

/// What a run's supervisor knows.
struct Supervisor {
    run: OnceLock<Run>,
    agent: Host,
    /// The nodes as one network, for what is sent to all of them.
    segment: Segment,
    machine: Machine,
    detached: AtomicBool,
    /// The run was wound up, and whoever asked for it knows.
    over: Notify,
}

/// What is known since the run began.
struct Run {
    begin: Begin,
    nodes: Nodes,
}

impl Supervisor {
    fn new(machine: Machine) -> Self {
        let segment = Segment::default();
        let cut = segment.clone();
        Self {
            run: OnceLock::new(),
            agent: Host::new(move |configure| {
                let Configure {
                    run, probe_port, ..
                } = configure;
                Ok(Box::new(Routed::open(run, *probe_port, cut.clone())?))
            }),
            segment,
            machine,
            detached: AtomicBool::new(false),
            over: Notify::new(),
        }
    }

    /// Serves until the run is over, or the maker it depends on is gone.
    async fn keep(self: &Arc<Self>) -> io::Result<()> {
        let mut children = signal(SignalKind::child())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        fs::create_dir_all(NODES)?;
        let listener = UnixListener::bind(SOCKET)?;
        let mut maker = tokio::spawn(session::serve(Arc::clone(self), maker()?, Client::Maker));
        let mut maker_left = false;
        let mut others = JoinSet::new();
        others.spawn(log::watch());
        loop {
            tokio::select! {
                ended = &mut maker, if !maker_left => {
                    report(ended);
                    maker_left = true;
                    if !self.detached.load(Ordering::Relaxed) {
                        return Ok(());
                    }
                }
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        others.spawn(session::serve(Arc::clone(self), stream, Client::Visitor));
                    }
                    Err(error) => tracing::warn!(%error, "a client could not be accepted"),
                },
                Some(ended) = others.join_next() => report(ended),
                _ = children.recv() => {
                    if let Ok(nodes) = self.nodes() {
                        nodes.reap();
                    }
                }
                _ = terminate.recv() => self.end(),
                _ = interrupt.recv() => self.end(),
                () = self.over.notified() => return Ok(()),
            }
        }
    }

    /// Makes this namespace the router. Answers what could not be had, and is not needed.
    fn begin(&self, begin: Begin) -> Result<Vec<String>, RuntimeError> {
        if self.run.get().is_some() {
            return Err(RuntimeError::new("the run has begun already"));
        }
        let router = Router::open(begin.subnet, self.segment.clone())
            .map_err(|error| isolate::diagnose(Path::new(PROC_SYS), Step::Settings, error))?;
        let relay = Relay::open(self.segment.clone())
            .map_err(failed("failed to relay broadcasts between the nodes"))?;
        let spawner = Spawner::start().map_err(failed("failed to start the spawning thread"))?;
        let Machine { groups, bounds } = &self.machine;
        let (groups, bounds) = (groups.clone().ok(), bounds.clone());
        let nodes = Nodes::new(router, spawner, begin.program.clone(), groups, bounds);
        tokio::spawn(async {
            let Err(error) = relay.run().await;
            tracing::error!(%error, "broadcasts are relayed no more");
        });
        // Requests of this kind are answered one after the other.
        let _ = self.run.set(Run { begin, nodes });
        let note = self.machine.groups.as_ref().err();
        let notes = note.map(|why| format!("limits of memory and processors are ignored: {why}"));
        Ok(notes.into_iter().collect())
    }

    fn run(&self) -> Result<&Run, RuntimeError> {
        let run = self.run.get();
        run.ok_or_else(|| RuntimeError::new("the run has not begun"))
    }

    fn nodes(&self) -> Result<&Nodes, RuntimeError> {
        Ok(&self.run()?.nodes)
    }

    fn status(&self) -> Result<Status, RuntimeError> {
        let Run { begin, nodes } = self.run()?;
        let lease = if self.detached.load(Ordering::Relaxed) {
            Lease::Detached
        } else {
            Lease::Owned
        };
        Ok(Status {
            run: begin.run.clone(),
            name: begin.name.clone(),
            started: begin.started,
            lease,
            nodes: nodes.status(),
        })
    }

    fn detach(&self) {
        self.detached.store(true, Ordering::Relaxed);
    }

    /// Winds up because somebody told this process to end.
    fn end(self: &Arc<Self>) {
        let supervisor = Arc::clone(self);
        tokio::spawn(async move {
            if let Err(error) = supervisor.wind_up().await {
                tracing::warn!(error = chain(&error), "something is left");
            }
            supervisor.over.notify_one();
        });
    }

    /// Kills every node and removes what the kernel would not. May be called more than once.
    ///
    /// # Errors
    /// When something could not be removed.
    async fn wind_up(&self) -> Result<(), RuntimeError> {
        if let Ok(nodes) = self.nodes() {
            nodes.end().await;
        }
        guard::clean_up(self.machine.groups.as_ref().ok())
            .map_err(failed("failed to remove the nodes' directories"))
    }
}

fn report(ended: Result<io::Result<()>, JoinError>) {
    match ended {
        Ok(Ok(())) => tracing::info!("a client left"),
        Ok(Err(error)) => tracing::info!(%error, "a client was lost"),
        Err(error) => tracing::error!(%error, "a client's session failed"),
    }
}
