//! What the nodes of a run are made of: the same for all but their names, addresses and configurations.

use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder, Permissions},
    io,
    net::{IpAddr, Ipv4Addr},
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
};

use netsplit_api::config::CONFIG_ENV;
use netsplit_plan::{
    node_config::RunContext,
    plan::{NodeName, Plan, PlannedNode},
};

use super::protocol::{LOG, Limits, NODES, NodeSpec};
use crate::RuntimeError;

/// Where nodes have their addresses: first address and prefix length. Every run has a network of its own, which nothing
/// leads out of, so that all may use the same.
pub(super) const RANGE: (Ipv4Addr, u8) = (Ipv4Addr::new(10, 248, 0, 0), 16);

/// Name of a node's store in its directory.
const DATA: &str = "data";

/// Most nodes in [`RANGE`]: its first address, the router's and its last are nobody's.
pub(super) const MOST_NODES: usize = (1 << (32 - RANGE.1)) - 3;

/// Every planned node's address.
pub(super) fn addresses(plan: &Plan) -> BTreeMap<NodeName, IpAddr> {
    let address = |node: &PlannedNode| Ipv4Addr::from_bits(RANGE.0.to_bits() + node.host);
    let nodes = plan.nodes.iter();
    nodes
        .map(|node| (node.name.clone(), IpAddr::V4(address(node))))
        .collect()
}

/// Where all nodes of a run have their directories.
pub(super) fn all(directory: &Path) -> PathBuf {
    directory.join(NODES)
}

/// A node's log.
pub(super) fn log(directory: &Path, node: &NodeName) -> PathBuf {
    all(directory).join(&node.0).join(LOG)
}

/// Makes a directory that only we can enter, and those above it as they usually are.
///
/// # Errors
/// When it cannot be made, or made private.
pub(super) fn private(path: &Path) -> io::Result<()> {
    let create = || DirBuilder::new().mode(0o700).create(path);
    let created = match (create(), path.parent()) {
        (Err(error), Some(parent)) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(parent)?;
            create()
        }
        (created, _) => created,
    };
    match created {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs::set_permissions(path, Permissions::from_mode(0o700))
        }
        other => other,
    }
}

/// What all nodes of a run have in common.
#[derive(Clone, Debug)]
pub(super) struct Template<'a> {
    /// The run's directory.
    pub(super) directory: &'a Path,
    pub(super) context: RunContext,
    pub(super) limits: Limits,
}

impl Template<'_> {
    /// One node; its directory is made.
    ///
    /// # Errors
    /// When that cannot be done.
    pub(super) fn prepare(
        &self,
        plan: &Plan,
        node: &PlannedNode,
    ) -> Result<NodeSpec, RuntimeError> {
        let failed = |error: Box<dyn std::error::Error + Send + Sync>| {
            RuntimeError::with_source(format!("failed to prepare `{}`", node.name), error)
        };
        let own = all(self.directory).join(&node.name.0);
        let data = own.join(DATA);
        for directory in [&own, &data] {
            private(directory).map_err(|error| failed(error.into()))?;
        }
        let mut config = plan.node_config(node, &self.context);
        config.data_dir = data.to_string_lossy().into_owned();
        let config = serde_json::to_string(&config).map_err(|error| failed(error.into()))?;
        let IpAddr::V4(address) = self.context.addresses[&node.name] else {
            unreachable!("addresses are made from an IPv4 range");
        };
        Ok(NodeSpec {
            name: node.name.clone(),
            address,
            environment: vec![(CONFIG_ENV.to_owned(), config)],
            limits: self.limits,
        })
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_directory_is_made_private_even_if_it_was_there() {
        let home = tempfile::tempdir().unwrap();
        for path in [home.path().join("a/b/c"), home.path().join("d")] {
            for _ in 0..2 {
                private(&path).unwrap();
                let mode = fs::metadata(&path).unwrap().permissions().mode();
                assert_eq!(mode & 0o777, 0o700);
                fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
            }
        }
    }
}
