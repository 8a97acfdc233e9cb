//! Nodes in one process, on a seeded network, in virtual time.
//!
//! [`VirtualNetwork`] is the shell of all its nodes at once: it carries their bytes over streams that behave like TCP
//! (in order, never corrupted, stalled by loss and by cuts, reset when the other end is gone), answers their DNS
//! questions, kills and restarts them with what their stores hold, and writes one line of [trace](VirtualNetwork::trace)
//! for everything that happens. The same seed and the same calls give the same trace.
//!
//! ```
//! use std::time::Duration;
//! use netsplit_core::virtual_network::{VirtualNetwork, config};
//!
//! let mut network = VirtualNetwork::new(7);
//! let alice = network.add(config("alice", [11, 0, 0, 1]));
//! let mut bob = config("bob", [11, 0, 0, 2]);
//! bob.bootstrap = vec![([11, 0, 0, 1], 18444).into()];
//! let bob = network.add(bob);
//! network.run_until(|n| n.peers(alice) == 1 && n.peers(bob) == 1, Duration::from_secs(1)).unwrap();
//! ```
//!
//! - [`stream`]: one connection.
//! - [`host`]: one machine: a node, or a stranger whose bytes a test chooses.
//! - [`traffic`]: what happens on the network, and in which order.
//! - [`weather`]: delays, losses and cuts.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use netsplit_api::{config::NodeConfig, event::Event, rpc::RpcError};
use rand_chacha::ChaCha12Rng;

use self::{
    host::{Host, Inhabitant, SharedStore},
    stream::{Segment, Side, Stream},
    traffic::Happening,
    weather::Weather,
};
use crate::{
    chain::Tip,
    io::{Command, CommandId, ConnId, Input, Reply},
    node::Node,
    peers::chance::below,
    random,
    time::{Instant, Now, WallTime},
};

mod config;
mod host;
mod stream;
mod trace;
mod traffic;
mod weather;

pub use self::{config::config, stream::StreamId, weather::Climate};

/// Wall-clock time at the start: an arbitrary second of 2023.
const EPOCH: u64 = 1_700_000_000_000_000_000;
/// Lines of trace kept.
const TRACE_KEPT: usize = 4000;

/// One of the machines on the network, in the order in which they were added.
pub type HostId = usize;

/// What was waited for did not happen.
#[derive(Clone, Debug, thiserror::Error)]
#[error("not within {limit:?} of virtual time; the last that happened:\n{trace}")]
pub struct Stuck {
    /// How long it was waited for.
    pub limit: Duration,
    /// The end of the trace.
    pub trace: String,
}

/// A network of nodes in virtual time.
pub struct VirtualNetwork {
    rng: ChaCha12Rng,
    now: Instant,
    order: u64,
    agenda: BTreeMap<(Instant, u64), Happening>,
    weather: Weather,
    hosts: Vec<Host>,
    streams: BTreeMap<StreamId, Stream>,
    next_stream: u64,
    trace: trace::Trace,
}

