//! `netsplit status`.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use futures_util::future::join_all;
use netsplit_api::{
    config::{Behaviour, Role},
    rpc::Status,
};
use netsplit_faults::link::Counters;
use netsplit_plan::plan::{NodeName, PlannedNode};
use netsplit_runtime::{NodeState, Testnet, Timestamp};
use serde::Serialize;
use serde_json::json;

use super::{
    Context,
    options::{Format, Named},
    session,
};
use crate::{
    error::CommandError,
    exit,
    report::lines::count,
    ui::table::{Align, Table},
};

/// How long one node may take to say how it is.
const PATIENCE: Duration = Duration::from_secs(3);

/// Show the nodes, the tips they hold, and the faults in force
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    testnet: Named,
}

pub(super) async fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    let testnet = session::attach(context, args.testnet.name()).await?;
    let status = gather(testnet.as_ref()).await?;
    match context.options.format {
        Format::Json => context.ui.json(&status)?,
        Format::Table => context.ui.data(&render(&status, testnet.now()))?,
    }
    Ok(exit::PASSED)
}

/// How a testnet is (design §6). Fields are added, never renamed.
#[derive(Clone, Debug, Serialize)]
struct TestnetStatus {
    name: String,
    run_id: String,
    runtime: String,
    seed: u64,
    nodes: Vec<NodeStatus>,
    tips: Vec<Tip>,
    faults: Vec<Fault>,
}

#[derive(Clone, Debug, Serialize)]
struct NodeStatus {
    name: NodeName,
    roles: BTreeSet<Role>,
    behaviour: Behaviour,
    group: String,
    address: Option<IpAddr>,
    /// `planned`, `running`, `paused`, `exited`, or `silent`: its process runs, but it does not answer.
    state: String,
    height: Option<u32>,
    tip: Option<String>,
    peers: Option<u32>,
    inbound: Option<u32>,
    outbound: Option<u32>,
    mempool: Option<u32>,
    rss_bytes: Option<u64>,
}

#[derive(Clone, Debug, Serialize)]
struct Tip {
    hash: String,
    height: u32,
    nodes: Vec<NodeName>,
}

#[derive(Clone, Debug, Serialize)]
struct Fault {
    id: String,
    kind: String,
    /// Ordered pairs.
    pairs: u64,
    /// Packets of the protocol.
    dropped_packets: u64,
    /// Seconds since the epoch.
    since: f64,
}

async fn gather(testnet: &dyn Testnet) -> Result<TestnetStatus, CommandError> {
    let info = testnet.info();
    let states = testnet.states().await?;
    let state_of = |node: &PlannedNode| {
        states
            .get(&node.name)
            .copied()
            .unwrap_or(NodeState::Planned)
    };
    let asking = info
        .plan
        .nodes
        .iter()
        .map(|node| ask(testnet, node, state_of(node)));
    let (nodes, faults) = tokio::join!(join_all(asking), faults(testnet));
    let tips = tips(&nodes);
    Ok(TestnetStatus {
        name: info.name.clone(),
        run_id: info.run.0.clone(),
        runtime: info.runtime.clone(),
        seed: info.plan.seed,
        nodes,
        tips,
        faults: faults?,
    })
}

async fn ask(testnet: &dyn Testnet, node: &PlannedNode, state: NodeState) -> NodeStatus {
    let answer = if state == NodeState::Running {
        let asking = testnet.rpc(&node.name, "x_status", json!([]));
        let answer = tokio::time::timeout(PATIENCE, asking)
            .await
            .ok()
            .and_then(Result::ok);
        answer.and_then(|value| serde_json::from_value::<Status>(value).ok())
    } else {
        None
    };
    node_status(
        node,
        testnet.info().addresses.get(&node.name).copied(),
        state,
        answer.as_ref(),
    )
}

fn node_status(
    node: &PlannedNode,
    address: Option<IpAddr>,
    state: NodeState,
    answer: Option<&Status>,
) -> NodeStatus {
    let word = match (state, answer) {
        (NodeState::Running, None) => "silent",
        (NodeState::Running, Some(_)) => "running",
        (NodeState::Planned, _) => "planned",
        (NodeState::Paused, _) => "paused",
        (NodeState::Exited, _) => "exited",
    };
    // A node whose only role is to be a DNS seed keeps no chain.
    let chain = answer.filter(|_| node.roles.iter().any(|role| *role != Role::DnsSeed));
    NodeStatus {
        name: node.name.clone(),
        roles: node.roles.clone(),
        behaviour: node.behaviour,
        group: node.group.clone(),
        address,
        state: word.to_owned(),
        height: chain.map(|status| status.height),
        tip: chain.map(|status| status.tip.clone()),
        peers: answer.map(|status| status.peers),
        inbound: answer.map(|status| status.inbound),
        outbound: answer.map(|status| status.outbound),
        mempool: chain.map(|status| status.mempool),
        rss_bytes: answer.map(|status| status.rss_bytes),
    }
}

/// Who holds which tip: the one most nodes hold first, then the higher one.
fn tips(nodes: &[NodeStatus]) -> Vec<Tip> {
    let mut tips: BTreeMap<&str, Tip> = BTreeMap::new();
    for node in nodes {
        let (Some(hash), Some(height)) = (&node.tip, node.height) else {
            continue;
        };
        let new = || Tip {
            hash: hash.clone(),
            height,
            nodes: Vec::new(),
        };
        tips.entry(hash)
            .or_insert_with(new)
            .nodes
            .push(node.name.clone());
    }
    let mut tips: Vec<Tip> = tips.into_values().collect();
    tips.sort_by_key(|tip| std::cmp::Reverse((tip.nodes.len(), tip.height)));
    tips
}

