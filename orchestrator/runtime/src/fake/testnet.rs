//! The fake [`Testnet`]: its own answers to probes and questions about sockets come from the link table in force.

use std::{collections::BTreeMap, net::IpAddr};

use async_trait::async_trait;
use netsplit_api::{
    config::P2P_PORT,
    probe::{
        ProbeListen, ProbeReceived, ProbeReport, ProbeSend, ProbeSender, ProbeSent, ProbeTarget,
        SocketInfo, Sockets, TcpOutcome,
    },
    rpc::{RpcError, code},
};
use netsplit_faults::link::{Applied, Counters, LinkTable};
use netsplit_plan::plan::{NodeName, NodeVerb};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use tokio::{net::TcpStream, sync::mpsc};

use super::net::{Call, FakeNet, State};
use crate::{
    CallError, NetEvent, NodeState, ProgressSink, RunInfo, RuntimeError, Teardown, Testnet,
    Timestamp,
};

/// The testnet a [`super::FakeRuntime`] launched.
#[derive(Debug)]
pub(super) struct FakeTestnet {
    net: FakeNet,
    info: RunInfo,
}

impl FakeTestnet {
    pub(super) const fn new(net: FakeNet, info: RunInfo) -> Self {
        Self { net, info }
    }

    fn known(&self, node: &NodeName) -> Result<(), RuntimeError> {
        match self.net.state().node(node) {
            Some(_) => Ok(()),
            None => Err(RuntimeError::new(format!("there is no node `{node}`"))),
        }
    }
}

#[async_trait]
impl Testnet for FakeTestnet {
    fn info(&self) -> &RunInfo {
        &self.info
    }

    fn now(&self) -> Timestamp {
        self.net.now()
    }

    async fn sleep_until(&self, at: Timestamp) {
        self.net.sleep_until(at).await;
    }

    async fn next_event(&self) -> Option<NetEvent> {
        self.net.next().await
    }

    async fn rpc(&self, node: &NodeName, method: &str, params: Value) -> Result<Value, CallError> {
        let call = Call::Rpc {
            node: node.clone(),
            method: method.to_owned(),
            params: params.clone(),
        };
        let unreachable = |reason: String| CallError::Unreachable {
            node: node.clone(),
            reason,
        };
        self.net
            .record(call)
            .map_err(|error| unreachable(error.to_string()))?;
        match self.net.state().node(node).map(|node| node.state) {
            Some(NodeState::Running) => {}
            Some(state) => return Err(unreachable(format!("its state is {state:?}"))),
            None => return Err(unreachable("there is no such node".into())),
        }
        if let Some(answer) = self.net.respond(node, method, &params) {
            return answer;
        }
        match method {
            "x_probe_listen" => listen(&mut self.net.state(), node, params),
            "x_probe_send" => send(&mut self.net.state(), node, params),
            "x_probe_report" => report(&self.net.state(), node, params),
            "x_sockets" => encode(&sockets(&self.net.state(), node, self.net.now())),
            _ => Err(CallError::Node(RpcError::new(
                code::METHOD_NOT_FOUND,
                format!("the script has no answer to `{method}`"),
            ))),
        }
    }

    async fn apply(&self, table: LinkTable) -> Result<Applied, RuntimeError> {
        self.net.record(Call::Apply {
            table: table.clone(),
        })?;
        let now = self.net.now();
        Ok(self.net.state().links.apply(table, now))
    }

    async fn counters(&self) -> Result<Counters, RuntimeError> {
        self.net.record(Call::Counters)?;
        let now = self.net.now();
        Ok(self.net.state().links.counters(now))
    }

    async fn node(&self, node: &NodeName, verb: NodeVerb) -> Result<(), RuntimeError> {
        self.net.record(Call::Node {
            node: node.clone(),
            verb,
        })?;
        self.known(node)?;
        let length = self.net.state().verbs_take;
        if !length.is_zero() {
            tokio::time::sleep(length).await;
        }
        match verb {
            NodeVerb::Kill => self.net.ended(node, NodeState::Exited, Some(137)),
            NodeVerb::Stop => self.net.ended(node, NodeState::Exited, Some(0)),
            NodeVerb::Start => self.net.started(node),
            NodeVerb::Restart => {
                self.net.ended(node, NodeState::Exited, Some(0));
                self.net.started(node);
            }
            NodeVerb::Pause => self.net.ended(node, NodeState::Paused, None),
            NodeVerb::Resume => self.net.state().node_mut(node).state = NodeState::Running,
        }
        Ok(())
    }

    async fn join(&self, node: &NodeName) -> Result<(), RuntimeError> {
        self.net.record(Call::Join { node: node.clone() })?;
        self.known(node)?;
        self.net.started(node);
        Ok(())
    }

    async fn states(&self) -> Result<BTreeMap<NodeName, NodeState>, RuntimeError> {
        self.net.record(Call::States)?;
        let state = self.net.state();
        Ok(state
            .nodes()
            .map(|(name, node)| (name.clone(), node.state))
            .collect())
    }

    async fn logs(&self, node: &NodeName, lines: usize) -> Result<Vec<String>, RuntimeError> {
        self.net.record(Call::Logs { node: node.clone() })?;
        self.known(node)?;
        let log = self.net.state().node_mut(node).log.clone();
        Ok(log[log.len().saturating_sub(lines)..].to_vec())
    }

    async fn follow_logs(
        &self,
        node: &NodeName,
        lines: mpsc::Sender<String>,
    ) -> Result<(), RuntimeError> {
        for line in self.logs(node, usize::MAX).await? {
            if lines.send(line).await.is_err() {
                break;
            }
        }
        Ok(())
    }

