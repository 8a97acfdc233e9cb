//! What follows from each thing that happens.

use netsplit_api::event::Event;
use netsplit_plan::{observe::Lifecycle, plan::NodeName};
use netsplit_runtime::NetEvent;

use super::{Conductor, Ending, Held, Phase};
use crate::{
    event::{RunEventKind, StepStatus},
    run::{
        desk::{Found, Request},
        stage::{Notice, Timer},
        steps::{Ended, links},
    },
};

impl Conductor<'_> {
    pub(super) fn on_net(&mut self, event: NetEvent) {
        match event {
            NetEvent::Node {
                node,
                incarnation,
                record,
            } => {
                self.stage.record(&node, incarnation, &record);
                if self.phase == Phase::Setup
                    && self.orders.fresh
                    && matches!(record.event, Event::NodeStarted { .. })
                {
                    let (name, item) = ("ready".to_owned(), node.0.clone());
                    self.stage.tell(RunEventKind::PhaseAdvanced { name, item });
                }
                self.broadcast(&Notice::Node(&node, &record.event));
            }
            NetEvent::NodeSilent { node, reason } => {
                tracing::debug!(%node, reason, "event stream interrupted");
            }
            NetEvent::NodeExited {
                node,
                code,
                last_lines,
            } => {
                self.on_exit(&node, code, last_lines);
            }
            NetEvent::AgentLost { reason } => self.lost(&reason),
            NetEvent::ReaperLost { reason } => self.unguarded(&reason),
        }
    }

    fn on_exit(&mut self, node: &NodeName, code: Option<i64>, last_lines: Vec<String>) {
        if self.stage.roster.exited(node) {
            self.broadcast(&Notice::Exited);
            return;
        }
        let at = self.stage.at();
        self.stage
            .observations
            .node_lifecycle(node, Lifecycle::Died, at);
        let code = code.map_or_else(String::new, |code| format!(" with exit code {code}"));
        let mut ended = Ended::error(format!("`{node}` ended by itself{code}"));
        ended.hints = if last_lines.is_empty() {
            vec![format!(
                "`{node}` left no log: is its program whole and made for this machine, or was its container removed?"
            )]
        } else {
            let line = |line| format!("{node}: {line}");
            last_lines.into_iter().map(line).collect()
        };
        self.abort(ended);
    }

    /// The reaper is gone: were this process killed now, the testnet would be left behind.
    fn unguarded(&mut self, reason: &str) {
        if self.phase == Phase::Over {
            return;
        }
        let mut ended = Ended::error(format!("the reaper was lost: {reason}"));
        ended.hints.push(
            "nothing else would remove the testnet if netsplit was killed: look for who ends containers on this engine"
                .to_owned(),
        );
        self.abort(ended);
    }

    /// The agent is gone: with a fault in force nothing is proven any more.
    pub(super) fn lost(&mut self, reason: &str) {
        if self.phase == Phase::Over {
            return;
        }
        let faults: Vec<&str> = self
            .stage
            .state
            .faults
            .iter()
            .map(|fault| fault.id.as_str())
            .collect();
        let mut ended = if faults.is_empty() && !self.stage.desk.is_changing() {
            Ended::error(format!("the agent was lost: {reason}"))
        } else {
            let what = if faults.is_empty() {
                "links were healed"
            } else {
                "links were cut"
            };
            let message = format!("the agent was lost while {what}: {reason}");
            Ended::new(StepStatus::Inconclusive, message)
        };
        ended.hints.push(
            "it ends when somebody removes its container or the kernel is out of memory (see `dmesg`)"
                .to_owned(),
        );
        self.abort(ended);
    }

    pub(super) fn on_settled(&mut self, found: Found) {
        let Some(settled) = self.stage.settle(found) else {
            return;
        };
        if self.own.remove(&settled.ticket) {
            let ended = links::ended(&settled, "over");
            if ended.status != StepStatus::Passed {
                let names: Vec<_> = settled
                    .ended
                    .iter()
                    .map(|fault| fault.id.as_str())
                    .collect();
                self.hold(Held {
                    ended,
                    background: Some(names.join(", ")),
                });
            }
        }
        self.broadcast(&Notice::Settled(&settled));
    }

    pub(super) fn on_interrupt(&mut self, count: u32) {
        if count == 0 {
            return;
        }
        let again = std::mem::replace(&mut self.story.interrupted, true);
        if self.orders.ending == Ending::Join && !again && self.phase != Phase::Setup {
            // What ends by itself would never end without us.
            self.end_current(Ended::new(StepStatus::Skipped, "interrupted"));
            self.end_timed();
            self.phase = Phase::Closing;
        } else {
            self.abort(Ended::new(StepStatus::Skipped, "interrupted"));
        }
    }

    pub(super) fn on_due(&mut self) {
        let Some((at, timer)) = self.stage.timers.first().cloned() else {
            return;
        };
        if at > self.stage.now() {
            return;
        }
        self.stage.timers.remove(&(at, timer.clone()));
        match timer {
            Timer::WholeRun => {
                self.story.timed_out = true;
                let status = self
                    .current
                    .as_ref()
                    .and_then(|step| step.step.status(&self.stage));
                let status = status.map_or_else(String::new, |status| format!(": {status}"));
                let message = format!("the whole run took longer than its timeout{status}");
                self.abort(Ended::new(StepStatus::Skipped, message));
            }
            Timer::Blame => self.give_up_waiting(),
            // Whatever happens, what is waited for is told afterwards.
            Timer::Status => {}
            Timer::FaultEnds(id) => {
                let ticket = self.stage.ask(Request::Heal { ids: vec![id] });
                self.own.insert(ticket);
            }
            Timer::Step(key, tag) => self.deliver(key, &Notice::Due(tag)),
        }
    }
}
