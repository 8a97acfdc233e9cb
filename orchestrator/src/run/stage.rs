//! Everything a step may touch: the testnet, what is known of it, operations in flight, timers.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use futures_util::{future::BoxFuture, stream::FuturesUnordered};
use netsplit_api::event::{Event, EventRecord};
use netsplit_plan::{
    observe::{At, Lifecycle, Observations, Query},
    plan::{NodeName, NodeVerb, Plan, PlannedNode},
};
use netsplit_runtime::{CallError, NodeState, RuntimeError, Testnet, Timestamp};
use serde_json::Value;
use tokio::sync::Semaphore;

use super::{
    census::Census,
    cuts::Cuts,
    desk::{Desk, Found, Request, Settled, Ticket},
    evidence::{self, Evidence, Scene},
    execute::EventSink,
    roster::{Presence, Roster},
    state::{PastCut, RunnerState},
};
use crate::event::{RunEvent, RunEventKind};

/// Processes that are being changed at a time: what is above waits. More gains nothing from an engine, and a supervisor
/// changes this many at once.
const VERBS: usize = 32;
/// Calls to nodes in flight at a time, on behalf of steps.
const CALLS: usize = 64;

/// Names one step under way.
pub(crate) type StepKey = u64;

/// What a timer is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// The whole run took too long.
    WholeRun,
    /// A failure has waited long enough for somebody to blame.
    Blame,
    /// What is waited for may be told again.
    Status,
    /// A fault ends by itself.
    FaultEnds(String),
    /// A step asked for it.
    Step(StepKey, u32),
}

/// What an operation came to.
#[derive(Debug)]
pub(crate) enum Done {
    /// The desk's.
    Desk(Found),
    /// A step's.
    Step(StepKey, Outcome),
    /// The document was kept, or not.
    Saved(Result<(), RuntimeError>),
}

/// What a step's operation came to.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Something was done to a node's process.
    Verb(NodeName, Result<(), RuntimeError>),
    /// Where all processes are.
    States(Result<BTreeMap<NodeName, NodeState>, RuntimeError>),
    /// A query of an assertion was answered.
    Answer(Query, Result<Value, String>),
    /// A node answered a call.
    Call(NodeName, Result<Value, CallError>),
}

/// What a step is told of.
#[derive(Debug)]
pub(crate) enum Notice<'n> {
    /// A node said something; it has been folded in.
    Node(&'n NodeName, &'n Event),
    /// Some node's process ended; it has been folded in.
    Exited,
    /// A timer of this step.
    Due(u32),
    /// An operation of this step.
    Done(&'n Outcome),
    /// A change of links.
    Settled(&'n Settled),
    /// Something in the background is over.
    Background,
}

/// See the module.
pub(crate) struct Stage<'a> {
    pub(crate) net: &'a dyn Testnet,
    pub(crate) roster: Arc<Roster>,
    pub(crate) census: Census,
    pub(crate) observations: Observations,
    pub(crate) state: RunnerState,
    /// The pairs that the faults in force cut.
    pub(crate) cuts: Cuts,
    /// How often nodes may have become harder to find: one left, or links changed. Whoever had to find a peer may not have
    /// to any more.
    pub(crate) departures: u64,
    pub(crate) desk: Desk,
    pub(crate) ops: FuturesUnordered<BoxFuture<'a, Done>>,
    pub(crate) timers: BTreeSet<(Timestamp, Timer)>,
    /// Ids of what runs in the background.
    pub(crate) background: BTreeSet<String>,
    planned: BTreeMap<&'a NodeName, &'a PlannedNode>,
    verbs: Arc<Semaphore>,
    calls: Arc<Semaphore>,
    sink: EventSink,
    seed: u64,
    saving: bool,
    unsaved: bool,
}

