//! Cuts that are not what they should be, and cuts that are.

use netsplit_api::probe::SocketInfo;
use netsplit_runtime::NetEvent;

use super::*;
use crate::{event::Verdict, exit, report::evidence::line};

const SIDES: (&[&str], &[&str]) = (&["a", "b"], &["c", "d"]);

fn halves(id: &str) -> Action {
    cut(id, SIDES.0, SIDES.1)
}

fn scenario() -> Vec<Action> {
    vec![
        halves("cut"),
        sleep(2000),
        heal("cut"),
        converged(within(2000), None),
    ]
}

/// The run is inconclusive, and this is in its error.
fn assert_inconclusive(outcome: &Outcome, runtime: &FakeRuntime, text: &str) {
    let report = &outcome.report;
    assert_eq!(
        (report.verdict, report.exit_code),
        (Verdict::Inconclusive, exit::INCONCLUSIVE),
        "{:?}",
        report.error
    );
    let error = report.error.as_deref().unwrap();
    assert!(error.contains(text), "{error}");
    assert_eq!(removals(runtime), 1);
}

#[tokio::test(start_paused = true)]
async fn a_real_cut_is_shown_to_be_real() {
    let outcome = run(&runtime(), &scenario()).await;
    assert_eq!(
        outcome.report.exit_code,
        exit::PASSED,
        "{:?}",
        outcome.report.error
    );
    let evidence = &outcome.report.steps[0].evidence;
    assert_eq!(evidence["pairs_intended"], 8);
    assert_eq!(evidence["table"]["pairs_installed"], 8);
    assert_eq!(evidence["probes"]["cut_pairs"], 8);
    assert_eq!(evidence["probes"]["silent"], 8);
    assert_eq!(
        evidence["probes"]["reached"],
        evidence["probes"]["open_pairs"]
    );
    assert_eq!(evidence["established"]["across"], 8);
    assert_eq!(evidence["established"]["silent"], 8);
    assert_eq!(evidence["problems"], json!([]));
    let healed = &outcome.report.steps[2].evidence;
    assert_eq!(healed["table"]["pairs_installed"], 0);
    assert_eq!(healed["probes"]["reached"], 8);
    assert!(healed["dropped"][0]["protocol"].as_u64().unwrap() > 0);
}

