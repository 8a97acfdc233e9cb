//! The thread that makes namespaces and starts processes in them.
//!
//! Namespaces belong to threads. This one wanders through the nodes' so that the supervisor's own thread never leaves the
//! routing namespace, and it has given up what no node may inherit.

use std::{
    fs::{File, OpenOptions},
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, mpsc},
    thread,
};

use netsplit_faults::netlink::socket::{NETLINK_ROUTE, Netlink};
use nix::{
    sched::{CloneFlags, setns, unshare},
    sys::prctl,
    unistd::{Pid, sethostname},
};
use tokio::sync::oneshot;

use super::{
    links::Link,
    router::{commit, prepare_node},
};
use crate::namespaces::protocol::LOG;

/// The kernel's limit for host names (`__NEW_UTS_LEN`).
const HOST_NAME: usize = 64;

type Job = Box<dyn FnOnce(&mut Worker) + Send>;

/// Asks the thread; clones ask the same one.
#[derive(Clone)]
pub(super) struct Spawner {
    jobs: mpsc::Sender<Job>,
}

/// All that a process needs to start as a node.
#[derive(Debug)]
pub(super) struct Start {
    /// The network namespace it lives in.
    pub(super) netns: OwnedFd,
    /// Its host name.
    pub(super) host: String,
    /// Its program and arguments.
    pub(super) program: (PathBuf, Vec<String>),
    /// Its environment, complete.
    pub(super) environment: Vec<(String, String)>,
    /// Where its log is.
    pub(super) directory: PathBuf,
}

impl Spawner {
    /// Starts the thread. The calling thread must be in the routing namespace and in the supervisor's pid namespace.
    ///
    /// # Errors
    /// When the thread cannot be started or cannot give up its privileges.
    pub(super) fn start() -> io::Result<Self> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let (started, start) = mpsc::channel();
        thread::Builder::new()
            .name("spawner".to_owned())
            .spawn(move || match Worker::new() {
                Ok(mut worker) => {
                    let _ = started.send(Ok(()));
                    queue.iter().for_each(|job| job(&mut worker));
                }
                Err(error) => {
                    let _ = started.send(Err(error));
                }
            })?;
        start.recv().map_err(io::Error::other)??;
        Ok(Self { jobs })
    }

    /// Makes a network namespace for each link, linked to the router, or none of them. Packets are not led there yet.
    ///
    /// # Errors
    /// What the kernel refused.
    pub(super) async fn networks(&self, links: Vec<Link>) -> io::Result<Vec<OwnedFd>> {
        self.call(move |worker| worker.networks(&links)).await
    }

    /// Removes links of nodes that will not be.
    ///
    /// # Errors
    /// What the kernel refused.
    pub(super) async fn remove(&self, links: Vec<Link>) -> io::Result<()> {
        self.call(move |worker| worker.remove(&links)).await
    }

    /// Starts a process as the first one of new pid and uts namespaces. The answer is its id in the supervisor's pid namespace.
    ///
    /// # Errors
    /// What was refused, e.g. the program.
    pub(super) async fn spawn(&self, start: Arc<Start>) -> io::Result<Pid> {
        self.call(move |worker| worker.spawn(&start)).await
    }

    async fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Worker) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |worker| {
            // Nobody waits any more when this fails.
            let _ = reply.send(work(worker));
        });
        // The thread ends with the last of us; it is gone before only if it panicked.
        let gone = || io::Error::other("the spawning thread is gone");
        self.jobs.send(job).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

/// What the thread has.
struct Worker {
    /// The routing namespace, and a conversation with the kernel about it.
    router: File,
    netlink: Netlink,
    /// The supervisor's own pid namespace.
    pids: File,
}

impl Worker {
    fn new() -> io::Result<Self> {
        shed_privileges()?;
        Ok(Self {
            router: File::open("/proc/thread-self/ns/net")?,
            netlink: Netlink::open(NETLINK_ROUTE)?,
            pids: File::open("/proc/thread-self/ns/pid")?,
        })
    }

