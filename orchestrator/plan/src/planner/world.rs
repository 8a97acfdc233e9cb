//! What is certain about the testnet at each step of a scenario, before anything runs.

use std::collections::{BTreeMap, BTreeSet};

use netsplit_api::config::Role;
use serde::{Deserialize, Serialize};

use crate::{
    cuts::ActiveCuts,
    observe::Lifecycle,
    plan::{NodeName, Plan, PlannedNode},
};

/// Where a testnet that runs is, for planning more steps. The default is that of one that has just become ready.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Situation {
    /// What became of nodes; those not named are as planned.
    pub nodes: BTreeMap<NodeName, Lifecycle>,
    /// Cuts in force.
    pub cuts: ActiveCuts,
    /// Ids of churns that go on.
    pub churns: BTreeSet<String>,
    /// Groups of every cut that was made, by id, healed ones included.
    pub past_cuts: BTreeMap<String, Vec<Vec<NodeName>>>,
    /// Ids of transactions sent, oldest first; `None` for those without.
    pub sent: Vec<Option<String>>,
}

/// Where a node's process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It joins later.
    Absent,
    /// It runs.
    Up,
    /// It was killed or stopped.
    Down,
    /// It is frozen.
    Paused,
    /// A churn may have taken it away or not.
    Unsure,
}

impl State {
    pub(super) const fn phrase(self) -> &'static str {
        match self {
            Self::Absent => "has not joined",
            Self::Up => "is running",
            Self::Down => "is not running",
            Self::Paused => "is paused",
            Self::Unsure => "may be away",
        }
    }
}

/// A fault in force.
#[derive(Clone, Debug)]
pub(super) struct InForce {
    /// Whether it ends by itself.
    pub(super) timed: bool,
    /// Whether an earlier command made it: whether and when it ends by itself is known to that one only.
    pub(super) made_before: bool,
    /// Nodes that come and go, if it is a churn.
    pub(super) churned: Option<Vec<NodeName>>,
}

/// What is certain at one step.
pub(super) struct World {
    pub(super) states: BTreeMap<NodeName, State>,
    pub(super) absent: BTreeSet<NodeName>,
    pub(super) faults: BTreeMap<String, InForce>,
    /// Groups of every cut made so far.
    pub(super) cuts: BTreeMap<String, Vec<Vec<NodeName>>>,
    /// Ids of faults that were in force and are over.
    pub(super) over: BTreeSet<String>,
    pub(super) sent: Vec<Option<String>>,
    /// Nodes that were paid by a step, or that mined at a step's word.
    pub(super) funded: BTreeSet<NodeName>,
    /// Nodes that mined at a step's word.
    pub(super) mined: BTreeSet<NodeName>,
    /// The chain is at least this high.
    pub(super) height: u32,
    /// Whether time has passed in which blocks may have been found.
    pub(super) waited: bool,
    /// Whether the testnet ran before these steps: little is certain then.
    pub(super) ran_before: bool,
}

impl World {
    pub(super) fn fresh(nodes: &[PlannedNode], premine: u32) -> Self {
        let absent: BTreeSet<NodeName> = nodes
            .iter()
            .filter(|node| node.joins)
            .map(|node| node.name.clone())
            .collect();
        let state = |node: &PlannedNode| if node.joins { State::Absent } else { State::Up };
        Self {
            states: nodes
                .iter()
                .map(|node| (node.name.clone(), state(node)))
                .collect(),
            absent,
            faults: BTreeMap::new(),
            cuts: BTreeMap::new(),
            over: BTreeSet::new(),
            sent: Vec::new(),
            funded: BTreeSet::new(),
            mined: BTreeSet::new(),
            height: premine,
            waited: false,
            ran_before: false,
        }
    }

    pub(super) fn running(plan: &Plan, situation: &Situation) -> Self {
        let mut world = Self::fresh(&plan.nodes, plan.chain.premine);
        for (node, lifecycle) in &situation.nodes {
            let state = match lifecycle {
                Lifecycle::Planned => State::Absent,
                Lifecycle::Running => State::Up,
                Lifecycle::Paused => State::Paused,
                Lifecycle::Stopped | Lifecycle::Died => State::Down,
            };
            if world.states.insert(node.clone(), state).is_some() && state != State::Absent {
                world.absent.remove(node);
            }
        }
        for cut in situation.cuts.iter() {
            let fault = InForce {
                timed: cut.for_ms.is_some(),
                made_before: true,
                churned: None,
            };
            world.faults.insert(cut.id.clone(), fault);
            world.cuts.insert(cut.id.clone(), cut.groups.clone());
        }
        for churn in &situation.churns {
            let everybody = plan.nodes.iter().map(|node| node.name.clone()).collect();
            world.faults.insert(
                churn.clone(),
                InForce {
                    timed: true,
                    made_before: true,
                    churned: Some(everybody),
                },
            );
        }
        for (id, groups) in &situation.past_cuts {
            world
                .cuts
                .entry(id.clone())
                .or_insert_with(|| groups.clone());
            if !world.faults.contains_key(id) {
                world.over.insert(id.clone());
            }
        }
        world.sent.clone_from(&situation.sent);
        world.waited = true;
        world.ran_before = true;
        world
    }

    pub(super) fn state(&self, node: &NodeName) -> State {
        let churned = self
            .faults
            .values()
            .filter_map(|fault| fault.churned.as_ref());
        if churned.flatten().any(|other| other == node) {
            return State::Unsure;
        }
        self.states.get(node).copied().unwrap_or(State::Unsure)
    }

    pub(super) fn set(&mut self, node: &NodeName, state: State) {
        self.states.insert(node.clone(), state);
        self.absent.remove(node);
    }

    /// A fault is over.
    pub(super) fn end(&mut self, id: &str) {
        if self.faults.remove(id).is_some() {
            self.over.insert(id.to_owned());
        }
    }

    /// Whether the chain can have grown beyond the premine, or still can.
    pub(super) fn can_grow(&self, nodes: &[PlannedNode]) -> bool {
        let miner = |node: &PlannedNode| node.roles.contains(&Role::Miner);
        self.ran_before || !self.mined.is_empty() || nodes.iter().any(miner)
    }
}
