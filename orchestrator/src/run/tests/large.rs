//! A thousand nodes: what a run costs must not grow faster than they do, so bounds are on what is counted, not on time.

use std::{collections::BTreeSet, sync::Arc};

use netsplit_plan::plan::{Churn, ChurnEvent};

use super::*;
use crate::{exit, run::evidence::sample::SAMPLE_ABOVE};

const NODES: u32 = 1_000;

fn node(place: u32) -> NodeName {
    name(&format!("n{place:04}"))
}

/// Nodes in the order of their names: two miners, one at each end, and full nodes.
fn many(steps: &[Action]) -> Plan {
    use Role::{Full, Miner, Wallet};
    let mut plan = plan(steps);
    plan.nodes = (0..NODES)
        .map(|place| {
            let ends = place == 0 || place == NODES - 1;
            let roles: &[Role] = if ends { &[Miner, Wallet] } else { &[Full] };
            planned(&node(place).0, place, roles)
        })
        .collect();
    plan
}

/// One chain for each side of whatever is cut.
#[derive(Default)]
struct Ledger {
    /// Nodes that a block of the first node does not reach; what each side holds.
    apart: BTreeSet<NodeName>,
    tips: [Option<(u32, String)>; 2],
    made: u32,
}

impl Ledger {
    fn tip(&self, side: usize) -> (u32, String) {
        let premined = || (3, format!("{:064x}", 3));
        self.tips[side].clone().unwrap_or_else(premined)
    }

    /// A node makes a block, and everybody on its side accepts it.
    fn mine(&mut self, net: &FakeNet, miner: &NodeName) -> String {
        let side = usize::from(self.apart.contains(miner));
        let (height, previous) = self.tip(side);
        self.made += 1;
        let (height, hash) = (
            height + 1,
            format!("{:0>64}", format!("b10c{:04x}", self.made)),
        );
        for node in (0..NODES).map(node) {
            if self.apart.contains(&node) == self.apart.contains(miner) {
                accept(net, &node, &hash, &previous, height);
            }
        }
        self.tips[side] = Some((height, hash.clone()));
        if self.apart.is_empty() {
            self.tips[1] = self.tips[0].clone();
        }
        hash
    }
}