    fn networks(&mut self, links: &[Link]) -> io::Result<Vec<OwnedFd>> {
        let made: io::Result<Vec<_>> = links.iter().map(|_| new_network()).collect();
        // A new namespace has a thread in it until the next one is made or entered.
        setns(&self.router, CloneFlags::CLONE_NEWNET)?;
        let linked = made.and_then(|made| self.link(links, made));
        if linked.is_err() {
            // The devices of what did come about go with their namespaces, but only some time later.
            let _ = self.remove(links);
        }
        linked
    }

    fn link(&mut self, links: &[Link], made: Vec<(OwnedFd, Netlink)>) -> io::Result<Vec<OwnedFd>> {
        commit(&mut self.netlink, |batch| {
            for (link, (netns, _)) in links.iter().zip(&made) {
                batch.create(link, netns.as_raw_fd());
            }
        })?;
        let sides = links.iter().zip(made).map(|(link, (netns, mut netlink))| {
            commit(&mut netlink, |batch| batch.node_side(link))?;
            Ok(netns)
        });
        let sides = sides.collect::<io::Result<_>>()?;
        commit(&mut self.netlink, |batch| {
            links.iter().for_each(|link| batch.known(link));
        })?;
        Ok(sides)
    }

    fn remove(&mut self, links: &[Link]) -> io::Result<()> {
        commit(&mut self.netlink, |batch| {
            links.iter().for_each(|link| batch.remove(link));
        })
    }

    fn spawn(&mut self, start: &Start) -> io::Result<Pid> {
        setns(start.netns.as_fd(), CloneFlags::CLONE_NEWNET)?;
        // A thread's children can be sent to a new pid namespace once; after that it has to come back first (EINVAL).
        setns(&self.pids, CloneFlags::CLONE_NEWPID)?;
        unshare(CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWUTS)?;
        sethostname(start.host.get(..HOST_NAME).unwrap_or(&start.host))?;
        let log = OpenOptions::new()
            .append(true)
            .create(true)
            .open(start.directory.join(LOG))?;
        let (program, arguments) = &start.program;
        // Nothing is to be done between fork and exec, so that the standard library can use vfork: a copy of the supervisor's
        // page tables for each node would cost more than all the rest.
        let child = Command::new(program)
            .args(arguments)
            .env_clear()
            .envs(start.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .map_err(|error| named(program, &error))?;
        let id = i32::try_from(child.id()).map_err(io::Error::other)?;
        Ok(Pid::from_raw(id))
    }
}

fn named(program: &Path, error: &io::Error) -> io::Error {
    let text = format!("failed to start {}: {error}", program.display());
    io::Error::new(error.kind(), text)
}

/// Enters a new network namespace; answers what keeps it, and a conversation with the kernel about it.
fn new_network() -> io::Result<(OwnedFd, Netlink)> {
    unshare(CloneFlags::CLONE_NEWNET)?;
    prepare_node()?;
    let namespace = File::open("/proc/thread-self/ns/net")?;
    Ok((namespace.into(), Netlink::open(NETLINK_ROUTE)?))
}

/// Makes sure that what this thread starts has no capability, whoever it runs as, and never gets one. The thread keeps its own.
fn shed_privileges() -> io::Result<()> {
    /// `SECBIT_NOROOT | SECBIT_NO_SETUID_FIXUP | SECBIT_NO_CAP_AMBIENT_RAISE`, each with its lock (`linux/securebits.h`):
    /// being root means nothing.
    const POWERLESS: libc::c_ulong = 0b1100_1111;
    prctl::set_no_new_privs()?;
    let mut capability = 0;
    while control(libc::PR_CAPBSET_READ, capability).is_ok() {
        control(libc::PR_CAPBSET_DROP, capability)?;
        capability += 1;
    }
    control(libc::PR_SET_SECUREBITS, POWERLESS)
}

/// A `prctl` that takes one number.
#[expect(unsafe_code, reason = "nix has no call for these")]
fn control(option: libc::c_int, value: libc::c_ulong) -> io::Result<()> {
    const NOTHING: libc::c_ulong = 0;
    // SAFETY: the options used here read and write numbers of the calling thread, and no memory of ours.
    match unsafe { libc::prctl(option, value, NOTHING, NOTHING, NOTHING) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
