//! `churn`: nodes leave and come back in the background, at times that were chosen when the plan was made.
//!
//! Deliberate and random ends never overwrite each other: a node that a step took down is not brought back, and one that
//! does not run when its turn comes is passed over.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use netsplit_plan::plan::{Churn, NodeName, NodeVerb};
use serde_json::json;

use super::{
    Ended, Progress, Step,
    nodes::{self, Doing, READY_TIMEOUT, Risers, Rising},
};
use crate::{
    event::RunEventKind,
    run::{
        census,
        roster::Presence,
        stage::{Notice, Outcome, Stage, StepKey},
    },
};

/// The schedule is over.
const END: u32 = u32::MAX;
/// Whoever is not back by now will not be.
const LATE: u32 = u32::MAX - 1;

/// See the module.
pub(crate) struct Churning {
    key: StepKey,
    churn: Churn,
    /// Nodes whose process is being changed.
    called: BTreeSet<NodeName>,
    /// Nodes to start as soon as they are gone.
    to_start: BTreeSet<NodeName>,
    /// Of these, those that are being started.
    starting: BTreeMap<NodeName, Rising>,
    rising: Risers,
    over: bool,
    left: u32,
    returned: u32,
    passed_over: u32,
}

impl Churning {
    pub(crate) fn new(key: StepKey, churn: Churn) -> Self {
        Self {
            key,
            churn,
            called: BTreeSet::new(),
            to_start: BTreeSet::new(),
            starting: BTreeMap::new(),
            rising: Risers::default(),
            over: false,
            left: 0,
            returned: 0,
            passed_over: 0,
        }
    }

    /// Whether this churn took the node down, and nobody else has since.
    fn holds(&self, stage: &Stage<'_>, node: &NodeName) -> bool {
        stage.roster.presence(node)
            == Presence::Gone {
                by: Some(self.churn.id.clone()),
            }
    }

    fn due(&mut self, stage: &mut Stage<'_>, place: usize) {
        let Some(event) = self.churn.events.get(place).cloned() else {
            return;
        };
        match event.verb {
            NodeVerb::Start => self.bring_back(stage, event.node),
            _ if stage.roster.presence(&event.node) == Presence::Running => {
                nodes::begin(
                    stage,
                    self.key,
                    Doing::Verb(event.verb),
                    &event.node,
                    Some(&self.churn.id),
                );
                self.called.insert(event.node);
                self.left += 1;
            }
            _ => self.passed_over += 1,
        }
    }

    fn bring_back(&mut self, stage: &mut Stage<'_>, node: NodeName) {
        if !self.holds(stage, &node) {
            return;
        }
        if self.called.contains(&node) {
            self.to_start.insert(node);
            return;
        }
        let rising = nodes::begin(
            stage,
            self.key,
            Doing::Verb(NodeVerb::Start),
            &node,
            Some(&self.churn.id),
        );
        self.called.insert(node.clone());
        self.starting.insert(node, rising);
    }

    /// The schedule ends: whoever is still away comes back.
    fn end(&mut self, stage: &mut Stage<'_>) -> Progress {
        if !self.over {
            self.over = true;
            stage.forget(self.key);
            stage.wake(self.key, LATE, READY_TIMEOUT);
            let away: BTreeSet<NodeName> = self
                .churn
                .events
                .iter()
                .map(|event| event.node.clone())
                .filter(|node| self.holds(stage, node))
                .collect();
            for node in away {
                self.bring_back(stage, node);
            }
        }
        self.look(stage, None)
    }

    /// Looks who is back, after one node spoke or something else happened.
    fn look(&mut self, stage: &mut Stage<'_>, spoke: Option<&NodeName>) -> Progress {
        for node in self.rising.up(stage, spoke) {
            // A step may have ended it again in the meantime.
            if stage.roster.presence(&node) == Presence::Starting {
                stage.place(&node, Presence::Running);
            }
            self.returned += 1;
        }
        if spoke.is_none() {
            self.rising.forget_gone(stage);
        }
        let idle = self.called.is_empty() && self.rising.is_empty() && self.to_start.is_empty();
        if !(self.over && idle) {
            return Progress::Going;
        }
        let evidence = json!({
            "left": self.left, "returned": self.returned, "passed_over": self.passed_over,
        });
        let id = self.churn.id.clone();
        let evidence_of = evidence.clone();
        stage.tell(RunEventKind::FaultChanged {
            id,
            in_force: false,
            evidence: evidence_of,
        });
        let message = format!("{} left, {} returned", self.left, self.returned);
        Progress::Ended(Ended::passed(message).with_evidence(evidence))
    }

    fn verb_returned(&mut self, stage: &mut Stage<'_>, node: &NodeName) -> Progress {
        self.called.remove(node);
        if let Some(rising) = self.starting.remove(node) {
            self.rising.insert(node.clone(), rising);
        }
        if self.to_start.remove(node) {
            self.bring_back(stage, node.clone());
        }
        self.look(stage, None)
    }
}

impl Step for Churning {
    fn begin(&mut self, stage: &mut Stage<'_>) -> Progress {
        if stage.background.contains(&self.churn.id) {
            return Progress::Ended(Ended::error(format!("`{}` is on already", self.churn.id)));
        }
        for (tag, event) in (0_u32..).zip(&self.churn.events) {
            stage.wake(self.key, tag, Duration::from_millis(event.at_ms));
        }
        stage.wake(self.key, END, Duration::from_millis(self.churn.for_ms));
        let evidence = json!({ "events": self.churn.events.len(), "for_ms": self.churn.for_ms });
        let id = self.churn.id.clone();
        stage.tell(RunEventKind::FaultChanged {
            id: id.clone(),
            in_force: true,
            evidence,
        });
        let message = format!("`{id}` goes on in the background");
        Progress::Background(id, Ended::passed(message))
    }

    fn on(&mut self, stage: &mut Stage<'_>, notice: &Notice<'_>) -> Progress {
        match notice {
            Notice::Due(END) => self.end(stage),
            Notice::Due(LATE) => {
                let status = self.status(stage).unwrap_or_default();
                Progress::Ended(Ended::error(format!("not everybody came back: {status}")))
            }
            Notice::Due(tag) => {
                self.due(stage, usize::try_from(*tag).unwrap_or(usize::MAX));
                self.look(stage, None)
            }
            Notice::Done(Outcome::Verb(_, Err(error))) => Progress::Ended(Ended::failed(error)),
            Notice::Done(Outcome::Verb(node, Ok(()))) => self.verb_returned(stage, node),
            Notice::Node(node, event) if census::matters(event) => self.look(stage, Some(node)),
            Notice::Exited | Notice::Settled(_) => self.look(stage, None),
            Notice::Node(..) | Notice::Done(_) | Notice::Background => Progress::Going,
        }
    }

    fn status(&self, stage: &Stage<'_>) -> Option<String> {
        self.rising.lack(stage)
    }

    fn heal(&mut self, stage: &mut Stage<'_>) {
        stage.forget(self.key);
        stage.wake(self.key, END, Duration::ZERO);
    }
}
