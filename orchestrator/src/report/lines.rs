//! The terminal's vocabulary: which line, if any, an event is.

use std::{collections::BTreeMap, time::Duration};

use netsplit_runtime::{Teardown, Timestamp};

use super::evidence;
use crate::{
    event::{RunEvent, RunEventKind, StepResult, StepStatus, Verdict},
    ui::style::Tone,
};

/// What a step waits for is told again after this long, where lines cannot be redrawn.
const STILL_WAITING: Duration = Duration::from_secs(10);

/// One line: a right-aligned status word, a duration, text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// At most 12 letters.
    pub word: &'static str,
    /// How it is meant.
    pub tone: Tone,
    /// How long it took, where that is of interest.
    pub took: Option<Duration>,
    /// The rest.
    pub text: String,
}

impl Line {
    fn new(word: &'static str, tone: Tone, text: impl Into<String>) -> Self {
        Self {
            word,
            tone,
            took: None,
            text: text.into(),
        }
    }

    fn took(mut self, ms: u64) -> Self {
        self.took = Some(Duration::from_millis(ms));
        self
    }

    /// The line after its status word.
    #[must_use]
    pub fn body(&self) -> String {
        match self.took {
            Some(took) => format!("[{:>8.3}s] {}", took.as_secs_f64(), self.text),
            None => self.text.clone(),
        }
    }
}

/// Turns events into lines; remembers what lines need to know of earlier events.
#[derive(Debug, Default)]
pub struct Lines {
    by_hand: bool,
    nodes: usize,
    steps: usize,
    phases: BTreeMap<String, Timestamp>,
    waiting: Option<(Timestamp, String)>,
}

impl Lines {
    /// For steps done by hand on a running testnet: what everybody knows is left out, what a summary would say is not.
    #[must_use]
    pub fn by_hand() -> Self {
        Self {
            by_hand: true,
            ..Self::default()
        }
    }

    /// The lines of one event, to be read from top to bottom.
    pub fn of(&mut self, event: &RunEvent) -> Vec<Line> {
        let line = match &event.kind {
            RunEventKind::RunStarted { nodes, steps, .. } => {
                (self.nodes, self.steps) = (*nodes, *steps);
                (!self.by_hand).then(|| running(&event.kind)).flatten()
            }
            RunEventKind::PhaseStarted { name, .. } => {
                self.phases.insert(name.clone(), event.at);
                self.waiting = Some((event.at, String::new()));
                None
            }
            RunEventKind::PhaseAdvanced { name, item } if name == "image" => {
                Some(self.packed(event.at, item))
            }
            RunEventKind::PhaseWaiting { name, status } => {
                self.still_waiting(event.at, &format!("{name}: {status}"))
            }
            RunEventKind::NodesStarted { elapsed_ms } => {
                let text = count(self.nodes, "node");
                Some(Line::new("Started", Tone::Good, text).took(*elapsed_ms))
            }
            RunEventKind::Ready { elapsed_ms } => {
                let text = "every node has its peers, all hold one chain";
                Some(Line::new("Ready", Tone::Good, text).took(*elapsed_ms))
            }
            RunEventKind::StepStarted { .. } => {
                self.waiting = Some((event.at, String::new()));
                None
            }
            RunEventKind::StepWaiting { index, status } => {
                self.still_waiting(event.at, &format!("{}{status}", self.place(*index)))
            }
            RunEventKind::FaultChanged {
                id,
                in_force,
                evidence,
            } => Some(fault(id, *in_force, evidence)),
            RunEventKind::Warned { message } => Some(Line::new("Warning", Tone::Notice, message)),
            RunEventKind::StepFinished(step) => return self.step_finished(step),
            RunEventKind::TornDown(teardown) => return self.torn_down(event.at, teardown),
            // What a node said is not for the screen, and the summary says how the run ended.
            RunEventKind::PhaseAdvanced { .. }
            | RunEventKind::Node { .. }
            | RunEventKind::RunFinished(_) => None,
        };
        line.into_iter().collect()
    }

    fn packed(&self, at: Timestamp, item: &str) -> Line {
        let took = self
            .phases
            .get("image")
            .map_or(Duration::ZERO, |since| at - *since);
        Line {
            took: Some(took),
            ..Line::new("Image", Tone::Good, item)
        }
    }

    fn place(&self, index: usize) -> String {
        if self.by_hand && self.steps == 1 {
            return String::new();
        }
        format!("{index}/{} ", self.steps.max(index))
    }

