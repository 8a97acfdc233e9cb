//! What becomes of faults that are still on when the steps are over, or when somebody interrupts them.

use netsplit_runtime::Timestamp;

use super::Conductor;
use crate::run::{stage::Timer, steps::links};

impl Conductor<'_> {
    /// Ends churns early: the one with this id, or all.
    pub(super) fn heal_background(&mut self, id: Option<&String>) {
        for (churn, running) in &mut self.background {
            if links::Healing::names(id, churn) {
                running.step.heal(&mut self.stage);
            }
        }
    }

    pub(super) fn heal_leftovers(&mut self) {
        let faults = self.stage.state.faults.iter().map(|fault| fault.id.clone());
        let left: Vec<String> = faults
            .chain(self.stage.background.iter().cloned())
            .collect();
        if left.is_empty() && self.stage.desk.is_idle() {
            return;
        }
        for id in &left {
            self.stage
                .warn(format!("`{id}` was still on at the end and is healed"));
        }
        self.heal_background(None);
        let key = self.key();
        self.start(key, None, Box::new(links::Healing::new(None)));
    }

    /// Whatever ends by itself ends now.
    pub(super) fn end_timed(&mut self) {
        self.skip();
        self.heal_background(None);
        let now = self.stage.now();
        let timers = std::mem::take(&mut self.stage.timers);
        self.stage.timers = timers
            .into_iter()
            .map(|(at, timer)| match timer {
                Timer::FaultEnds(id) => (now, Timer::FaultEnds(id)),
                other => (at, other),
            })
            .collect();
    }

    /// Whether nothing goes on any more that ends by itself.
    pub(super) fn has_ended(&self) -> bool {
        let timed = |(_, timer): &(Timestamp, Timer)| matches!(timer, Timer::FaultEnds(_));
        self.background.is_empty()
            && self.stage.desk.is_idle()
            && !self.stage.timers.iter().any(timed)
    }
}
