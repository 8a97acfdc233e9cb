//! The nodes of a run: their namespaces, their processes, and what becomes of them.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs, io,
    net::Ipv4Addr,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use netsplit_plan::plan::{NodeName, NodeVerb};
use nix::{
    errno::Errno,
    sys::{
        signal::{Signal, kill},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};
use tokio::sync::{Notify, watch};

use super::{
    isolate::{self, PROC_SYS, Step},
    limits::Groups,
    links::Link,
    room::{Bound, too_tight},
    router::Router,
    session::Outbox,
    spawn::{Spawner, Start},
};
use crate::{
    NodeState, RuntimeError,
    namespaces::protocol::{Limits, Message, NODES, NodeSpec, NodeStatus, Phase},
};

/// Nodes made or started together: few enough that what else is asked in the meantime does not wait long.
const CHUNK: usize = 32;
/// How long a node may take to end by itself, in seconds.
const STOP_SECONDS: u32 = 10;

/// All nodes of a run.
pub(super) struct Nodes {
    program: (PathBuf, Vec<String>),
    groups: Option<Groups>,
    bounds: Vec<Bound>,
    spawner: Spawner,
    router: Mutex<Router>,
    table: Mutex<Table>,
    /// One launch at a time.
    launching: tokio::sync::Mutex<()>,
    /// Told whenever a process ended or was started.
    changed: Notify,
}

#[derive(Default)]
struct Table {
    nodes: BTreeMap<NodeName, Arc<Node>>,
    living: HashMap<Pid, Arc<Node>>,
    /// Processes being started: their ids are not known yet.
    starting: usize,
    /// What became of processes that ended before their ids were known.
    unclaimed: HashMap<Pid, i32>,
    watchers: Vec<Outbox>,
    /// Nothing is started any more.
    closing: bool,
}

/// One node.
struct Node {
    name: NodeName,
    link: Link,
    limits: Limits,
    start: Arc<Start>,
    status: watch::Sender<NodeStatus>,
    /// Whether its end was asked for.
    asked: AtomicBool,
    /// One thing is done to a node at a time.
    turn: tokio::sync::Mutex<()>,
}

impl Node {
    fn new(spec: NodeSpec, link: Link, netns: OwnedFd, program: (PathBuf, Vec<String>)) -> Self {
        let start = Start {
            netns,
            host: spec.name.0.clone(),
            program,
            environment: spec.environment,
            directory: directory(&spec.name),
        };
        let status = NodeStatus {
            state: NodeState::Exited,
            pid: None,
            incarnation: 0,
            code: None,
        };
        Self {
            name: spec.name,
            link,
            limits: spec.limits,
            start: Arc::new(start),
            status: watch::Sender::new(status),
            asked: AtomicBool::new(false),
            turn: tokio::sync::Mutex::default(),
        }
    }

    fn state(&self) -> NodeState {
        self.status.borrow().state
    }

    /// Returns when it is in a state that `wanted` accepts; answers which.
    async fn until(&self, wanted: impl Fn(NodeState) -> bool) -> NodeState {
        let mut status = self.status.subscribe();
        match status.wait_for(|status| wanted(status.state)).await {
            Ok(status) => status.state,
            Err(_) => unreachable!("the node has the sender"),
        }
    }

    /// Sends its process a signal. One that just ended needs none.
    fn signal(&self, signal: Signal) -> io::Result<()> {
        let pid = self.status.borrow().pid;
        match pid.map(|pid| kill(Pid::from_raw(pid), signal)) {
            None | Some(Ok(()) | Err(Errno::ESRCH)) => Ok(()),
            Some(Err(error)) => Err(error.into()),
        }
    }
}

/// Where a node's files are, in the run's directory.
fn directory(name: &NodeName) -> PathBuf {
    Path::new(NODES).join(&name.0)
}

fn make_directories(specs: &[NodeSpec]) -> Result<(), RuntimeError> {
    for NodeSpec { name, .. } in specs {
        fs::create_dir_all(directory(name).join("data"))
            .map_err(failed(format!("failed to make a directory for `{name}`")))?;
    }
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn failed<E: Into<io::Error>>(operation: impl Into<String>) -> impl FnOnce(E) -> RuntimeError {
    move |error| RuntimeError::with_source(operation, error.into())
}

impl Nodes {
    /// No nodes yet.
    pub(super) fn new(
        router: Router,
        spawner: Spawner,
        program: (PathBuf, Vec<String>),
        groups: Option<Groups>,
        bounds: Vec<Bound>,
    ) -> Self {
        Self {
            program,
            groups,
            bounds,
            spawner,
            router: Mutex::new(router),
            table: Mutex::default(),
            launching: tokio::sync::Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// Makes and starts all of these nodes or none, and tells how many are done.
    ///
    /// # Errors
    /// The first failure. Everything made for these nodes is removed then.
    pub(super) async fn launch(
        &self,
        specs: Vec<NodeSpec>,
        outbox: &Outbox,
    ) -> Result<(), RuntimeError> {
        let _alone = self.launching.lock().await;
        let links = self.check(&specs)?;
        let mut nodes = Vec::with_capacity(specs.len());
        let made = self.make(specs, &links, &mut nodes, outbox).await;
        let launched = match made {
            Ok(()) => self.start_all(&nodes, outbox).await,
            failed => failed,
        };
        if launched.is_err() {
            self.undo(&nodes).await;
        }
        launched
    }

    /// What can be told to be wrong before anything is made.
    fn check(&self, specs: &[NodeSpec]) -> Result<Vec<Link>, RuntimeError> {
        let table = lock(&self.table);
        if table.closing {
            return Err(RuntimeError::new("the run is ending"));
        }
        let count = table.nodes.len() + specs.len();
        if let Some((reason, remedy)) = too_tight(&self.bounds, count) {
            return Err(RuntimeError::new(reason).hint(remedy));
        }
        let router = lock(&self.router);
        let mut names: BTreeSet<&NodeName> = table.nodes.keys().collect();
        let mut addresses: BTreeSet<Ipv4Addr> =
            table.nodes.values().map(|node| node.link.address).collect();
        let mut links = Vec::with_capacity(specs.len());
        for NodeSpec { name, address, .. } in specs {
            if !is_name(&name.0) {
                return Err(RuntimeError::new(format!("`{name}` is no name of a node")));
            }
            if !names.insert(name) {
                return Err(RuntimeError::new(format!(
                    "there is a node `{name}` already"
                )));
            }
            if !addresses.insert(*address) {
                return Err(RuntimeError::new(format!(
                    "there is a node at {address} already"
                )));
            }
            links.push(router.link(*address).map_err(RuntimeError::new)?);
        }
        Ok(links)
    }

    /// Directories, namespaces and links.
    async fn make(
        &self,
        specs: Vec<NodeSpec>,
        links: &[Link],
        nodes: &mut Vec<Arc<Node>>,
        outbox: &Outbox,
    ) -> Result<(), RuntimeError> {
        let total = links.len();
        let mut specs = specs.into_iter();
        for links in links.chunks(CHUNK) {
            let specs: Vec<NodeSpec> = specs.by_ref().take(links.len()).collect();
            // While the other thread makes the networks, this one makes the directories.
            let (networks, directories) =
                tokio::join!(self.spawner.networks(links.to_vec()), async {
                    make_directories(&specs)
                });
            let networks = networks
                .map_err(|error| isolate::diagnose(Path::new(PROC_SYS), Step::Settings, error))?;
            for ((spec, link), netns) in specs.into_iter().zip(links).zip(networks) {
                let node = Node::new(spec, *link, netns, self.program.clone());
                nodes.push(Arc::new(node));
            }
            directories?;
            tell(outbox, Phase::Network, nodes.len(), total);
        }
        Ok(())
    }

    async fn start_all(&self, nodes: &[Arc<Node>], outbox: &Outbox) -> Result<(), RuntimeError> {
        let mut done = 0;
        for chunk in nodes.chunks(CHUNK) {
            let links: Vec<Link> = chunk.iter().map(|node| node.link).collect();
            self.reach(&links)?;
            let starts = join_all(chunk.iter().map(|node| self.start(node))).await;
            starts.into_iter().collect::<Result<(), _>>()?;
            done += chunk.len();
            tell(outbox, Phase::Start, done, nodes.len());
        }
        Ok(())
    }

    /// Removes nodes that could not all be launched. What resists goes with the run.
    async fn undo(&self, nodes: &[Arc<Node>]) {
        for node in nodes {
            let killed = self.kill(node).await.and_then(|()| self.silence(node));
            if let Err(error) = killed {
                tracing::warn!(node = %node.name, %error, "a node of a failed launch is left");
            }
            lock(&self.table).nodes.remove(&node.name);
            let _ = fs::remove_dir_all(directory(&node.name));
        }
        let links = nodes.iter().map(|node| node.link).collect();
        if let Err(error) = self.spawner.remove(links).await {
            tracing::warn!(%error, "links of a failed launch are left");
        }
    }

    /// Does something to a node's process; returns when it is done.
    ///
    /// # Errors
    /// When there is no such node, it is in no state for this, or the kernel refuses.
    pub(super) async fn act(&self, name: &NodeName, verb: NodeVerb) -> Result<(), RuntimeError> {
        let node = lock(&self.table).nodes.get(name).cloned();
        let node = node.ok_or_else(|| RuntimeError::new(format!("no node is named `{name}`")))?;
        let _turn = node.turn.lock().await;
        match verb {
            NodeVerb::Kill => self.kill(&node).await,
            NodeVerb::Stop => self.stop(&node).await,
            NodeVerb::Start => self.start_again(&node).await,
            NodeVerb::Restart => {
                self.stop(&node).await?;
                self.start_again(&node).await
            }
            NodeVerb::Pause => pause(&node).await,
            NodeVerb::Resume => resume(&node).await,
        }
    }

    /// Silent from the moment it is killed, not from a little later: nobody is to be told that its ports are closed.
    async fn kill(&self, node: &Node) -> Result<(), RuntimeError> {
        if node.state() == NodeState::Exited {
            return Ok(());
        }
        node.asked.store(true, Ordering::Relaxed);
        let silenced = self.silence(node);
        node.signal(Signal::SIGKILL)
            .map_err(failed(format!("failed to kill `{}`", node.name)))?;
        node.until(|state| state == NodeState::Exited).await;
        silenced
    }

    /// The first process of a pid namespace does not hear a signal it has not asked for: it is told again, in case it has
    /// only just started.
    async fn stop(&self, node: &Node) -> Result<(), RuntimeError> {
        node.asked.store(true, Ordering::Relaxed);
        for _ in 0..STOP_SECONDS {
            for signal in [Signal::SIGTERM, Signal::SIGCONT] {
                node.signal(signal)
                    .map_err(failed(format!("failed to stop `{}`", node.name)))?;
            }
            let ended = node.until(|state| state == NodeState::Exited);
            if tokio::time::timeout(Duration::from_secs(1), ended)
                .await
                .is_ok()
            {
                return Ok(());
            }
        }
        self.kill(node).await
    }

    async fn start_again(&self, node: &Arc<Node>) -> Result<(), RuntimeError> {
        match node.state() {
            NodeState::Exited | NodeState::Planned => {
                self.reach(&[node.link])?;
                self.start(node).await
            }
            NodeState::Running => Ok(()),
            NodeState::Paused => Err(RuntimeError::new(format!("`{}` is paused", node.name))),
        }
    }

    /// Starts a process for a node that has none. Must not be cancelled: a process nobody knows would be left.
    async fn start(&self, node: &Arc<Node>) -> Result<(), RuntimeError> {
        node.asked.store(false, Ordering::Relaxed);
        {
            let mut table = lock(&self.table);
            table.nodes.insert(node.name.clone(), Arc::clone(node));
            table.starting += 1;
        }
        let spawned = self.spawner.spawn(Arc::clone(&node.start)).await;
        let ended = self.claim(node, spawned.as_ref().ok().copied());
        self.changed.notify_waiters();
        let pid = spawned.map_err(failed(format!("failed to start `{}`", node.name)));
        let pid = pid.inspect_err(|_| {
            let _ = self.silence(node);
        })?;
        if let Some(code) = ended {
            self.ended(node, code);
        } else if let Some(groups) = &self.groups
            && let Err(error) = groups.confine(&node.name.0, pid, &node.limits)
        {
            tracing::warn!(node = %node.name, %error, "the node's limits are not in force");
        }
        Ok(())
    }

    /// Makes a process known as a node's. Answers what it ended with if it already did.
    fn claim(&self, node: &Arc<Node>, pid: Option<Pid>) -> Option<i32> {
        let mut table = lock(&self.table);
        table.starting -= 1;
        let ended = pid.and_then(|pid| {
            node.status.send_modify(|status| {
                status.state = NodeState::Running;
                status.pid = Some(pid.as_raw());
                status.incarnation += 1;
                status.code = None;
            });
            let ended = table.unclaimed.remove(&pid);
            if ended.is_none() {
                table.living.insert(pid, Arc::clone(node));
                if table.closing {
                    // It will be reaped; when this fails it goes with us.
                    let _ = kill(pid, Signal::SIGKILL);
                }
            }
            ended
        });
        if table.starting == 0 {
            // Nobody's: processes whose start failed after all.
            table.unclaimed.clear();
        }
        ended
    }

    /// Takes note of everything that became of our processes. To be called at every `SIGCHLD`.
    pub(super) fn reap(&self) {
        let flags = WaitPidFlag::WNOHANG | WaitPidFlag::WUNTRACED | WaitPidFlag::WCONTINUED;
        loop {
            match waitpid(None, Some(flags)) {
                Ok(WaitStatus::Exited(pid, code)) => self.reaped(pid, code),
                Ok(WaitStatus::Signaled(pid, signal, _)) => self.reaped(pid, 128 + signal as i32),
                Ok(WaitStatus::Stopped(pid, _)) => self.now(pid, NodeState::Paused),
                Ok(WaitStatus::Continued(pid)) => self.now(pid, NodeState::Running),
                Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => break,
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => {
                    tracing::error!(%error, "ends of processes cannot be seen");
                    break;
                }
            }
        }
        self.changed.notify_waiters();
    }

    fn now(&self, pid: Pid, state: NodeState) {
        if let Some(node) = lock(&self.table).living.get(&pid) {
            node.status.send_modify(|status| status.state = state);
        }
    }

    fn reaped(&self, pid: Pid, code: i32) {
        let mut table = lock(&self.table);
        match table.living.remove(&pid) {
            Some(node) => {
                drop(table);
                self.ended(&node, code);
            }
            None if table.starting > 0 => {
                table.unclaimed.insert(pid, code);
            }
            None => {}
        }
    }

    /// A node's process is gone, and has been reaped.
    fn ended(&self, node: &Node, code: i32) {
        let ending = lock(&self.table).closing;
        // At the end there is nobody left to notice.
        if !ending && let Err(error) = self.silence(node) {
            tracing::warn!(node = %node.name, %error, "the node is gone, but not silent");
        }
        let exited = Message::Exited {
            node: node.name.clone(),
            code,
            asked: node.asked.load(Ordering::Relaxed),
        };
        lock(&self.table)
            .watchers
            .retain(|watcher| watcher.push(&exited));
        // Whoever waits for the end answers after the watchers were told.
        node.status.send_modify(|status| {
            status.state = NodeState::Exited;
            status.pid = None;
            status.code = Some(code);
        });
    }

    fn reach(&self, links: &[Link]) -> Result<(), RuntimeError> {
        let reached = lock(&self.router).reach(links);
        reached.map_err(failed("failed to lead packets to the nodes"))
    }

    fn silence(&self, node: &Node) -> Result<(), RuntimeError> {
        let silenced = lock(&self.router).silence(&[node.link]);
        silenced.map_err(failed(format!("failed to silence `{}`", node.name)))
    }

    /// From now on tells of every process that ends.
    pub(super) fn watch(&self, watcher: Outbox) {
        lock(&self.table).watchers.push(watcher);
    }

    /// How every node is.
    pub(super) fn status(&self) -> BTreeMap<NodeName, NodeStatus> {
        let table = lock(&self.table);
        let status = |(name, node): (&NodeName, &Arc<Node>)| (name.clone(), *node.status.borrow());
        table.nodes.iter().map(status).collect()
    }

    /// Kills every process and starts none any more. Returns when they are gone; the kernel removes their networks in its
    /// own time, all at once.
    pub(super) async fn end(&self) {
        {
            let mut table = lock(&self.table);
            table.closing = true;
            for (pid, node) in &table.living {
                node.asked.store(true, Ordering::Relaxed);
                // What cannot be killed goes with us.
                let _ = kill(*pid, Signal::SIGKILL);
            }
        }
        self.until(|table| table.starting == 0 && table.living.is_empty())
            .await;
    }

    async fn until(&self, wanted: impl Fn(&Table) -> bool) {
        let mut changed = std::pin::pin!(self.changed.notified());
        loop {
            changed.as_mut().enable();
            if wanted(&lock(&self.table)) {
                return;
            }
            changed.as_mut().await;
            changed.set(self.changed.notified());
        }
    }
}

/// Progress that finds no room is left out; the session is ending then.
fn tell(outbox: &Outbox, phase: Phase, done: usize, total: usize) {
    outbox.push(&Message::Progress { phase, done, total });
}

async fn pause(node: &Node) -> Result<(), RuntimeError> {
    let (from, to) = (NodeState::Running, NodeState::Paused);
    change(node, "pause", Signal::SIGSTOP, from, to).await
}

async fn resume(node: &Node) -> Result<(), RuntimeError> {
    let (from, to) = (NodeState::Paused, NodeState::Running);
    change(node, "resume", Signal::SIGCONT, from, to).await
}

/// Returns when the kernel says that the whole process has changed its state.
async fn change(
    node: &Node,
    verb: &str,
    signal: Signal,
    from: NodeState,
    to: NodeState,
) -> Result<(), RuntimeError> {
    let operation = format!("failed to {verb} `{}`", node.name);
    let refuse = |state| match state {
        NodeState::Running => "it is running",
        NodeState::Paused => "it is paused",
        NodeState::Exited | NodeState::Planned => "it is not running",
    };
    match node.state() {
        state if state == from => {}
        state => return Err(RuntimeError::with_source(operation, refuse(state))),
    }
    node.signal(signal).map_err(failed(operation.clone()))?;
    match node.until(|state| state != from).await {
        state if state == to => Ok(()),
        state => Err(RuntimeError::with_source(operation, refuse(state))),
    }
}

/// Whether this can be a directory and a host name.
fn is_name(name: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    !name.is_empty() && name.len() < 64 && name.chars().all(legal) && !name.starts_with('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        assert!(is_name("full-1") && is_name("a.b_c"));
        for name in ["", ".", "..", "a/b", "/", ".hidden", "a b", "ä"] {
            assert!(!is_name(name), "{name}");
        }
        assert!(!is_name(&"x".repeat(64)));
    }
}
