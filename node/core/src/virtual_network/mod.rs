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
//! - [`weather`]: delays, losses and cuts.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use netsplit_api::{config::NodeConfig, event::Event, rpc::RpcError};
use rand_chacha::ChaCha12Rng;

use self::{
    host::{Host, Inhabitant, SharedStore},
    stream::{Segment, Side, Stream},
    weather::Weather,
};
use crate::{
    chain::Tip,
    io::{Command, CommandId, ConnId, ENDED, Input, Output, QueryId, Reply},
    node::Node,
    peers::chance::{below, shuffle},
    random,
    time::{Instant, Now, WallTime},
};

mod config;
mod host;
mod stream;
mod trace;
mod weather;

pub use self::{config::config, stream::StreamId, weather::Climate};

/// Wall-clock time at the start: an arbitrary second of 2023.
const EPOCH: u64 = 1_700_000_000_000_000_000;
/// Lines of trace kept.
const TRACE_KEPT: usize = 4000;
/// A DNS question without an answer fails after this.
const DNS_TIMEOUT: Duration = Duration::from_millis(500);
/// A connection attempt is repeated after this, and each later time after twice as long (RFC 6298).
const SYN_RETRY: Duration = Duration::from_secs(1);
/// Addresses in one DNS answer.
const DNS_ANSWER: usize = 25;

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

#[derive(Debug)]
enum Happening {
    Wake {
        host: HostId,
    },
    Syn {
        stream: StreamId,
        attempt: u32,
    },
    SynAck {
        stream: StreamId,
    },
    Refused {
        stream: StreamId,
    },
    Arrival {
        stream: StreamId,
        to: Side,
        segment: Segment,
    },
    Question {
        from: HostId,
        query: QueryId,
        server: SocketAddr,
        incarnation: u64,
    },
    Answer {
        to: HostId,
        query: QueryId,
        result: Result<Vec<IpAddr>, String>,
        incarnation: u64,
    },
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

    fn schedule(&mut self, at: Instant, happening: Happening) {
        self.agenda.insert((at, self.order), happening);
        self.order += 1;
    }

    /// Lets the next thing happen, if that is not after `end`.
    fn step(&mut self, end: Instant) -> bool {
        match self.agenda.first_key_value() {
            Some(((at, _), _)) if *at <= end => {}
            Some(_) | None => return false,
        }
        let Some(((at, _), happening)) = self.agenda.pop_first() else {
            return false;
        };
        self.now = self.now.max(at);
        match happening {
            Happening::Wake { host } => {
                if self.hosts[host].wake == Some(at) {
                    self.hosts[host].wake = None;
                    self.input(host, Input::Tick);
                }
            }
            Happening::Syn { stream, attempt } => self.syn_arrives(stream, attempt),
            Happening::SynAck { stream } => self.syn_ack_arrives(stream),
            Happening::Refused { stream } => self.refused(stream),
            Happening::Arrival {
                stream,
                to,
                segment,
            } => self.arrive(stream, to, segment),
            Happening::Question {
                from,
                query,
                server,
                incarnation,
            } => {
                self.question(from, query, server, incarnation);
            }
            Happening::Answer {
                to,
                query,
                result,
                incarnation,
            } => {
                if self.hosts[to].incarnation == incarnation {
                    self.input(to, Input::Resolved { query, result });
                }
            }
        }
        true
    }

    /// Puts an input into a node and does what it wants done.
    fn input(&mut self, host: HostId, input: Input) {
        let now = self.now();
        let machine = &mut self.hosts[host];
        let Inhabitant::Node(node) = &mut machine.inhabitant else {
            return;
        };
        node.handle(now, input);
        let mut outputs = VecDeque::new();
        while let Some(output) = node.poll_output() {
            outputs.push_back(output);
        }
        let (deadline, failed) = (node.next_deadline(), node.failed().is_some());
        for output in outputs {
            self.output(host, output);
        }
        if failed {
            self.kill(host);
        } else if let Some(at) = deadline.map(|at| at.max(self.now))
            && self.hosts[host].wake.is_none_or(|wake| at < wake)
        {
            self.hosts[host].wake = Some(at);
            self.schedule(at, Happening::Wake { host });
        }
    }