impl<'a> Stage<'a> {
    pub(crate) fn new(
        net: &'a dyn Testnet,
        sink: EventSink,
        roster: Roster,
        state: RunnerState,
    ) -> Self {
        let plan = &net.info().plan;
        Self {
            net,
            roster: Arc::new(roster),
            census: Census::default(),
            observations: Observations::new(plan),
            cuts: state.cuts(),
            state,
            departures: 0,
            desk: Desk::default(),
            ops: FuturesUnordered::new(),
            timers: BTreeSet::new(),
            background: BTreeSet::new(),
            planned: plan.nodes.iter().map(|node| (&node.name, node)).collect(),
            verbs: Arc::new(Semaphore::new(VERBS)),
            calls: Arc::new(Semaphore::new(CALLS)),
            sink,
            seed: plan.seed,
            saving: false,
            unsaved: false,
        }
    }

    /// Folds in what earlier commands did to the testnet.
    pub(crate) fn remember(&mut self) {
        let at = self.at();
        for (node, presence) in self.roster.all() {
            let lifecycle = match presence {
                Presence::Gone { .. } if !self.state.down.contains_key(&node) => {
                    self.warn(format!("`{node}` does not run, and no command ended it"));
                    Lifecycle::Died
                }
                other => lifecycle(&other),
            };
            self.observations.node_lifecycle(&node, lifecycle, at);
        }
        for cut in &self.state.cuts {
            self.observations
                .cut_verified(&cut.id, &cut.groups, cut.one_way, At(cut.at.0));
            if let Some(healed) = cut.healed {
                self.observations.heal_verified(&cut.id, At(healed.0));
            }
        }
        for sent in &self.state.sent {
            self.observations
                .sent(sent.id.as_deref(), &sent.txid, At(sent.at.0));
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.net.now()
    }

    pub(crate) fn at(&self) -> At {
        At(self.net.now().0)
    }

    pub(crate) fn plan(&self) -> &'a Plan {
        &self.net.info().plan
    }

