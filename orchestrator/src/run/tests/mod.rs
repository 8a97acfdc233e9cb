//! The runner against the fake runtime, under virtual time.
#![expect(clippy::unwrap_used, reason = "tests")]

mod driving;
mod faults;
mod large;
mod trouble;
mod whole;

use std::{collections::BTreeMap, net::IpAddr, sync::Mutex, time::Duration};

use netsplit_api::{
    config::{ChainNetwork, PeerLimits, Role, Timers},
    event::{BlockSource, Event},
};
use netsplit_faults::link::LinkTable;
use netsplit_plan::{
    assertion::Assertion,
    plan::{
        Action, Check, Hold, NodeName, NodeVerb, Partition, Plan, PlannedChain, PlannedNode,
        PlannedStep,
    },
};
use netsplit_runtime::{
    RunId,
    fake::{Call, FakeNet, FakeRuntime},
};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};

use super::{Options, run_test};
use crate::event::{RunEvent, RunEventKind, RunReport, StepStatus};

pub(crate) fn name(name: &str) -> NodeName {
    NodeName(name.to_owned())
}

pub(crate) fn names(list: &[&str]) -> Vec<NodeName> {
    list.iter().map(|node| name(node)).collect()
}

pub(crate) fn planned(node: &str, place: u32, roles: &[Role]) -> PlannedNode {
    PlannedNode {
        name: name(node),
        group: "group".to_owned(),
        host: place + 2,
        roles: roles.iter().copied().collect(),
        zone: None,
        behaviour: netsplit_api::config::Behaviour::default(),
        seed: format!("{place:064x}"),
        discovery: Vec::new(),
        relay: netsplit_api::config::Relay::default(),
        sync: netsplit_api::config::Sync::default(),
        peers: PeerLimits::default(),
        timers: Timers::default(),
        durability: netsplit_api::config::Durability::default(),
        share: None,
        joins: node.starts_with("late"),
    }
}

/// Four full nodes, one of them a miner too, and one that joins later; at height 3 when ready.
pub(crate) fn plan(steps: &[Action]) -> Plan {
    use Role::{Full, Miner, Wallet};
    Plan {
        name: "fake".to_owned(),
        description: "for tests".to_owned(),
        seed: 7,
        chain: PlannedChain {
            network: ChainNetwork::Regtest,
            block_interval_ms: 1000,
            premine: 3,
            payees: vec!["51".to_owned()],
        },
        nodes: vec![
            planned("a", 0, &[Miner, Wallet]),
            planned("b", 1, &[Full]),
            planned("c", 2, &[Full]),
            planned("d", 3, &[Full, Wallet]),
            planned("late", 4, &[Full]),
        ],
        steps: steps
            .iter()
            .enumerate()
            .map(|(index, action)| PlannedStep {
                index: index + 1,
                text: super::steps::kind(action).to_owned(),
                action: action.clone(),
            })
            .collect(),
        timeout_ms: None,
    }
}

pub(crate) fn cut(id: &str, left: &[&str], right: &[&str]) -> Action {
    Action::Partition(Partition {
        id: id.to_owned(),
        groups: vec![names(left), names(right)],
        one_way: false,
        for_ms: None,
    })
}

pub(crate) fn heal(id: &str) -> Action {
    Action::Heal {
        id: Some(id.to_owned()),
    }
}

pub(crate) const fn sleep(ms: u64) -> Action {
    Action::Sleep { ms }
}

pub(crate) fn mine(node: &str, blocks: u32) -> Action {
    Action::Mine {
        node: name(node),
        blocks,
    }
}

pub(crate) fn nodes(verb: NodeVerb, list: &[&str]) -> Action {
    Action::Nodes {
        verb,
        nodes: names(list),
    }
}

pub(crate) fn converged(hold: Hold, fresh: Option<u32>) -> Action {
    Action::Assert(Check {
        assertion: Assertion::Converged {
            nodes: None,
            lag: 0,
            min_height: None,
            fresh_blocks: fresh,
        },
        hold,
    })
}

pub(crate) fn height(at_least: u32, hold: Hold) -> Action {
    Action::Assert(Check {
        assertion: Assertion::Height {
            nodes: None,
            at_least,
        },
        hold,
    })
}

pub(crate) const fn within(ms: u64) -> Hold {
    Hold::Within { ms }
}

/// The fake nodes' chain: every node takes the highest tip of those it can reach, at once.
#[derive(Default)]
struct Chain {
    tips: Mutex<BTreeMap<NodeName, (u32, String)>>,
    /// Parents of all blocks made, by hash.
    made: Mutex<BTreeMap<String, String>>,
}

impl Chain {
    fn tip(&self, node: &NodeName) -> (u32, String) {
        let premined = (3, format!("{:064x}", 3));
        self.tips
            .lock()
            .unwrap()
            .get(node)
            .cloned()
            .unwrap_or(premined)
    }

    fn mine(&self, net: &FakeNet, node: &NodeName, blocks: u64) -> Value {
        let mut hashes = Vec::new();
        for _ in 0..blocks {
            let (height, previous) = self.tip(node);
            let hash = {
                let mut made = self.made.lock().unwrap();
                let hash = format!("{:0>64}", format!("b10c{:04x}", made.len() + 1));
                made.insert(hash.clone(), previous.clone());
                hash
            };
            self.accept(net, node, &hash, &previous, height + 1, BlockSource::Mined);
            hashes.push(json!(hash));
        }
        self.spread(net, &table(net));
        Value::Array(hashes)
    }

