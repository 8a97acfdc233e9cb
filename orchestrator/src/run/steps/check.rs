//! `wait` and `assert` with an assertion: one loop for all of them. What is seen is judged again after every event that can
//! matter, or, of many nodes, after all that came in a short while; what only the nodes can tell is asked in passes, soon
//! after such an event and at a gentle cadence otherwise.

use std::{collections::BTreeSet, time::Duration};

use netsplit_api::event::Event;
use netsplit_plan::{
    assertion::{Assertion, Judgement},
    judge::Since,
    observe::Query,
    plan::{Check, Hold},
};
use netsplit_runtime::Timestamp;
use serde_json::json;

use super::{Ended, Progress, Step};
use crate::{
    event::StepStatus,
    run::{
        desk::{Found, Request},
        stage::{Notice, Outcome, Stage, StepKey},
    },
};

/// Between two passes of questions while nothing happens.
const CADENCE: Duration = Duration::from_millis(250);
/// Least time between the beginnings of two passes, whatever happens.
const SPACING: Duration = Duration::from_millis(50);

/// Least time between two judgements for every node there is. To judge is to look at all nodes, and every node has events:
/// without it a thousand nodes would cost a million looks for one block. It delays by some milliseconds what comes true and
/// stays so; `converged` looks at every instant since the step began, and what is to hold throughout is judged after each event.
const SPACING_PER_NODE: Duration = Duration::from_micros(20);

const DEADLINE: u32 = 1;
const PASS: u32 = 2;
const JUDGE: u32 = 3;

/// See the module.
pub(crate) struct Checking {
    key: StepKey,
    check: Check,
    since: Option<Since>,
    /// Asked in this pass.
    asked: BTreeSet<Query>,
    /// Of these, not answered yet.
    open: BTreeSet<Query>,
    /// When the next pass is due.
    next_pass: Option<Timestamp>,
    /// When it was judged last because of an event.
    judged: Timestamp,
    /// Whether events came since and their judgement has a timer.
    unjudged: bool,
    /// Whether a pass has been completed.
    complete: bool,
    status: Option<String>,
    inconclusive: Option<String>,
}

impl Checking {
    pub(crate) const fn new(key: StepKey, check: Check) -> Self {
        Self {
            key,
            check,
            since: None,
            asked: BTreeSet::new(),
            open: BTreeSet::new(),
            next_pass: None,
            judged: Timestamp(0),
            unjudged: false,
            complete: false,
            status: None,
            inconclusive: None,
        }
    }

    /// Asks what has not been asked in this pass; the pass is complete when there is nothing left to ask.
    fn ask(&mut self, stage: &mut Stage<'_>, since: &Since) {
        let queries = self.check.assertion.queries(&stage.observations, since);
        for query in queries {
            if !self.asked.insert(query.clone()) {
                continue;
            }
            self.open.insert(query.clone());
            match &query {
                Query::Reach { .. } => {
                    stage.ask(Request::Reach { query });
                }
                Query::Rpc { .. } => stage.ask_node(self.key, query),
            }
        }
        if self.open.is_empty() {
            self.complete = true;
            if !self.asked.is_empty() {
                self.wake(stage, CADENCE);
            }
        }
    }

    /// A pass is due.
    fn pass(&mut self, stage: &mut Stage<'_>, since: &Since) -> Progress {
        if self.next_pass.is_none_or(|at| stage.now() < at) {
            return Progress::Going;
        }
        self.next_pass = None;
        if !self.open.is_empty() {
            return Progress::Going;
        }
        self.asked.clear();
        self.ask(stage, since);
        self.judge(stage, since)
    }

    /// The next pass is due after this at the latest.
    fn wake(&mut self, stage: &mut Stage<'_>, after: Duration) {
        let at = stage.now() + after;
        if self.next_pass.is_none_or(|next| at < next) {
            self.next_pass = Some(at);
            stage.wake(self.key, PASS, after);
        }
    }

    /// Something happened that may change how it stands.
    fn heard(&mut self, stage: &mut Stage<'_>, since: &Since) -> Progress {
        let nodes = u32::try_from(stage.plan().nodes.len()).unwrap_or(u32::MAX);
        let (now, again) = (stage.now(), self.judged + SPACING_PER_NODE * nodes);
        if now >= again {
            return self.reconsider(stage, since);
        }
        if !self.unjudged {
            self.unjudged = true;
            stage.wake(self.key, JUDGE, again - now);
        }
        if matches!(self.check.hold, Hold::For { .. }) {
            self.judge(stage, since)
        } else {
            Progress::Going
        }
    }

    /// Judges because of events, and asks soon what they may have changed.
    fn reconsider(&mut self, stage: &mut Stage<'_>, since: &Since) -> Progress {
        self.judged = stage.now();
        self.unjudged = false;
        if self.open.is_empty() {
            self.wake_soon(stage, since);
        }
        self.judge(stage, since)
    }

    fn answered(
        &mut self,
        stage: &mut Stage<'_>,
        since: &Since,
        query: &Query,
        answer: Result<serde_json::Value, String>,
    ) -> Progress {
        if !self.open.remove(query) {
            return Progress::Going;
        }
        let at = stage.at();
        stage.observations.answer(query.clone(), answer, at);
        if self.open.is_empty() {
            self.ask(stage, since);
        }
        self.judge(stage, since)
    }

