//! The steps: one file per family. A step is a small state machine that is told of everything that happens and touches the
//! world only through the [`Stage`].
//!
//! - [`check`]: `wait` and `assert` with an assertion. [`pause`]: `wait` for time or for the end of a fault.
//! - [`links`]: `partition` and `heal`. [`nodes`]: `kill`, `stop`, `start`, `restart`, `pause`, `resume`, `join`.
//! - [`churn`]: nodes leave and come back in the background. [`work`]: `mine` and `send`.
//! - [`ready`]: what comes before the first step: waiting until the testnet is ready, or catching up with one that runs.

pub(crate) mod check;
pub(crate) mod churn;
pub(crate) mod links;
pub(crate) mod nodes;
pub(crate) mod pause;
pub(crate) mod ready;
pub(crate) mod work;

use netsplit_plan::plan::{Action, NodeVerb};
use netsplit_runtime::RuntimeError;
use serde_json::Value;

use super::stage::{Notice, Stage, StepKey};
use crate::event::StepStatus;

/// How a step ended.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Ended {
    pub(crate) status: StepStatus,
    /// Why, in one line.
    pub(crate) message: String,
    /// Witness, status or evidence.
    pub(crate) evidence: Value,
    /// Lines that help.
    pub(crate) hints: Vec<String>,
    /// Whether a dead node or agent, not reported yet, may be the true cause.
    pub(crate) suspect: bool,
}

impl Ended {
    pub(crate) fn new(status: StepStatus, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            evidence: Value::Null,
            hints: Vec::new(),
            suspect: false,
        }
    }

    pub(crate) fn passed(message: impl Into<String>) -> Self {
        Self::new(StepStatus::Passed, message)
    }

    pub(crate) fn error(message: impl Into<String>) -> Self {
        Self::new(StepStatus::Error, message)
    }

    /// A runtime's failure, with its causes and hints.
    pub(crate) fn failed(error: &RuntimeError) -> Self {
        let hints = error.hints.clone();
        Self {
            hints,
            suspect: true,
            ..Self::error(chain(error))
        }
    }

    pub(crate) fn suspect(self) -> Self {
        Self {
            suspect: true,
            ..self
        }
    }

    pub(crate) fn with_evidence(self, evidence: Value) -> Self {
        Self { evidence, ..self }
    }
}

/// An error with all its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// How a step stands.
#[derive(Debug)]
pub(crate) enum Progress {
    /// It waits for something.
    Going,
    /// It is over.
    Ended(Ended),
    /// Its effect is in force; it goes on in the background under this id until it is over.
    Background(String, Ended),
}

impl From<Option<Ended>> for Progress {
    fn from(ended: Option<Ended>) -> Self {
        ended.map_or(Self::Going, Self::Ended)
    }
}

/// A step under way.
pub(crate) trait Step: Send {
    /// Begins.
    fn begin(&mut self, stage: &mut Stage<'_>) -> Progress;

    /// Something happened.
    fn on(&mut self, stage: &mut Stage<'_>, notice: &Notice<'_>) -> Progress;

    /// What it waits for, in one line.
    fn status(&self, stage: &Stage<'_>) -> Option<String>;

    /// Brings its effect to an end early; it is over when all is as before. Only what can be in the background has one.
    fn heal(&mut self, _stage: &mut Stage<'_>) {}
}

/// The step that carries out an action.
pub(crate) fn step(key: StepKey, action: Action) -> Box<dyn Step> {
    match action {
        Action::Sleep { ms } => Box::new(pause::Sleep::new(key, ms)),
        Action::Over { id } => Box::new(pause::Over::new(id)),
        Action::Wait(check) | Action::Assert(check) => Box::new(check::Checking::new(key, check)),
        Action::Partition(partition) => Box::new(links::Cutting::new(partition)),
        Action::Heal { id } => Box::new(links::Healing::new(id)),
        Action::Nodes { verb, nodes } => Box::new(nodes::Handling::new(key, verb.into(), nodes)),
        Action::Churn(churn) => Box::new(churn::Churning::new(key, churn)),
        Action::Join { nodes } => Box::new(nodes::Handling::new(key, nodes::Doing::Join, nodes)),
        Action::Mine { node, blocks } => Box::new(work::Mining::new(key, node, blocks)),
        Action::Send {
            id,
            from,
            to,
            amount,
            fee_rate,
        } => Box::new(work::Sending::new(key, id, from, to, amount, fee_rate)),
    }
}

/// The word a user types for an action.
pub(crate) const fn kind(action: &Action) -> &'static str {
    match action {
        Action::Sleep { .. } | Action::Over { .. } | Action::Wait(_) => "wait",
        Action::Assert(_) => "assert",
        Action::Partition(_) => "partition",
        Action::Heal { .. } => "heal",
        Action::Nodes { verb, .. } => word(*verb),
        Action::Churn(_) => "churn",
        Action::Join { .. } => "join",
        Action::Mine { .. } => "mine",
        Action::Send { .. } => "send",
    }
}

/// The word a user types for a verb.
pub(crate) const fn word(verb: NodeVerb) -> &'static str {
    match verb {
        NodeVerb::Kill => "kill",
        NodeVerb::Stop => "stop",
        NodeVerb::Start => "start",
        NodeVerb::Restart => "restart",
        NodeVerb::Pause => "pause",
        NodeVerb::Resume => "resume",
    }
}

/// The id an action goes by, if it has one.
pub(crate) fn id(action: &Action) -> Option<String> {
    match action {
        Action::Partition(partition) => Some(partition.id.clone()),
        Action::Churn(churn) => Some(churn.id.clone()),
        Action::Heal { id } | Action::Send { id, .. } => id.clone(),
        Action::Over { id } => Some(id.clone()),
        _ => None,
    }
}

/// Which churns an action ends.
pub(crate) enum Heals {
    /// The one with this id, or all.
    Churn(Option<String>),
    /// None.
    Nothing,
}

/// Which churns an action ends.
pub(crate) fn heals(action: &Action) -> Heals {
    match action {
        Action::Heal { id } => Heals::Churn(id.clone()),
        _ => Heals::Nothing,
    }
}
