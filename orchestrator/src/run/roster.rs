//! Where the nodes' processes are, and who put them there.
//!
//! Shared between the conductor, which writes it, and the operations in flight, which read it: a node whose process
//! changed while a probe was under way proves nothing either way.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard},
};

use netsplit_plan::plan::NodeName;

/// Where a node's process is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    /// Planned to join later.
    Planned,
    /// It runs.
    Running,
    /// It was started and is not ready yet.
    Starting,
    /// It is being ended or has ended, by a step or, if named, by a churn.
    Gone {
        /// The churn.
        by: Option<String>,
    },
    /// It is frozen.
    Paused,
}

#[derive(Clone, Debug)]
struct Entry {
    presence: Presence,
    /// Grows with every change of the process.
    epoch: u64,
    /// Ends that were asked for and not yet reported.
    owed_exits: u32,
}

/// The nodes' processes.
#[derive(Debug)]
pub(crate) struct Roster {
    entries: Mutex<BTreeMap<NodeName, Entry>>,
}

impl Roster {
    pub(crate) fn new(nodes: impl IntoIterator<Item = (NodeName, Presence)>) -> Self {
        let entries = nodes
            .into_iter()
            .map(|(node, presence)| {
                (
                    node,
                    Entry {
                        presence,
                        epoch: 0,
                        owed_exits: 0,
                    },
                )
            })
            .collect();
        Self {
            entries: Mutex::new(entries),
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<NodeName, Entry>> {
        self.entries
            .lock()
            .expect("nobody panics while holding it: all sections are short and plain")
    }

    pub(crate) fn presence(&self, node: &NodeName) -> Presence {
        self.lock()
            .get(node)
            .map_or(Presence::Planned, |entry| entry.presence.clone())
    }

    pub(crate) fn set(&self, node: &NodeName, presence: Presence) {
        if let Some(entry) = self.lock().get_mut(node)
            && entry.presence != presence
        {
            entry.presence = presence;
            entry.epoch += 1;
        }
    }

    /// One more end of this node's process is on its way and is no surprise.
    pub(crate) fn expect_exit(&self, node: &NodeName) {
        if let Some(entry) = self.lock().get_mut(node) {
            entry.owed_exits += 1;
        }
    }

    /// The engine will not report the ends that are still expected.
    pub(crate) fn forgive_exits(&self, node: &NodeName) {
        if let Some(entry) = self.lock().get_mut(node) {
            entry.owed_exits = 0;
        }
    }

    /// Whether an end that was asked for has not been reported yet.
    pub(crate) fn owes_exit(&self, node: &NodeName) -> bool {
        self.lock()
            .get(node)
            .is_some_and(|entry| entry.owed_exits > 0)
    }

    /// Notes that a process ended; true when that was asked for.
    pub(crate) fn exited(&self, node: &NodeName) -> bool {
        let mut entries = self.lock();
        let Some(entry) = entries.get_mut(node) else {
            return true;
        };
        entry.epoch += 1;
        if entry.owed_exits > 0 {
            entry.owed_exits -= 1;
            return true;
        }
        let expected = matches!(entry.presence, Presence::Gone { .. } | Presence::Planned);
        if !expected {
            entry.presence = Presence::Gone { by: None };
        }
        expected
    }

    /// Running nodes with their epochs.
    pub(crate) fn running(&self) -> BTreeMap<NodeName, u64> {
        self.lock()
            .iter()
            .filter(|(_, entry)| entry.presence == Presence::Running)
            .map(|(node, entry)| (node.clone(), entry.epoch))
            .collect()
    }

    /// Whether both processes run or have been started.
    pub(crate) fn alive_both(&self, a: &NodeName, b: &NodeName) -> bool {
        let alive = |node| matches!(self.presence(node), Presence::Running | Presence::Starting);
        alive(a) && alive(b)
    }

    /// Nodes of `before` that ran all the time since.
    pub(crate) fn unchanged(&self, before: &BTreeMap<NodeName, u64>) -> BTreeSet<NodeName> {
        let now = self.running();
        before
            .iter()
            .filter(|(node, epoch)| now.get(*node) == Some(epoch))
            .map(|(node, _)| node.clone())
            .collect()
    }

    /// Every node with where it is.
    pub(crate) fn all(&self) -> BTreeMap<NodeName, Presence> {
        self.lock()
            .iter()
            .map(|(node, entry)| (node.clone(), entry.presence.clone()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> NodeName {
        NodeName("a".to_owned())
    }

    #[test]
    fn an_end_nobody_asked_for_is_a_surprise_once() {
        let roster = Roster::new([(node(), Presence::Running)]);
        assert!(!roster.exited(&node()));
        assert!(
            roster.exited(&node()),
            "the second report tells nothing new"
        );
    }

    #[test]
    fn the_late_report_of_a_kill_does_not_blame_the_new_process() {
        let roster = Roster::new([(node(), Presence::Running)]);
        roster.expect_exit(&node());
        roster.set(&node(), Presence::Gone { by: None });
        roster.set(&node(), Presence::Starting);
        assert!(roster.exited(&node()));
        assert!(
            !roster.exited(&node()),
            "and the death of the new one is a surprise"
        );
    }

    #[test]
    fn a_node_that_was_restarted_in_between_did_not_run_all_the_time() {
        let roster = Roster::new([(node(), Presence::Running)]);
        let before = roster.running();
        assert!(roster.unchanged(&before).contains(&node()));
        roster.set(&node(), Presence::Gone { by: None });
        roster.set(&node(), Presence::Running);
        assert!(roster.unchanged(&before).is_empty());
    }
}
