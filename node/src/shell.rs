//! The node's loop: something happens, the node decides, what it decided is done.
//!
//! Waiting is asynchronous and yields a [`Wake`]; applying it is synchronous. One loop, one thread.

use std::{
    collections::{HashMap, VecDeque},
    net::{IpAddr, SocketAddr},
    pin::pin,
    time::Duration,
};

use netsplit_api::{
    config::NodeConfig,
    event::Event,
    rpc::{RpcError, code},
};
use netsplit_core::{
    io::{CommandId, Input, Output, QueryId, Reply},
    node::Node,
    random,
    store::StoreError,
};
use rand_core::Rng;
use tokio::sync::{mpsc, oneshot};

use crate::{
    clock::{Clock, epoch_nanoseconds},
    dns,
    events::Events,
    net::Network,
    rpc::{Answer, Call, Run, View, stopping},
    wake::Wake,
};

/// Wakes that wait for the node; tasks that have more wait too, and so do the peers behind them.
pub(crate) const QUEUE: usize = 32;

/// A command whose reply somebody waits for.
struct Pending {
    render: fn(Reply) -> Answer,
    reply: oneshot::Sender<Answer>,
}

/// A node and everything its outputs touch.
pub(crate) struct Shell {
    config: NodeConfig,
    clock: Clock,
    node: Node,
    network: Network,
    events: Events,
    wakes: mpsc::Sender<Wake>,
    pending: HashMap<CommandId, Pending>,
    commands: u64,
    /// Picks the addresses of DNS answers.
    chance: Box<dyn Rng + Send>,
    stopping: bool,
}

impl Shell {
    pub(crate) fn new(
        config: NodeConfig,
        clock: Clock,
        node: Node,
        network: Network,
        events: Events,
        wakes: mpsc::Sender<Wake>,
    ) -> Self {
        let seed = random::parse_seed(&config.seed).unwrap_or_default();
        let chance = Box::new(random::stream(&seed, "dns/answer"));
        Self {
            config,
            clock,
            node,
            network,
            events,
            wakes,
            pending: HashMap::new(),
            commands: 0,
            chance,
            stopping: false,
        }
    }

    /// Runs until `stop`, until the control API says so, or until the store fails.
    ///
    /// # Errors
    /// What the store said.
    pub(crate) async fn run(
        &mut self,
        mut inbox: mpsc::Receiver<Wake>,
        stop: impl Future<Output = ()>,
    ) -> Result<(), StoreError> {
        let mut stop = pin!(stop);
        // One alarm for as long as the node lives; most inputs leave it where it is.
        let mut alarm = pin!(tokio::time::sleep(Duration::ZERO));
        let mut set_to = None;
        self.started();
        while !self.stopping {
            if let Some(error) = self.node.failed() {
                return Err(error.clone());
            }
            let deadline = self.node.next_deadline();
            if let Some(at) = deadline.filter(|_| deadline != set_to) {
                alarm.as_mut().reset(self.clock.host_time(at));
                set_to = deadline;
            }
            // Which branch goes first is random, so that neither timers nor peers starve the other.
            let wake = tokio::select! {
                () = &mut stop => return Ok(()),
                Some(wake) = inbox.recv() => wake,
                () = alarm.as_mut(), if deadline.is_some() => {
                    set_to = None;
                    Wake::Input(Input::Tick)
                }
            };
            self.apply(wake);
        }
        Ok(())
    }

    fn started(&mut self) {
        let tip = self.node.chain().tip();
        self.publish(Event::NodeStarted {
            incarnation: self.events.incarnation(),
            tip: tip.hash.to_string(),
            height: tip.height,
        });
        self.feed(Input::Tick);
    }

