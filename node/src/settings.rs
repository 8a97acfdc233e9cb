//! Where a node's configuration comes from.

use std::{env, path::Path};

use netsplit_api::config::{CONFIG_ENV, NodeConfig};

use crate::exit::NodeExit;

/// Reads the configuration from `file`, or from the environment variable [`CONFIG_ENV`] if there is no file.
///
/// # Errors
/// When there is none, or it cannot be read or understood.
pub fn load(file: Option<&Path>) -> Result<NodeConfig, NodeExit> {
    let text = match file {
        Some(path) => std::fs::read_to_string(path).map_err(|source| NodeExit::ReadConfig {
            path: path.to_owned(),
            source,
        })?,
        None => env::var(CONFIG_ENV).map_err(|_| NodeExit::NoConfig {
            variable: CONFIG_ENV,
        })?,
    };
    serde_json::from_str(&text).map_err(NodeExit::ParseConfig)
}
