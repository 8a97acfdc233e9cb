//! `partition` and `heal`.

use netsplit_plan::plan::Partition;
use netsplit_runtime::Timestamp;
use serde_json::Value;

use super::{Ended, Progress, Step};
use crate::{
    event::StepStatus,
    run::{
        cuts::Cuts,
        desk::{Found, Request, Settled, Ticket},
        stage::{Notice, Stage},
        state::ActiveFault,
    },
};

/// Puts a cut in force and verifies it.
pub(crate) struct Cutting {
    partition: Partition,
    ticket: Option<Ticket>,
}

impl Cutting {
    pub(crate) const fn new(partition: Partition) -> Self {
        Self {
            partition,
            ticket: None,
        }
    }
}

impl Step for Cutting {
    fn begin(&mut self, stage: &mut Stage<'_>) -> Progress {
        let Partition {
            id,
            groups,
            one_way,
            for_ms,
        } = self.partition.clone();
        if stage.state.fault(&id).is_some() || stage.desk.concerns(&id) {
            return Progress::Ended(Ended::error(format!("a fault `{id}` is in force already")));
        }
        let pairs = Cuts::of_groups(&groups, one_way).count();
        let fault = ActiveFault {
            id,
            kind: "partition".to_owned(),
            groups,
            one_way,
            since: Timestamp(stage.now().0),
            pairs,
            verified: false,
        };
        self.ticket = Some(stage.ask(Request::Cut { fault, for_ms }));
        Progress::Going
    }

    fn on(&mut self, _stage: &mut Stage<'_>, notice: &Notice<'_>) -> Progress {
        let id = &self.partition.id;
        mine(self.ticket, notice)
            .map(|settled| ended(settled, &format!("`{id}` is in force")))
            .into()
    }

    fn status(&self, _stage: &Stage<'_>) -> Option<String> {
        Some("probing the cut".to_owned())
    }
}

/// Ends one fault or all of them, churns included, and verifies that they are over.
pub(crate) struct Healing {
    id: Option<String>,
    ticket: Option<Ticket>,
    settled: Option<Ended>,
    churns: Vec<String>,
}

impl Healing {
    pub(crate) const fn new(id: Option<String>) -> Self {
        Self {
            id,
            ticket: None,
            settled: None,
            churns: Vec::new(),
        }
    }

    /// Over when the links are healed and the churns are too.
    fn look(&mut self, stage: &Stage<'_>) -> Progress {
        self.churns.retain(|churn| stage.background.contains(churn));
        match &self.settled {
            Some(ended) if self.churns.is_empty() => Progress::Ended(ended.clone()),
            _ => Progress::Going,
        }
    }

    /// The churns that end with this: the conductor tells them.
    pub(crate) fn names(id: Option<&String>, churn: &str) -> bool {
        id.is_none_or(|id| id == churn)
    }
}

impl Step for Healing {
    fn begin(&mut self, stage: &mut Stage<'_>) -> Progress {
        self.churns = stage
            .background
            .iter()
            .filter(|churn| Self::names(self.id.as_ref(), churn))
            .cloned()
            .collect();
        let ids: Vec<String> = match &self.id {
            Some(id) => vec![id.clone()],
            None => stage
                .state
                .faults
                .iter()
                .map(|fault| fault.id.clone())
                .collect(),
        };
        let known = |id: &String| {
            stage.state.fault(id).is_some()
                || stage.desk.concerns(id)
                || stage.state.cuts.iter().any(|cut| cut.id == *id)
                || self.churns.contains(id)
        };
        if let Some(unknown) = ids.iter().find(|id| !known(id)) {
            return Progress::Ended(Ended::error(format!("there is no fault `{unknown}`")));
        }
        self.ticket = Some(stage.ask(Request::Heal { ids }));
        Progress::Going
    }

    fn on(&mut self, stage: &mut Stage<'_>, notice: &Notice<'_>) -> Progress {
        if let Some(settled) = mine(self.ticket, notice) {
            let names: Vec<String> = settled
                .ended
                .iter()
                .map(|fault| format!("`{}`", fault.id))
                .collect();
            let message = match names.len() {
                0 if self.churns.is_empty() => "no fault was in force".to_owned(),
                0 => "everybody is back".to_owned(),
                1 => format!("{} is over", names[0]),
                _ => format!("{} are over", names.join(", ")),
            };
            self.settled = Some(ended(settled, &message));
        }
        self.look(stage)
    }

    fn status(&self, _stage: &Stage<'_>) -> Option<String> {
        Some("probing the healed links".to_owned())
    }
}

/// What settles this step's own request.
fn mine<'n>(ticket: Option<Ticket>, notice: &Notice<'n>) -> Option<&'n Settled> {
    match notice {
        Notice::Settled(settled) if Some(settled.ticket) == ticket => Some(settled),
        _ => None,
    }
}

/// How a step ends whose change of links settled like this.
pub(crate) fn ended(settled: &Settled, passed: &str) -> Ended {
    let evidence = match &settled.found {
        Found::Failed(error) => return Ended::failed(error),
        Found::Evidence(evidence, _) => serde_json::to_value(evidence).unwrap_or_default(),
        Found::Nothing | Found::Reached(_) => Value::Null,
    };
    let ended = match settled.problems().first() {
        None => Ended::passed(passed),
        Some(problem) => Ended {
            hints: settled.problems()[1..].to_vec(),
            ..Ended::new(StepStatus::Inconclusive, problem.clone())
        },
    };
    ended.with_evidence(evidence)
}
