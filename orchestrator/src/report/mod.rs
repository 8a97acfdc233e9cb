//! Consumers of [`RunEvent`]s: what a person, a file, a CI system sees of a run. They compute no verdicts.
//!
//! - [`lines`]: the terminal's vocabulary: which line an event is. [`terminal`]: how lines and bars get on the screen.
//! - [`evidence`]: what was seen of a fault, in one line.
//! - [`summary`]: the end of a run, for people. [`json`]: the same for programs. [`junit`]: the same for CI systems.
//! - [`recorder`]: the run's directory.

pub mod evidence;
pub mod json;
pub mod junit;
pub mod lines;
pub mod recorder;
pub mod summary;
pub mod terminal;

use std::future::Future;

use tokio::sync::mpsc;

#[cfg(test)]
mod tests;

pub use self::{
    json::{JsonFile, json_line},
    junit::JunitFile,
    recorder::RunDirectory,
    summary::{Summary, tally},
    terminal::Terminal,
};
use crate::{
    event::{RunEvent, RunReport, StepResult, StepStatus},
    run::EventSink,
    ui::Ui,
};

/// Somebody who is told everything that happens in a run.
pub trait Reporter {
    /// Something happened.
    fn on_event(&mut self, event: &RunEvent);
}

/// Several reporters, told in the order they were added.
#[derive(Default)]
pub struct Reporters(Vec<Box<dyn Reporter>>);

impl Reporters {
    /// Nobody yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one.
    #[must_use]
    pub fn with(mut self, reporter: impl Reporter + 'static) -> Self {
        self.0.push(Box::new(reporter));
        self
    }

    fn on_event(&mut self, event: &RunEvent) {
        for reporter in &mut self.0 {
            reporter.on_event(event);
        }
    }
}

/// The same for steps done by hand, whose errors were not told with them. Of one step nobody needs the number.
pub fn failure_by_hand(ui: &Ui, report: &RunReport) {
    let Some(error) = &report.error else {
        return;
    };
    let error = match report.steps.as_slice() {
        [step] if error.ends_with(&step.message) => &step.message,
        _ => error,
    };
    ui.failure(error, &report.hints);
}

/// Does `work` and tells the reporters of every event it sends, to the last one.
pub async fn observe<T, F: Future<Output = T>>(
    mut reporters: Reporters,
    work: impl FnOnce(EventSink) -> F,
) -> T {
    let (sink, mut events) = mpsc::unbounded_channel();
    let telling = async {
        while let Some(event) = events.recv().await {
            reporters.on_event(&event);
        }
    };
    // The sink is dropped when the work is done, which ends the telling.
    tokio::join!(work(sink), telling).0
}

/// Why a run did not pass, what is left of it and what helps; nothing when it passed and is gone. What was told with its
/// step is not told again.
pub fn failure(ui: &Ui, report: &RunReport) {
    let told = |error: &str| {
        let is_it = |step: &StepResult| {
            !matches!(step.status, StepStatus::Passed | StepStatus::Skipped)
                && error.ends_with(&step.message)
        };
        !ui.is_quiet() && report.steps.iter().any(is_it)
    };
    match &report.error {
        Some(error) if !told(error) => ui.failure(error, &report.hints),
        _ => report.hints.iter().for_each(|hint| ui.hint(hint)),
    }
    for left in &report.teardown.left {
        ui.warning(&format!("left behind: {left}"));
    }
    if !report.teardown.left.is_empty() {
        ui.hint("`netsplit gc` tries again to remove what was left");
    }
}