async fn faults(testnet: &dyn Testnet) -> Result<Vec<Fault>, CommandError> {
    let (state, counters) = tokio::join!(session::state(testnet), testnet.counters());
    let (state, counters) = (state?, counters?);
    Ok(state
        .faults
        .into_iter()
        .map(|fault| Fault {
            dropped_packets: dropped(&counters, &fault.id),
            id: fault.id,
            kind: fault.kind,
            pairs: fault.pairs,
            since: seconds(fault.since),
        })
        .collect())
}

fn dropped(counters: &Counters, id: &str) -> u64 {
    let cuts = counters.cuts.iter().filter(|cut| cut.id == id);
    cuts.flat_map(|cut| &cut.drops)
        .map(|drop| drop.protocol)
        .sum()
}

#[expect(
    clippy::cast_precision_loss,
    reason = "microseconds are more than anyone asks for"
)]
fn seconds(at: Timestamp) -> f64 {
    (at.0 / 1_000_000) as f64 / 1e3
}

fn render(status: &TestnetStatus, now: Timestamp) -> String {
    let TestnetStatus {
        name,
        run_id,
        runtime,
        seed,
        nodes,
        tips,
        faults,
    } = status;
    let running = nodes.iter().filter(|node| node.state == "running").count();
    let mut text = format!(
        "{name} ({run_id}) on {runtime}, seed {seed}: {running} of {} running\n\n",
        count(nodes.len(), "node")
    );
    text.push_str(&node_table(nodes).render());
    text.push_str("\n\n");
    text.push_str(&tip_lines(tips));
    text.push('\n');
    text.push_str(&fault_lines(faults, now));
    text
}

fn node_table(nodes: &[NodeStatus]) -> Table {
    let misbehaves = nodes
        .iter()
        .any(|node| node.behaviour != Behaviour::default());
    let mut columns = vec![
        ("NODE", Align::Left),
        ("ROLES", Align::Left),
        ("ADDRESS", Align::Left),
        ("STATE", Align::Left),
        ("HEIGHT", Align::Right),
        ("TIP", Align::Left),
        ("PEERS", Align::Right),
        ("IN", Align::Right),
        ("OUT", Align::Right),
        ("MEMPOOL", Align::Right),
        ("RSS", Align::Right),
    ];
    if misbehaves {
        columns.push(("BEHAVIOUR", Align::Left));
    }
    let mut table = Table::new(&columns);
    for node in nodes {
        table.row(node_cells(node));
    }
    table
}

fn node_cells(node: &NodeStatus) -> [String; 12] {
    let roles: Vec<&str> = node.roles.iter().map(|role| role.as_str()).collect();
    let number = |value: Option<u32>| value.map_or("-".to_owned(), |value| value.to_string());
    [
        node.name.to_string(),
        roles.join(","),
        node.address
            .map_or("-".to_owned(), |address| address.to_string()),
        node.state.clone(),
        number(node.height),
        node.tip.as_deref().map_or("-".to_owned(), short),
        number(node.peers),
        number(node.inbound),
        number(node.outbound),
        number(node.mempool),
        node.rss_bytes.map_or("-".to_owned(), mebibytes),
        serde_json::to_value(node.behaviour)
            .ok()
            .and_then(|value| value.as_str().map(ToOwned::to_owned))
            .unwrap_or_default(),
    ]
}

/// The last 8 digits of a hash: the first ones are zeros where there is proof of work.
fn short(hash: &str) -> String {
    let start = hash.len().saturating_sub(8);
    format!("..{}", hash.get(start..).unwrap_or(hash))
}

fn mebibytes(bytes: u64) -> String {
    let tenths = bytes.saturating_mul(10) / (1024 * 1024);
    format!("{}.{} MiB", tenths / 10, tenths % 10)
}

fn tip_lines(tips: &[Tip]) -> String {
    match tips {
        [] => "no node has said what tip it holds".to_owned(),
        [one] => format!("one tip: {} at height {}", short(&one.hash), one.height),
        several => {
            let mut text = format!("{}:", count(several.len(), "tip"));
            for tip in several {
                let names: Vec<&str> = tip.nodes.iter().map(AsRef::as_ref).collect();
                let (hash, height) = (short(&tip.hash), tip.height);
                text.extend([
                    "\n  ",
                    &format!("{hash} at height {height}: {}", names.join(", ")),
                ]);
            }
            text
        }
    }
}

fn fault_lines(faults: &[Fault], now: Timestamp) -> String {
    if faults.is_empty() {
        return "no fault in force".to_owned();
    }
    let mut text = format!("{} in force:", count(faults.len(), "fault"));
    for Fault {
        id,
        kind,
        pairs,
        dropped_packets,
        since,
    } in faults
    {
        let age = (seconds(now) - since).max(0.0);
        text.extend(["\n  ", &format!(
            "`{id}` ({kind}): {pairs} ordered pairs cut, {dropped_packets} packets dropped, for {age:.1} s"
        )]);
    }
    text
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
