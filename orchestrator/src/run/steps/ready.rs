//! What comes before the first step: waiting until the testnet is ready, or catching up with one that runs.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use netsplit_api::rpc::Status;
use netsplit_plan::plan::{NodeName, Plan};
use serde_json::json;

use super::{Ended, Progress, Step};
use crate::run::{
    census,
    ready::{self, FEW, Readiness},
    roster::Presence,
    stage::{Notice, Outcome, Stage, StepKey},
};

/// A testnet that is not ready this long after its last start call will not be. Far above what a loaded machine needs.
const READY_TIMEOUT: Duration = Duration::from_secs(120);
/// How long the nodes' kept events are waited for: a node's ring may not reach back to what it is compared with.
const CATCH_UP: Duration = Duration::from_secs(2);

const LATE: u32 = 1;

/// Waits until the testnet is ready (design §6).
pub(crate) struct Readying<'p> {
    key: StepKey,
    waiting: BTreeSet<NodeName>,
    readiness: Readiness<'p>,
}

impl<'p> Readying<'p> {
    pub(crate) fn new(key: StepKey, plan: &'p Plan) -> Self {
        let first = plan.nodes.iter().filter(|node| !node.joins);
        let waiting = first.map(|node| node.name.clone()).collect();
        Self {
            key,
            readiness: Readiness::new(plan, &waiting),
            waiting,
        }
    }

    fn look(&self, stage: &mut Stage<'_>) -> Progress {
        if !self.readiness.is_complete(&stage.census) {
            return Progress::Going;
        }
        for node in &self.waiting {
            stage.place(node, Presence::Running);
        }
        Progress::Ended(Ended::passed("ready"))
    }
}

impl Step for Readying<'_> {
    fn begin(&mut self, stage: &mut Stage<'_>) -> Progress {
        stage.wake(self.key, LATE, READY_TIMEOUT);
        self.look(stage)
    }

    fn on(&mut self, stage: &mut Stage<'_>, notice: &Notice<'_>) -> Progress {
        match notice {
            Notice::Node(node, event) if census::matters(event) => {
                self.readiness.look(node, &stage.census);
                self.look(stage)
            }
            Notice::Due(LATE) => {
                let waited = READY_TIMEOUT.as_secs();
                let status = self.status(stage).unwrap_or_default();
                Progress::Ended(Ended::error(format!(
                    "not ready after {waited} s: {status}"
                )))
            }
            _ => Progress::Going,
        }
    }

    fn status(&self, stage: &Stage<'_>) -> Option<String> {
        self.readiness.missing(&stage.census)
    }
}

/// Follows the events of a testnet that runs from the oldest kept until they have led to where its nodes are now.
pub(crate) struct CatchingUp {
    key: StepKey,
    /// The tips nodes said they have, until the events say so too.
    behind: BTreeMap<NodeName, Option<String>>,
    /// The tips that events said they had.
    seen: BTreeMap<NodeName, BTreeSet<String>>,
}

impl CatchingUp {
    pub(crate) const fn new(key: StepKey) -> Self {
        Self {
            key,
            behind: BTreeMap::new(),
            seen: BTreeMap::new(),
        }
    }

    fn look(&self) -> Progress {
        self.behind
            .is_empty()
            .then(|| Ended::passed("caught up"))
            .into()
    }

    /// The events of a node have led to a tip.
    fn note(&mut self, stage: &Stage<'_>, node: &NodeName) {
        let entry = stage.census.of(node).and_then(|entry| entry.tip.as_ref());
        let (Some((_, tip)), Some(said)) = (entry, self.behind.get(node)) else {
            return;
        };
        match said {
            Some(said) if said == tip => {
                self.behind.remove(node);
                self.seen.remove(node);
            }
            Some(_) => {}
            None => {
                let seen = self.seen.entry(node.clone()).or_default();
                seen.insert(tip.clone());
            }
        }
    }

    /// A node said which tip it has, or could not be asked.
    fn answered(&mut self, node: &NodeName, tip: Option<String>) {
        let seen = self.seen.remove(node).unwrap_or_default();
        match tip {
            Some(tip) if !seen.contains(&tip) => {
                self.behind.insert(node.clone(), Some(tip));
            }
            _ => {
                self.behind.remove(node);
            }
        }
    }
}

impl Step for CatchingUp {
    fn begin(&mut self, stage: &mut Stage<'_>) -> Progress {
        stage.wake(self.key, LATE, CATCH_UP);
        for node in stage.roster.running().into_keys() {
            if stage.planned(&node).is_some_and(ready::only_seeds) {
                continue;
            }
            stage.call(self.key, &node, "x_status", json!([]));
            self.behind.insert(node, None);
        }
        self.look()
    }

    fn on(&mut self, stage: &mut Stage<'_>, notice: &Notice<'_>) -> Progress {
        match notice {
            Notice::Node(node, event) if census::matters(event) => {
                self.note(stage, node);
                self.look()
            }
            Notice::Done(Outcome::Call(node, answer)) => {
                let status = answer.clone().ok().map(serde_json::from_value::<Status>);
                self.answered(node, status.and_then(Result::ok).map(|status| status.tip));
                self.look()
            }
            // Whoever's tip is not known from events is asked by the assertions that need it.
            Notice::Due(LATE) => {
                Progress::Ended(Ended::passed("caught up as far as events are kept"))
            }
            _ => Progress::Going,
        }
    }

    fn status(&self, _stage: &Stage<'_>) -> Option<String> {
        let (node, _) = self.behind.first_key_value()?;
        Some(match self.behind.len() {
            behind if behind > FEW => format!("{behind} nodes have not told all they keep"),
            _ => format!("{node} has not told all it keeps"),
        })
    }
}