    async fn tunnel(
        &self,
        node: &NodeName,
        port: u16,
        _stream: TcpStream,
    ) -> Result<(), RuntimeError> {
        Err(RuntimeError::new(format!(
            "port {port} of `{node}` does not answer: it is a fake"
        )))
    }

    fn credentials(&self) -> (String, String) {
        ("fake".into(), "fake".into())
    }

    async fn put_state(&self, state: Value) -> Result<(), RuntimeError> {
        self.net.record(Call::PutState {
            state: state.clone(),
        })?;
        self.net.state().document = state;
        Ok(())
    }

    async fn get_state(&self) -> Result<Value, RuntimeError> {
        self.net.record(Call::GetState)?;
        Ok(self.net.state().document.clone())
    }

    async fn detach(self: Box<Self>) -> Result<(), RuntimeError> {
        self.net.record(Call::Detach)?;
        self.net.let_go();
        Ok(())
    }

    async fn teardown(self: Box<Self>, progress: ProgressSink) -> Teardown {
        let failed = self.net.record(Call::Teardown);
        let mut teardown = self.net.end(&progress);
        teardown
            .left
            .extend(failed.err().map(|error| error.to_string()));
        teardown
    }
}

fn decode<T: DeserializeOwned>(params: Value) -> Result<T, CallError> {
    serde_json::from_value(params)
        .map_err(|error| CallError::Node(RpcError::new(code::TYPE_ERROR, error.to_string())))
}

fn encode(result: &impl Serialize) -> Result<Value, CallError> {
    serde_json::to_value(result)
        .map_err(|error| CallError::Node(RpcError::new(code::INTERNAL_ERROR, error.to_string())))
}

fn listen(state: &mut State, node: &NodeName, params: Value) -> Result<Value, CallError> {
    let listen: ProbeListen = decode(params)?;
    state
        .heard
        .insert((node.clone(), listen.id), BTreeMap::new());
    Ok(Value::Null)
}

fn send(state: &mut State, node: &NodeName, params: Value) -> Result<Value, CallError> {
    let send: ProbeSend = decode(params)?;
    let own = state.node_mut(node).address;
    let targets = send
        .targets
        .iter()
        .map(|&to| probe(state, own, to, &send))
        .collect();
    encode(&ProbeSent { targets })
}

/// Datagrams need one direction, a connection both; a probe is only heard inside its window.
fn probe(state: &mut State, from: IpAddr, to: IpAddr, send: &ProbeSend) -> ProbeTarget {
    let receiver = state.at(to).map(|(name, node)| (name.clone(), node.state));
    let arrives = state.links.probe((from, to), u64::from(send.datagrams) + 1);
    let answers = arrives && state.links.probe((to, from), 1);
    let window = receiver
        .clone()
        .filter(|(_, node)| *node == NodeState::Running)
        .and_then(|(name, _)| state.heard.get_mut(&(name, send.id.clone())));
    let tcp = match (&window, receiver) {
        (_, None | Some((_, NodeState::Exited | NodeState::Planned))) => {
            TcpOutcome::Failed("no route to host".into())
        }
        (Some(_), _) if answers => TcpOutcome::Connected,
        (None, Some((_, NodeState::Running))) if answers => TcpOutcome::Refused,
        _ => TcpOutcome::TimedOut,
    };
    if let Some(heard) = window.filter(|_| arrives) {
        let entry = heard.entry(from).or_default();
        entry.0 += send.datagrams;
        entry.1 += u32::from(answers);
    }
    ProbeTarget {
        address: to,
        datagrams_sent: send.datagrams,
        datagram_errors: Vec::new(),
        tcp,
    }
}

fn report(state: &State, node: &NodeName, params: Value) -> Result<Value, CallError> {
    let report: ProbeReport = decode(params)?;
    let Some(heard) = state.heard.get(&(node.clone(), report.id)) else {
        return Err(CallError::Node(RpcError::new(
            code::INVALID_PARAMETER,
            "no probe window of that id was opened",
        )));
    };
    let senders = heard
        .iter()
        .map(|(address, &(datagrams, connections))| ProbeSender {
            address: *address,
            datagrams,
            connections,
        })
        .collect();
    encode(&ProbeReceived { senders })
}

/// One connection with every other running node; a byte arrives for every open millisecond.
fn sockets(state: &State, node: &NodeName, now: Timestamp) -> Sockets {
    let Some(own) = state.node(node).map(|node| node.address) else {
        return Sockets {
            sockets: Vec::new(),
        };
    };
    let others = state
        .nodes()
        .enumerate()
        .filter(|(_, (name, other))| *name != node && other.state == NodeState::Running);
    let sockets = others.map(|(number, (_, other))| {
        let whole =
            state.links.passes((own, other.address)) && state.links.passes((other.address, own));
        let bytes =
            |pair| u64::try_from(state.links.open_for(pair, now).as_millis()).unwrap_or(u64::MAX);
        SocketInfo {
            peer: number as u64 + 1,
            local: format!("{own}:{P2P_PORT}"),
            remote: format!("{}:{P2P_PORT}", other.address),
            state: "established".into(),
            retransmits: if whole { 0 } else { 3 },
            rto_us: if whole { 200_000 } else { 1_600_000 },
            unacked: u32::from(!whole),
            bytes_received: bytes((other.address, own)),
            bytes_acked: bytes((own, other.address)),
            last_data_received_ms: if whole { 1 } else { 1_000 },
            last_ack_received_ms: if whole { 1 } else { 1_000 },
            error: None,
        }
    });
    Sockets {
        sockets: sockets.collect(),
    }
}
