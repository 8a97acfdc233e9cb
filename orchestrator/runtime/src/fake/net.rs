//! The fake testnet's script and record.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use netsplit_api::{
    config::{P2P_PORT, Role},
    event::{Event, EventRecord},
};
use netsplit_faults::link::LinkTable;
use netsplit_plan::plan::{NodeName, NodeVerb, PlannedNode};
use serde_json::Value;
use tokio::{sync::Notify, time::Instant};

use super::links::Links;
use crate::{
    CallError, Launch, NetEvent, NodeState, Ownership, Progress, ProgressSink, RunId, RunInfo,
    RunSummary, RuntimeError, Teardown, Timestamp,
};

/// Where the fake clock begins: an arbitrary second of the year 2023.
const EPOCH: Timestamp = Timestamp(1_700_000_000_000_000_000);

/// First address of the fake subnet, 10.99.0.0/16.
const SUBNET: u32 = 0x0a63_0000;

/// What the runtime or its testnet was asked, in order.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the fields are the methods' arguments")]
pub enum Call {
    Check,
    Launch {
        run: RunId,
    },
    List,
    Attach {
        run: RunId,
    },
    Remove {
        run: RunId,
    },
    Gc,
    Rpc {
        node: NodeName,
        method: String,
        params: Value,
    },
    Apply {
        table: LinkTable,
    },
    Counters,
    Node {
        node: NodeName,
        verb: NodeVerb,
    },
    Join {
        node: NodeName,
    },
    States,
    Logs {
        node: NodeName,
    },
    PutState {
        state: Value,
    },
    GetState,
    Detach,
    Teardown,
}

/// An answer to JSON-RPC, or `None` for "not mine".
pub type Answer = Option<Result<Value, CallError>>;

type Responder = Arc<dyn Fn(&FakeNet, &NodeName, &str, &Value) -> Answer + Send + Sync>;
type Observer = Arc<dyn Fn(&FakeNet, &Call) + Send + Sync>;

/// A handle to the fake network; clones share it.
#[derive(Clone)]
pub struct FakeNet {
    inner: Arc<Inner>,
}

struct Inner {
    born: Instant,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
pub(super) struct State {
    info: Option<RunInfo>,
    ownership: Option<Ownership>,
    detached: bool,
    calls: Vec<Call>,
    fail_at: BTreeSet<usize>,
    /// Events not yet delivered, by the time they are due and the order they were given in.
    events: BTreeMap<(Timestamp, u64), NetEvent>,
    scheduled: u64,
    ended: bool,
    quiet: bool,
    nodes: BTreeMap<NodeName, FakeNode>,
    names: BTreeMap<IpAddr, NodeName>,
    pub(super) verbs_take: Duration,
    pub(super) links: Links,
    /// Open probe windows: who was heard, by receiver and round.
    pub(super) heard: BTreeMap<(NodeName, String), BTreeMap<IpAddr, (u32, u32)>>,
    pub(super) document: Value,
    left: Vec<String>,
    responders: Vec<Responder>,
    observers: Vec<Observer>,
}

/// One node, as far as the fake knows it.
#[derive(Clone, Debug)]
pub(super) struct FakeNode {
    /// Its place in the plan.
    place: u64,
    is_dns_seed: bool,
    max_peers: usize,
    pub(super) state: NodeState,
    pub(super) address: IpAddr,
    incarnation: u64,
    seq: u64,
    pub(super) log: Vec<String>,
}

impl Default for FakeNet {
    fn default() -> Self {
        let inner = Inner {
            born: Instant::now(),
            state: Mutex::default(),
            changed: Notify::new(),
        };
        Self {
            inner: Arc::new(inner),
        }
    }
}

impl fmt::Debug for FakeNet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeNet")
            .field("calls", &self.state().calls.len())
            .finish_non_exhaustive()
    }
}