    fn output(&mut self, host: HostId, output: Output) {
        match output {
            Output::Send { conn, bytes } => {
                if let Some((stream, side)) = self.hosts[host].connections.get(&conn).copied() {
                    self.transmit(stream, side, Segment::Bytes(bytes));
                }
            }
            Output::Dial { conn, remote } => {
                self.dial(host, conn, remote);
            }
            Output::Hangup { conn, reason } => {
                if let Some((stream, side)) = self.hosts[host].connections.remove(&conn) {
                    let name = &self.hosts[host].config.name;
                    self.trace
                        .add(self.now, format_args!("{name} hangs up {stream}: {reason}"));
                    self.hang_up(stream, side, Segment::End);
                }
            }
            Output::Resolve { query, server } => {
                let incarnation = self.hosts[host].incarnation;
                let question = Happening::Question {
                    from: host,
                    query,
                    server,
                    incarnation,
                };
                let delay = self
                    .find_by_ip(server.ip())
                    .map_or(DNS_TIMEOUT, |to| self.weather.delay(host, to));
                self.schedule(self.now + delay, question);
            }
            Output::Reply { id, result } => {
                self.hosts[host].replies.insert(id, result);
            }
            Output::Event(event) => {
                let name = &self.hosts[host].config.name;
                self.trace.add(
                    self.now,
                    format_args!("{name}: {}", trace::describe(&event)),
                );
                self.hosts[host].events.push((self.now, event));
            }
        }
    }

    fn find_by_ip(&self, ip: IpAddr) -> Option<HostId> {
        self.hosts.iter().position(|host| host.config.address == ip)
    }

    fn question(&mut self, from: HostId, query: QueryId, server: SocketAddr, incarnation: u64) {
        let seed = self.find_by_ip(server.ip()).filter(|seed| {
            self.hosts[*seed].config.dns_port == server.port()
                && !self.weather.is_cut(from, *seed)
                && !self.weather.is_cut(*seed, from)
        });
        let answer = seed.and_then(|seed| Some((seed, self.running(seed)?.dns_answer())));
        let Some((seed, mut ips)) = answer else {
            let result = Err("timed out".to_owned());
            let failure = Happening::Answer {
                to: from,
                query,
                result,
                incarnation,
            };
            self.schedule(self.now + DNS_TIMEOUT, failure);
            return;
        };
        shuffle(&mut self.rng, &mut ips);
        ips.truncate(DNS_ANSWER);
        let at = self.now + self.weather.delay(seed, from);
        self.schedule(
            at,
            Happening::Answer {
                to: from,
                query,
                result: Ok(ips),
                incarnation,
            },
        );
        let ip = self.hosts[from].config.address;
        self.input(seed, Input::DnsAsked { from: ip });
    }

    fn dial(&mut self, host: HostId, conn: ConnId, remote: SocketAddr) -> StreamId {
        let id = StreamId(self.next_stream);
        self.next_stream += 1;
        let target = self.find_by_ip(remote.ip());
        let name = &self.hosts[host].config.name;
        self.trace
            .add(self.now, format_args!("{name} dials {remote} as {id}"));
        self.hosts[host]
            .connections
            .insert(conn, (id, Side::Dialler));
        let stream = Stream::new((host, conn), target, remote);
        self.streams.insert(id, stream);
        if let Some(target) = target {
            let at = self.now + self.weather.delay(host, target);
            self.schedule(
                at,
                Happening::Syn {
                    stream: id,
                    attempt: 0,
                },
            );
        }
        id
    }

    fn syn_arrives(&mut self, id: StreamId, attempt: u32) {
        let Some(stream) = self.streams.get(&id) else {
            return;
        };
        let (dialler, Some(target)) = (stream.dialler(), stream.target()) else {
            return;
        };
        if !stream.is_open(Side::Dialler) {
            self.streams.remove(&id);
            return;
        }
        let blocked = self.weather.is_cut(dialler, target) || self.weather.is_cut(target, dialler);
        if blocked || self.weather.loses() {
            let pause = SYN_RETRY * 2_u32.pow(attempt.min(6));
            let again = Happening::Syn {
                stream: id,
                attempt: attempt + 1,
            };
            self.schedule(self.now + pause, again);
            return;
        }
        let back = self.now + self.weather.delay(target, dialler);
        let listens = self.hosts[target].listens_at(stream.remote());
        if !listens {
            self.schedule(back, Happening::Refused { stream: id });
            return;
        }
        let conn = self.hosts[target].next_inbound();
        let port = u16::try_from(id.0 % 20_000).expect("below 20,000") + 40_000;
        let from = SocketAddr::new(self.hosts[dialler].config.address, port);
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        stream.accept(target, conn, back);
        self.hosts[target]
            .connections
            .insert(conn, (id, Side::Acceptor));
        self.schedule(back, Happening::SynAck { stream: id });
        self.input(target, Input::Accepted { conn, remote: from });
    }