    fn still_waiting(&mut self, at: Timestamp, status: &str) -> Option<Line> {
        let (since, said) = self.waiting.get_or_insert_with(|| (at, String::new()));
        if at - *since < STILL_WAITING || said == status {
            return None;
        }
        (*since, *said) = (at, status.to_owned());
        Some(Line::new("Waiting", Tone::Faint, status))
    }

    fn step_finished(&mut self, step: &StepResult) -> Vec<Line> {
        self.waiting = None;
        if step.status == StepStatus::Skipped {
            return Vec::new();
        }
        let (word, tone) = step_word(step.status);
        let text = format!("{}{}", self.place(step.index), step.text);
        let mut lines = vec![Line::new(word, tone, text).took(step.elapsed_ms)];
        // What a change of links showed stands above, in a line of its own; by hand, what went wrong is the command's error.
        let said = match step.status {
            StepStatus::Passed => !evidence::line(&step.evidence).is_empty(),
            _ => self.by_hand,
        };
        if !said && !step.message.is_empty() {
            let text = format!("{:11} {}", "", step.message);
            let tone = match step.status {
                StepStatus::Passed => Tone::Faint,
                _ => Tone::Notice,
            };
            lines.push(Line::new("", tone, text));
        }
        lines
    }

    fn torn_down(&self, at: Timestamp, teardown: &Teardown) -> Vec<Line> {
        let text = match teardown.removed {
            0 if teardown.left.is_empty() => "nothing, there was nothing to remove".to_owned(),
            removed => count(removed, "thing"),
        };
        let took = self.phases.get("remove").map(|since| at - *since);
        let removed = Line {
            took,
            ..Line::new("Removed", Tone::Good, text)
        };
        let left = teardown
            .left
            .iter()
            .map(|left| Line::new("Left", Tone::Bad, left));
        std::iter::once(removed).chain(left).collect()
    }
}

/// What is about to be run.
fn running(started: &RunEventKind) -> Option<Line> {
    let RunEventKind::RunStarted {
        run,
        topology,
        seed,
        runtime,
        nodes,
        steps,
        ..
    } = started
    else {
        return None;
    };
    let nodes = count(*nodes, "node");
    let steps = if *steps == 0 {
        String::new()
    } else {
        format!(", {}", count(*steps, "step"))
    };
    let text = format!("{topology} on {runtime}: {nodes}{steps}, seed {seed} ({run})");
    Some(Line::new("Running", Tone::Busy, text))
}

fn fault(id: &str, in_force: bool, evidence: &serde_json::Value) -> Line {
    let seen = evidence::line(evidence);
    let text = if seen.is_empty() {
        format!("`{id}`")
    } else {
        format!("`{id}`: {seen}")
    };
    let doubts = evidence["problems"]
        .as_array()
        .is_some_and(|problems| !problems.is_empty());
    let tone = if in_force || doubts {
        Tone::Notice
    } else {
        Tone::Good
    };
    let word = match (evidence["change"].as_str(), in_force) {
        (Some("cut"), _) => "Cut",
        (Some("heal"), _) => "Healed",
        (_, true) => "Begun",
        (_, false) => "Over",
    };
    Line::new(word, tone, text)
}

/// The word for how a step ended, and how it is meant.
#[must_use]
pub const fn step_word(status: StepStatus) -> (&'static str, Tone) {
    match status {
        StepStatus::Passed => ("PASS", Tone::Good),
        StepStatus::Failed => ("FAIL", Tone::Bad),
        StepStatus::Inconclusive => ("INCONCLUSIVE", Tone::Notice),
        StepStatus::Error => ("ERROR", Tone::Bad),
        StepStatus::Skipped => ("SKIP", Tone::Faint),
    }
}

/// The word for a verdict, and how it is meant.
#[must_use]
pub const fn verdict_word(verdict: Verdict) -> (&'static str, Tone) {
    match verdict {
        Verdict::Passed => ("PASSED", Tone::Good),
        Verdict::Failed => ("FAILED", Tone::Bad),
        Verdict::Inconclusive => ("INCONCLUSIVE", Tone::Notice),
        Verdict::Error => ("ERROR", Tone::Bad),
        Verdict::TimedOut => ("TIMED OUT", Tone::Bad),
        Verdict::Interrupted => ("INTERRUPTED", Tone::Notice),
    }
}

/// `1 node`, `2 nodes`.
#[must_use]
pub fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}
