//! The calls to a Docker engine that a run is made of, as a trait, so that launching, removing and collecting can be
//! tested against an engine that fails at any call.

use std::{collections::BTreeMap, fmt, net::IpAddr};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;

use super::{network::Subnet, stream::Pipe};
use crate::RuntimeError;

/// What went wrong, as far as anybody has to act on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ErrorKind {
    /// No engine listens.
    NoEngine,
    /// The engine's socket may not be opened.
    NoPermission,
    /// There is no such thing.
    NotFound,
    /// The thing is in another state, or is in use, or there already.
    Conflict,
    /// The subnet is taken.
    Overlap,
    /// Anything else.
    Other,
}

/// An engine call failed.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct EngineError {
    pub(crate) kind: ErrorKind,
    pub(crate) message: String,
    #[source]
    pub(crate) source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl EngineError {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            source: None,
        }
    }

    /// The error of the operation that needed the call, with a remedy where there is one.
    pub(crate) fn during(self, operation: impl fmt::Display) -> RuntimeError {
        let hint = self.hint();
        let error = RuntimeError::with_source(operation.to_string(), self);
        match hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }

    const fn hint(&self) -> Option<&'static str> {
        match self.kind {
            ErrorKind::NoEngine => Some(
                "start Docker (`sudo systemctl start docker`), or name an engine that runs in `DOCKER_HOST`",
            ),
            ErrorKind::NoPermission => Some(
                "join the group that may use the engine (`sudo usermod -aG docker $USER`, then log in again), or run as root",
            ),
            _ => None,
        }
    }
}

/// `Ok` when the thing was not there: for what is undone, that is success.
pub(crate) fn gone_is_fine(result: Result<(), EngineError>) -> Result<(), EngineError> {
    match result {
        Err(error) if error.kind == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// What a container's network is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Attachment {
    /// Loopback only.
    None,
    /// The engine's host's.
    Host,
    /// A network, by its name, with a fixed address.
    Network { name: String, address: IpAddr },
}

/// Whether a container has a stdin, and what the end of our connection means to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stdin {
    /// It has none.
    Closed,
    /// It ends with the connection.
    Once,
    /// It outlives connections.
    Kept,
}

/// A container to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ContainerSpec {
    pub(crate) name: String,
    pub(crate) image: String,
    pub(crate) command: Vec<String>,
    pub(crate) env: Vec<String>,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) network: Attachment,
    pub(crate) capabilities: Vec<&'static str>,
    pub(crate) stdin: Stdin,
    /// Path of the engine's socket on its host, if the container is given it.
    pub(crate) socket: Option<String>,
    /// The engine removes it when it exits.
    pub(crate) auto_remove: bool,
    /// Processes and threads it may have.
    pub(crate) pids: i64,
    /// Bytes of memory it may have.
    pub(crate) memory: Option<i64>,
}

/// A network to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NetworkSpec {
    pub(crate) name: String,
    pub(crate) device: String,
    pub(crate) subnet: Subnet,
    pub(crate) labels: BTreeMap<String, String>,
}

/// A container that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ContainerInfo {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) state: ContainerState,
}

/// Where a container's process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ContainerState {
    Created,
    Running,
    Paused,
    Exited,
}

/// A network that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NetworkInfo {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) subnets: Vec<Subnet>,
}

/// An image of ours that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ImageInfo {
    /// Its name and tag.
    pub(crate) reference: String,
    /// When it was last given that tag, in seconds since the epoch by the engine's clock; `None` while it was only
    /// imported.
    pub(crate) tagged: Option<u64>,
}

/// Something that happened to a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EngineEvent {
    /// `start` or `die`.
    pub(crate) action: String,
    /// Labels, and `exitCode` for `die`.
    pub(crate) attributes: BTreeMap<String, String>,
    /// By the engine's clock, nanoseconds since the epoch.
    pub(crate) time_ns: i64,
}

/// What an engine is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EngineVersion {
    pub(crate) engine: String,
    pub(crate) api: String,
    /// In Go's words, e.g. `amd64`.
    pub(crate) arch: String,
}

/// A Docker engine. Containers and networks are named by name or id; labels are `key` or `key=value`.
#[async_trait]
pub(crate) trait Engine: Send + Sync + 'static {
    async fn version(&self) -> Result<EngineVersion, EngineError>;

    /// An image by name and tag, if there is one.
    async fn image(&self, reference: &str) -> Result<Option<ImageInfo>, EngineError>;
    /// Images that bear, as their tag, what this label says it is.
    async fn images(&self, label: &str) -> Result<Vec<ImageInfo>, EngineError>;
    /// Gives an image the tag it has, now.
    async fn tag_image(&self, reference: &str) -> Result<(), EngineError>;
    /// Refused while any container is made of it.
    async fn remove_image(&self, reference: &str) -> Result<(), EngineError>;
    /// Takes a docker-archive.
    async fn import_image(&self, archive: Bytes) -> Result<(), EngineError>;

    /// All networks, or those with a label.
    async fn networks(&self, label: Option<&str>) -> Result<Vec<NetworkInfo>, EngineError>;
    async fn create_network(&self, spec: &NetworkSpec) -> Result<(), EngineError>;
    async fn remove_network(&self, network: &str) -> Result<(), EngineError>;
    /// Takes a container out of a network, whatever state it is in.
    async fn disconnect(&self, network: &str, container: &str) -> Result<(), EngineError>;

    /// Containers with a label, in whatever state.
    async fn containers(&self, label: &str) -> Result<Vec<ContainerInfo>, EngineError>;
    async fn create_container(&self, spec: &ContainerSpec) -> Result<(), EngineError>;
    async fn start_container(&self, container: &str) -> Result<(), EngineError>;
    /// SIGKILL; returns when the process is gone.
    async fn kill_container(&self, container: &str) -> Result<(), EngineError>;
    /// SIGTERM, and SIGKILL after `seconds`; returns when the process is gone.
    async fn stop_container(&self, container: &str, seconds: i32) -> Result<(), EngineError>;
    async fn pause_container(&self, container: &str) -> Result<(), EngineError>;
    async fn unpause_container(&self, container: &str) -> Result<(), EngineError>;
    /// Whatever its state; returns when it is gone.
    async fn remove_container(&self, container: &str) -> Result<(), EngineError>;

    /// Connects to stdin and stdout of the container's process.
    async fn attach(&self, container: &str) -> Result<Pipe, EngineError>;
    /// Starts a further process in the container and connects to it.
    async fn exec(&self, container: &str, command: &[&str]) -> Result<Pipe, EngineError>;
    /// The last lines of its log, oldest first.
    async fn logs(&self, container: &str, lines: usize) -> Result<Vec<String>, EngineError>;
    /// Log lines from now on, until it ends.
    fn follow_logs(&self, container: &str) -> BoxStream<'static, Result<String, EngineError>>;
    /// Starts and deaths of containers with a label, those since `since` (seconds since the epoch) included.
    fn events(
        &self,
        label: &str,
        since: Option<u64>,
    ) -> BoxStream<'static, Result<EngineEvent, EngineError>>;
}
