//! The labels everything of a run carries, and what they are read back as. They say who a thing is, never what state it
//! is in: labels cannot change.

use std::collections::BTreeMap;

use netsplit_plan::plan::NodeName;

use crate::{Ownership, RunId, owner::Owner};

pub(crate) const RUN: &str = "netsplit.run";
const NAME: &str = "netsplit.name";
pub(crate) const ROLE: &str = "netsplit.role";
pub(crate) const NODE: &str = "netsplit.node";
const OWNER_PID: &str = "netsplit.owner-pid";
const OWNER_START: &str = "netsplit.owner-start";
const BOOT_ID: &str = "netsplit.boot-id";
const PID_NS: &str = "netsplit.pid-ns";
const OWNERSHIP: &str = "netsplit.ownership";
const VERSION: &str = "netsplit.version";
const STARTED: &str = "netsplit.started";

/// What a thing is in its run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Node,
    Agent,
    Reaper,
    Network,
}

impl Part {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Agent => "agent",
            Self::Reaper => "reaper",
            Self::Network => "network",
        }
    }

    pub(crate) fn of(labels: &BTreeMap<String, String>) -> Option<Self> {
        let role = labels.get(ROLE)?;
        [Self::Node, Self::Agent, Self::Reaper, Self::Network]
            .into_iter()
            .find(|part| part.as_str() == role)
    }
}

/// What all labels of one run say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) run: RunId,
    pub(crate) name: String,
    pub(crate) owner: Owner,
    pub(crate) ownership: Ownership,
    /// Seconds since the epoch.
    pub(crate) started: u64,
}

impl Identity {
    /// Labels of one thing of the run.
    pub(crate) fn labels(&self, part: Part, node: Option<&NodeName>) -> BTreeMap<String, String> {
        let ownership = match self.ownership {
            Ownership::Owned => "owned",
            Ownership::Detachable => "detachable",
        };
        let mut labels: BTreeMap<_, _> = [
            (RUN, self.run.0.clone()),
            (NAME, self.name.clone()),
            (ROLE, part.as_str().to_owned()),
            (OWNER_PID, self.owner.pid.to_string()),
            (OWNER_START, self.owner.start.to_string()),
            (BOOT_ID, self.owner.boot_id.clone()),
            (PID_NS, self.owner.pid_ns.clone()),
            (OWNERSHIP, ownership.to_owned()),
            (VERSION, env!("CARGO_PKG_VERSION").to_owned()),
            (STARTED, self.started.to_string()),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into();
        if let Some(node) = node {
            labels.insert(NODE.to_owned(), node.0.clone());
        }
        labels
    }

    /// Reads labels back; `None` when they are not ours or not whole.
    pub(crate) fn read(labels: &BTreeMap<String, String>) -> Option<Self> {
        let text = |key: &str| labels.get(key).cloned();
        Some(Self {
            run: RunId(text(RUN)?),
            name: text(NAME)?,
            owner: Owner {
                pid: text(OWNER_PID)?.parse().ok()?,
                start: text(OWNER_START)?.parse().ok()?,
                boot_id: text(BOOT_ID)?,
                pid_ns: text(PID_NS)?,
            },
            ownership: match text(OWNERSHIP)?.as_str() {
                "owned" => Ownership::Owned,
                "detachable" => Ownership::Detachable,
                _ => return None,
            },
            started: text(STARTED)?.parse().ok()?,
        })
    }
}

/// The filter that matches one run's things exactly.
pub(crate) fn of_run(run: &RunId) -> String {
    format!("{RUN}={run}")
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn identity() -> Identity {
        Identity {
            run: RunId("a-00000001".into()),
            name: "a".into(),
            owner: Owner::current().unwrap(),
            ownership: Ownership::Detachable,
            started: 1_700_000_000,
        }
    }

    #[test]
    fn labels_read_back_as_what_was_written() {
        let labels = identity().labels(Part::Node, Some(&NodeName("full-1".into())));
        assert_eq!(Identity::read(&labels), Some(identity()));
        assert_eq!(Part::of(&labels), Some(Part::Node));
        assert_eq!(labels[NODE], "full-1");
    }

    #[test]
    fn a_thing_that_lacks_any_identifying_label_is_not_ours() {
        let labels = identity().labels(Part::Network, None);
        for key in labels
            .keys()
            .filter(|key| ![ROLE, VERSION].contains(&key.as_str()))
        {
            let mut fewer = labels.clone();
            fewer.remove(key);
            assert_eq!(Identity::read(&fewer), None, "without {key}");
        }
    }
}
