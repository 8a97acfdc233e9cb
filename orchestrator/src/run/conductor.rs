//! The loop of a run: select builds a value, apply is synchronous. It knows no step by name and no runtime.

mod closing;
mod inputs;

use std::{
    collections::{BTreeSet, VecDeque},
    time::Duration,
};

use futures_util::{StreamExt, future::BoxFuture};
use netsplit_plan::plan::PlannedStep;
use netsplit_runtime::{NetEvent, Testnet, Timestamp};
use serde_json::Value;

use super::{
    desk::Ticket,
    execute::Interrupts,
    stage::{Done, Notice, Stage, StepKey, Timer},
    state::RunnerState,
    steps::{self, Ended, Progress, Step, ready},
    verdict::Failure,
};
use crate::event::{RunEventKind, StepResult, StepStatus};

/// A failure whose true cause may be a dead node or agent waits this long for the news of it.
const BLAME: Duration = Duration::from_secs(1);
/// Least time between two lines on what is waited for.
const STATUS_SPACING: Duration = Duration::from_millis(100);

/// What the conductor is to do.
pub(crate) struct Orders {
    /// Whether the testnet was just launched, or has run for a while.
    pub(crate) fresh: bool,
    pub(crate) steps: Vec<PlannedStep>,
    pub(crate) ending: Ending,
    /// When the run began.
    pub(crate) began: Timestamp,
    /// When the whole run has taken too long.
    pub(crate) deadline: Option<Timestamp>,
}

/// What becomes of faults that are still on after the last step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// They are healed.
    Heal,
    /// Those that end by themselves are waited for, the others stay.
    Join,
}

/// What happened.
pub(crate) struct Story {
    pub(crate) ready: Option<Timestamp>,
    pub(crate) steps: Vec<StepResult>,
    pub(crate) failures: Vec<Failure>,
    pub(crate) interrupted: bool,
    pub(crate) timed_out: bool,
    pub(crate) state: RunnerState,
}

/// Everything that can happen to the loop.
#[derive(Debug)]
pub(crate) enum Input {
    /// The testnet told something; `None`: it has nothing more to tell.
    Net(Option<NetEvent>),
    /// An operation is done.
    Done(Done),
    /// Somebody wants the run to end: how often they said so.
    Interrupted(u32),
    /// The clock has reached the first timer.
    Due,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Setup,
    Steps,
    Closing,
    Saving,
    Over,
}

struct Running<'a> {
    key: StepKey,
    /// `None`: it is not of the scenario.
    planned: Option<PlannedStep>,
    began: Timestamp,
    step: Box<dyn Step + 'a>,
}

/// A failure that waits for somebody to blame.
struct Held {
    ended: Ended,
    /// Set when it is not the current step's.
    background: Option<String>,
}

pub(crate) struct Conductor<'a> {
    stage: Stage<'a>,
    phase: Phase,
    todo: VecDeque<PlannedStep>,
    current: Option<Running<'a>>,
    background: Vec<(String, Running<'a>)>,
    held: Option<Held>,
    /// Requests of nobody's step: faults that end by themselves.
    own: BTreeSet<Ticket>,
    orders: Orders,
    story: Story,
    next_key: StepKey,
    /// When it was looked last what is waited for, and what was told of it.
    told: (Timestamp, Option<String>),
    net: &'a dyn Testnet,
    next_event: Option<BoxFuture<'a, Option<NetEvent>>>,
    net_is_over: bool,
    interrupts: Option<Interrupts>,
}

impl<'a> Conductor<'a> {
    pub(crate) fn new(stage: Stage<'a>, mut orders: Orders, interrupts: Interrupts) -> Self {
        let story = Story {
            ready: None,
            steps: Vec::new(),
            failures: Vec::new(),
            interrupted: false,
            timed_out: false,
            state: RunnerState::default(),
        };
        Self {
            phase: Phase::Setup,
            todo: std::mem::take(&mut orders.steps).into(),
            current: None,
            background: Vec::new(),
            held: None,
            own: BTreeSet::new(),
            orders,
            story,
            next_key: 0,
            told: (Timestamp::default(), None),
            net: stage.net,
            next_event: None,
            net_is_over: false,
            interrupts: Some(interrupts),
            stage,
        }
    }

    /// Carries out the orders.
    pub(crate) async fn run(mut self) -> Story {
        self.begin();
        while self.phase != Phase::Over {
            let input = self.select().await;
            self.apply(input);
        }
        self.story.state = self.stage.state;
        self.story
    }

