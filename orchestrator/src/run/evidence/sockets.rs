//! Connections across a cut, before and after: a real cut leaves them established and silent.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use futures_util::future::join_all;
use netsplit_api::probe::{SocketInfo, Sockets};
use netsplit_plan::plan::NodeName;
use netsplit_runtime::{Testnet, Timestamp};
use serde::Serialize;
use serde_json::json;

use super::probe::call;
use crate::run::cuts::Cuts;

/// What the kernel's clocks for a connection may be off by: its ticks are up to 10 ms long.
const TICK: Duration = Duration::from_millis(20);

/// The sockets of some nodes at one time.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    /// When the nodes were asked.
    asked: Timestamp,
    nodes: BTreeMap<NodeName, Vec<SocketInfo>>,
    /// Nodes that did not answer.
    pub(crate) mute: BTreeMap<NodeName, String>,
}

/// Asks all nodes at once.
pub(crate) async fn snapshot(net: &dyn Testnet, nodes: &BTreeSet<NodeName>) -> Snapshot {
    let mut snapshot = Snapshot {
        asked: net.now(),
        ..Snapshot::default()
    };
    let answers = join_all(nodes.iter().map(|node| async move {
        (
            node,
            call::<Sockets>(net, node, "x_sockets", &json!({})).await,
        )
    }))
    .await;
    for (node, answer) in answers {
        match answer {
            Ok(answer) => {
                snapshot.nodes.insert(node.clone(), answer.sockets);
            }
            Err(reason) => {
                snapshot.mute.insert(node.clone(), reason);
            }
        }
    }
    snapshot
}

/// What became of the connections across a cut.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Established {
    /// Ends of connections across the cut that were established before it.
    pub(crate) across: usize,
    /// Of these, how many still were afterwards, without data from the other side.
    pub(crate) silent: usize,
    /// Of these, how many retransmit what is not acknowledged.
    pub(crate) retransmitting: usize,
    /// Ends that are closed since, with what is known of why.
    pub(crate) closed: Vec<Closed>,
    /// Ends on which data arrived after the cut was in force.
    pub(crate) leaking: Vec<String>,
    /// Ends that were told of the cut by an error.
    pub(crate) reset: Vec<String>,
}

/// A connection that ended during a cut.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Closed {
    /// Whose end.
    pub(crate) node: NodeName,
    /// The other side.
    pub(crate) remote: String,
    /// Number of the connection.
    pub(crate) peer: u64,
}

/// Compares the sockets before a cut with those after it. `cut` are the pairs that it cuts, `applied` is when it was in
/// force, `steady` are the nodes that ran all the time.
pub(crate) fn compare(
    before: &Snapshot,
    after: &Snapshot,
    addresses: &BTreeMap<NodeName, IpAddr>,
    cut: &Cuts,
    applied: Timestamp,
    steady: &BTreeSet<NodeName>,
) -> Established {
    let names: BTreeMap<IpAddr, &NodeName> = addresses
        .iter()
        .map(|(node, address)| (*address, node))
        .collect();
    let quiet_for = after.asked - applied;
    let mut found = Established::default();
    for (node, sockets) in before
        .nodes
        .iter()
        .filter(|(node, _)| steady.contains(*node))
    {
        let Some(later) = after.nodes.get(node) else {
            continue;
        };
        for socket in sockets.iter().filter(|socket| is_established(socket)) {
            let Some(other) = remote(socket).and_then(|address| names.get(&address)) else {
                continue;
            };
            let deaf = cut.is_cut(other, node);
            let unheard = cut.is_cut(node, other);
            if steady.contains(*other) && (deaf || unheard) {
                let now = later.iter().find(|now| same(now, socket));
                found.judge(node, socket, now, deaf, quiet_for);
            }
        }
    }
    found
}

impl Established {
    fn judge(
        &mut self,
        node: &NodeName,
        before: &SocketInfo,
        now: Option<&SocketInfo>,
        deaf: bool,
        quiet_for: Duration,
    ) {
        self.across += 1;
        let name = || format!("{node} with {}", before.remote);
        let Some(now) = now else {
            self.closed.push(Closed {
                node: node.clone(),
                remote: before.remote.clone(),
                peer: before.peer,
            });
            return;
        };
        if let Some(error) = &now.error {
            self.reset.push(format!("{}: {error}", name()));
            return;
        }
        let age = Duration::from_millis(u64::from(now.last_data_received_ms));
        if deaf && now.bytes_received > before.bytes_received && age + TICK < quiet_for {
            self.leaking.push(format!(
                "{}: data arrived {} ms ago, the cut is {} ms old",
                name(),
                age.as_millis(),
                quiet_for.as_millis()
            ));
            return;
        }
        self.silent += 1;
        self.retransmitting += usize::from(now.retransmits > 0 || now.unacked > 0);
    }
}

fn is_established(socket: &SocketInfo) -> bool {
    socket.state.eq_ignore_ascii_case("established") && socket.error.is_none()
}

fn same(a: &SocketInfo, b: &SocketInfo) -> bool {
    a.peer == b.peer && a.local == b.local && a.remote == b.remote
}

fn remote(socket: &SocketInfo) -> Option<IpAddr> {
    socket
        .remote
        .parse::<SocketAddr>()
        .ok()
        .map(|address| address.ip())
}