    fn syn_ack_arrives(&mut self, id: StreamId) {
        let Some(stream) = self.streams.get(&id) else {
            return;
        };
        if let Some((host, conn)) = stream.end(Side::Dialler) {
            self.input(host, Input::Connected { conn });
        }
    }

    fn refused(&mut self, id: StreamId) {
        let Some(stream) = self.streams.remove(&id) else {
            return;
        };
        if let Some((host, conn)) = stream.end(Side::Dialler) {
            self.hosts[host].connections.remove(&conn);
            self.input(
                host,
                Input::DialFailed {
                    conn,
                    reason: "connection refused".to_owned(),
                },
            );
        }
    }

    /// Sends a segment from `from` to the other side, after everything sent before.
    fn transmit(&mut self, id: StreamId, from: Side, segment: Segment) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        let (Some(sender), Some(receiver)) = (stream.host(from), stream.host(from.other())) else {
            return;
        };
        let mut delay = self.weather.delay(sender, receiver);
        if self.weather.loses() {
            delay += stream::FIRST_RETRANSMISSION;
        }
        let at = stream.arrival(from.other(), self.now + delay);
        self.schedule(
            at,
            Happening::Arrival {
                stream: id,
                to: from.other(),
                segment,
            },
        );
    }

    fn arrive(&mut self, id: StreamId, to: Side, segment: Segment) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        let (Some(sender), Some(receiver)) = (stream.host(to.other()), stream.host(to)) else {
            return;
        };
        if self.weather.is_cut(sender, receiver) || stream.is_stalled(to) {
            stream.stall(to, segment, self.now);
            return;
        }
        let Some((host, conn)) = stream.end(to) else {
            // Nobody is at this end any more: bytes are answered with a reset.
            if matches!(segment, Segment::Bytes(_)) && stream.is_open(to.other()) {
                self.transmit(id, to, Segment::Reset);
            }
            return;
        };
        let name = &self.hosts[host].config.name;
        let from = &self.hosts[sender].config.name;
        self.trace
            .add(self.now, format_args!("{name} <- {from} {id} {segment}"));
        if let Inhabitant::Stranger(heard) = &mut self.hosts[host].inhabitant {
            match segment {
                Segment::Bytes(bytes) => heard.entry(id).or_default().extend(bytes),
                Segment::End | Segment::Reset => stream.close(to),
            }
            return;
        }
        match segment {
            Segment::Bytes(bytes) => self.input(host, Input::Received { conn, bytes }),
            Segment::End | Segment::Reset => {
                let ended = matches!(segment, Segment::End);
                let reason = if ended {
                    ENDED
                } else {
                    "connection reset by peer"
                };
                self.hosts[host].connections.remove(&conn);
                stream.close(to);
                if stream.is_over() {
                    self.streams.remove(&id);
                }
                self.input(
                    host,
                    Input::Closed {
                        conn,
                        reason: reason.to_owned(),
                    },
                );
            }
        }
    }

    /// One end is gone; the other learns of it behind everything sent before.
    fn hang_up(&mut self, id: StreamId, side: Side, last: Segment) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        stream.close(side);
        if stream.host(side.other()).is_none() || stream.is_over() {
            self.streams.remove(&id);
        } else {
            self.transmit(id, side, last);
        }
    }

    /// Lets what stalled on the way to `to` go on.
    fn resume(&mut self, id: StreamId, to: Side) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        let (Some(sender), Some(receiver)) = (stream.host(to.other()), stream.host(to)) else {
            return;
        };
        let Some((retransmission, segments)) = stream.resume(to, self.now) else {
            return;
        };
        for segment in segments {
            let at = retransmission + self.weather.delay(sender, receiver);
            let Some(stream) = self.streams.get_mut(&id) else {
                return;
            };
            let at = stream.arrival(to, at);
            self.schedule(
                at,
                Happening::Arrival {
                    stream: id,
                    to,
                    segment,
                },
            );
        }
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