    fn accept(
        &self,
        net: &FakeNet,
        node: &NodeName,
        hash: &str,
        previous: &str,
        height: u32,
        source: BlockSource,
    ) {
        self.tips
            .lock()
            .unwrap()
            .insert(node.clone(), (height, hash.to_owned()));
        let (hash, previous) = (hash.to_owned(), previous.to_owned());
        net.emit(
            node,
            Event::BlockAccepted {
                hash: hash.clone(),
                previous: previous.clone(),
                height,
                source,
                transactions: 1,
                size: 200,
            },
        );
        net.emit(
            node,
            Event::TipChanged {
                hash,
                height,
                previous,
            },
        );
    }

    /// Highest tips go wherever the table lets them.
    fn spread(&self, net: &FakeNet, table: &LinkTable) {
        let all = names(&["a", "b", "c", "d"]);
        for from in &all {
            for to in &all {
                let (best, hash) = self.tip(from);
                if best > self.tip(to).0 && !drops(table, from, to) {
                    let parent = self.made.lock().unwrap()[&hash].clone();
                    self.accept(net, to, &hash, &parent, best, BlockSource::Peer(1));
                }
            }
        }
    }
}

fn address(node: &NodeName) -> IpAddr {
    let host = plan(&[])
        .nodes
        .iter()
        .find(|other| other.name == *node)
        .unwrap()
        .host;
    IpAddr::from([10, 99, 0, u8::try_from(host).unwrap()])
}

fn drops(table: &LinkTable, from: &NodeName, to: &NodeName) -> bool {
    let (from, to) = (address(from), address(to));
    table
        .cuts
        .iter()
        .flat_map(|cut| &cut.drops)
        .any(|drop| drop.from.contains(&from) && drop.to.contains(&to))
}

/// The table applied last.
pub(crate) fn table(net: &FakeNet) -> LinkTable {
    let applied = net.calls().into_iter().rev().find_map(|call| match call {
        Call::Apply { table } => Some(table),
        _ => None,
    });
    applied.unwrap_or_default()
}

/// A fake runtime whose nodes have wallets and a chain.
pub(crate) fn runtime() -> FakeRuntime {
    let runtime = FakeRuntime::new();
    let chain = std::sync::Arc::new(Chain::default());
    let miner = std::sync::Arc::clone(&chain);
    runtime
        .net()
        .on_rpc(move |net, node, method, params| match method {
            "getnewaddress" => Some(Ok(json!("bcrt1qaddress"))),
            "generatetoaddress" => Some(Ok(miner.mine(net, node, params[0].as_u64().unwrap()))),
            "sendtoaddress" => Some(Ok(json!("cafe"))),
            "x_status" => {
                let (height, tip) = miner.tip(node);
                Some(Ok(json!({
                    "height": height, "tip": tip, "peers": 3, "inbound": 0, "outbound": 3,
                    "mempool": 0, "rss_bytes": 0, "dns_nodes": 0,
                })))
            }
            _ => None,
        });
    runtime.net().on_call(move |net, call| {
        if let Call::Apply { table } = call {
            chain.spread(net, table);
        }
    });
    runtime
}

pub(crate) fn options() -> Options {
    Options {
        run: RunId("fake-00000001".to_owned()),
        name: "fake".to_owned(),
        directory: "/dev/null".into(),
        node_binary: None,
        keep: false,
        timeout: None,
        command: "netsplit test fake.yaml --seed 7".to_owned(),
    }
}

/// What a run left to look at.
pub(crate) struct Outcome {
    pub(crate) report: RunReport,
    pub(crate) events: Vec<RunEvent>,
}

impl Outcome {
    pub(crate) fn statuses(&self) -> Vec<StepStatus> {
        self.report.steps.iter().map(|step| step.status).collect()
    }

    pub(crate) fn warnings(&self) -> Vec<&str> {
        self.events
            .iter()
            .filter_map(|event| match &event.kind {
                RunEventKind::Warned { message } => Some(message.as_str()),
                _ => None,
            })
            .collect()
    }
}

pub(crate) async fn run(runtime: &FakeRuntime, steps: &[Action]) -> Outcome {
    run_with(runtime, plan(steps), options(), watch::channel(0).1).await
}

pub(crate) async fn run_with(
    runtime: &FakeRuntime,
    plan: Plan,
    options: Options,
    interrupts: watch::Receiver<u32>,
) -> Outcome {
    let directory = tempfile::tempdir().unwrap();
    let options = Options {
        directory: directory.path().to_owned(),
        ..options
    };
    let (sink, mut received) = mpsc::unbounded_channel();
    let report = run_test(runtime, &plan, &options, sink, interrupts).await;
    let mut events = Vec::new();
    while let Ok(event) = received.try_recv() {
        events.push(event);
    }
    Outcome { report, events }
}

/// How often the testnet was removed, in order or by force.
pub(crate) fn removals(runtime: &FakeRuntime) -> usize {
    let removal = |call: &Call| matches!(call, Call::Teardown | Call::Remove { .. });
    runtime
        .net()
        .calls()
        .iter()
        .filter(|call| removal(call))
        .count()
}

pub(crate) const fn secs(count: u64) -> Duration {
    Duration::from_secs(count)
}