    /// Judges what is seen, unless answers are still on their way: half a pass is no instant.
    fn judge(&mut self, stage: &Stage<'_>, since: &Since) -> Progress {
        if !self.open.is_empty() || !self.complete {
            return Progress::Going;
        }
        let judgement = self.check.assertion.judge(&stage.observations, since);
        let throughout = matches!(self.check.hold, Hold::For { .. });
        let within = matches!(self.check.hold, Hold::Within { .. });
        self.inconclusive = None;
        match judgement {
            Judgement::Holds { witness } if throughout => {
                self.status = Some(witness);
                Progress::Going
            }
            Judgement::Holds { witness } => Progress::Ended(held(&witness)),
            Judgement::NotYet { status } if within => {
                self.status = Some(status);
                Progress::Going
            }
            Judgement::NotYet { status } => Progress::Ended(failed(&status, "status")),
            Judgement::Violated { witness } => Progress::Ended(failed(&witness, "witness")),
            Judgement::Inconclusive { reason } if within => {
                self.inconclusive = Some(reason.clone());
                self.status = Some(reason);
                Progress::Going
            }
            Judgement::Inconclusive { reason } => Progress::Ended(inconclusive(&reason)),
        }
    }

    /// Time is up.
    fn deadline(&mut self, stage: &Stage<'_>, since: &Since) -> Progress {
        if let Progress::Ended(ended) = self.judge(stage, since) {
            return Progress::Ended(ended);
        }
        let status = self
            .status
            .clone()
            .unwrap_or_else(|| "nothing was seen".to_owned());
        Progress::Ended(match self.check.hold {
            Hold::For { ms } if self.complete => {
                held(&format!("held for {}: {status}", seconds(ms)))
            }
            Hold::For { .. } => inconclusive("the nodes did not answer in time"),
            Hold::Within { .. } | Hold::Now => match &self.inconclusive {
                Some(reason) => inconclusive(reason),
                None => failed(&status, "status"),
            },
        })
    }
}

fn held(witness: &str) -> Ended {
    Ended::passed(witness).with_evidence(json!({ "witness": witness }))
}

fn failed(text: &str, key: &str) -> Ended {
    Ended::new(StepStatus::Failed, text).with_evidence(json!({ key: text }))
}

fn inconclusive(reason: &str) -> Ended {
    Ended::new(StepStatus::Inconclusive, reason).with_evidence(json!({ "reason": reason }))
}

/// Milliseconds as seconds for people.
fn seconds(ms: u64) -> String {
    if ms.is_multiple_of(1000) {
        format!("{} s", ms / 1000)
    } else {
        format!("{ms} ms")
    }
}

impl Step for Checking {
    fn begin(&mut self, stage: &mut Stage<'_>) -> Progress {
        let since = self.check.since(stage.at());
        self.since = Some(since);
        match self.check.hold {
            Hold::Within { ms } | Hold::For { ms } => {
                stage.wake(self.key, DEADLINE, Duration::from_millis(ms));
            }
            Hold::Now => {}
        }
        self.ask(stage, &since);
        self.judge(stage, &since)
    }

    fn on(&mut self, stage: &mut Stage<'_>, notice: &Notice<'_>) -> Progress {
        let Some(since) = self.since else {
            return Progress::Going;
        };
        match notice {
            Notice::Node(_, event) if matters(&self.check.assertion, event) => {
                self.heard(stage, &since)
            }
            Notice::Due(JUDGE) => self.reconsider(stage, &since),
            Notice::Exited => self.judge(stage, &since),
            Notice::Due(PASS) => self.pass(stage, &since),
            Notice::Due(DEADLINE) => self.deadline(stage, &since),
            Notice::Done(Outcome::Answer(query, answer)) => {
                self.answered(stage, &since, query, answer.clone())
            }
            Notice::Settled(settled) => match (&settled.request, &settled.found) {
                (Request::Reach { query }, Found::Reached(answer)) => {
                    self.answered(stage, &since, query, answer.clone())
                }
                _ => self.judge(stage, &since),
            },
            Notice::Node(..) | Notice::Due(_) | Notice::Done(_) | Notice::Background => {
                Progress::Going
            }
        }
    }

    fn status(&self, _stage: &Stage<'_>) -> Option<String> {
        self.status.clone()
    }
}

impl Checking {
    /// Something happened that may change answers, or what has to be asked.
    fn wake_soon(&mut self, stage: &mut Stage<'_>, since: &Since) {
        let assertion = &self.check.assertion;
        if !self.asked.is_empty() || !assertion.queries(&stage.observations, since).is_empty() {
            self.wake(stage, SPACING);
        }
    }
}

/// Whether an event can change how an assertion stands.
const fn matters(assertion: &Assertion, event: &Event) -> bool {
    let of_peers = matches!(
        event,
        Event::PeerConnected { .. } | Event::PeerDisconnected { .. }
    );
    let of_blocks = matches!(
        event,
        Event::TipChanged { .. } | Event::BlockAccepted { .. }
    );
    let of_neither = matches!(
        event,
        Event::HandshakeRefused { .. }
            | Event::BlockRejected { .. }
            | Event::DnsSeedQueried { .. }
            | Event::DnsNodeReached { .. }
            | Event::DnsNodeForgotten { .. }
    );
    match assertion {
        Assertion::Converged { .. }
        | Assertion::Diverged { .. }
        | Assertion::Height { .. }
        | Assertion::Confirmed { .. } => !of_peers && !of_neither,
        Assertion::Peers { .. } => !of_blocks && !of_neither,
        Assertion::Reachable { .. } | Assertion::Balance { .. } | Assertion::Supply { .. } => {
            !of_neither
        }
    }
}
