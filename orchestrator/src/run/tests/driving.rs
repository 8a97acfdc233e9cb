//! Commands on a testnet that runs: each reads what the ones before left with the agent.

use netsplit_plan::assertion::Assertion;
use netsplit_runtime::{NetEvent, Runtime};

use super::*;
use crate::{
    exit,
    run::{bring_up, drive, state::RunnerState},
};

async fn up(runtime: &FakeRuntime) -> Vec<RunEvent> {
    let (sink, mut received) = mpsc::unbounded_channel();
    let report = bring_up(runtime, &plan(&[]), &options(), sink, watch::channel(0).1).await;
    assert_eq!(report.exit_code, exit::PASSED, "{:?}", report.error);
    std::iter::from_fn(|| received.try_recv().ok()).collect()
}

/// Lets the nodes, all in their first life, tell again what they told before, as the agent does to whoever begins to
/// follow; what nobody has listened to yet comes after it.
async fn tell_again(runtime: &FakeRuntime, events: &[RunEvent]) {
    let testnet = runtime.attach(&options().run).await.unwrap();
    let mut unheard = Vec::new();
    while let Ok(Some(event)) =
        tokio::time::timeout(Duration::from_millis(1), testnet.next_event()).await
    {
        unheard.push(event);
    }
    let heard = events.iter().filter_map(|event| match &event.kind {
        RunEventKind::Node { node, record } => {
            let (node, record) = (name(node), record.clone());
            Some(NetEvent::Node {
                node,
                incarnation: 1,
                record,
            })
        }
        _ => None,
    });
    for event in heard.chain(unheard) {
        runtime.net().event_after(Duration::ZERO, event);
    }
}

async fn command(runtime: &FakeRuntime, steps: &[Action]) -> RunReport {
    command_telling(runtime, steps).await.0
}

async fn command_telling(runtime: &FakeRuntime, steps: &[Action]) -> (RunReport, Vec<RunEvent>) {
    let testnet = runtime.attach(&options().run).await.unwrap();
    let (sink, mut received) = mpsc::unbounded_channel();
    let steps = plan(steps).steps;
    let report = drive(
        testnet,
        steps,
        None,
        "netsplit run",
        sink,
        watch::channel(0).1,
    )
    .await;
    (
        report,
        std::iter::from_fn(|| received.try_recv().ok()).collect(),
    )
}

fn document(runtime: &FakeRuntime) -> RunnerState {
    let kept = runtime
        .net()
        .calls()
        .into_iter()
        .rev()
        .find_map(|call| match call {
            Call::PutState { state } => Some(state),
            _ => None,
        });
    RunnerState::from_value(kept.unwrap()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_cut_made_by_one_command_is_healed_by_another() {
    let runtime = runtime();
    let told = up(&runtime).await;
    tell_again(&runtime, &told).await;
    let (report, more) = command_telling(&runtime, &[cut("cut", &["a", "b"], &["c", "d"])]).await;
    assert_eq!(report.exit_code, exit::PASSED, "{:?}", report.error);
    assert_eq!(document(&runtime).fault("cut").unwrap().pairs, 8);
    assert!(document(&runtime).fault("cut").unwrap().verified);
    assert_eq!(table(runtime.net()).cuts.len(), 1, "it stays in force");

    tokio::time::sleep(secs(2)).await;
    let diverged = Action::Assert(Check {
        assertion: Assertion::Diverged {
            between: "cut".to_owned(),
            nodes: None,
            min_blocks: 1,
        },
        hold: within(1000),
    });
    tell_again(&runtime, &[told, more].concat()).await;
    let report = command(&runtime, &[mine("a", 1), mine("c", 1), diverged]).await;
    assert_eq!(report.exit_code, exit::PASSED, "{:?}", report.error);

    let report = command(&runtime, &[heal("cut")]).await;
    assert_eq!(report.exit_code, exit::PASSED, "{:?}", report.error);
    assert!(document(&runtime).faults.is_empty());
    assert!(document(&runtime).last_heal.is_some());
    assert!(table(runtime.net()).cuts.is_empty());
    assert_eq!(removals(&runtime), 0);
}

#[tokio::test(start_paused = true)]
async fn a_timed_cut_by_hand_is_waited_for() {
    let runtime = runtime();
    up(&runtime).await;
    let Action::Partition(partition) = cut("cut", &["a"], &["b", "c", "d"]) else {
        panic!()
    };
    let timed = Action::Partition(Partition {
        for_ms: Some(3000),
        ..partition
    });
    let report = command(&runtime, &[timed]).await;
    assert_eq!(report.exit_code, exit::PASSED, "{:?}", report.error);
    assert!(document(&runtime).faults.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_interrupted_timed_cut_is_healed_before_the_command_ends() {
    let runtime = runtime();
    up(&runtime).await;
    let (interrupt, interrupts) = watch::channel(0);
    tokio::spawn(async move {
        tokio::time::sleep(secs(5)).await;
        let _ = interrupt.send(1);
    });
    let Action::Partition(partition) = cut("cut", &["a"], &["b", "c", "d"]) else {
        panic!()
    };
    let timed = Action::Partition(Partition {
        for_ms: Some(3_600_000),
        ..partition
    });
    let testnet = runtime.attach(&options().run).await.unwrap();
    let (sink, _) = mpsc::unbounded_channel();
    let steps = plan(&[timed, sleep(60_000)]).steps;
    let report = drive(testnet, steps, None, "netsplit run", sink, interrupts).await;
    assert_eq!(report.exit_code, exit::INTERRUPTED);
    assert!(document(&runtime).faults.is_empty());
    assert!(table(runtime.net()).cuts.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_node_killed_by_one_command_is_started_by_another() {
    let runtime = runtime();
    up(&runtime).await;
    let report = command(&runtime, &[nodes(NodeVerb::Kill, &["d"])]).await;
    assert_eq!(report.exit_code, exit::PASSED, "{:?}", report.error);
    assert!(document(&runtime).down.contains_key(&name("d")));
    let report = command(&runtime, &[converged(Hold::Now, None)]).await;
    assert_eq!(
        report.exit_code,
        exit::PASSED,
        "it does not count any more: {:?}",
        report.error
    );
    let report = command(&runtime, &[nodes(NodeVerb::Start, &["d"])]).await;
    assert_eq!(report.exit_code, exit::PASSED, "{:?}", report.error);
    assert!(document(&runtime).down.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_failed_assertion_by_hand_is_1() {
    let runtime = runtime();
    up(&runtime).await;
    let report = command(&runtime, &[height(99, within(1000))]).await;
    assert_eq!(report.exit_code, exit::FAILED);
}

#[tokio::test(start_paused = true)]
async fn blocks_mined_by_hand_are_named() {
    let runtime = runtime();
    up(&runtime).await;
    let report = command(&runtime, &[mine("a", 2)]).await;
    assert_eq!(report.exit_code, exit::PASSED, "{:?}", report.error);
    let evidence = &report.steps[0].evidence;
    let hashes = evidence["hashes"].as_array().unwrap();
    assert_eq!(hashes.len(), 2);
    assert_eq!(hashes.last(), Some(&evidence["tip"]));
    assert!(report.teardown.kept);
}

#[tokio::test(start_paused = true)]
async fn a_heal_of_everything_when_nothing_is_in_force_says_so() {
    let runtime = runtime();
    up(&runtime).await;
    let report = command(&runtime, &[Action::Heal { id: None }]).await;
    assert_eq!(report.steps[0].status, StepStatus::Passed);
    assert_eq!(report.steps[0].message, "no fault was in force");
}