/// Scripting and looking back.
impl FakeNet {
    /// Everything asked so far.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.state().calls.clone()
    }

    /// Makes the call with this number (from 0, in the order of [`FakeNet::calls`]) fail.
    pub fn fail_at(&self, call: usize) {
        self.state().fail_at.insert(call);
    }

    /// From now on nodes say nothing by themselves when they start, stop, or are killed.
    pub fn be_quiet(&self) {
        self.state().quiet = true;
    }

    /// Answers JSON-RPC calls; asked before what the fake knows by itself, the last one given first.
    pub fn on_rpc(
        &self,
        responder: impl Fn(&Self, &NodeName, &str, &Value) -> Answer + Send + Sync + 'static,
    ) {
        self.state().responders.push(Arc::new(responder));
    }

    /// Is told of every call before it is carried out, e.g. to emit events because of it.
    pub fn on_call(&self, observer: impl Fn(&Self, &Call) + Send + Sync + 'static) {
        self.state().observers.push(Arc::new(observer));
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        EPOCH + self.inner.born.elapsed()
    }

    /// Lets a node say something now.
    pub fn emit(&self, node: &NodeName, event: Event) {
        self.emit_after(Duration::ZERO, node, event);
    }

    /// Lets a node say something after a while. Sequence numbers follow the order of these calls.
    pub fn emit_after(&self, delay: Duration, node: &NodeName, event: Event) {
        let at = self.now() + delay;
        let event = {
            let mut state = self.state();
            let entry = state.node_mut(node);
            entry.seq += 1;
            let record = EventRecord {
                seq: entry.seq,
                time_ns: at.0,
                event,
            };
            NetEvent::Node {
                node: node.clone(),
                incarnation: entry.incarnation,
                record,
            }
        };
        self.schedule(at, event);
    }

    /// Delivers any event after a while.
    pub fn event_after(&self, delay: Duration, event: NetEvent) {
        self.schedule(self.now() + delay, event);
    }

    /// Ends the stream of events once those already given are delivered.
    pub fn end_events(&self) {
        self.state().ended = true;
        self.inner.changed.notify_one();
    }

    /// Packets from one node to the other pass, whatever is cut.
    pub fn leak(&self, from: &NodeName, to: &NodeName) {
        let mut state = self.state();
        let pair = (state.node_mut(from).address, state.node_mut(to).address);
        state.links.leaks.insert(pair);
    }

    /// Packets from one node to the other never pass.
    pub fn sever(&self, from: &NodeName, to: &NodeName) {
        let mut state = self.state();
        let pair = (state.node_mut(from).address, state.node_mut(to).address);
        state.links.broken.insert(pair);
    }

    /// What every table read back differs by from now on.
    pub fn read_back_differs(&self, differences: Vec<String>) {
        self.state().links.differences = differences;
    }

    /// How many of the protocol's packets each directed drop eats per second; 5 unless told, 0 makes every cut vacuous.
    pub fn protocol_drops_per_second(&self, rate: u64) {
        self.state().links.protocol_rate = Some(rate);
    }

    /// From now on it takes this long to change a node's process; no time unless told.
    pub fn verbs_take(&self, length: Duration) {
        self.state().verbs_take = length;
    }

    /// What teardown will say it could not remove.
    pub fn leave_behind(&self, left: Vec<String>) {
        self.state().left = left;
    }

    /// Adds a line to a node's log.
    pub fn log(&self, node: &NodeName, line: impl Into<String>) {
        self.state().node_mut(node).log.push(line.into());
    }

    /// Whether [`crate::Testnet::detach`] was called.
    #[must_use]
    pub fn detached(&self) -> bool {
        self.state().detached
    }

    /// Ends a node's process as if it had crashed.
    pub fn crash(&self, node: &NodeName, code: i64) {
        self.ended(node, NodeState::Exited, Some(code));
    }
}

