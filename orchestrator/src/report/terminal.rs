//! How lines and progress bars get on the screen: bars that are redrawn on a terminal, plain lines elsewhere.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{Reporter, lines::Lines};
use crate::{
    event::{RunEvent, RunEventKind},
    ui::{Ui, style::Tone},
};

/// How often a bar may be redrawn, in Hz: enough to look alive, too little to slow anything down.
const REDRAWS: u8 = 20;

/// Tells of a run on stderr as it happens.
pub struct Terminal {
    ui: Ui,
    lines: Lines,
    bar: Option<ProgressBar>,
    step: String,
}

impl Terminal {
    /// A reporter for this user.
    #[must_use]
    pub fn new(ui: Ui) -> Self {
        Self {
            ui,
            lines: Lines::default(),
            bar: None,
            step: String::new(),
        }
    }

    /// A reporter for steps that this user does by hand.
    #[must_use]
    pub fn by_hand(ui: Ui) -> Self {
        Self {
            ui,
            lines: Lines::by_hand(),
            bar: None,
            step: String::new(),
        }
    }

    fn say(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| self.ui.line(text)),
            None => self.ui.line(text),
        }
    }

    fn redraw(&mut self, event: &RunEvent) {
        match &event.kind {
            RunEventKind::PhaseStarted { name, total } => self.begin(phase_word(name), *total),
            RunEventKind::PhaseAdvanced { item, .. } => {
                self.update(|bar| {
                    bar.inc(1);
                    bar.set_message(item.clone());
                });
            }
            RunEventKind::PhaseWaiting { status, .. } => {
                self.update(|bar| bar.set_message(status.clone()));
            }
            RunEventKind::StepWaiting { status, .. } => {
                self.update(|bar| bar.set_message(format!("{}: {status}", self.step)));
            }
            RunEventKind::StepStarted { text, .. } => {
                self.step.clone_from(text);
                self.begin("Step", 0);
                self.update(|bar| bar.set_message(text.clone()));
            }
            RunEventKind::Ready { .. }
            | RunEventKind::StepFinished(_)
            | RunEventKind::TornDown(_)
            | RunEventKind::RunFinished(_) => self.end(),
            RunEventKind::RunStarted { .. }
            | RunEventKind::NodesStarted { .. }
            | RunEventKind::FaultChanged { .. }
            | RunEventKind::Node { .. }
            | RunEventKind::Warned { .. } => {}
        }
    }

    fn begin(&mut self, word: &str, total: usize) {
        self.end();
        let target = ProgressDrawTarget::stderr_with_hz(REDRAWS);
        let length = u64::try_from(total).unwrap_or(u64::MAX);
        let bar = if total > 0 {
            ProgressBar::with_draw_target(Some(length), target).with_style(style(
                "{prefix} [{elapsed_precise}] [{bar:24}] {pos}/{len} {wide_msg}",
            ))
        } else {
            ProgressBar::with_draw_target(None, target)
                .with_style(style("{prefix} [{elapsed_precise}] {wide_msg}"))
        };
        let bar = bar.with_prefix(self.ui.labelled(word, Tone::Busy, ""));
        bar.enable_steady_tick(Duration::from_millis(250));
        self.bar = Some(bar);
    }

    fn update(&self, change: impl FnOnce(&ProgressBar)) {
        if let Some(bar) = &self.bar {
            change(bar);
        }
    }

    fn end(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

impl Reporter for Terminal {
    fn on_event(&mut self, event: &RunEvent) {
        if self.ui.is_quiet() {
            return;
        }
        if self.ui.is_terminal() {
            self.redraw(event);
        }
        for line in self.lines.of(event) {
            // The bar says the same where there is one.
            if self.ui.is_terminal() && line.word == "Waiting" {
                continue;
            }
            self.say(&self.ui.labelled(line.word, line.tone, &line.body()));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.end();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .expect("templates are constants and known to the tests")
        .progress_chars("=> ")
}

/// What is being done in a phase.
const fn phase_word(name: &str) -> &'static str {
    match name.as_bytes() {
        b"image" => "Packing",
        b"network" | b"create" => "Creating",
        b"reaper" | b"agent" | b"start" => "Starting",
        b"ready" => "Getting up",
        b"remove" => "Removing",
        _ => "Working",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_can_be_drawn() {
        let mut terminal = Terminal::new(Ui::captured(false).0);
        terminal.begin("Creating", 3);
        terminal.update(|bar| bar.inc(1));
        terminal.begin("Step", 0);
        terminal.end();
        assert!(terminal.bar.is_none());
    }
}
