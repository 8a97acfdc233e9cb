//! The end of a run for people: the verdict, what did not pass, how long it took, how to repeat it. The steps were told while
//! they happened, on stderr.

use std::{path::Path, time::Duration};

use super::{
    evidence,
    lines::{count, step_word, verdict_word},
};
use crate::{
    event::{RunReport, StepResult, StepStatus},
    exit,
    ui::{
        WORD_WIDTH,
        style::{Tone, paint},
    },
};

/// A run that is over.
pub struct Summary<'a> {
    /// What came of it.
    pub report: &'a RunReport,
    /// The run's directory.
    pub directory: &'a Path,
    /// Whether the testnet was left running on purpose.
    pub kept: bool,
}

impl Summary<'_> {
    /// The summary as text; only the verdict when `brief`.
    #[must_use]
    pub fn render(&self, colour: bool, brief: bool) -> String {
        let mut page = Page {
            colour,
            lines: Vec::new(),
        };
        if brief {
            self.verdict(&mut page);
            return page.text();
        }
        page.rule();
        self.verdict(&mut page);
        for step in &self.report.steps {
            if !matches!(step.status, StepStatus::Passed | StepStatus::Skipped) {
                let (word, tone) = step_word(step.status);
                let StepResult {
                    index,
                    kind,
                    message,
                    ..
                } = step;
                page.line(word, tone, &format!("step {index}, `{kind}`: {message}"));
            }
        }
        self.figures(&mut page);
        self.whereabouts(&mut page);
        page.text()
    }

    fn verdict(&self, page: &mut Page) {
        let (word, tone) = verdict_word(self.report.verdict);
        let took = Duration::from_millis(self.total_ms()).as_secs_f64();
        let RunReport {
            topology,
            runtime,
            seed,
            steps,
            ..
        } = self.report;
        let passed = steps
            .iter()
            .filter(|step| step.status == StepStatus::Passed)
            .count();
        let of_steps = match steps.len() {
            0 => String::new(),
            all => format!("{passed} of {} passed, ", count(all, "step")),
        };
        page.line(
            word,
            tone,
            &format!("[{took:>8.3}s] {topology}: {of_steps}seed {seed}, {runtime}"),
        );
    }

    fn total_ms(&self) -> u64 {
        let timings = self.report.timings;
        let up = timings.up_ms.unwrap_or(0) + timings.ready_ms.unwrap_or(0);
        let steps = self
            .report
            .steps
            .iter()
            .map(|step| step.started_ms + step.elapsed_ms);
        steps.max().unwrap_or(0).max(up) + timings.down_ms.unwrap_or(0)
    }

    fn figures(&self, page: &mut Page) {
        let timings = self.report.timings;
        let figures = [
            ("up", timings.up_ms),
            ("ready", timings.ready_ms),
            ("down", timings.down_ms),
        ]
        .into_iter()
        .filter_map(|(name, ms)| Some(format!("{name} {}", evidence::milliseconds(ms?))))
        .collect::<Vec<_>>();
        if !figures.is_empty() {
            page.line("timings", Tone::Faint, &figures.join(" · "));
        }
        for (heal, ms) in converged_after_heals(&self.report.steps) {
            let text = format!(
                "`converged` held {} after `{heal}` was verified",
                evidence::milliseconds(ms)
            );
            page.line("heal", Tone::Faint, &text);
        }
    }

    fn whereabouts(&self, page: &mut Page) {
        let RunReport {
            run_id, command, ..
        } = self.report;
        page.line(
            "recorded",
            Tone::Faint,
            &self.directory.display().to_string(),
        );
        if self.kept {
            page.line(
                "kept",
                Tone::Notice,
                &format!("`netsplit down {run_id}` removes the testnet"),
            );
        }
        page.line("repeat", Tone::Faint, command);
    }
}

/// After each heal: milliseconds until the next assertion that nodes converged held.
fn converged_after_heals(steps: &[StepResult]) -> Vec<(String, u64)> {
    let end = |step: &StepResult| step.started_ms + step.elapsed_ms;
    let passed = |step: &&StepResult| step.status == StepStatus::Passed;
    let heals = steps
        .iter()
        .enumerate()
        .filter(|(_, step)| step.kind == "heal" && passed(step));
    heals
        .filter_map(|(index, heal)| {
            let next = steps[index + 1..]
                .iter()
                .take_while(|step| step.kind != "heal" && step.kind != "partition")
                .find(|step| passed(step) && step.text.contains("converged"))?;
            Some((heal.text.clone(), end(next).saturating_sub(end(heal))))
        })
        .collect()
}

/// How several topologies went, in one line.
#[must_use]
pub fn tally(topologies: usize, codes: &[u8]) -> String {
    let passed = codes.iter().filter(|code| **code == exit::PASSED).count();
    let not_run = topologies - codes.len();
    let mut text = format!(
        "{:>WORD_WIDTH$} {passed} of {} passed",
        "Total",
        count(topologies, "topology")
    )
    .replace("topologys", "topologies");
    if not_run > 0 {
        text.extend([", ", &not_run.to_string(), " not run"]);
    }
    text
}

struct Page {
    colour: bool,
    lines: Vec<String>,
}

impl Page {
    fn line(&mut self, word: &str, tone: Tone, text: &str) {
        let word = paint(self.colour, tone, &format!("{word:>WORD_WIDTH$}"));
        self.lines
            .push(format!("{word} {text}").trim_end().to_owned());
    }

    fn rule(&mut self) {
        self.lines.push("-".repeat(WORD_WIDTH));
    }

    fn text(self) -> String {
        self.lines.join("\n")
    }
}