/// What the runtime and its testnet do to it.
impl FakeNet {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.inner
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    #[expect(
        clippy::needless_pass_by_value,
        reason = "callers build the call for this alone"
    )]
    /// Notes a call, tells the observers, and fails if the script says so.
    pub(super) fn record(&self, call: Call) -> Result<(), RuntimeError> {
        let (number, fails, observers) = {
            let mut state = self.state();
            let number = state.calls.len();
            state.calls.push(call.clone());
            (
                number,
                state.fail_at.contains(&number),
                state.observers.clone(),
            )
        };
        for observer in observers {
            observer(self, &call);
        }
        if fails {
            return Err(RuntimeError::new(format!(
                "the fake was told to fail at call {number}"
            )));
        }
        Ok(())
    }

    pub(super) fn begin(&self, launch: Launch, runtime: &str) -> RunInfo {
        let addresses: BTreeMap<_, _> = launch
            .plan
            .nodes
            .iter()
            .map(|node| {
                (
                    node.name.clone(),
                    IpAddr::V4(Ipv4Addr::from(SUBNET + node.host)),
                )
            })
            .collect();
        let info = RunInfo {
            run: launch.run,
            name: launch.name,
            runtime: runtime.to_owned(),
            plan: launch.plan,
            addresses,
            started: self.now(),
        };
        let mut state = self.state();
        for (place, node) in info.plan.nodes.iter().enumerate() {
            let address = info.addresses[&node.name];
            let fake = FakeNode::new(place as u64, address, node);
            state.nodes.insert(node.name.clone(), fake);
            state.names.insert(address, node.name.clone());
        }
        state.ownership = Some(launch.ownership);
        state.info = Some(info.clone());
        info
    }

    pub(super) fn info(&self) -> Option<RunInfo> {
        self.state().info.clone()
    }

    pub(super) fn summary(&self) -> Option<RunSummary> {
        let state = self.state();
        let info = state.info.as_ref()?;
        Some(RunSummary {
            run: info.run.clone(),
            name: info.name.clone(),
            runtime: info.runtime.clone(),
            state: if state.detached { "detached" } else { "owned" }.into(),
            nodes: state
                .nodes
                .values()
                .filter(|node| node.state != NodeState::Planned)
                .count(),
            started: info.started.0 / 1_000_000_000,
        })
    }

    /// A node's process started: it says so, and connects to the running nodes it can reach both ways, as many as it may
    /// have peers, those that come before it in the order of names first.
    pub(super) fn started(&self, name: &NodeName) {
        let (premine, peers) = {
            let mut state = self.state();
            let node = state.node_mut(name);
            node.state = NodeState::Running;
            node.incarnation += 1;
            node.seq = 0;
            let (own, most) = (node.address, node.max_peers);
            let premine = state.info.as_ref().map(|info| info.plan.chain.premine);
            let before = state.nodes.range::<NodeName, _>(..name).rev();
            let after = state.nodes.range::<NodeName, _>(name..).rev();
            let peers: Vec<_> = before
                .chain(after)
                .filter(|(other, node)| *other != name && node.state == NodeState::Running)
                .filter(|(_, node)| {
                    state.links.passes((own, node.address))
                        && state.links.passes((node.address, own))
                })
                .map(|(other, _)| other.clone())
                .take(most)
                .collect();
            (premine.filter(|_| !state.quiet), peers)
        };
        let Some(premine) = premine else {
            return;
        };
        self.say_started(name, premine);
        for peer in peers {
            self.connect(name, &peer);
            self.connect(&peer, name);
        }
    }

    fn say_started(&self, name: &NodeName, height: u32) {
        let incarnation = self.state().node_mut(name).incarnation;
        let tip = format!("{height:064x}");
        self.emit(
            name,
            Event::NodeStarted {
                incarnation,
                tip,
                height,
            },
        );
    }

    /// Lets a node say that it is connected with another; a DNS seed says that it reached it.
    fn connect(&self, name: &NodeName, other: &NodeName) {
        let (is_dns_seed, number, ip) = {
            let mut state = self.state();
            let is_dns_seed = state.node_mut(name).is_dns_seed;
            let node = state.node_mut(other);
            (is_dns_seed, node.number(), node.address)
        };
        let address = std::net::SocketAddr::new(ip, P2P_PORT).to_string();
        if is_dns_seed {
            self.emit(
                name,
                Event::DnsNodeReached {
                    address: address.clone(),
                },
            );
        }
        self.emit(
            name,
            Event::PeerConnected {
                peer: number,
                address,
                inbound: name > other,
                version: 70016,
                user_agent: "/fake:0.1.0/".into(),
                height: 0,
            },
        );
    }

    /// A node's process ended or was frozen.
    pub(super) fn ended(&self, name: &NodeName, state: NodeState, code: Option<i64>) {
        let last_lines = {
            let mut inner = self.state();
            let node = inner.node_mut(name);
            if node.state == state {
                return;
            }
            node.state = state;
            node.log.clone()
        };
        if state == NodeState::Exited {
            self.event_after(
                Duration::ZERO,
                NetEvent::NodeExited {
                    node: name.clone(),
                    code,
                    last_lines,
                },
            );
        }
    }

    pub(super) fn respond(&self, node: &NodeName, method: &str, params: &Value) -> Answer {
        let responders = self.state().responders.clone();
        responders
            .iter()
            .rev()
            .find_map(|responder| responder(self, node, method, params))
    }

    pub(super) fn let_go(&self) {
        self.state().detached = true;
    }

    pub(super) fn end(&self, progress: &ProgressSink) -> Teardown {
        let mut state = self.state();
        let removed: Vec<_> = std::mem::take(&mut state.nodes).into_keys().collect();
        let _ = progress.send(Progress::Phase {
            name: "remove",
            total: removed.len(),
        });
        for node in &removed {
            let _ = progress.send(Progress::Step {
                name: "remove",
                item: node.0.clone(),
            });
        }
        state.info = None;
        state.ended = true;
        self.inner.changed.notify_one();
        Teardown {
            removed: removed.len(),
            left: state.left.clone(),
        }
    }

    pub(super) async fn next(&self) -> Option<NetEvent> {
        loop {
            let wait = {
                let now = self.now();
                let mut state = self.state();
                let due = state.events.first_key_value().map(|((at, _), _)| *at);
                if due.is_some_and(|at| at <= now) {
                    return state.events.pop_first().map(|(_, event)| event);
                }
                if due.is_none() && state.ended {
                    return None;
                }
                due
            };
            let changed = self.inner.changed.notified();
            match wait {
                Some(at) => tokio::select! {
                    () = self.sleep_until(at) => {}
                    () = changed => {}
                },
                None => changed.await,
            }
        }
    }

    pub(super) async fn sleep_until(&self, at: Timestamp) {
        tokio::time::sleep_until(self.inner.born + (at - EPOCH)).await;
    }

    fn schedule(&self, at: Timestamp, event: NetEvent) {
        let mut state = self.state();
        let number = state.scheduled;
        state.scheduled += 1;
        state.events.insert((at, number), event);
        self.inner.changed.notify_one();
    }
}

