//! The three doors of the runner: a whole run, bringing a testnet up, driving one that runs.

use std::{path::PathBuf, time::Duration};

use netsplit_plan::plan::{Plan, PlannedStep};
use netsplit_runtime::{RunId, Runtime, Testnet};
use tokio::sync::{mpsc, watch};

use crate::event::{RunEvent, RunReport};

/// Where events go. The runner does not care whether anybody listens.
pub type EventSink = mpsc::UnboundedSender<RunEvent>;

/// How often somebody asked the run to end: once for an orderly end, twice for a forced one.
pub type Interrupts = watch::Receiver<u32>;

/// What is not in the plan.
#[derive(Clone, Debug)]
pub struct Options {
    /// Identity of the run.
    pub run: RunId,
    /// Name people call the testnet by.
    pub name: String,
    /// Directory of the run, for the runtime's journal.
    pub directory: PathBuf,
    /// Binary packed into the nodes' image, if not the default one.
    pub node_binary: Option<PathBuf>,
    /// Leave the testnet running at the end of a `test`.
    pub keep: bool,
    /// Bound on the whole run; wins over the plan's own.
    pub timeout: Option<Duration>,
    /// The command that repeats the run.
    pub command: String,
}

/// Carries out a whole run: check, launch, wait until ready, steps, heal what is left, tear down. The testnet is always
/// torn down unless `options.keep`. Never fails: whatever happens is in the report.
pub async fn run_test(
    runtime: &dyn Runtime,
    plan: &Plan,
    options: &Options,
    events: EventSink,
    interrupts: Interrupts,
) -> RunReport {
    todo!()
}

/// Brings a testnet up, waits until it is ready and lets go of it; the plan's steps are not carried out. On failure
/// everything is removed again. The report has no steps.
pub async fn bring_up(
    runtime: &dyn Runtime,
    plan: &Plan,
    options: &Options,
    events: EventSink,
    interrupts: Interrupts,
) -> RunReport {
    todo!()
}

/// Carries out steps on a testnet that runs (see [`Runtime::attach`]) and leaves it running. Faults without an end stay in
/// force; faults with one, and churns, are waited for. `command` and `timeout` are as in [`Options`].
pub async fn drive(
    testnet: Box<dyn Testnet>,
    steps: Vec<PlannedStep>,
    timeout: Option<Duration>,
    command: &str,
    events: EventSink,
    interrupts: Interrupts,
) -> RunReport {
    todo!()
}
