//! The three doors of the runner: a whole run, bringing a testnet up, driving one that runs.

use std::{
    path::PathBuf,
    time::{Duration, Instant, SystemTime},
};

use netsplit_plan::plan::{NodeName, Plan, PlannedStep};
use netsplit_runtime::{
    Launch, NodeState, Ownership, Progress, RunId, Runtime, RuntimeError, Teardown, Testnet,
    Timestamp,
};
use tokio::sync::{mpsc, watch};

use super::{
    conductor::{Conductor, Ending, Orders, Story, millis},
    logs,
    roster::{Presence, Roster},
    stage::Stage,
    state::RunnerState,
    steps::{Ended, chain},
    verdict::{Facts, Failure, judge},
};
use crate::event::{RunEvent, RunEventKind, RunReport, StepStatus};

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
/// torn down unless `options.keep` and it got ready. Never fails: whatever happens is in the report.
pub async fn run_test(
    runtime: &dyn Runtime,
    plan: &Plan,
    options: &Options,
    events: EventSink,
    interrupts: Interrupts,
) -> RunReport {
    let keep = if options.keep {
        Keep::WhenReady
    } else {
        Keep::Never
    };
    let run = Run {
        runtime,
        plan,
        options,
        events,
        interrupts,
    };
    Box::pin(run.whole(plan.steps.clone(), keep)).await
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
    let run = Run {
        runtime,
        plan,
        options,
        events,
        interrupts,
    };
    Box::pin(run.whole(Vec::new(), Keep::WhenPassed)).await
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
    let mut facts = Facts {
        kept: true,
        ..Facts::default()
    };
    let began = testnet.now();
    match attached(&*testnet, events.clone()).await {
        Ok(stage) => {
            let orders = Orders {
                fresh: false,
                steps,
                ending: Ending::Join,
                began,
                deadline: timeout.map(|timeout| began + timeout),
            };
            tell_started(&events, &*testnet, orders.steps.len(), command);
            let story = Box::pin(Conductor::new(stage, orders, interrupts).run()).await;
            facts.absorb(story);
        }
        Err(error) => facts.failures.push(failure(&error)),
    }
    let info = testnet.info();
    let subject = Subject {
        topology: &info.plan.name,
        run: &info.run,
        seed: info.plan.seed,
        runtime: &info.runtime,
        command,
    };
    let report = report(&subject, &facts);
    let kind = RunEventKind::RunFinished(Box::new(report.clone()));
    let _ = events.send(RunEvent {
        at: testnet.now(),
        kind,
    });
    report
}

/// Whether a testnet is left running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keep {
    Never,
    /// Whatever became of its steps.
    WhenReady,
    WhenPassed,
}

/// One run from launch to teardown.
struct Run<'a> {
    runtime: &'a dyn Runtime,
    plan: &'a Plan,
    options: &'a Options,
    events: EventSink,
    interrupts: Interrupts,
}

