//! Why a node could not go on.

use std::{io, net::SocketAddr, path::PathBuf};

use netsplit_core::{node::NodeError, store::StoreError};

/// Why a node could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum NodeExit {
    /// There is no configuration.
    #[error("no configuration: set `{variable}` or give `--config`")]
    NoConfig {
        /// Environment variable that was looked at.
        variable: &'static str,
    },
    /// The configuration cannot be read.
    #[error("failed to read the configuration from `{}`", path.display())]
    ReadConfig {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The configuration is not what it should be.
    #[error("the configuration is not valid")]
    ParseConfig(#[source] serde_json::Error),
    /// The data directory cannot be created.
    #[error("failed to create the data directory `{}`", path.display())]
    DataDir {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The store cannot be opened, or failed later.
    #[error("the store is out of order")]
    Store(#[source] StoreError),
    /// The node refused its configuration or its stored state.
    #[error("failed to build the node")]
    Node(#[source] NodeError),
    /// A port cannot be opened.
    #[error("failed to listen for {what} on {address}")]
    Listen {
        /// What for.
        what: &'static str,
        /// Where.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The async runtime or a signal handler cannot be set up.
    #[error("failed to set up the runtime")]
    Runtime(#[source] io::Error),
}
