//! Runs in which everything goes as it should.

use netsplit_plan::{
    assertion::{Assertion, TxRef},
    plan::{Churn, ChurnEvent},
};

use super::*;
use crate::{event::Verdict, exit, run::bring_up};

fn churn(id: &str, node: &str, away: u64, back: u64, for_ms: u64) -> Action {
    let event = |at_ms, verb| ChurnEvent {
        at_ms,
        node: name(node),
        verb,
    };
    Action::Churn(Churn {
        id: id.to_owned(),
        events: vec![event(away, NodeVerb::Kill), event(back, NodeVerb::Start)],
        for_ms,
    })
}

#[tokio::test(start_paused = true)]
async fn every_kind_of_step_passes() {
    let runtime = runtime();
    let steps = [
        converged(Hold::Now, None),
        mine("a", 2),
        height(5, within(1000)),
        cut("cut", &["a", "b"], &["c", "d"]),
        sleep(10),
        mine("a", 1),
        mine("c", 2),
        Action::Assert(Check {
            assertion: Assertion::Diverged {
                between: "cut".to_owned(),
                nodes: None,
                min_blocks: 1,
            },
            hold: within(5000),
        }),
        Action::Assert(Check {
            assertion: Assertion::Reachable {
                from: names(&["a"]),
                to: names(&["c"]),
                expect: false,
            },
            hold: Hold::For { ms: 2000 },
        }),
        heal("cut"),
        converged(within(5000), None),
        nodes(NodeVerb::Pause, &["b"]),
        nodes(NodeVerb::Resume, &["b"]),
        nodes(NodeVerb::Kill, &["c", "d"]),
        nodes(NodeVerb::Start, &["c", "d"]),
        nodes(NodeVerb::Restart, &["b"]),
        nodes(NodeVerb::Stop, &["b"]),
        nodes(NodeVerb::Start, &["b"]),
        churn("churn", "d", 100, 600, 2000),
        Action::Over {
            id: "churn".to_owned(),
        },
        Action::Join {
            nodes: names(&["late"]),
        },
        Action::Send {
            id: Some("tx".to_owned()),
            from: name("a"),
            to: name("d"),
            amount: 50_000_000,
            fee_rate: Some(2),
        },
        Action::Wait(Check {
            assertion: Assertion::Peers {
                nodes: Some(names(&["a"])),
                between: (1, 99),
            },
            hold: within(1000),
        }),
        sleep(10),
    ];
    let outcome = run(&runtime, &steps).await;
    for step in &outcome.report.steps {
        assert_eq!(step.status, StepStatus::Passed, "{step:?}");
    }
    assert_eq!(outcome.report.steps.len(), steps.len());
    assert_eq!(
        (outcome.report.verdict, outcome.report.exit_code),
        (Verdict::Passed, exit::PASSED)
    );
    assert_eq!(removals(&runtime), 1);
    let pays = runtime
        .net()
        .calls()
        .into_iter()
        .find_map(|call| match call {
            Call::Rpc { method, params, .. } if method == "sendtoaddress" => Some(params),
            _ => None,
        });
    assert_eq!(
        pays.unwrap(),
        json!([
            "bcrt1qaddress",
            0.5,
            "",
            "",
            false,
            null,
            null,
            "unset",
            null,
            2
        ])
    );
}

#[tokio::test(start_paused = true)]
async fn a_sent_transaction_is_what_later_assertions_ask_for() {
    let runtime = runtime();
    runtime.net().on_rpc(|_, _, method, params| {
        (method == "getblock")
            .then(|| Ok(json!({ "hash": params[0], "height": 4, "tx": ["coinbase", "cafe"] })))
    });
    let send = Action::Send {
        id: None,
        from: name("a"),
        to: name("d"),
        amount: 1,
        fee_rate: None,
    };
    let confirmed = Action::Assert(Check {
        assertion: Assertion::Confirmed {
            nodes: None,
            tx: TxRef::Last,
            depth: 1,
        },
        hold: within(3000),
    });
    let outcome = run(&runtime, &[send.clone(), mine("a", 1), confirmed.clone()]).await;
    assert_eq!(
        outcome.report.exit_code,
        exit::PASSED,
        "{:?}",
        outcome.report
    );
    let outcome = run(&super::runtime(), &[send, confirmed]).await;
    assert_eq!(outcome.report.exit_code, exit::FAILED, "nobody mined it");
}

#[tokio::test(start_paused = true)]
async fn a_fault_with_an_end_heals_itself_while_later_steps_go_on() {
    let runtime = runtime();
    let Action::Partition(partition) = cut("cut", &["a", "b"], &["c", "d"]) else {
        panic!()
    };
    let timed = Action::Partition(Partition {
        for_ms: Some(3000),
        ..partition
    });
    let over = Action::Over {
        id: "cut".to_owned(),
    };
    let outcome = run(
        &runtime,
        &[timed, mine("a", 1), over, converged(within(1000), None)],
    )
    .await;
    assert_eq!(
        outcome.report.exit_code,
        exit::PASSED,
        "{:?}",
        outcome.report.error
    );
    let waited = outcome.report.steps[2].elapsed_ms;
    assert!((2500..4000).contains(&waited), "waited {waited} ms");
    assert_eq!(outcome.warnings(), Vec::<&str>::new());
}