impl VirtualNetwork {
    /// An empty network with default weather.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::with_climate(seed, Climate::default())
    }

    /// An empty network.
    #[must_use]
    pub fn with_climate(seed: u64, climate: Climate) -> Self {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        Self {
            rng: random::stream(&key, "virtual network"),
            now: Instant(0),
            order: 0,
            agenda: BTreeMap::new(),
            weather: Weather::new(climate, random::stream(&key, "weather")),
            hosts: Vec::new(),
            streams: BTreeMap::new(),
            next_stream: 0,
            trace: trace::Trace::new(TRACE_KEPT),
        }
    }

    /// Starts a node on a new machine with an empty store.
    ///
    /// # Panics
    /// When the configuration is impossible.
    pub fn add(&mut self, config: NodeConfig) -> HostId {
        let host = self.hosts.len();
        self.hosts.push(Host::new(config));
        self.restart(host);
        host
    }

    /// Adds a machine without a node: a test speaks for it.
    pub fn add_stranger(&mut self, ip: IpAddr) -> HostId {
        let mut config = config("stranger", [0, 0, 0, 0]);
        config.address = ip;
        let mut host = Host::new(config);
        host.inhabitant = Inhabitant::Stranger(BTreeMap::new());
        self.hosts.push(host);
        self.hosts.len() - 1
    }

    /// Virtual time since the beginning.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.now - Instant(0)
    }

    /// Both clocks, the same for all nodes.
    #[must_use]
    pub const fn now(&self) -> Now {
        Now {
            mono: self.now,
            wall: WallTime(EPOCH + self.now.0),
        }
    }

    /// Number of machines.
    #[must_use]
    pub fn len(&self) -> usize {
        self.hosts.len()
    }

    /// Whether there are no machines.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.hosts.is_empty()
    }

    /// A node that runs.
    ///
    /// # Panics
    /// When it does not.
    #[must_use]
    pub fn node(&self, host: HostId) -> &Node {
        self.running(host).expect("the node runs")
    }

    /// A node, if it runs.
    #[must_use]
    pub fn running(&self, host: HostId) -> Option<&Node> {
        match &self.hosts[host].inhabitant {
            Inhabitant::Node(node) => Some(node),
            Inhabitant::Nobody | Inhabitant::Stranger(_) => None,
        }
    }

    /// Number of a node's peers; 0 when it does not run.
    #[must_use]
    pub fn peers(&self, host: HostId) -> usize {
        self.running(host).map_or(0, |node| node.peers().count())
    }

    /// Active tip of a node that runs.
    ///
    /// # Panics
    /// When it does not.
    #[must_use]
    pub fn tip(&self, host: HostId) -> Tip {
        self.node(host).chain().tip()
    }

    /// Whether all of `hosts` run and have one tip.
    pub fn agree(&self, hosts: impl IntoIterator<Item = HostId>) -> bool {
        let mut tips = hosts
            .into_iter()
            .map(|host| self.running(host).map(|node| node.chain().tip().hash));
        let Some(first) = tips.next() else {
            return true;
        };
        first.is_some() && tips.all(|tip| tip == first)
    }

    /// What a machine's nodes said, in all their lives, and when.
    #[must_use]
    pub fn events(&self, host: HostId) -> &[(Instant, Event)] {
        &self.hosts[host].events
    }

    /// The end of the trace, one happening a line.
    #[must_use]
    pub fn trace(&self) -> String {
        self.trace.to_string()
    }

    /// A number that two runs have in common only if all lines of their traces are equal.
    #[must_use]
    pub const fn fingerprint(&self) -> u64 {
        self.trace.fingerprint()
    }

    /// Runs until `is_true`, and says how long that took.
    ///
    /// # Errors
    /// When it does not come true within `limit` of virtual time.
    pub fn run_until(
        &mut self,
        is_true: impl Fn(&Self) -> bool,
        limit: Duration,
    ) -> Result<Duration, Stuck> {
        let start = self.now;
        let end = start + limit;
        loop {
            if is_true(self) {
                return Ok(self.now - start);
            }
            if !self.step(end) {
                self.now = end;
                return if is_true(self) {
                    Ok(limit)
                } else {
                    Err(Stuck {
                        limit,
                        trace: self.trace.tail(60),
                    })
                };
            }
        }
    }

    /// Runs for some virtual time.
    pub fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        while self.step(end) {}
        self.now = end;
    }

    /// Cuts every link between `left` and `right`, silently: bytes stall, attempts to connect are not answered.
    pub fn cut(&mut self, left: &[HostId], right: &[HostId]) {
        self.trace.add(
            self.now,
            format_args!("=/= {} | {}", self.names(left), self.names(right)),
        );
        for (a, b) in left
            .iter()
            .flat_map(|a| right.iter().map(move |b| (*a, *b)))
        {
            self.weather.cut(a, b);
            self.weather.cut(b, a);
        }
    }

    /// Cuts every link from `from` to `to`, but not back.
    pub fn cut_one_way(&mut self, from: &[HostId], to: &[HostId]) {
        self.trace.add(
            self.now,
            format_args!("=/> {} | {}", self.names(from), self.names(to)),
        );
        for (a, b) in from.iter().flat_map(|a| to.iter().map(move |b| (*a, *b))) {
            self.weather.cut(a, b);
        }
    }

    /// Heals everything. Stalled streams go on at their next retransmission.
    pub fn heal(&mut self) {
        self.trace.add(self.now, format_args!("=== healed"));
        self.weather.heal();
        let ids: Vec<StreamId> = self.streams.keys().copied().collect();
        for id in ids {
            for to in [Side::Dialler, Side::Acceptor] {
                self.resume(id, to);
            }
        }
    }

    /// Kills a node at once; only its committed writes survive.
    pub fn kill(&mut self, host: HostId) {
        self.trace.add(
            self.now,
            format_args!("{} killed", self.hosts[host].config.name),
        );
        self.hosts[host].inhabitant = Inhabitant::Nobody;
        self.hosts[host].wake = None;
        for (_, (stream, side)) in std::mem::take(&mut self.hosts[host].connections) {
            // The kernel resets what had bytes nobody read, and ends the rest in order.
            let reset = below(&mut self.rng, 2) == 0;
            let last = if reset { Segment::Reset } else { Segment::End };
            self.hang_up(stream, side, last);
        }
    }

    /// Starts a node anew with what its store holds.
    ///
    /// # Panics
    /// When its configuration is impossible or its store is damaged.
    pub fn restart(&mut self, host: HostId) {
        let now = self.now();
        let machine = &mut self.hosts[host];
        machine.incarnation += 1;
        machine.store.works();
        let store: SharedStore = machine.store.clone();
        let node = Node::new(machine.config.clone(), Box::new(store), now)
            .expect("the configuration is possible and the store whole");
        self.trace
            .add(self.now, format_args!("{} started", machine.config.name));
        machine.inhabitant = Inhabitant::Node(Box::new(node));
        self.input(host, Input::Tick);
    }

    /// Lets a node's store fail from its `commits`th commit from now on.
    pub fn fail_store_after(&mut self, host: HostId, commits: u64) {
        self.hosts[host].store.fail_after(commits);
    }

    /// Changes what a node is told at its next start.
    pub fn config_mut(&mut self, host: HostId) -> &mut NodeConfig {
        &mut self.hosts[host].config
    }

    /// Has a node do something.
    ///
    /// # Errors
    /// What the node answers.
    ///
    /// # Panics
    /// When the node does not run or does not answer at once.
    pub fn command(&mut self, host: HostId, command: Command) -> Result<Reply, RpcError> {
        let id = CommandId(self.order);
        self.input(host, Input::Command { id, command });
        let reply = self.hosts[host].replies.remove(&id);
        reply.expect("a node answers within the same input")
    }

    /// A stranger dials `remote`.
    pub fn stranger_dials(&mut self, host: HostId, remote: SocketAddr) -> StreamId {
        let conn = ConnId(self.order);
        self.order += 1;
        self.dial(host, conn, remote)
    }

    /// A stranger sends bytes.
    pub fn stranger_sends(&mut self, stream: StreamId, bytes: Vec<u8>) {
        self.transmit(stream, Side::Dialler, Segment::Bytes(bytes));
    }

    /// What a stranger received so far over a stream it dialled; taken away.
    pub fn stranger_heard(&mut self, host: HostId, stream: StreamId) -> Vec<u8> {
        match &mut self.hosts[host].inhabitant {
            Inhabitant::Stranger(heard) => heard.remove(&stream).unwrap_or_default(),
            Inhabitant::Node(_) | Inhabitant::Nobody => Vec::new(),
        }
    }

    /// Whether a stream is open as far as the one who dialled it knows.
    #[must_use]
    pub fn is_open(&self, stream: StreamId) -> bool {
        self.streams
            .get(&stream)
            .is_some_and(|stream| stream.is_open(Side::Dialler))
    }

    fn names(&self, hosts: &[HostId]) -> String {
        let names: Vec<&str> = hosts
            .iter()
            .map(|host| self.hosts[*host].config.name.as_str())
            .collect();
        names.join(" ")
    }

    /// Addresses of several machines.
    #[must_use]
    pub fn addresses(&self, hosts: &[HostId]) -> BTreeSet<IpAddr> {
        hosts
            .iter()
            .map(|host| self.hosts[*host].config.address)
            .collect()
    }
}