fn accept(net: &FakeNet, node: &NodeName, hash: &str, previous: &str, height: u32) {
    let (hash, previous) = (hash.to_owned(), previous.to_owned());
    net.emit(
        node,
        Event::BlockAccepted {
            hash: hash.clone(),
            previous: previous.clone(),
            height,
            source: BlockSource::Peer(1),
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

/// A fake runtime of many nodes whose miners make blocks on request; after a heal the first node's chain wins.
fn many_nodes(second_half: BTreeSet<NodeName>) -> FakeRuntime {
    let runtime = FakeRuntime::new();
    let ledger = Arc::new(Mutex::new(Ledger::default()));
    let miner = Arc::clone(&ledger);
    runtime
        .net()
        .on_rpc(move |net, node, method, _| match method {
            "getnewaddress" => Some(Ok(json!("bcrt1qaddress"))),
            "generatetoaddress" => Some(Ok(json!([miner.lock().unwrap().mine(net, node)]))),
            _ => None,
        });
    runtime.net().on_call(move |net, call| {
        let Call::Apply { table } = call else { return };
        let mut ledger = ledger.lock().unwrap();
        if !table.cuts.is_empty() {
            ledger.apart.clone_from(&second_half);
            return;
        }
        let (height, hash) = ledger.tip(0);
        let parent = format!("{:064x}", 3);
        for node in std::mem::take(&mut ledger.apart) {
            accept(net, &node, &hash, &parent, height);
        }
        ledger.tips[1] = ledger.tips[0].clone();
    });
    runtime
}

fn halves() -> (Vec<NodeName>, Vec<NodeName>) {
    let half = NODES / 2;
    (
        (0..half).map(node).collect(),
        (half..NODES).map(node).collect(),
    )
}

fn rounds(outcome: &Outcome, step: usize) -> usize {
    let evidence = &outcome.report.steps[step].evidence;
    usize::try_from(evidence["probes"]["rounds"].as_u64().unwrap()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_thousand_nodes_are_cut_healed_and_churned_at_a_cost_that_is_flat_per_node() {
    let (left, right) = halves();
    let runtime = many_nodes(right.iter().cloned().collect());
    let away = |place: u32, at_ms, verb| ChurnEvent {
        at_ms,
        node: node(place),
        verb,
    };
    let leaves = (0..20).map(|n| away(400 + n, u64::from(n) * 100, NodeVerb::Kill));
    let returns = (0..20).map(|n| away(400 + n, 2_000 + u64::from(n) * 100, NodeVerb::Start));
    let mut events: Vec<ChurnEvent> = leaves.chain(returns).collect();
    events.sort_by_key(|event| event.at_ms);
    let steps = [
        Action::Partition(Partition {
            id: "halves".to_owned(),
            groups: vec![left, right],
            one_way: false,
            for_ms: None,
        }),
        sleep(1_000),
        mine("n0000", 1),
        mine("n0999", 1),
        Action::Assert(Check {
            assertion: Assertion::Diverged {
                between: "halves".to_owned(),
                nodes: None,
                min_blocks: 1,
            },
            hold: within(5_000),
        }),
        heal("halves"),
        sleep(10),
        mine("n0000", 1),
        converged(within(5_000), Some(1)),
        converged(Hold::For { ms: 1_000 }, None),
        Action::Churn(Churn {
            id: "churn".to_owned(),
            events,
            for_ms: 5_000,
        }),
        Action::Over {
            id: "churn".to_owned(),
        },
    ];
    let outcome = run_with(&runtime, many(&steps), options(), watch::channel(0).1).await;
    for step in &outcome.report.steps {
        assert_eq!(
            step.status,
            StepStatus::Passed,
            "{} {}",
            step.text,
            step.message
        );
    }
    assert_eq!(outcome.report.exit_code, exit::PASSED);

    let cut = &outcome.report.steps[0].evidence;
    assert_eq!(cut["pairs_intended"], 500_000);
    assert_eq!(cut["table"]["pairs_expected"], 500_000);
    assert_eq!(
        cut["sample"],
        json!({ "nodes": SAMPLE_ABOVE, "of": NODES, "seed": 7 })
    );
    let probed = cut["probes"]["cut_pairs"].as_u64().unwrap();
    assert_eq!(probed, 2 * 20 * 20, "half of the sample is on each side");

    // Only the sample is asked: to listen, to send and to report in each round, and about sockets before and after a cut.
    let calls = runtime.net().calls();
    let asked = |prefix: &str| {
        let about =
            |call: &&Call| matches!(call, Call::Rpc { method, .. } if method.starts_with(prefix));
        calls.iter().filter(about).count()
    };
    let rounds = rounds(&outcome, 0) + rounds(&outcome, 5);
    assert_eq!(asked("x_probe_"), rounds * 3 * SAMPLE_ABOVE);
    assert_eq!(asked("x_sockets"), 2 * SAMPLE_ABOVE);
    assert_eq!(asked("x_status"), 0, "events tell");
    let kept = calls
        .iter()
        .filter(|call| matches!(call, Call::PutState { .. }));
    let kept = kept.count();
    assert!(kept < 200, "the document was kept {kept} times");

    // All of the nodes get ready at one instant of the virtual clock: what is waited for is told once.
    let told = outcome.events.iter().filter(
        |event| matches!(&event.kind, RunEventKind::PhaseWaiting { name, .. } if name == "ready"),
    );
    assert!(told.count() <= 1);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_nodes_are_restarted_a_few_at_a_time() {
    let runtime = many_nodes(BTreeSet::new());
    runtime.net().verbs_take(Duration::from_millis(1));
    let steps = [Action::Nodes {
        verb: NodeVerb::Restart,
        nodes: (0..NODES).map(node).collect(),
    }];
    let outcome = run_with(&runtime, many(&steps), options(), watch::channel(0).1).await;
    assert_eq!(
        outcome.report.exit_code,
        exit::PASSED,
        "{:?}",
        outcome.report.error
    );
    let restarted = |call: &&Call| {
        matches!(
            call,
            Call::Node {
                verb: NodeVerb::Restart,
                ..
            }
        )
    };
    let restarts = runtime.net().calls().iter().filter(restarted).count();
    assert_eq!(restarts, NODES as usize);
    let took = outcome.report.steps[0].elapsed_ms;
    assert!(
        (20..500).contains(&took),
        "neither all at once nor one by one: {took} ms for 1 ms each"
    );
}

#[tokio::test(start_paused = true)]
async fn of_many_nodes_it_is_told_how_many_are_ready_at_a_gentle_pace() {
    let runtime = many_nodes(BTreeSet::new());
    runtime.net().be_quiet();
    let net = runtime.net().clone();
    runtime.net().on_call(move |fake, call| {
        if matches!(call, Call::Launch { .. }) {
            let (fake, net) = (fake.clone(), net.clone());
            // One node after the other gets up, in a second of virtual time altogether.
            tokio::spawn(async move {
                for place in 0..NODES {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    let premined = format!("{:064x}", 3);
                    let started = Event::NodeStarted {
                        incarnation: 1,
                        tip: premined,
                        height: 3,
                    };
                    fake.emit(&node(place), started);
                    for peer in 1..=8 {
                        net.emit(
                            &node(place),
                            Event::PeerConnected {
                                peer,
                                address: String::new(),
                                inbound: false,
                                version: 70016,
                                user_agent: String::new(),
                                height: 3,
                            },
                        );
                    }
                }
            });
        }
    });
    let outcome = run_with(&runtime, many(&[]), options(), watch::channel(0).1).await;
    assert_eq!(
        outcome.report.exit_code,
        exit::PASSED,
        "{:?}",
        outcome.report.error
    );
    let told: Vec<&str> = outcome
        .events
        .iter()
        .filter_map(|event| match &event.kind {
            RunEventKind::PhaseWaiting { status, .. } => Some(status.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(told[0], "0 of 1000 nodes ready; n0000 has not started");
    assert!(
        (5..=25).contains(&told.len()),
        "told {} times in a second or two: {told:?}",
        told.len()
    );
    let half = told.iter().find(|status| status.starts_with("5"));
    assert!(
        half.is_some_and(|status| status.contains(" of 1000 nodes ready; n05")),
        "{told:?}"
    );
}