    fn apply(&mut self, wake: Wake) {
        match wake {
            Wake::Input(Input::Received { conn, .. }) if !self.network.is_open(conn) => {}
            Wake::Input(Input::Closed { conn, .. }) if !self.network.closed(conn) => {}
            Wake::Input(input) => self.feed(input),
            Wake::Dialled { conn, result } => {
                if let Some(input) = self.network.dialled(conn, result) {
                    self.feed(input);
                }
            }
            Wake::Accepted { stream, remote } => {
                if let Some(input) = self.network.accepted(stream, remote) {
                    self.feed(input);
                }
            }
            Wake::DnsAsked { from, reply } => self.answer_dns(from, reply),
            Wake::Call(call) => self.call(call),
        }
    }

    fn answer_dns(&mut self, from: IpAddr, reply: oneshot::Sender<Vec<std::net::Ipv4Addr>>) {
        let chance = &mut self.chance;
        let below = |limit: usize| {
            let limit = u64::try_from(limit).unwrap_or(1).max(1);
            usize::try_from(chance.next_u64() % limit).unwrap_or(0)
        };
        // Fails only when the asker is gone.
        let _ = reply.send(dns::pick(&self.node.dns_answer(), below));
        self.feed(Input::DnsAsked { from });
    }

    fn call(&mut self, call: Call) {
        let Call {
            method,
            params,
            reply,
        } = call;
        let view = View {
            node: &self.node,
            config: &self.config,
            network: &self.network,
            clock: &self.clock,
        };
        let answer = match method.run {
            Run::Read(read) => read(&view, &params),
            Run::Command(command, render) => match command(&view, &params) {
                Ok(command) => {
                    let id = CommandId(self.commands);
                    self.commands += 1;
                    self.pending.insert(id, Pending { render, reply });
                    self.feed(Input::Command { id, command });
                    return;
                }
                Err(error) => Err(error),
            },
            Run::Probe(_) => Err(RpcError::new(
                code::INTERNAL_ERROR,
                "probes do not pass through the node",
            )),
            Run::Stop => {
                self.stopping = true;
                stopping()
            }
        };
        // Fails only when the caller is gone.
        let _ = reply.send(answer);
    }

    /// Gives the node an input, does what it wants done, and gives it what comes of that at once.
    fn feed(&mut self, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            self.node.handle(self.clock.now(), input);
            while let Some(output) = self.node.poll_output() {
                inputs.extend(self.carry_out(output));
            }
        }
    }

    fn carry_out(&mut self, output: Output) -> Option<Input> {
        match output {
            Output::Send { conn, bytes } => return self.network.send(conn, bytes),
            Output::Dial { conn, remote } => self.network.dial(conn, remote),
            Output::Hangup { conn, reason } => {
                tracing::debug!(conn = conn.0, reason, "hang up");
                self.network.hang_up(conn);
            }
            Output::Resolve { query, server } => self.resolve(query, server),
            Output::Reply { id, result } => self.reply(id, result),
            Output::Event(event) => self.publish(event),
        }
        None
    }

    fn resolve(&self, query: QueryId, server: SocketAddr) {
        let (wakes, source) = (self.wakes.clone(), self.config.address);
        tokio::spawn(async move {
            let result = dns::resolver::resolve(source, server).await;
            // Fails only when the node is gone.
            let _ = wakes
                .send(Wake::Input(Input::Resolved { query, result }))
                .await;
        });
    }

    fn reply(&mut self, id: CommandId, result: Result<Reply, RpcError>) {
        if let Some(Pending { render, reply }) = self.pending.remove(&id) {
            // Fails only when the caller is gone.
            let _ = reply.send(result.and_then(render));
        }
    }

    fn publish(&self, event: Event) {
        match &event {
            Event::NodeStarted { .. }
            | Event::PeerConnected { .. }
            | Event::PeerDisconnected { .. }
            | Event::ChainReorganised { .. } => tracing::info!(?event),
            Event::StoreFailed { .. } => tracing::error!(?event),
            _ => tracing::debug!(?event),
        }
        self.events.push(epoch_nanoseconds(), event);
    }
}