impl Run<'_> {
    async fn whole(mut self, steps: Vec<PlannedStep>, keep: Keep) -> RunReport {
        self.tell(RunEventKind::RunStarted {
            run: self.options.run.clone(),
            topology: self.plan.name.clone(),
            description: self.plan.description.clone(),
            seed: self.plan.seed,
            runtime: self.runtime.name().to_owned(),
            nodes: self.plan.nodes.iter().filter(|node| !node.joins).count(),
            steps: steps.len(),
            command: self.options.command.clone(),
        });
        let mut facts = Facts::default();
        let ownership = if keep == Keep::Never {
            Ownership::Owned
        } else {
            Ownership::Detachable
        };
        if let Some(testnet) = self.launch(ownership, &mut facts).await {
            let story = self.conduct(&*testnet, steps, &mut facts).await;
            let passed = facts.failures.is_empty() && !facts.interrupted && !facts.timed_out;
            let stays = match keep {
                Keep::Never => false,
                Keep::WhenReady => story.is_some_and(|ready| ready),
                Keep::WhenPassed => passed,
            };
            if stays {
                self.let_go(testnet, &mut facts).await;
            } else {
                self.tear_down(testnet, &mut facts).await;
            }
        }
        let subject = Subject {
            topology: &self.plan.name,
            run: &self.options.run,
            seed: self.plan.seed,
            runtime: self.runtime.name(),
            command: &self.options.command,
        };
        let report = report(&subject, &facts);
        self.tell(RunEventKind::RunFinished(Box::new(report.clone())));
        report
    }

    /// Tells of something while there is no testnet whose clock could be asked.
    fn tell(&self, kind: RunEventKind) {
        let _ = self.events.send(RunEvent {
            at: wall_clock(),
            kind,
        });
    }

    fn timeout(&self) -> Option<Duration> {
        self.options
            .timeout
            .or(self.plan.timeout_ms.map(Duration::from_millis))
    }

    /// Checks and launches; on failure everything is gone again.
    async fn launch(
        &mut self,
        ownership: Ownership,
        facts: &mut Facts,
    ) -> Option<Box<dyn Testnet>> {
        if let Err(error) = self.runtime.check(self.plan).await {
            facts.failures.push(failure(&error));
            return None;
        }
        let launch = Launch {
            plan: self.plan.clone(),
            run: self.options.run.clone(),
            name: self.options.name.clone(),
            ownership,
            directory: self.options.directory.clone(),
            node_binary: self.options.node_binary.clone(),
        };
        let (progress, received) = mpsc::unbounded_channel();
        let mut interrupts = self.interrupts.clone();
        // There is no testnet yet whose clock could be asked.
        let timeout = self.timeout();
        let ended = tokio::select! {
            biased;
            () = interrupted(&mut interrupts, 1) => Err(StepStatus::Skipped),
            launched = forward(self.runtime.launch(launch, progress), received, &self.events) => {
                Ok(launched)
            }
            () = passed(timeout) => Err(StepStatus::Error),
        };
        match ended {
            Ok(Ok(testnet)) => {
                let up_ms = millis(testnet.now() - testnet.info().started);
                facts.timings.up_ms = Some(up_ms);
                let kind = RunEventKind::NodesStarted { elapsed_ms: up_ms };
                let _ = self.events.send(RunEvent {
                    at: testnet.now(),
                    kind,
                });
                Some(testnet)
            }
            Ok(Err(error)) => {
                facts.failures.push(failure(&error));
                facts.teardown = Some(Teardown {
                    removed: error.removed,
                    left: error.left,
                });
                None
            }
            Err(status) => {
                facts.interrupted = status == StepStatus::Skipped;
                facts.timed_out = status == StepStatus::Error;
                self.remove(facts).await;
                None
            }
        }
    }

    /// Carries out the steps; whether the testnet got ready.
    async fn conduct(
        &mut self,
        testnet: &dyn Testnet,
        steps: Vec<PlannedStep>,
        facts: &mut Facts,
    ) -> Option<bool> {
        let started = testnet.now();
        let began = testnet.info().started;
        let nodes = self.plan.nodes.iter().map(|node| {
            let presence = if node.joins {
                Presence::Planned
            } else {
                Presence::Starting
            };
            (node.name.clone(), presence)
        });
        let stage = Stage::new(
            testnet,
            self.events.clone(),
            Roster::new(nodes),
            RunnerState::default(),
        );
        let deadline = self.timeout().map(|timeout| began + timeout);
        let orders = Orders {
            fresh: true,
            steps,
            ending: Ending::Heal,
            began,
            deadline,
        };
        let conductor = Conductor::new(stage, orders, self.interrupts.clone());
        let story = Box::pin(conductor.run()).await;
        let ready = story.ready;
        facts.timings.ready_ms = ready.map(|ready| millis(ready - started));
        facts.absorb(story);
        Some(ready.is_some())
    }

    /// Leaves the testnet running.
    async fn let_go(&mut self, testnet: Box<dyn Testnet>, facts: &mut Facts) {
        match testnet.detach().await {
            Ok(()) => facts.kept = true,
            Err(error) => {
                facts.failures.push(failure(&error));
                self.remove(facts).await;
            }
        }
    }

    /// Removes everything in order; by force when somebody asks twice.
    async fn tear_down(&mut self, testnet: Box<dyn Testnet>, facts: &mut Facts) {
        let mut interrupts = self.interrupts.clone();
        let lost = tokio::select! {
            biased;
            () = interrupted(&mut interrupts, 2) => Vec::new(),
            lost = logs::collect(testnet.as_ref(), &self.options.directory) => lost,
        };
        for message in lost {
            self.tell(RunEventKind::Warned { message });
        }
        let began = Instant::now();
        let (progress, received) = mpsc::unbounded_channel();
        let torn_down = tokio::select! {
            biased;
            () = interrupted(&mut interrupts, 2) => None,
            teardown = forward(testnet.teardown(progress), received, &self.events) => {
                Some(teardown)
            }
        };
        facts.interrupted |= *self.interrupts.borrow() > 0;
        facts.timings.down_ms = Some(millis(began.elapsed()));
        match torn_down {
            Some(teardown) => self.torn_down(teardown, facts),
            None => self.remove(facts).await,
        }
    }

    /// Removes everything by the run's identity alone.
    async fn remove(&mut self, facts: &mut Facts) {
        let began = Instant::now();
        let (progress, received) = mpsc::unbounded_channel();
        let removed = forward(
            self.runtime.remove(&self.options.run, progress),
            received,
            &self.events,
        );
        let teardown = match removed.await {
            Ok(teardown) => teardown,
            Err(error) => {
                let left = vec![format!("run `{}`: {}", self.options.run, chain(&error))];
                Teardown { removed: 0, left }
            }
        };
        let before = facts.timings.down_ms.unwrap_or(0);
        facts.timings.down_ms = Some(before + millis(began.elapsed()));
        self.torn_down(teardown, facts);
    }

    fn torn_down(&self, teardown: Teardown, facts: &mut Facts) {
        self.tell(RunEventKind::TornDown(teardown.clone()));
        facts.teardown = Some(teardown);
    }
}