#[tokio::test(start_paused = true)]
async fn what_arrives_over_a_cut_pair_is_proof_of_a_leak() {
    let runtime = runtime();
    runtime.net().on_call(|net, call| {
        if matches!(call, Call::Apply { .. }) {
            net.leak(&name("a"), &name("c"));
        }
    });
    let outcome = run(&runtime, &scenario()).await;
    assert_inconclusive(
        &outcome,
        &runtime,
        "probes arrived over a cut pair (1 in all): a -> c",
    );
    assert_eq!(outcome.statuses()[0], StepStatus::Inconclusive);
    assert_eq!(outcome.statuses()[3], StepStatus::Skipped);
    assert_eq!(
        outcome.report.steps[0].evidence["probes"]["leaks"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test(start_paused = true)]
async fn a_table_that_reads_back_differently_proves_nothing() {
    let runtime = runtime();
    runtime
        .net()
        .read_back_differs(vec!["set `cut` has no elements".to_owned()]);
    let outcome = run(&runtime, &scenario()).await;
    assert_inconclusive(
        &outcome,
        &runtime,
        "the table read back differs: set `cut` has no",
    );
}

#[tokio::test(start_paused = true)]
async fn a_cut_without_traffic_is_vacuous() {
    let runtime = runtime();
    runtime.net().protocol_drops_per_second(0);
    let outcome = run(&runtime, &scenario()).await;
    assert_inconclusive(&outcome, &runtime, "`cut` was vacuous");
    assert_eq!(
        outcome.statuses()[..3],
        [
            StepStatus::Passed,
            StepStatus::Passed,
            StepStatus::Inconclusive
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_vacuous_cut_that_nobody_healed_is_found_at_the_end() {
    let runtime = runtime();
    runtime.net().protocol_drops_per_second(0);
    let outcome = run(&runtime, &[halves("cut"), sleep(2000)]).await;
    assert_inconclusive(&outcome, &runtime, "`cut` was vacuous");
}

#[tokio::test(start_paused = true)]
async fn an_agent_lost_during_a_cut_makes_the_run_inconclusive() {
    let runtime = runtime();
    let lost = NetEvent::AgentLost {
        reason: "killed".to_owned(),
    };
    runtime.net().event_after(Duration::from_secs(1), lost);
    let outcome = run(&runtime, &scenario()).await;
    assert_inconclusive(
        &outcome,
        &runtime,
        "the agent was lost while links were cut: killed",
    );
}

#[tokio::test(start_paused = true)]
async fn an_enforcer_that_fails_because_its_agent_died_is_inconclusive_too() {
    let runtime = runtime();
    runtime.net().on_call(|net, call| {
        if matches!(call, Call::Counters) {
            let lost = NetEvent::AgentLost {
                reason: "killed".to_owned(),
            };
            net.event_after(Duration::from_millis(200), lost);
        }
    });
    let failing = first_call(|call| matches!(call, Call::Counters)).await;
    runtime.net().fail_at(failing);
    let outcome = run(&runtime, &scenario()).await;
    assert_inconclusive(
        &outcome,
        &runtime,
        "the agent was lost while links were cut",
    );
}

/// The number of the first call of a kind in an undisturbed run of the scenario.
async fn first_call(wanted: impl Fn(&Call) -> bool) -> usize {
    let undisturbed = runtime();
    run(&undisturbed, &scenario()).await;
    undisturbed.net().calls().iter().position(wanted).unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_agent_lost_before_any_cut_is_infrastructure() {
    let runtime = runtime();
    let lost = NetEvent::AgentLost {
        reason: "killed".to_owned(),
    };
    runtime.net().event_after(Duration::from_secs(1), lost);
    let outcome = run(&runtime, &[sleep(5000)]).await;
    assert_eq!(outcome.report.exit_code, exit::INFRASTRUCTURE);
}

#[tokio::test(start_paused = true)]
async fn controls_that_stay_silent_make_silence_worthless() {
    let runtime = runtime();
    runtime.net().on_call(|net, call| {
        if matches!(call, Call::Apply { .. }) {
            net.sever(&name("a"), &name("b"));
        }
    });
    let outcome = run(&runtime, &scenario()).await;
    assert_inconclusive(&outcome, &runtime, "probes of an open pair did not arrive");
}

#[tokio::test(start_paused = true)]
async fn a_heal_that_leaves_a_pair_cut_is_noticed() {
    let runtime = runtime();
    runtime.net().on_call(|net, call| {
        if matches!(call, Call::Apply { table } if table.cuts.is_empty()) {
            net.sever(&name("d"), &name("a"));
        }
    });
    let outcome = run(&runtime, &scenario()).await;
    assert_inconclusive(&outcome, &runtime, "probes of an open pair did not arrive");
    assert_eq!(outcome.statuses()[2], StepStatus::Inconclusive);
}

#[tokio::test(start_paused = true)]
async fn a_reset_connection_is_not_silence() {
    let runtime = runtime();
    runtime.net().on_rpc(|net, node, method, _| {
        let cut = !table(net).cuts.is_empty();
        (method == "x_sockets" && node.0 == "a").then(|| {
            Ok(json!({ "sockets": [SocketInfo {
                peer: 1,
                local: "10.99.0.2:18444".to_owned(),
                remote: "10.99.0.4:18444".to_owned(),
                state: if cut { "close" } else { "established" }.to_owned(),
                retransmits: 0,
                rto_us: 0,
                unacked: 0,
                bytes_received: 0,
                bytes_acked: 0,
                last_data_received_ms: 0,
                last_ack_received_ms: 0,
                error: cut.then(|| "connection reset by peer".to_owned()),
            }] }))
        })
    });
    let outcome = run(&runtime, &scenario()).await;
    assert_inconclusive(&outcome, &runtime, "an established connection was told");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_cannot_be_asked_leaves_its_pairs_unproven() {
    let runtime = runtime();
    runtime.net().on_rpc(|_, node, method, _| {
        let deaf = method == "x_probe_listen" && node.0 == "d";
        let error = netsplit_api::rpc::RpcError::new(-32603, "port in use");
        deaf.then_some(Err(netsplit_runtime::CallError::Node(error)))
    });
    let outcome = run(&runtime, &scenario()).await;
    assert_inconclusive(&outcome, &runtime, "a pair could not be probed");
}

#[tokio::test(start_paused = true)]
async fn nodes_that_do_not_run_are_left_out_and_named() {
    let runtime = runtime();
    let steps = [
        nodes(NodeVerb::Kill, &["d"]),
        nodes(NodeVerb::Pause, &["b"]),
        halves("cut"),
        sleep(2000),
        heal("cut"),
    ];
    let outcome = run(&runtime, &steps).await;
    assert_eq!(
        outcome.report.exit_code,
        exit::PASSED,
        "{:?}",
        outcome.report.error
    );
    let evidence = &outcome.report.steps[2].evidence;
    assert_eq!(evidence["excluded"], json!(["b", "d"]));
    assert_eq!(evidence["probes"]["cut_pairs"], 2);
}

#[tokio::test(start_paused = true)]
async fn healing_one_of_two_cuts_leaves_the_other_in_force() {
    let runtime = runtime();
    let steps = [
        halves("first"),
        cut("second", &["a"], &["b", "c", "d"]),
        sleep(2000),
        heal("first"),
        sleep(2000),
        heal("second"),
    ];
    let outcome = run(&runtime, &steps).await;
    assert_eq!(
        outcome.report.exit_code,
        exit::PASSED,
        "{:?}",
        outcome.report
    );
    let first = &outcome.report.steps[3].evidence;
    // Of eight pairs four are cut by the second as well: those must be silent still, the others open again.
    assert_eq!(
        (&first["probes"]["silent"], &first["probes"]["reached"]),
        (&json!(4), &json!(4))
    );
    assert_eq!(first["table"]["pairs_installed"], 6);
    assert_eq!(first["still_cut_by"], json!(["second"]));
    let told = line(first);
    assert!(
        told.starts_with("4 pairs no longer cut, 4 still cut by `second`, 4 of 4 probed and open"),
        "{told}"
    );
    let told = line(&outcome.report.steps[5].evidence);
    assert!(
        told.starts_with("6 pairs no longer cut, 6 of 6 probed"),
        "{told}"
    );
    let versions: Vec<u64> = runtime
        .net()
        .calls()
        .into_iter()
        .filter_map(|call| match call {
            Call::Apply { table } => Some(table.version),
            _ => None,
        })
        .collect();
    assert_eq!(versions, [1, 2, 3, 4]);
}

#[tokio::test(start_paused = true)]
async fn a_one_way_cut_leaves_the_way_back() {
    let runtime = runtime();
    let Action::Partition(partition) = halves("cut") else {
        panic!()
    };
    let steps = [
        Action::Partition(Partition {
            one_way: true,
            ..partition
        }),
        sleep(2000),
        heal("cut"),
    ];
    let outcome = run(&runtime, &steps).await;
    assert_eq!(
        outcome.report.exit_code,
        exit::PASSED,
        "{:?}",
        outcome.report.error
    );
    assert_eq!(outcome.report.steps[0].evidence["probes"]["silent"], 4);
}

#[tokio::test(start_paused = true)]
async fn a_cut_takes_well_under_half_a_second_of_its_own() {
    let outcome = run(&runtime(), &scenario()).await;
    let elapsed = outcome.report.steps[0].evidence["elapsed_ms"]
        .as_u64()
        .unwrap();
    assert!(elapsed <= 50, "waits of our own: {elapsed} ms");
}

#[tokio::test(start_paused = true)]
async fn a_heal_of_what_was_never_cut_is_an_error() {
    let outcome = run(&runtime(), &[heal("cut")]).await;
    assert_eq!(outcome.report.exit_code, exit::INFRASTRUCTURE);
    assert!(
        outcome
            .report
            .error
            .unwrap()
            .contains("there is no fault `cut`")
    );
}

#[tokio::test(start_paused = true)]
async fn a_reaper_lost_is_infrastructure_and_everything_is_removed() {
    let runtime = runtime();
    let lost = NetEvent::ReaperLost {
        reason: "killed".to_owned(),
    };
    runtime.net().event_after(Duration::from_secs(1), lost);
    let outcome = run(&runtime, &scenario()).await;
    assert_eq!(outcome.report.exit_code, exit::INFRASTRUCTURE);
    let error = outcome.report.error.unwrap();
    assert!(error.contains("the reaper was lost: killed"), "{error}");
    assert_eq!(outcome.report.hints.len(), 1);
    assert_eq!(removals(&runtime), 1);
}
