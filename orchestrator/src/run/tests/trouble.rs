//! Runs in which something goes wrong: interruptions, failures at every call, time-outs, dead nodes, leftovers.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use super::*;
use crate::{event::Verdict, exit};

fn scenario() -> Vec<Action> {
    vec![
        mine("a", 1),
        cut("cut", &["a", "b"], &["c", "d"]),
        mine("a", 1),
        nodes(NodeVerb::Restart, &["c"]),
        sleep(2000),
        heal("cut"),
        converged(within(2000), None),
        Action::Join {
            nodes: names(&["late"]),
        },
    ]
}

#[tokio::test(start_paused = true)]
async fn a_heal_left_out_fails_the_assertion_and_not_the_machine() {
    let runtime = runtime();
    let steps = [
        cut("cut", &["a", "b"], &["c", "d"]),
        mine("a", 1),
        mine("c", 2),
        converged(within(3000), None),
        sleep(1),
    ];
    let outcome = run(&runtime, &steps).await;
    let report = &outcome.report;
    assert_eq!(
        (report.verdict, report.exit_code),
        (Verdict::Failed, exit::FAILED)
    );
    let status = report.steps[3].evidence["status"].as_str().unwrap();
    assert!(status.contains("2 tips"), "{status}");
    assert!(
        report
            .error
            .as_deref()
            .unwrap()
            .starts_with("step 4 `assert`: ")
    );
    assert_eq!(report.steps[4].status, StepStatus::Skipped);
    assert_eq!(
        outcome.warnings(),
        ["`cut` was still on at the end and is healed"]
    );
    assert_eq!(removals(&runtime), 1);
}

#[tokio::test(start_paused = true)]
async fn an_interruption_at_any_call_ends_in_order_with_130() {
    let calls = {
        let undisturbed = runtime();
        assert_eq!(
            run(&undisturbed, &scenario()).await.report.exit_code,
            exit::PASSED
        );
        undisturbed.net().calls().len()
    };
    for at in 1..calls {
        let runtime = runtime();
        let (interrupt, interrupts) = watch::channel(0);
        let seen = Arc::new(AtomicUsize::new(0));
        runtime.net().on_call(move |_, _| {
            if seen.fetch_add(1, Ordering::Relaxed) == at {
                let _ = interrupt.send(1);
            }
        });
        let outcome = run_with(&runtime, plan(&scenario()), options(), interrupts).await;
        let report = &outcome.report;
        assert_eq!(
            (report.verdict, report.exit_code),
            (Verdict::Interrupted, exit::INTERRUPTED),
            "at call {at}"
        );
        assert_eq!(removals(&runtime), 1, "at call {at}");
        assert_eq!(
            report.steps.len(),
            if report.timings.up_ms.is_some() { 8 } else { 0 }
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_at_any_call_never_passes_unseen_and_is_always_cleaned_up() {
    let undisturbed = runtime();
    run(&undisturbed, &scenario()).await;
    for (at, call) in undisturbed.net().calls().into_iter().enumerate() {
        let runtime = runtime();
        runtime.net().fail_at(at);
        let outcome = run(&runtime, &scenario()).await;
        let report = &outcome.report;
        // A document or log that could not be kept is only missed later, and probes are tried again.
        let only_missed = matches!(
            call,
            Call::PutState { .. } | Call::States | Call::Logs { .. }
        );
        let calls = runtime.net().calls();
        let retried = matches!(&calls[at], Call::Rpc { method, .. } if method.starts_with("x_"));
        if only_missed {
            assert_eq!(outcome.warnings().len(), 1, "at call {at}: {:?}", calls[at]);
        } else if !retried {
            assert_ne!(
                report.exit_code,
                exit::PASSED,
                "at call {at}: {:?}",
                calls[at]
            );
            assert!(report.error.is_some() || !report.teardown.ok);
        }
        let launched = at > 1;
        assert_eq!(removals(&runtime), usize::from(launched), "at call {at}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_launch_that_fails_is_infrastructure() {
    let runtime = runtime();
    runtime.net().fail_at(1);
    let outcome = run(&runtime, &scenario()).await;
    assert_eq!(outcome.report.exit_code, exit::INFRASTRUCTURE);
    assert!(
        outcome
            .report
            .error
            .unwrap()
            .contains("told to fail at call 1")
    );
}

#[tokio::test(start_paused = true)]
async fn a_node_that_dies_at_start_is_told_with_its_last_words() {
    let runtime = runtime();
    runtime.net().be_quiet();
    let net = runtime.net().clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(5)).await;
        net.log(&name("b"), "no space left on device");
        net.crash(&name("b"), 101);
    });
    let outcome = run(&runtime, &scenario()).await;
    assert_eq!(outcome.report.exit_code, exit::INFRASTRUCTURE);
    assert_eq!(
        outcome.report.error.as_deref(),
        Some("`b` ended by itself with exit code 101")
    );
    assert_eq!(outcome.report.hints, ["b: no space left on device"]);
    assert_eq!(outcome.report.timings.ready_ms, None);
    assert_eq!(removals(&runtime), 1);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_dies_later_ends_the_run() {
    let runtime = runtime();
    let net = runtime.net().clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(1)).await;
        net.crash(&name("b"), 134);
    });
    let outcome = run(&runtime, &[sleep(10_000), mine("a", 1)]).await;
    assert_eq!(outcome.report.exit_code, exit::INFRASTRUCTURE);
    assert_eq!(outcome.statuses(), [StepStatus::Error, StepStatus::Skipped]);
}

