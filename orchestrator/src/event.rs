//! What a run says happened, in the past tense: the one interface between the runner and every reporter.

use netsplit_api::event::EventRecord;
use netsplit_runtime::{RunId, Teardown, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Something that happened in a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunEvent {
    /// When.
    pub at: Timestamp,
    /// What.
    pub kind: RunEventKind,
}

/// What happened.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum RunEventKind {
    /// A run began.
    RunStarted {
        /// Its identity.
        run: RunId,
        /// The topology's name.
        topology: String,
        /// Its description.
        description: String,
        /// The seed.
        seed: u64,
        /// The runtime's name.
        runtime: String,
        /// Number of nodes started at the beginning.
        nodes: usize,
        /// Number of steps.
        steps: usize,
        /// The command that repeats the run.
        command: String,
    },
    /// A phase of starting or ending began.
    PhaseStarted {
        /// `image`, `network`, `create`, `start`, `ready`, `remove` …
        name: String,
        /// Number of things to do.
        total: usize,
    },
    /// One more thing of a phase is done.
    PhaseAdvanced {
        /// The phase.
        name: String,
        /// What is done.
        item: String,
    },
    /// What a phase waits for, when it is not obvious.
    PhaseWaiting {
        /// The phase.
        name: String,
        /// For what, in one line.
        status: String,
    },
    /// The last start call returned.
    NodesStarted {
        /// Milliseconds since the run began.
        elapsed_ms: u64,
    },
    /// The testnet is ready.
    Ready {
        /// Milliseconds since the last start call returned.
        elapsed_ms: u64,
    },
    /// A step began.
    StepStarted {
        /// Its place, from 1.
        index: usize,
        /// The step in one line.
        text: String,
    },
    /// What a step waits for.
    StepWaiting {
        /// Its place, from 1.
        index: usize,
        /// In one line.
        status: String,
    },
    /// A step ended.
    StepFinished(StepResult),
    /// A fault is in force or over, verified.
    FaultChanged {
        /// The fault.
        id: String,
        /// Whether it is in force now.
        in_force: bool,
        /// What was seen of it.
        evidence: Value,
    },
    /// A node said something; kept in the run's directory.
    Node {
        /// Who.
        node: String,
        /// What.
        record: EventRecord,
    },
    /// Something that should be looked at before the verdict is trusted.
    Warned {
        /// In one line.
        message: String,
    },
    /// The teardown is over.
    TornDown(Teardown),
    /// The run is over.
    RunFinished(Box<RunReport>),
}

/// How a step ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepResult {
    /// Its place, from 1.
    pub index: usize,
    /// `wait`, `partition`, …
    pub kind: String,
    /// Its id, if it has one.
    pub id: Option<String>,
    /// The step in one line.
    pub text: String,
    /// How it ended.
    pub status: StepStatus,
    /// Milliseconds from the run's beginning.
    pub started_ms: u64,
    /// Milliseconds it took.
    pub elapsed_ms: u64,
    /// Witness, status or evidence; `Null` if there is none.
    pub evidence: Value,
    /// In one line: why it passed or not.
    pub message: String,
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepStatus {
    /// Done, or it held.
    Passed,
    /// It did not hold.
    Failed,
    /// What was seen is not enough to tell.
    Inconclusive,
    /// The machine, the engine or a node failed.
    Error,
    /// It was not reached.
    Skipped,
}

/// How a run ended: `test --json`'s fields (design §6).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunReport {
    /// The topology's name.
    pub topology: String,
    /// Identity.
    pub run_id: String,
    /// The seed.
    pub seed: u64,
    /// The runtime's name.
    pub runtime: String,
    /// The verdict.
    pub verdict: Verdict,
    /// What the process exits with.
    pub exit_code: u8,
    /// Every step.
    pub steps: Vec<StepResult>,
    /// Durations.
    pub timings: Timings,
    /// How the teardown went.
    pub teardown: TeardownReport,
    /// The command that repeats the run.
    pub command: String,
    /// The first failure in one line, with its causes; absent when passed.
    pub error: Option<String>,
    /// Lines that help.
    pub hints: Vec<String>,
}

/// The verdict on a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Everything held.
    Passed,
    /// An assertion did not.
    Failed,
    /// A fault could not be shown to be real.
    Inconclusive,
    /// The machine failed.
    Error,
    /// The whole run took too long.
    TimedOut,
    /// Somebody ended it.
    Interrupted,
}

/// Durations of a run in milliseconds; absent when the phase was not reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timings {
    /// Until the last start call returned.
    pub up_ms: Option<u64>,
    /// From then until ready.
    pub ready_ms: Option<u64>,
    /// Teardown.
    pub down_ms: Option<u64>,
}

/// How the teardown went.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TeardownReport {
    /// Whether nothing is left that was to be removed.
    pub ok: bool,
    /// Whether the testnet was left running on purpose.
    #[serde(default)]
    pub kept: bool,
    /// What is.
    pub left: Vec<String>,
}