    fn begin(&mut self) {
        if let Some(deadline) = self.orders.deadline {
            self.stage.timers.insert((deadline, Timer::WholeRun));
        }
        let key = self.key();
        let step: Box<dyn Step + 'a> = if self.orders.fresh {
            let total = self
                .stage
                .plan()
                .nodes
                .iter()
                .filter(|node| !node.joins)
                .count();
            self.stage.tell(RunEventKind::PhaseStarted {
                name: "ready".to_owned(),
                total,
            });
            Box::new(ready::Readying::new(key, self.stage.plan()))
        } else {
            Box::new(ready::CatchingUp::new(key))
        };
        self.start(key, None, step);
        self.advance();
        self.tell_status();
    }

    fn key(&mut self) -> StepKey {
        self.next_key += 1;
        self.next_key
    }

    /// Waits for the next thing to happen. What has happened comes before the passing of time.
    async fn select(&mut self) -> Input {
        let due = self.stage.timers.first().map(|(at, _)| *at);
        let net = self.net;
        let next = self.next_event.get_or_insert_with(|| net.next_event());
        tokio::select! {
            biased;
            count = interrupted(&mut self.interrupts) => Input::Interrupted(count),
            Some(done) = self.stage.ops.next() => Input::Done(done),
            event = next, if !self.net_is_over => {
                self.next_event = None;
                self.net_is_over = event.is_none();
                Input::Net(event)
            }
            () = net.sleep_until(due.unwrap_or_default()), if due.is_some() => Input::Due,
        }
    }

    /// Carries out what follows from one thing that happened.
    pub(crate) fn apply(&mut self, input: Input) {
        match input {
            Input::Net(Some(event)) => self.on_net(event),
            Input::Net(None) => self.lost("the testnet has nothing more to tell"),
            Input::Done(Done::Desk(found)) => self.on_settled(found),
            Input::Done(Done::Step(key, outcome)) => {
                self.deliver(key, &Notice::Done(&outcome));
            }
            Input::Done(Done::Saved(result)) => self.stage.saved(result),
            Input::Interrupted(count) => self.on_interrupt(count),
            Input::Due => self.on_due(),
        }
        self.advance();
        self.tell_status();
    }

    /// Tells one step of something.
    fn deliver(&mut self, key: StepKey, notice: &Notice<'_>) {
        if self
            .current
            .as_ref()
            .is_some_and(|running| running.key == key)
        {
            self.tell_current(notice);
        } else if let Some(place) = self.background.iter().position(|(_, step)| step.key == key) {
            self.tell_background(place, notice);
        }
    }

    /// Tells every step of something.
    fn broadcast(&mut self, notice: &Notice<'_>) {
        for place in (0..self.background.len()).rev() {
            self.tell_background(place, notice);
        }
        self.tell_current(notice);
    }

    fn tell_current(&mut self, notice: &Notice<'_>) {
        if self
            .held
            .as_ref()
            .is_some_and(|held| held.background.is_none())
        {
            return;
        }
        let Some(running) = &mut self.current else {
            return;
        };
        let progress = running.step.on(&mut self.stage, notice);
        self.progress(progress);
    }

    fn tell_background(&mut self, place: usize, notice: &Notice<'_>) {
        let (_, running) = &mut self.background[place];
        let Progress::Ended(ended) = running.step.on(&mut self.stage, notice) else {
            return;
        };
        let (id, running) = self.background.remove(place);
        self.stage.forget(running.key);
        self.stage.background.remove(&id);
        if ended.status != StepStatus::Passed {
            self.hold(Held {
                ended,
                background: Some(id),
            });
        }
        self.tell_current(&Notice::Background);
    }

    /// What the current step made of it.
    fn progress(&mut self, progress: Progress) {
        match progress {
            Progress::Going => {}
            Progress::Ended(ended) => self.hold(Held {
                ended,
                background: None,
            }),
            Progress::Background(id, ended) => {
                let Some(running) = self.current.take() else {
                    return;
                };
                let twin = self.record(running, ended);
                self.stage.background.insert(id.clone());
                self.background.push((id, twin));
            }
        }
    }

    /// An end; one that may be somebody else's fault waits for the news of it.
    fn hold(&mut self, held: Held) {
        if held.ended.suspect && held.ended.status == StepStatus::Error && self.held.is_none() {
            let at = self.stage.now() + BLAME;
            self.stage.timers.insert((at, Timer::Blame));
            self.held = Some(held);
            return;
        }
        self.accept(held);
    }

    fn give_up_waiting(&mut self) {
        if let Some(held) = self.held.take() {
            self.accept(held);
        }
    }

    fn accept(&mut self, held: Held) {
        match held.background {
            None => self.end_current(held.ended),
            Some(id) => {
                let message = format!("`{id}`: {}", held.ended.message);
                self.fail(&Ended {
                    message,
                    ..held.ended
                });
            }
        }
    }

    fn fail(&mut self, ended: &Ended) {
        if matches!(ended.status, StepStatus::Passed | StepStatus::Skipped) {
            return;
        }
        self.story.failures.push(Failure {
            status: ended.status,
            message: ended.message.clone(),
            hints: ended.hints.clone(),
        });
    }

    /// The current step is over.
    fn end_current(&mut self, ended: Ended) {
        self.held = None;
        let Some(running) = self.current.take() else {
            self.fail(&ended);
            return;
        };
        if self.phase == Phase::Setup && ended.status == StepStatus::Passed {
            self.phase = Phase::Steps;
            self.story.ready = Some(self.stage.now());
            if self.orders.fresh {
                let elapsed_ms = millis(self.stage.now() - running.began);
                self.stage.tell(RunEventKind::Ready { elapsed_ms });
            }
        }
        self.stage.forget(running.key);
        self.record(running, ended);
    }

    /// Writes down how a step ended.
    fn record(&mut self, running: Running<'a>, ended: Ended) -> Running<'a> {
        if let Some(planned) = &running.planned {
            let prefix = format!("step {} `{}`", planned.index, planned.text);
            let failed = Ended {
                message: format!("{prefix}: {}", ended.message),
                ..ended.clone()
            };
            self.fail(&failed);
            self.finish(planned, running.began, ended);
        } else {
            self.fail(&ended);
        }
        running
    }

    fn finish(&mut self, planned: &PlannedStep, began: Timestamp, ended: Ended) {
        let result = StepResult {
            index: planned.index,
            kind: steps::kind(&planned.action).to_owned(),
            id: steps::id(&planned.action),
            text: planned.text.clone(),
            status: ended.status,
            started_ms: millis(began - self.orders.began),
            elapsed_ms: millis(self.stage.now() - began),
            evidence: ended.evidence,
            message: ended.message,
        };
        self.stage.tell(RunEventKind::StepFinished(result.clone()));
        self.story.steps.push(result);
    }

    /// The run cannot go on.
    fn abort(&mut self, ended: Ended) {
        self.end_current(ended);
        self.skip();
        self.phase = Phase::Over;
    }

    /// The steps that are left are not reached.
    fn skip(&mut self) {
        while let Some(planned) = self.todo.pop_front() {
            let (now, evidence) = (self.stage.now(), Value::Null);
            let skipped = Ended::new(StepStatus::Skipped, "not reached").with_evidence(evidence);
            self.finish(&planned, now, skipped);
        }
    }

    fn start(&mut self, key: StepKey, planned: Option<PlannedStep>, step: Box<dyn Step + 'a>) {
        let running = Running {
            key,
            planned,
            began: self.stage.now(),
            step,
        };
        self.told = (Timestamp::default(), None);
        let running = self.current.insert(running);
        let progress = running.step.begin(&mut self.stage);
        self.progress(progress);
    }

    /// Goes on as far as nothing has to be waited for.
    fn advance(&mut self) {
        while self.current.is_none() && self.held.is_none() {
            if !self.story.failures.is_empty() {
                self.skip();
                if self.is_hopeless() {
                    self.phase = Phase::Over;
                }
            }
            match self.phase {
                Phase::Setup => self.phase = Phase::Over,
                Phase::Steps => self.next_step(),
                Phase::Closing if self.has_ended() => self.phase = Phase::Saving,
                Phase::Saving if self.stage.is_saved() => self.phase = Phase::Over,
                Phase::Closing | Phase::Saving | Phase::Over => return,
            }
        }
    }

    /// Whether the machine failed, so that no fault can be healed with evidence.
    fn is_hopeless(&self) -> bool {
        self.story
            .failures
            .iter()
            .any(|failure| failure.status == StepStatus::Error)
    }

    fn next_step(&mut self) {
        if let Some(planned) = self.todo.pop_front() {
            let (index, text) = (planned.index, planned.text.clone());
            self.stage.tell(RunEventKind::StepStarted { index, text });
            if let steps::Heals::Churn(id) = steps::heals(&planned.action) {
                self.heal_background(id.as_ref());
            }
            let key = self.key();
            let step = steps::step(key, planned.action.clone());
            self.start(key, Some(planned), step);
            return;
        }
        self.phase = Phase::Closing;
        match self.orders.ending {
            Ending::Heal => self.heal_leftovers(),
            Ending::Join if self.story.failures.is_empty() => {}
            Ending::Join => self.end_timed(),
        }
    }

    /// Tells what is waited for when that changed. To find out may mean to look at many nodes, so it is not done after every
    /// event, but some time after the last one for sure.
    fn tell_status(&mut self) {
        let Some(running) = &self.current else { return };
        let now = self.stage.now();
        let again = self.told.0 + STATUS_SPACING;
        if now < again {
            self.stage.timers.insert((again, Timer::Status));
            return;
        }
        self.told.0 = now;
        let status = running.step.status(&self.stage);
        if status == self.told.1 {
            return;
        }
        self.told.1.clone_from(&status);
        let (Some(status), planned) = (status, &running.planned) else {
            return;
        };
        self.stage.tell(match planned {
            Some(planned) => RunEventKind::StepWaiting {
                index: planned.index,
                status,
            },
            None => {
                let name = if self.phase == Phase::Setup {
                    "ready"
                } else {
                    "heal"
                }
                .to_owned();
                RunEventKind::PhaseWaiting { name, status }
            }
        });
    }
}

/// The next interruption; never, when nobody can interrupt any more.
async fn interrupted(interrupts: &mut Option<Interrupts>) -> u32 {
    if let Some(receiver) = interrupts {
        if receiver.changed().await.is_ok() {
            return *receiver.borrow_and_update();
        }
        *interrupts = None;
    }
    std::future::pending().await
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