    pub(crate) fn planned(&self, node: &NodeName) -> Option<&'a PlannedNode> {
        self.planned.get(node).copied()
    }

    /// Tells whoever listens. Nobody has to.
    pub(crate) fn tell(&self, kind: RunEventKind) {
        let _ = self.sink.send(RunEvent {
            at: self.now(),
            kind,
        });
    }

    pub(crate) fn warn(&self, message: impl Into<String>) {
        self.tell(RunEventKind::Warned {
            message: message.into(),
        });
    }

    /// Starts an operation.
    pub(crate) fn spawn(&mut self, op: impl Future<Output = Done> + Send + 'a) {
        self.ops.push(Box::pin(op));
    }

    /// Starts an operation of a step.
    pub(crate) fn spawn_for(
        &mut self,
        step: StepKey,
        op: impl Future<Output = Outcome> + Send + 'a,
    ) {
        self.spawn(async move { Done::Step(step, op.await) });
    }

    /// Calls a node on behalf of a step.
    pub(crate) fn call(
        &mut self,
        step: StepKey,
        node: &NodeName,
        method: &'static str,
        params: Value,
    ) {
        let (net, node, calls) = (self.net, node.clone(), Arc::clone(&self.calls));
        self.spawn_for(step, async move {
            let _turn = calls.acquire().await;
            let answer = net.rpc(&node, method, params).await;
            Outcome::Call(node, answer)
        });
    }

    /// Asks a node what an assertion wants to know, on behalf of a step. Only [`Query::Rpc`] is for a node.
    pub(crate) fn ask_node(&mut self, step: StepKey, query: Query) {
        let (net, calls) = (self.net, Arc::clone(&self.calls));
        self.spawn_for(step, async move {
            let answer = match &query {
                Query::Rpc { node, method, .. } => {
                    let _turn = calls.acquire().await;
                    let answer = net.rpc(node, method, query.params()).await;
                    answer.map_err(|error| error.to_string())
                }
                Query::Reach { .. } => Err("no node can be asked about reach".to_owned()),
            };
            Outcome::Answer(query, answer)
        });
    }

    /// Changes a node's process, on behalf of a step; `None` starts it for the first time.
    pub(crate) fn change(&mut self, step: StepKey, node: &NodeName, verb: Option<NodeVerb>) {
        let (net, node, verbs) = (self.net, node.clone(), Arc::clone(&self.verbs));
        self.spawn_for(step, async move {
            let _turn = verbs.acquire().await;
            let result = match verb {
                Some(verb) => net.node(&node, verb).await,
                None => net.join(&node).await,
            };
            Outcome::Verb(node, result)
        });
    }

    /// Asks the engine where all processes are, on behalf of a step.
    pub(crate) fn ask_states(&mut self, step: StepKey) {
        let net = self.net;
        self.spawn_for(step, async move { Outcome::States(net.states().await) });
    }

    /// Wakes a step after a while.
    pub(crate) fn wake(&mut self, step: StepKey, tag: u32, after: Duration) {
        self.timers
            .insert((self.now() + after, Timer::Step(step, tag)));
    }

    /// Forgets all timers of a step.
    pub(crate) fn forget(&mut self, step: StepKey) {
        self.timers
            .retain(|(_, timer)| !matches!(timer, Timer::Step(key, _) if *key == step));
    }

    /// Folds in what a node said.
    pub(crate) fn record(&mut self, node: &NodeName, incarnation: u64, record: &EventRecord) {
        self.observations.node_event(node, incarnation, record);
        self.census.record(node, incarnation, record);
        if let Event::PeerDisconnected { peer, reason, .. } = &record.event {
            self.desk.disconnected(node, *peer, reason);
        }
        self.tell(RunEventKind::Node {
            node: node.0.clone(),
            record: record.clone(),
        });
    }

    /// A node's process is, or is about to be, somewhere else: by a step, or by the churn named.
    pub(crate) fn place(&mut self, node: &NodeName, presence: Presence) {
        let at = self.at();
        self.observations
            .node_lifecycle(node, lifecycle(&presence), at);
        self.state.down.remove(node);
        self.state.paused.remove(node);
        match &presence {
            Presence::Gone { by } => {
                self.census.gone(node);
                self.state
                    .down
                    .insert(node.clone(), by.clone().unwrap_or_default());
            }
            Presence::Paused => {
                self.state.paused.insert(node.clone());
            }
            Presence::Planned | Presence::Running | Presence::Starting => {}
        }
        let leaves = presence != Presence::Running;
        if leaves && self.roster.presence(node) == Presence::Running {
            self.departures += 1;
        }
        self.roster.set(node, presence);
        self.save();
    }

    /// The faults in force are others.
    fn faults_changed(&mut self) {
        self.cuts = self.state.cuts();
        self.departures += 1;
    }

    /// Asks for a change of links, or for probes, when those before are done.
    pub(crate) fn ask(&mut self, request: Request) -> Ticket {
        let ticket = self.desk.ask(request);
        self.serve();
        ticket
    }

    /// Begins the next request, if none is under way.
    fn serve(&mut self) {
        let Some((ticket, request)) = self.desk.next() else {
            return;
        };
        let scene = Scene {
            net: self.net,
            roster: Arc::clone(&self.roster),
            seed: self.seed,
        };
        match &request {
            Request::Cut { fault, .. } => {
                self.state.version += 1;
                self.state.faults.push(fault.clone());
                self.faults_changed();
                let (state, version) = (self.state.clone(), self.state.version);
                self.spawn(async move { found(evidence::cut(scene, state, version).await) });
                self.desk.begin(ticket, request, Vec::new());
            }
            Request::Heal { ids } => {
                let (ended, left) = std::mem::take(&mut self.state.faults)
                    .into_iter()
                    .partition::<Vec<_>, _>(|fault| ids.contains(&fault.id));
                self.state.faults = left;
                self.faults_changed();
                self.timers.retain(
                    |(_, timer)| !matches!(timer, Timer::FaultEnds(id) if ids.contains(id)),
                );
                self.desk.begin(ticket, request, ended.clone());
                if ended.is_empty() {
                    self.spawn(async { Done::Desk(Found::Nothing) });
                    return;
                }
                self.state.version += 1;
                let (state, version) = (self.state.clone(), self.state.version);
                self.spawn(
                    async move { found(evidence::heal(scene, state, ended, version).await) },
                );
            }
            Request::Reach { query } => {
                let query = query.clone();
                self.spawn(async move {
                    Done::Desk(Found::Reached(evidence::reach(&scene, &query).await))
                });
                self.desk.begin(ticket, request, Vec::new());
            }
        }
        self.save();
    }

    /// The request under way is over: keeps what came of it, tells, and begins the next.
    pub(crate) fn settle(&mut self, mut found: Found) -> Option<Settled> {
        if let Found::Evidence(evidence, _) = &mut found {
            self.desk.complete(evidence);
        }
        let settled = self.desk.finish(found)?;
        if let Found::Evidence(evidence, at) = &settled.found {
            match &settled.request {
                Request::Cut { fault, for_ms } => {
                    self.cut_done(&fault.id, *for_ms, evidence, *at);
                }
                Request::Heal { .. } => self.heal_done(&settled, evidence, *at),
                Request::Reach { .. } => {}
            }
        }
        self.serve();
        self.save();
        Some(settled)
    }

    fn cut_done(&mut self, id: &str, for_ms: Option<u64>, evidence: &Evidence, at: Timestamp) {
        let verified = evidence.problems.is_empty();
        let Some(fault) = self.state.faults.iter_mut().find(|fault| fault.id == id) else {
            return;
        };
        fault.verified = verified;
        fault.since = at;
        let fault = fault.clone();
        if verified {
            self.observations
                .cut_verified(id, &fault.groups, fault.one_way, At(at.0));
            self.state.cuts.push(PastCut {
                id: id.to_owned(),
                groups: fault.groups,
                one_way: fault.one_way,
                at,
                healed: None,
            });
        }
        if let Some(for_ms) = for_ms {
            let end = at + Duration::from_millis(for_ms);
            self.timers.insert((end, Timer::FaultEnds(id.to_owned())));
        }
        self.tell_fault(id, true, evidence);
    }

    fn heal_done(&mut self, settled: &Settled, evidence: &Evidence, at: Timestamp) {
        self.desk.dropped.extend(evidence.dropped.iter().cloned());
        for fault in &settled.ended {
            if evidence.problems.is_empty() {
                self.observations.heal_verified(&fault.id, At(at.0));
                self.state.last_heal = Some(at);
                for cut in self.state.cuts.iter_mut().filter(|cut| cut.id == fault.id) {
                    cut.healed.get_or_insert(at);
                }
            }
            self.tell_fault(&fault.id, false, evidence);
        }
    }

    fn tell_fault(&self, id: &str, in_force: bool, evidence: &Evidence) {
        let evidence = serde_json::to_value(evidence).unwrap_or_default();
        self.tell(RunEventKind::FaultChanged {
            id: id.to_owned(),
            in_force,
            evidence,
        });
    }

    /// Keeps the document with the agent, one write at a time, the newest last.
    pub(crate) fn save(&mut self) {
        if self.saving {
            self.unsaved = true;
            return;
        }
        self.saving = true;
        self.unsaved = false;
        let (net, document) = (self.net, self.state.to_value());
        self.spawn(async move { Done::Saved(net.put_state(document).await) });
    }

    /// A write is over.
    pub(crate) fn saved(&mut self, result: Result<(), RuntimeError>) {
        self.saving = false;
        match result {
            Err(error) => {
                self.warn(format!(
                    "the state could not be kept with the agent: {error}"
                ));
            }
            Ok(()) if self.unsaved => self.save(),
            Ok(()) => {}
        }
    }

    /// Whether the newest document is kept, as far as it could be.
    pub(crate) const fn is_saved(&self) -> bool {
        !self.saving
    }
}

const fn lifecycle(presence: &Presence) -> Lifecycle {
    match presence {
        Presence::Planned => Lifecycle::Planned,
        Presence::Running | Presence::Starting => Lifecycle::Running,
        Presence::Paused => Lifecycle::Paused,
        Presence::Gone { .. } => Lifecycle::Stopped,
    }
}

fn found(result: Result<(Evidence, Timestamp), RuntimeError>) -> Done {
    Done::Desk(match result {
        Ok((evidence, at)) => Found::Evidence(Box::new(evidence), at),
        Err(error) => Found::Failed(error),
    })
}