impl State {
    /// A node of the plan.
    ///
    /// # Panics
    /// When the plan has no such node: a test's mistake.
    pub(super) fn node_mut(&mut self, name: &NodeName) -> &mut FakeNode {
        self.nodes
            .get_mut(name)
            .unwrap_or_else(|| panic!("the plan has no node `{name}`"))
    }

    pub(super) fn node(&self, name: &NodeName) -> Option<&FakeNode> {
        self.nodes.get(name)
    }

    /// The node with this address.
    pub(super) fn at(&self, address: IpAddr) -> Option<(&NodeName, &FakeNode)> {
        self.nodes.get_key_value(self.names.get(&address)?)
    }

    pub(super) fn nodes(&self) -> impl Iterator<Item = (&NodeName, &FakeNode)> {
        self.nodes.iter()
    }
}

impl FakeNode {
    fn new(place: u64, address: IpAddr, planned: &PlannedNode) -> Self {
        Self {
            place,
            is_dns_seed: planned.roles.contains(&Role::DnsSeed),
            max_peers: usize::from(planned.peers.max),
            state: NodeState::Planned,
            address,
            incarnation: 0,
            seq: 0,
            log: Vec::new(),
        }
    }

    /// The number by which others know a connection with this start of it.
    const fn number(&self) -> u64 {
        self.place + 1 + 10_000 * self.incarnation
    }
}
