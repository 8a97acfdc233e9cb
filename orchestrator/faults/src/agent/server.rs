//! What the agent knows and does, whoever asks.

use std::{
    collections::BTreeSet,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde_json::Value;
use tokio::sync::watch;

use super::nodes::{Directory, Node, chain};
use crate::{
    enforcer::{EnforceError, Enforcer},
    links::{LinkError, Links, within},
    protocol::{Configure, FailureKind, Health, ReplyBody, RequestBody},
};

/// Makes the enforcer once the run is known.
pub(super) type Open =
    Box<dyn Fn(&Configure) -> Result<Box<dyn Enforcer>, EnforceError> + Send + Sync>;

/// The agent of one run.
pub(super) struct Agent {
    open: Open,
    run: Mutex<Option<Run>>,
    directory: watch::Sender<Option<Arc<Directory>>>,
    state: Mutex<Value>,
}

/// What the first `configure` settled for good, and the links.
struct Run {
    fixed: Fixed,
    links: Links<Box<dyn Enforcer>>,
}

/// The parts of a configuration that later ones must repeat.
#[derive(Debug, PartialEq, Eq)]
struct Fixed {
    run: String,
    device: Option<String>,
    subnet: (IpAddr, u8),
    probe_port: u16,
}

/// A request that was not fulfilled.
#[derive(Debug)]
pub(super) struct Failure {
    kind: FailureKind,
    reason: String,
}

impl From<LinkError> for Failure {
    fn from(error: LinkError) -> Self {
        let kind = match error {
            LinkError::Invalid(_) => FailureKind::BadRequest,
            LinkError::Kernel(_) => FailureKind::Kernel,
        };
        Self {
            kind,
            reason: chain(&error),
        }
    }
}

impl From<Failure> for ReplyBody {
    fn from(Failure { kind, reason }: Failure) -> Self {
        Self::Failed { kind, reason }
    }
}

fn bad(reason: impl Into<String>) -> Failure {
    Failure {
        kind: FailureKind::BadRequest,
        reason: reason.into(),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Agent {
    /// An agent that serves no run yet.
    pub(super) fn new(open: Open) -> Self {
        Self {
            open,
            run: Mutex::default(),
            directory: watch::channel(None).0,
            state: Mutex::default(),
        }
    }

    /// The nodes, and word of every change.
    pub(super) fn directory(&self) -> watch::Receiver<Option<Arc<Directory>>> {
        self.directory.subscribe()
    }

    /// Answers what can be answered at once.
    pub(super) fn answer(&self, request: RequestBody) -> ReplyBody {
        self.try_answer(request).unwrap_or_else(ReplyBody::from)
    }

    fn try_answer(&self, request: RequestBody) -> Result<ReplyBody, Failure> {
        Ok(match request {
            RequestBody::Configure(configure) => self.configure(&configure)?,
            RequestBody::Apply(table) => {
                ReplyBody::Applied(self.with_links(|links| links.apply(table))?)
            }
            RequestBody::Counters => ReplyBody::Counters(self.with_links(Links::counters)?),
            RequestBody::Clear => {
                self.clear()?;
                ReplyBody::Done
            }
            RequestBody::PutState(state) => {
                *lock(&self.state) = state;
                ReplyBody::Done
            }
            RequestBody::GetState => ReplyBody::State(lock(&self.state).clone()),
            RequestBody::Health => ReplyBody::Health(self.health()),
            RequestBody::Rpc { .. }
            | RequestBody::Follow
            | RequestBody::OpenTunnel { .. }
            | RequestBody::Tunnel { .. }
            | RequestBody::TunnelCredit { .. }
            | RequestBody::CloseTunnel { .. } => Err(bad("not a request of this kind"))?,
        })
    }

    fn configure(&self, configure: &Configure) -> Result<ReplyBody, Failure> {
        check(configure).map_err(bad)?;
        let fixed = Fixed {
            run: configure.run.clone(),
            device: configure.device.clone(),
            subnet: configure.subnet,
            probe_port: configure.probe_port,
        };
        let before = self.directory.borrow().clone();
        let directory = Directory::new(configure, before.as_deref()).map_err(bad)?;
        let mut run = lock(&self.run);
        let run = match &mut *run {
            Some(run) if run.fixed == fixed => run,
            Some(run) => return Err(bad(format!("the agent serves run `{}`", run.fixed.run))),
            none => {
                let enforcer = (self.open)(configure).map_err(LinkError::from)?;
                none.insert(Run {
                    fixed,
                    links: Links::new(enforcer, configure.subnet),
                })
            }
        };
        let members: BTreeSet<_> = directory
            .all()
            .filter_map(|node| match node.address {
                IpAddr::V4(address) => Some(address),
                IpAddr::V6(_) => None,
            })
            .collect();
        run.links.set_members(members);
        self.directory.send_replace(Some(Arc::new(directory)));
        Ok(ReplyBody::Done)
    }

    fn with_links<T>(
        &self,
        act: impl FnOnce(&mut Links<Box<dyn Enforcer>>) -> Result<T, LinkError>,
    ) -> Result<T, Failure> {
        match &mut *lock(&self.run) {
            Some(run) => Ok(act(&mut run.links)?),
            None => Err(not_configured()),
        }
    }

    /// Undoes everything; nothing to undo is no failure.
    ///
    /// # Errors
    /// When something is left in the kernel.
    pub(super) fn clear(&self) -> Result<(), LinkError> {
        lock(&self.run)
            .as_mut()
            .map_or(Ok(()), |run| run.links.clear())
    }

    /// A node is there again: its bridge port may have a new number.
    pub(super) fn node_back(&self) {
        match lock(&self.run).as_mut().map(|run| run.links.refresh()) {
            Some(Ok(true)) => tracing::info!("the nodes' bridge ports changed; table replaced"),
            Some(Err(error)) => {
                tracing::warn!(
                    error = chain(&error),
                    "the nodes' bridge ports could not be renewed"
                );
            }
            Some(Ok(false)) | None => {}
        }
    }

    fn health(&self) -> Health {
        match &*lock(&self.run) {
            Some(run) => Health {
                run: Some(run.fixed.run.clone()),
                version: run.links.version(),
                owned: run.links.owned(),
            },
            None => Health {
                run: None,
                version: 0,
                owned: false,
            },
        }
    }

    /// A node by its name.
    ///
    /// # Errors
    /// When there is none, or no run yet.
    pub(super) fn node(&self, name: &str) -> Result<(Arc<Directory>, Arc<Node>), Failure> {
        let directory = self.directory.borrow().clone().ok_or_else(not_configured)?;
        let node = directory
            .get(name)
            .ok_or_else(|| bad(format!("no node is named `{name}`")))?;
        Ok((directory, node))
    }

    /// Calls a node.
    pub(super) async fn rpc(
        &self,
        node: &str,
        method: &str,
        params: Value,
        timeout_ms: u64,
    ) -> ReplyBody {
        let (directory, node) = match self.node(node) {
            Ok(found) => found,
            Err(failure) => return failure.into(),
        };
        let timeout = Duration::from_millis(timeout_ms);
        match directory.call(&node, method, params, timeout).await {
            Ok((status, body)) => ReplyBody::Rpc { status, body },
            Err(reason) => failed(FailureKind::Unreachable, reason),
        }
    }
}

pub(super) const fn failed(kind: FailureKind, reason: String) -> ReplyBody {
    ReplyBody::Failed { kind, reason }
}

fn not_configured() -> Failure {
    let reason = "the agent has not been told its run".to_owned();
    Failure {
        kind: FailureKind::NotConfigured,
        reason,
    }
}

/// What can be told to be wrong without looking at the machine.
fn check(configure: &Configure) -> Result<(), String> {
    let Configure {
        run,
        device,
        subnet: (network, prefix),
        ..
    } = configure;
    if run.is_empty() || run.len() > 200 {
        return Err("the run's id is empty or too long".to_owned());
    }
    let legal = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if let Some(device) = device
        && (device.is_empty() || device.len() > 15 || !device.chars().all(legal))
    {
        return Err(format!("`{device}` is no name of a network device"));
    }
    if *prefix < 8 || !within(*network, (*network, *prefix)) {
        return Err(format!("{network}/{prefix} is no network of a run"));
    }
    Ok(())
}
