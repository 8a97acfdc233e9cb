//! One round of probes: every receiver listens, every sender sends, every receiver reports.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use futures_util::future::join_all;
use netsplit_api::probe::{
    ProbeListen, ProbeListening, ProbeReceived, ProbeReport, ProbeSend, ProbeSent, ProbeTarget,
    TcpOutcome,
};
use netsplit_plan::plan::NodeName;
use netsplit_runtime::Testnet;
use serde::{Serialize, de::DeserializeOwned};

use crate::run::cuts::Pair;

/// Datagrams to each target, so that one lost to a full queue decides nothing.
const DATAGRAMS: u32 = 3;
/// A TCP attempt between containers of one machine that has not connected by then did not get through, or the machine is
/// loaded: what must be silent is silent, what must connect is tried again. In milliseconds.
const TCP_TIMEOUT_MS: u64 = 200;
/// Receivers stop listening after this by themselves, in milliseconds.
const LISTEN_MS: u64 = 20_000;

/// What is known of one probed pair. There is none when the receiver did not report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Heard {
    /// Datagrams that arrived.
    pub(crate) datagrams: u32,
    /// TCP connections that the receiver accepted.
    pub(crate) connections: u32,
    /// What the sender saw of each of the receiver's addresses, the configured one first; empty if it did not tell.
    pub(crate) told: Vec<ProbeTarget>,
}

impl Heard {
    /// Whether anything got through.
    pub(crate) fn arrived(&self) -> bool {
        self.datagrams > 0 || self.connected()
    }

    /// Whether a TCP connection came about.
    pub(crate) fn connected(&self) -> bool {
        self.connections > 0
            || self
                .told
                .iter()
                .any(|told| told.tcp == TcpOutcome::Connected)
    }

    /// What the sender noticed of the cut, which it must not. Errors from other networks' addresses are no noise: the
    /// sender may simply not be there.
    pub(crate) fn noise(&self) -> Option<String> {
        let told = self.told.first()?;
        match &told.tcp {
            TcpOutcome::Refused => Some("TCP was reset".to_owned()),
            TcpOutcome::Failed(error) => Some(format!("TCP failed: {error}")),
            TcpOutcome::Connected | TcpOutcome::TimedOut => told
                .datagram_errors
                .first()
                .map(|error| format!("UDP failed: {error}")),
        }
    }

    /// Whether the sender did send.
    pub(crate) fn was_sent(&self) -> bool {
        self.told
            .first()
            .is_some_and(|told| told.datagrams_sent > 0)
    }
}

/// What a round brought to light.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Probed {
    /// The pairs whose receivers reported.
    pub(crate) pairs: BTreeMap<Pair, Heard>,
    /// Nodes that could not be asked, with the reason.
    pub(crate) mute: BTreeMap<NodeName, String>,
}

/// Probes all pairs at once.
pub(crate) async fn round(net: &dyn Testnet, id: &str, pairs: &BTreeSet<Pair>) -> Probed {
    let mut probed = Probed::default();
    let receivers: BTreeSet<&NodeName> = pairs.iter().map(|(_, to)| to).collect();
    let listen = ProbeListen {
        id: id.to_owned(),
        for_ms: LISTEN_MS,
    };
    let listening = join_all(receivers.iter().map(|node| {
        let listen = &listen;
        async move {
            (
                *node,
                call::<Option<ProbeListening>>(net, node, "x_probe_listen", listen).await,
            )
        }
    }))
    .await;
    let targets = addresses(net, keep(listening, &mut probed));
    let told = send(net, id, pairs, &targets, &mut probed).await;
    let report = ProbeReport { id: id.to_owned() };
    let reports = join_all(targets.keys().map(|node| {
        let report = &report;
        async move {
            (
                *node,
                call::<ProbeReceived>(net, node, "x_probe_report", report).await,
            )
        }
    }))
    .await;
    let reports = keep(reports, &mut probed);
    let addresses = &net.info().addresses;
    for pair in pairs {
        let (Some(report), Some(address)) = (reports.get(&pair.1), addresses.get(&pair.0)) else {
            continue;
        };
        let heard = report
            .senders
            .iter()
            .filter(|sender| sender.address == *address);
        probed.pairs.insert(
            pair.clone(),
            Heard {
                datagrams: heard.clone().map(|sender| sender.datagrams).sum(),
                connections: heard.map(|sender| sender.connections).sum(),
                told: told.get(pair).cloned().unwrap_or_default(),
            },
        );
    }
    probed
}

/// Where each listening node can be reached: at its planned address first, then at whatever others it has.
fn addresses<'a>(
    net: &dyn Testnet,
    listening: BTreeMap<&'a NodeName, Option<ProbeListening>>,
) -> BTreeMap<&'a NodeName, Vec<IpAddr>> {
    let mut addresses = BTreeMap::new();
    for (node, answer) in listening {
        let Some(planned) = net.info().addresses.get(node) else {
            continue;
        };
        let others = answer.into_iter().flat_map(|answer| answer.addresses);
        let all = std::iter::once(*planned).chain(others.filter(|other| other != planned));
        addresses.insert(node, all.collect());
    }
    addresses
}

/// Lets every sender send to its listening receivers, all at once; what each saw.
async fn send(
    net: &dyn Testnet,
    id: &str,
    pairs: &BTreeSet<Pair>,
    addresses: &BTreeMap<&NodeName, Vec<IpAddr>>,
    probed: &mut Probed,
) -> BTreeMap<Pair, Vec<ProbeTarget>> {
    let mut targets: BTreeMap<&NodeName, Vec<(&NodeName, IpAddr)>> = BTreeMap::new();
    for (from, to) in pairs {
        let all = addresses.get(to).into_iter().flatten();
        targets
            .entry(from)
            .or_default()
            .extend(all.map(|address| (to, *address)));
    }
    let sent = join_all(targets.iter().map(|(from, to)| {
        let send = ProbeSend {
            id: id.to_owned(),
            targets: to.iter().map(|(_, address)| *address).collect(),
            datagrams: DATAGRAMS,
            timeout_ms: TCP_TIMEOUT_MS,
        };
        async move {
            (
                *from,
                call::<ProbeSent>(net, from, "x_probe_send", &send).await,
            )
        }
    }))
    .await;
    let mut told: BTreeMap<Pair, Vec<ProbeTarget>> = BTreeMap::new();
    for (from, sent) in keep(sent, probed) {
        for ((to, _), target) in targets[from].iter().zip(sent.targets) {
            told.entry((from.clone(), (*to).clone()))
                .or_default()
                .push(target);
        }
    }
    told
}

/// The answers; who did not answer is noted.
fn keep<'a, T>(
    answers: Vec<(&'a NodeName, Result<T, String>)>,
    probed: &mut Probed,
) -> BTreeMap<&'a NodeName, T> {
    let mut kept = BTreeMap::new();
    for (node, answer) in answers {
        match answer {
            Ok(answer) => {
                kept.insert(node, answer);
            }
            Err(reason) => {
                probed.mute.insert(node.clone(), reason);
            }
        }
    }
    kept
}

/// Calls a node and reads its answer.
pub(crate) async fn call<T: DeserializeOwned>(
    net: &dyn Testnet,
    node: &NodeName,
    method: &str,
    params: &impl Serialize,
) -> Result<T, String> {
    let params = serde_json::to_value(params).expect("parameters are plain structs");
    let answer = net
        .rpc(node, method, params)
        .await
        .map_err(|error| error.to_string())?;
    serde_json::from_value(answer)
        .map_err(|error| format!("`{method}` of `{node}` answered something else: {error}"))
}
