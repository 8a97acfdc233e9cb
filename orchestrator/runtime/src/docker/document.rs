//! What of a run's document is peculiar to this runtime.

use serde::{Deserialize, Serialize};

use super::{labels::Identity, node::NodeTemplate};
use crate::document;

/// Who a run's life depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Lease {
    /// Its maker, through the reaper.
    Starting,
    /// Nobody: it runs until it is taken down.
    Detached,
}

/// The document.
pub(super) type Document = document::Document<Recipe>;

/// What further nodes are made from, and the lease.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Recipe {
    pub(super) lease: Lease,
    node_image: String,
    node_command: Vec<String>,
    node_memory: Option<i64>,
}

impl Recipe {
    pub(super) fn new(template: &NodeTemplate, lease: Lease) -> Self {
        Self {
            lease,
            node_image: template.image.clone(),
            node_command: template.command.clone(),
            node_memory: template.memory,
        }
    }
}

impl Document {
    /// What further nodes are made from.
    pub(super) fn template(&self, identity: Identity) -> NodeTemplate {
        NodeTemplate {
            identity,
            image: self.made_from.node_image.clone(),
            command: self.made_from.node_command.clone(),
            context: self.context(),
            memory: self.made_from.node_memory,
        }
    }
}
