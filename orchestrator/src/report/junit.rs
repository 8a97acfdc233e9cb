//! The JUnit report: one suite per topology, one case per step.

use std::{path::PathBuf, time::Duration};

use quick_junit::{NonSuccessKind, Property, Report, TestCase, TestCaseStatus, TestSuite};

use super::{evidence, json::cannot_write};
use crate::{
    error::{CommandError, ErrorKind},
    event::{RunReport, StepResult, StepStatus, Verdict},
};

/// Where `--junit` writes to; complete after every run.
pub struct JunitFile {
    path: PathBuf,
    report: Report,
}

impl JunitFile {
    /// Creates the file. Done before anything is started, so that a wrong path costs nothing.
    ///
    /// # Errors
    /// Usage, when the file cannot be written.
    pub fn create(path: PathBuf) -> Result<Self, CommandError> {
        let file = Self {
            path,
            report: Report::new("netsplit"),
        };
        file.write(ErrorKind::Usage)?;
        Ok(file)
    }

    /// Adds a run as a suite.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn add(&mut self, report: &RunReport) -> Result<(), CommandError> {
        self.report.add_test_suite(suite(report));
        self.write(ErrorKind::Infrastructure)
    }

    fn write(&self, kind: ErrorKind) -> Result<(), CommandError> {
        let failed = |error| cannot_write(kind, &self.path, error);
        let text = self
            .report
            .to_string()
            .map_err(|error| failed(std::io::Error::other(error)))?;
        std::fs::write(&self.path, text).map_err(failed)
    }
}

/// A run as a suite.
#[must_use]
pub fn suite(report: &RunReport) -> TestSuite {
    let mut suite = TestSuite::new(&report.topology);
    let properties = [
        ("run_id", report.run_id.clone()),
        ("runtime", report.runtime.clone()),
        ("seed", report.seed.to_string()),
        (
            "verdict",
            super::lines::verdict_word(report.verdict).0.to_lowercase(),
        ),
        ("exit_code", report.exit_code.to_string()),
        ("command", report.command.clone()),
    ];
    for (name, value) in properties {
        suite.add_property(Property::new(name, value));
    }
    suite.add_test_cases(report.steps.iter().map(|step| case(report, step)));
    suite.add_test_cases(outside_of_steps(report));
    let timings = report.timings;
    let around = [timings.up_ms, timings.ready_ms, timings.down_ms]
        .into_iter()
        .flatten();
    let steps = report.steps.iter().map(|step| step.elapsed_ms);
    suite.set_time(Duration::from_millis(around.chain(steps).sum()));
    suite
}

fn case(report: &RunReport, step: &StepResult) -> TestCase {
    let name = format!("{} {}", step.index, step.text);
    let status = match step.status {
        StepStatus::Passed => TestCaseStatus::success(),
        StepStatus::Skipped => skipped(&step.message),
        StepStatus::Failed => non_success(NonSuccessKind::Failure, "failed", &step.message, step),
        StepStatus::Inconclusive => {
            non_success(NonSuccessKind::Error, "inconclusive", &step.message, step)
        }
        StepStatus::Error => non_success(NonSuccessKind::Error, "error", &step.message, step),
    };
    let mut case = TestCase::new(name, status);
    case.set_classname(&report.topology);
    case.set_time(Duration::from_millis(step.elapsed_ms));
    let seen = evidence::line(&step.evidence);
    if !seen.is_empty() {
        case.set_system_out(seen);
    }
    case
}

fn skipped(message: &str) -> TestCaseStatus {
    let mut status = TestCaseStatus::skipped();
    if !message.is_empty() {
        status.set_message(message);
    }
    status
}

fn non_success(
    kind: NonSuccessKind,
    word: &str,
    message: &str,
    step: &StepResult,
) -> TestCaseStatus {
    let mut status = TestCaseStatus::non_success(kind);
    status.set_type(word).set_message(message);
    if !step.evidence.is_null() {
        status.set_description(evidence::lines(&step.evidence).join("\n"));
    }
    status
}

/// Failures before the first step, between steps or after the last one: they must not look like a pass.
fn outside_of_steps(report: &RunReport) -> Vec<TestCase> {
    let mut cases = Vec::new();
    let explained = report
        .steps
        .iter()
        .any(|step| !matches!(step.status, StepStatus::Passed | StepStatus::Skipped));
    if report.verdict != Verdict::Passed && !explained {
        let error = report
            .error
            .clone()
            .unwrap_or_else(|| "the run did not pass".to_owned());
        cases.push(failed_case(report, "run", &error));
    }
    if !report.teardown.ok {
        let left = report.teardown.left.join("\n");
        cases.push(failed_case(
            report,
            "teardown",
            &format!("left behind: {left}"),
        ));
    }
    cases
}

fn failed_case(report: &RunReport, name: &str, message: &str) -> TestCase {
    let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
    status.set_type("error").set_message(message);
    let mut case = TestCase::new(name, status);
    case.set_classname(&report.topology);
    case
}