impl Facts {
    fn absorb(&mut self, story: Story) {
        self.interrupted |= story.interrupted;
        self.timed_out |= story.timed_out;
        self.failures.extend(story.failures);
        self.steps.extend(story.steps);
    }
}

/// What a report is about.
struct Subject<'a> {
    topology: &'a str,
    run: &'a RunId,
    seed: u64,
    runtime: &'a str,
    command: &'a str,
}

fn report(subject: &Subject<'_>, facts: &Facts) -> RunReport {
    let judged = judge(facts);
    RunReport {
        topology: subject.topology.to_owned(),
        run_id: subject.run.0.clone(),
        seed: subject.seed,
        runtime: subject.runtime.to_owned(),
        verdict: judged.verdict,
        exit_code: judged.exit_code,
        steps: facts.steps.clone(),
        timings: facts.timings,
        teardown: judged.teardown,
        command: subject.command.to_owned(),
        error: judged.error,
        hints: judged.hints,
    }
}

fn failure(error: &RuntimeError) -> Failure {
    let Ended {
        status,
        message,
        hints,
        ..
    } = Ended::failed(error);
    Failure {
        status,
        message,
        hints,
    }
}

/// Returns when somebody has asked for the end so often; never, when nobody can any more.
async fn interrupted(interrupts: &mut Interrupts, times: u32) {
    if interrupts.wait_for(|count| *count >= times).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Returns after a while, if there is one.
async fn passed(after: Option<Duration>) {
    match after {
        Some(after) => tokio::time::sleep(after).await,
        None => std::future::pending().await,
    }
}

/// Passes progress on as events until the work is done.
async fn forward<T>(
    work: impl Future<Output = T>,
    mut progress: mpsc::UnboundedReceiver<Progress>,
    events: &EventSink,
) -> T {
    let tell = |progress: Progress| {
        let kind = match progress {
            Progress::Phase { name, total } => RunEventKind::PhaseStarted {
                name: name.to_owned(),
                total,
            },
            Progress::Step { name, item } => RunEventKind::PhaseAdvanced {
                name: name.to_owned(),
                item,
            },
        };
        let _ = events.send(RunEvent {
            at: wall_clock(),
            kind,
        });
    };
    let mut work = std::pin::pin!(work);
    let result = loop {
        tokio::select! {
            biased;
            Some(progress) = progress.recv() => tell(progress),
            result = &mut work => break result,
        }
    };
    while let Ok(progress) = progress.try_recv() {
        tell(progress);
    }
    result
}

/// The time while there is no testnet that could be asked.
fn wall_clock() -> Timestamp {
    let since_epoch = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp::default() + since_epoch
}

/// The stage of a testnet that runs already: what earlier commands did to it is read from its document.
async fn attached(testnet: &dyn Testnet, events: EventSink) -> Result<Stage<'_>, RuntimeError> {
    let (document, states) = tokio::try_join!(testnet.get_state(), testnet.states())?;
    let state = RunnerState::from_value(document)
        .map_err(|error| RuntimeError::with_source("the agent keeps an unknown document", error))?;
    let nodes = states
        .iter()
        .map(|(node, state_of)| (node.clone(), presence(node, *state_of, &state)));
    let mut stage = Stage::new(testnet, events, Roster::new(nodes), state);
    stage.remember();
    Ok(stage)
}

fn presence(node: &NodeName, state: NodeState, document: &RunnerState) -> Presence {
    match state {
        NodeState::Planned => Presence::Planned,
        NodeState::Running => Presence::Running,
        NodeState::Paused => Presence::Paused,
        NodeState::Exited => {
            let by = document.down.get(node).filter(|churn| !churn.is_empty());
            Presence::Gone { by: by.cloned() }
        }
    }
}

fn tell_started(events: &EventSink, testnet: &dyn Testnet, steps: usize, command: &str) {
    let info = testnet.info();
    let kind = RunEventKind::RunStarted {
        run: info.run.clone(),
        topology: info.plan.name.clone(),
        description: info.plan.description.clone(),
        seed: info.plan.seed,
        runtime: info.runtime.clone(),
        nodes: info.plan.nodes.iter().filter(|node| !node.joins).count(),
        steps,
        command: command.to_owned(),
    };
    let _ = events.send(RunEvent {
        at: testnet.now(),
        kind,
    });
}
