//! What is known of one node.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use netsplit_api::{
    config::Role,
    event::{Event, EventRecord},
};
use serde::{Deserialize, Serialize};

use super::{At, Blocks, Tip};
use crate::plan::PlannedNode;

/// Tips a node is remembered to have had: enough to find an instant at which all agreed, however late events arrive.
const REMEMBERED: usize = 16;

/// Where a node's process is, and who put it there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lifecycle {
    /// It joins later.
    Planned,
    /// It runs.
    Running,
    /// A step froze it.
    Paused,
    /// A step killed or stopped it.
    Stopped,
    /// It ended without being told to: it still counts, and no assertion about it holds.
    Died,
}

/// A tip a node had, from one instant until just before another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Which; `None`: unknown.
    pub tip: Option<Tip>,
    /// Since when.
    pub from: At,
    /// Until when; `None`: it still has it.
    pub until: Option<At>,
}

/// What is known of one node.
#[derive(Clone, Debug)]
pub struct NodeView {
    roles: BTreeSet<Role>,
    lifecycle: Lifecycle,
    incarnation: Option<u64>,
    retired: BTreeSet<u64>,
    seen: BTreeMap<u64, u64>,
    held: VecDeque<Held>,
    peers: Option<BTreeSet<u64>>,
    lost: bool,
}

impl NodeView {
    pub(super) fn new(node: &PlannedNode) -> Self {
        Self {
            roles: node.roles.clone(),
            lifecycle: if node.joins {
                Lifecycle::Planned
            } else {
                Lifecycle::Running
            },
            incarnation: None,
            retired: BTreeSet::new(),
            seen: BTreeMap::new(),
            held: VecDeque::new(),
            peers: Some(BTreeSet::new()),
            lost: false,
        }
    }

    /// Takes an event; `false` if it was seen before.
    pub(super) fn receive(
        &mut self,
        incarnation: u64,
        record: &EventRecord,
        blocks: &Blocks,
    ) -> bool {
        let last = self.seen.get(&incarnation).copied().unwrap_or(0);
        if record.seq <= last {
            return false;
        }
        self.seen.insert(incarnation, record.seq);
        if !self.adopt(incarnation) {
            return true;
        }
        if record.seq > last + 1 {
            self.lose();
        }
        self.apply(record, blocks);
        true
    }

    /// Whether the incarnation is the one that runs; a new one replaces the one before.
    fn adopt(&mut self, incarnation: u64) -> bool {
        if self.retired.contains(&incarnation) {
            return false;
        }
        if self.incarnation != Some(incarnation) {
            self.retire();
            self.incarnation = Some(incarnation);
        }
        true
    }

    fn retire(&mut self) {
        self.retired.extend(self.incarnation.take());
        self.peers = Some(BTreeSet::new());
    }

    fn apply(&mut self, record: &EventRecord, blocks: &Blocks) {
        let at = At(record.time_ns);
        match &record.event {
            Event::NodeStarted {
                tip: hash, height, ..
            }
            | Event::TipChanged { hash, height, .. } => {
                self.hold(
                    Some(Tip {
                        hash: blocks.id(hash),
                        height: *height,
                    }),
                    at,
                );
            }
            Event::PeerConnected { peer, .. } => {
                if let Some(peers) = &mut self.peers {
                    peers.insert(*peer);
                }
            }
            Event::PeerDisconnected { peer, .. } => {
                if let Some(peers) = &mut self.peers {
                    peers.remove(peer);
                }
            }
            Event::EventsLost { .. } => self.lose(),
            _ => {}
        }
    }

    fn hold(&mut self, tip: Option<Tip>, at: At) {
        let from = self.held.back().map_or(at, |last| last.from.max(at));
        if let Some(last) = self.held.back_mut() {
            last.until = Some(last.until.unwrap_or(from));
        }
        self.held.push_back(Held {
            tip,
            from,
            until: None,
        });
        if self.held.len() > REMEMBERED {
            self.held.pop_front();
        }
    }

    pub(super) fn lose(&mut self) {
        self.lost = true;
        self.peers = None;
        let last = self.held.back().map_or(At(0), |held| held.from);
        self.hold(None, last);
    }

    pub(super) fn told_tip(&mut self, tip: Tip, at: At) {
        if self.lifecycle == Lifecycle::Running && self.tip().is_none() {
            self.hold(Some(tip), at);
        }
    }

    pub(super) fn set_lifecycle(&mut self, lifecycle: Lifecycle, at: At) {
        self.lifecycle = lifecycle;
        if matches!(lifecycle, Lifecycle::Stopped | Lifecycle::Died) {
            self.retire();
            self.hold(None, at);
        }
    }

    /// What it is for.
    #[must_use]
    pub const fn roles(&self) -> &BTreeSet<Role> {
        &self.roles
    }

    /// Whether it keeps a chain, be it of headers only: a node whose only role is `dns-seed` does not.
    #[must_use]
    pub fn keeps_chain(&self) -> bool {
        self.roles.iter().any(|role| *role != Role::DnsSeed)
    }

    /// Whether it keeps a UTXO set: nodes whose only roles are `dns-seed` and `routing` do not.
    #[must_use]
    pub fn keeps_coins(&self) -> bool {
        self.roles
            .iter()
            .any(|role| !matches!(role, Role::DnsSeed | Role::Routing))
    }

    /// Where its process is.
    #[must_use]
    pub const fn lifecycle(&self) -> Lifecycle {
        self.lifecycle
    }

    /// Whether it counts as running: not killed, stopped or paused by a step, whether cut or not.
    #[must_use]
    pub const fn is_running(&self) -> bool {
        matches!(self.lifecycle, Lifecycle::Running | Lifecycle::Died)
    }

    /// Its active tip now; `None` when it is unknown.
    #[must_use]
    pub fn tip(&self) -> Option<&Tip> {
        self.held.back()?.tip.as_ref()
    }

    /// The last tips it had, oldest first.
    pub fn held(&self) -> impl Iterator<Item = &Held> {
        self.held.iter()
    }

    /// Number of handshaken peers; `None` when events were lost.
    #[must_use]
    pub fn peers(&self) -> Option<usize> {
        self.peers.as_ref().map(BTreeSet::len)
    }

    /// Whether events of it were ever lost.
    #[must_use]
    pub const fn lost_events(&self) -> bool {
        self.lost
    }
}