#[tokio::test(start_paused = true)]
async fn faults_still_on_at_the_end_are_healed_and_reported() {
    let runtime = runtime();
    let steps = [
        cut("cut", &["a"], &["b", "c", "d"]),
        churn("churn", "d", 100, 50_000, 60_000),
        sleep(2000),
    ];
    let outcome = run(&runtime, &steps).await;
    assert_eq!(
        outcome.report.exit_code,
        exit::PASSED,
        "{:?}",
        outcome.report.error
    );
    assert_eq!(
        outcome.warnings(),
        [
            "`cut` was still on at the end and is healed",
            "`churn` was still on at the end and is healed"
        ]
    );
    assert!(table(runtime.net()).cuts.is_empty());
    let started = |call: &Call| {
        matches!(
            call,
            Call::Node {
                verb: NodeVerb::Start,
                ..
            }
        )
    };
    assert_eq!(
        runtime
            .net()
            .calls()
            .iter()
            .filter(|call| started(call))
            .count(),
        1
    );
    assert!(outcome.report.timings.down_ms.is_some());
}

#[tokio::test(start_paused = true)]
async fn churn_leaves_alone_what_a_step_took_down() {
    let runtime = runtime();
    let steps = [
        churn("churn", "d", 1000, 2000, 3000),
        sleep(1500),
        nodes(NodeVerb::Kill, &["d"]),
        Action::Over {
            id: "churn".to_owned(),
        },
        nodes(NodeVerb::Start, &["d"]),
    ];
    let outcome = run(&runtime, &steps).await;
    assert_eq!(
        outcome.report.exit_code,
        exit::PASSED,
        "{:?}",
        outcome.report.error
    );
    let verbs: Vec<NodeVerb> = runtime
        .net()
        .calls()
        .into_iter()
        .filter_map(|call| match call {
            Call::Node { verb, .. } => Some(verb),
            _ => None,
        })
        .collect();
    assert_eq!(
        verbs,
        [NodeVerb::Kill, NodeVerb::Start],
        "one kill, and one start: the step's"
    );
}

#[tokio::test(start_paused = true)]
async fn a_kept_testnet_is_let_go_with_its_state() {
    let runtime = runtime();
    let options = Options {
        keep: true,
        ..options()
    };
    let steps = [nodes(NodeVerb::Kill, &["d"])];
    let outcome = run_with(&runtime, plan(&steps), options, watch::channel(0).1).await;
    assert_eq!(
        outcome.report.exit_code,
        exit::PASSED,
        "{:?}",
        outcome.report.error
    );
    assert!(runtime.net().detached());
    assert_eq!(removals(&runtime), 0);
    assert!(outcome.report.teardown.kept, "it was not torn down");
    assert_eq!(outcome.report.steps[0].message, "`d` killed");
    assert_eq!(outcome.report.steps[0].index, 1);
    let kept = runtime
        .net()
        .calls()
        .into_iter()
        .rev()
        .find_map(|call| match call {
            Call::PutState { state } => Some(state),
            _ => None,
        });
    assert_eq!(kept.unwrap()["down"], json!({ "d": "" }));
}

#[tokio::test(start_paused = true)]
async fn up_waits_until_ready_and_carries_out_no_step() {
    let runtime = runtime();
    let plan = plan(&[nodes(NodeVerb::Kill, &["a"])]);
    let (sink, _) = mpsc::unbounded_channel();
    let report = bring_up(&runtime, &plan, &options(), sink, watch::channel(0).1).await;
    assert_eq!((report.exit_code, report.steps.len()), (exit::PASSED, 0));
    assert!(report.timings.ready_ms.is_some());
    assert!(runtime.net().detached());
}

/// One line per event, without what differs from run to run.
fn line(kind: &RunEventKind) -> Option<String> {
    use RunEventKind as Kind;
    Some(match kind {
        Kind::RunStarted {
            topology,
            nodes,
            steps,
            ..
        } => {
            format!("run started: {topology}, {nodes} nodes, {steps} steps")
        }
        Kind::PhaseStarted { name, total } => format!("phase {name} started: {total}"),
        Kind::PhaseAdvanced { name, item } => format!("phase {name}: {item}"),
        Kind::PhaseWaiting { name, status } => format!("phase {name} waits: {status}"),
        Kind::NodesStarted { .. } => "nodes started".to_owned(),
        Kind::Ready { .. } => "ready".to_owned(),
        Kind::StepStarted { index, text } => format!("step {index} started: {text}"),
        Kind::StepWaiting { index, status } => format!("step {index} waits: {status}"),
        Kind::StepFinished(step) => {
            format!(
                "step {} finished: {:?}: {}",
                step.index, step.status, step.message
            )
        }
        Kind::FaultChanged {
            id,
            in_force,
            evidence,
        } => {
            format!(
                "fault {id} in force: {in_force}, problems: {}",
                evidence["problems"]
            )
        }
        Kind::Node { .. } => return None,
        Kind::Warned { message } => format!("warned: {message}"),
        Kind::TornDown(teardown) => format!("torn down: {} removed", teardown.removed),
        Kind::RunFinished(report) => {
            format!(
                "run finished: {:?}, exit {}",
                report.verdict, report.exit_code
            )
        }
    })
}

#[tokio::test(start_paused = true)]
async fn the_events_of_a_whole_run() {
    let steps = [
        cut("cut", &["a", "b"], &["c", "d"]),
        mine("a", 1),
        sleep(2000),
        heal("cut"),
        converged(within(5000), None),
        height(99, within(1000)),
        mine("b", 1),
    ];
    let outcome = run(&runtime(), &steps).await;
    let lines: Vec<String> = outcome
        .events
        .iter()
        .filter_map(|event| line(&event.kind))
        .collect();
    insta::assert_snapshot!(lines.join("\n"));
}