#[tokio::test(start_paused = true)]
async fn a_testnet_that_never_gets_ready_says_what_it_lacks() {
    let runtime = runtime();
    runtime.net().be_quiet();
    let outcome = run(&runtime, &scenario()).await;
    assert_eq!(outcome.report.exit_code, exit::INFRASTRUCTURE);
    assert_eq!(
        outcome.report.error.as_deref(),
        Some("not ready after 120 s: a has not started, and 3 more nodes")
    );
}

#[tokio::test(start_paused = true)]
async fn the_timeout_of_the_whole_run_is_124() {
    let runtime = runtime();
    let mut plan = plan(&[
        cut("cut", &["a"], &["b"]),
        height(99, within(3_600_000)),
        sleep(1),
    ]);
    plan.timeout_ms = Some(20_000);
    let outcome = run_with(&runtime, plan, options(), watch::channel(0).1).await;
    let report = &outcome.report;
    assert_eq!(
        (report.verdict, report.exit_code),
        (Verdict::TimedOut, exit::TIMED_OUT)
    );
    assert!(
        report.steps[1]
            .message
            .contains("longer than its timeout: "),
        "{report:?}"
    );
    assert_eq!(removals(&runtime), 1);
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_removed_turns_0_into_5_and_nothing_else() {
    let runtime = runtime();
    runtime.net().leave_behind(vec!["network `x`".to_owned()]);
    let outcome = run(&runtime, &[sleep(1)]).await;
    assert_eq!(
        (outcome.report.verdict, outcome.report.exit_code),
        (Verdict::Passed, 5)
    );
    assert_eq!(outcome.report.teardown.left, ["network `x`"]);

    let runtime = super::runtime();
    runtime.net().leave_behind(vec!["network `x`".to_owned()]);
    let outcome = run(&runtime, &[height(99, Hold::Now)]).await;
    assert_eq!(outcome.report.exit_code, exit::FAILED);
    assert!(
        outcome
            .report
            .hints
            .contains(&"could not be removed: network `x`".to_owned())
    );
}

#[tokio::test(start_paused = true)]
async fn asking_twice_removes_by_force() {
    let runtime = runtime();
    let (interrupt, interrupts) = watch::channel(0);
    runtime.net().on_call(move |_, call| {
        if matches!(call, Call::Rpc { method, .. } if method == "generatetoaddress") {
            let _ = interrupt.send(2);
        }
    });
    let outcome = run_with(&runtime, plan(&scenario()), options(), interrupts).await;
    assert_eq!(outcome.report.exit_code, exit::INTERRUPTED);
    assert!(
        runtime
            .net()
            .calls()
            .iter()
            .any(|call| matches!(call, Call::Remove { .. }))
    );
}

#[tokio::test(start_paused = true)]
async fn events_that_were_lost_make_what_needed_them_inconclusive() {
    let runtime = runtime();
    let net = runtime.net().clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(1)).await;
        net.emit(&name("b"), Event::EventsLost { count: 9 });
        tokio::time::sleep(secs(3)).await;
        for node in names(&["a", "b", "c", "d"]) {
            let (hash, previous) = ("b10c".to_owned(), format!("{:064x}", 3));
            let source = netsplit_api::event::BlockSource::Mined;
            let tip = Event::TipChanged {
                hash: hash.clone(),
                height: 4,
                previous: previous.clone(),
            };
            let (transactions, size) = (1, 200);
            let block = Event::BlockAccepted {
                hash,
                previous,
                height: 4,
                source,
                transactions,
                size,
            };
            net.emit(&node, block);
            net.emit(&node, tip);
        }
    });
    let steps = [sleep(2000), converged(within(5000), Some(1))];
    let outcome = run(&runtime, &steps).await;
    assert_eq!(
        outcome.report.exit_code,
        exit::INCONCLUSIVE,
        "{:?}",
        outcome.report.error
    );
}

#[tokio::test(start_paused = true)]
async fn a_verb_that_makes_no_sense_names_the_reason() {
    for (steps, text) in [
        (
            vec![nodes(NodeVerb::Start, &["a"])],
            "cannot start `a`: it runs",
        ),
        (
            vec![nodes(NodeVerb::Resume, &["a"])],
            "cannot resume `a`: it runs",
        ),
        (
            vec![nodes(NodeVerb::Kill, &["late"])],
            "cannot kill `late`: it has not joined yet",
        ),
    ] {
        let error = run(&runtime(), &steps).await.report.error.unwrap();
        assert!(error.ends_with(text), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_assertion_must_hold_throughout_when_it_says_so() {
    let runtime = runtime();
    let net = runtime.net().clone();
    tokio::spawn(async move {
        tokio::time::sleep(secs(2)).await;
        let tip = |hash: &str| Event::TipChanged {
            hash: hash.to_owned(),
            height: 4,
            previous: format!("{:064x}", 3),
        };
        net.emit(&name("b"), tip("fork"));
        net.emit_after(Duration::from_millis(10), &name("b"), tip("back"));
    });
    let outcome = run(&runtime, &[converged(Hold::For { ms: 5000 }, None)]).await;
    assert_eq!(outcome.report.exit_code, exit::FAILED, "a moment is enough");
    let outcome = run(
        &super::runtime(),
        &[converged(Hold::For { ms: 5000 }, None)],
    )
    .await;
    assert_eq!(outcome.report.exit_code, exit::PASSED);
    assert_eq!(outcome.report.steps[0].elapsed_ms, 5000);
}
