//! What the nodes said of themselves: a fold of their events, as far as readiness needs it.

use std::collections::{BTreeMap, BTreeSet};

use netsplit_api::event::{Event, EventRecord};
use netsplit_plan::plan::NodeName;

/// What one start of a node said so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Which start.
    pub(crate) incarnation: u64,
    /// Whether it said that it answers.
    pub(crate) started: bool,
    /// Tip and height it started with.
    pub(crate) first_tip: Option<(u32, String)>,
    /// Active tip.
    pub(crate) tip: Option<(u32, String)>,
    /// Handshaken peers: connection and address.
    pub(crate) peers: BTreeMap<u64, String>,
    /// Nodes a DNS seed reached and has not forgotten.
    pub(crate) reached: BTreeSet<String>,
}

/// What all nodes said.
#[derive(Clone, Debug, Default)]
pub(crate) struct Census {
    entries: BTreeMap<NodeName, Entry>,
    /// Starts that are over: what they said may still be under way.
    retired: BTreeMap<NodeName, BTreeSet<u64>>,
}

impl Census {
    /// What the node's newest start said.
    pub(crate) fn of(&self, node: &NodeName) -> Option<&Entry> {
        self.entries.get(node)
    }

    /// The number of the node's newest start, 0 before the first.
    pub(crate) fn incarnation(&self, node: &NodeName) -> u64 {
        self.entries.get(node).map_or(0, |entry| entry.incarnation)
    }

    /// The node's process is gone, and what it said with it, but not which start it was.
    pub(crate) fn gone(&mut self, node: &NodeName) {
        if let Some(entry) = self.entries.get_mut(node) {
            *entry = Entry {
                incarnation: entry.incarnation,
                ..Entry::default()
            };
        }
    }

    /// Folds in one event. An incarnation that was not seen before begins anew; what earlier ones said late is ignored.
    pub(crate) fn record(&mut self, node: &NodeName, incarnation: u64, record: &EventRecord) {
        let retired = self.retired.entry(node.clone()).or_default();
        if retired.contains(&incarnation) {
            return;
        }
        let entry = self.entries.entry(node.clone()).or_default();
        if entry.incarnation != incarnation {
            retired.insert(entry.incarnation);
            *entry = Entry {
                incarnation,
                ..Entry::default()
            };
        }
        match &record.event {
            Event::NodeStarted { tip, height, .. } => {
                entry.started = true;
                entry.first_tip = Some((*height, tip.clone()));
                entry.tip.clone_from(&entry.first_tip);
            }
            Event::PeerConnected { peer, address, .. } => {
                entry.peers.insert(*peer, address.clone());
            }
            Event::PeerDisconnected { peer, .. } => {
                entry.peers.remove(peer);
            }
            Event::TipChanged { hash, height, .. } => entry.tip = Some((*height, hash.clone())),
            Event::DnsNodeReached { address } => {
                entry.reached.insert(address.clone());
            }
            Event::DnsNodeForgotten { address, .. } => {
                entry.reached.remove(address);
            }
            _ => {}
        }
    }
}

/// Whether an event can change a readiness.
pub(crate) const fn matters(event: &Event) -> bool {
    matches!(
        event,
        Event::NodeStarted { .. }
            | Event::PeerConnected { .. }
            | Event::PeerDisconnected { .. }
            | Event::TipChanged { .. }
            | Event::DnsNodeReached { .. }
            | Event::DnsNodeForgotten { .. }
    )
}
