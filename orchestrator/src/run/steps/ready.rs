//! What comes before the first step: waiting until the testnet is ready, or catching up with one that runs.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use netsplit_api::rpc::Status;
use netsplit_plan::plan::NodeName;
use serde_json::json;

use super::{Ended, Progress, Step};
use crate::run::{
    census, ready,
    roster::Presence,
    stage::{Notice, Outcome, Stage, StepKey},
};

/// A testnet that is not ready this long after its last start call will not be. Far above what a loaded machine needs.
const READY_TIMEOUT: Duration = Duration::from_secs(120);
/// How long the nodes' kept events are waited for: a node's ring may not reach back to what it is compared with.
const CATCH_UP: Duration = Duration::from_secs(2);

const LATE: u32 = 1;

/// Waits until the testnet is ready (design §6).
pub(crate) struct Readying {
    key: StepKey,
    waiting: BTreeSet<NodeName>,
    status: Option<String>,
}

impl Readying {
    pub(crate) const fn new(key: StepKey) -> Self {
        Self {
            key,
            waiting: BTreeSet::new(),
            status: None,
        }
    }

    fn look(&mut self, stage: &mut Stage<'_>) -> Progress {
        self.status = ready::missing(stage.plan(), &self.waiting, &stage.census);
        if self.status.is_some() {
            return Progress::Going;
        }
        for node in &self.waiting {
            stage.place(node, Presence::Running);
        }
        Progress::Ended(Ended::passed("ready"))
    }
}

impl Step for Readying {
    fn begin(&mut self, stage: &mut Stage<'_>) -> Progress {
        stage.wake(self.key, LATE, READY_TIMEOUT);
        self.waiting = stage
            .plan()
            .nodes
            .iter()
            .filter(|node| !node.joins)
            .map(|node| node.name.clone())
            .collect();
        self.look(stage)
    }

    fn on(&mut self, stage: &mut Stage<'_>, notice: &Notice<'_>) -> Progress {
        match notice {
            Notice::Node(_, event) if census::matters(event) => self.look(stage),
            Notice::Due(LATE) => {
                let waited = READY_TIMEOUT.as_secs();
                let status = self.status.clone().unwrap_or_default();
                Progress::Ended(Ended::error(format!(
                    "not ready after {waited} s: {status}"
                )))
            }
            _ => Progress::Going,
        }
    }

    fn status(&self, _stage: &Stage<'_>) -> Option<String> {
        self.status.clone()
    }
}

/// Follows the events of a testnet that runs from the oldest kept until they have led to where its nodes are now.
pub(crate) struct CatchingUp {
    key: StepKey,
    /// The tips nodes said they have, until the events say so too.
    behind: BTreeMap<NodeName, Option<String>>,
    seen: BTreeSet<(NodeName, String)>,
}

impl CatchingUp {
    pub(crate) const fn new(key: StepKey) -> Self {
        Self {
            key,
            behind: BTreeMap::new(),
            seen: BTreeSet::new(),
        }
    }

    fn look(&mut self) -> Progress {
        let seen = &self.seen;
        self.behind.retain(|node, tip| {
            tip.as_ref()
                .is_none_or(|tip| !seen.contains(&(node.clone(), tip.clone())))
        });
        self.behind
            .is_empty()
            .then(|| Ended::passed("caught up"))
            .into()
    }

    fn note(&mut self, stage: &Stage<'_>, node: &NodeName) {
        if let Some((_, tip)) = stage.census.of(node).and_then(|entry| entry.tip.as_ref()) {
            self.seen.insert((node.clone(), tip.clone()));
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
            Notice::Done(Outcome::Call(node, Ok(answer))) => {
                match serde_json::from_value::<Status>(answer.clone()) {
                    Ok(status) => self.behind.insert(node.clone(), Some(status.tip)),
                    Err(_) => self.behind.remove(node),
                };
                self.look()
            }
            Notice::Done(Outcome::Call(node, Err(_))) => {
                self.behind.remove(node);
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
        self.behind
            .keys()
            .next()
            .map(|node| format!("{node} has not told all it keeps"))
    }
}
