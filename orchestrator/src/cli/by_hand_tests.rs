//! Commands on a testnet that is a fake.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::{ffi::OsString, time::Duration};

use clap::{FromArgMatches as _, error::ErrorKind as Refusal};
use netsplit_api::{
    event::Event,
    rpc::{RpcError, code},
};
use netsplit_plan::plan::NodeVerb;
use netsplit_runtime::{CallError, NetEvent, Runtime as _, Testnet, fake::FakeRuntime};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};

use super::*;
use crate::{
    run::{
        bring_up,
        tests::{name, options, plan, runtime},
    },
    ui::Captured,
};

/// What a command came to.
struct Done {
    code: u8,
    captured: Captured,
}

impl Done {
    fn out(&self) -> String {
        self.captured.out()
    }
}

async fn up() -> FakeRuntime {
    let runtime = runtime();
    let (sink, _listener) = mpsc::unbounded_channel();
    let interrupts = watch::channel(0).1;
    let report = bring_up(&runtime, &plan(&[]), &options(), sink, interrupts).await;
    assert_eq!(report.exit_code, exit::PASSED, "{:?}", report.error);
    runtime
}

async fn testnet(runtime: &FakeRuntime) -> Box<dyn Testnet> {
    runtime.attach(&options().run).await.unwrap()
}

fn parse(words: &[&str]) -> Result<Cli, clap::Error> {
    let words = std::iter::once("netsplit").chain(words.iter().copied());
    let matches = definition().try_get_matches_from(words.map(OsString::from))?;
    Cli::from_arg_matches(&matches)
}

/// Types a command about the fake testnet.
async fn typed(runtime: &FakeRuntime, words: &[&str]) -> Done {
    let cli = parse(words).unwrap();
    let (ui, captured) = Ui::captured(false);
    let context = Context {
        options: cli.options,
        ui,
    };
    let testnet = testnet(runtime).await;
    let result = match cli.command {
        Command::Rpc(args) => rpc::call(&*testnet, args, &context).await,
        Command::Send(args) => send::pay(testnet, &args, &context).await,
        Command::Events(args) => events::print(&*testnet, &args, &context)
            .await
            .map(|()| exit::PASSED),
        other => panic!("{other:?}"),
    };
    let code = result.unwrap_or_else(|error| {
        context.ui.error(&error);
        error.kind().exit_code()
    });
    Done { code, captured }
}

fn refuse(runtime: &FakeRuntime, method: &'static str, error: RpcError) {
    runtime.net().on_rpc(move |_, _, asked, _| {
        (asked == method).then(|| Err(CallError::Node(error.clone())))
    });
}

#[tokio::test(start_paused = true)]
async fn a_node_that_cannot_answer_is_told_at_once_with_its_state() {
    let runtime = up().await;
    let connected = testnet(&runtime).await;
    connected.node(&name("b"), NodeVerb::Kill).await.unwrap();
    connected.node(&name("c"), NodeVerb::Pause).await.unwrap();
    for (words, said) in [
        (&["rpc", "b", "getblockcount"][..], "`b` has exited"),
        (&["rpc", "c", "getblockcount"], "`c` is paused"),
        (&["rpc", "late", "getblockcount"], "`late` has not joined"),
        (&["send", "b", "bcrt1qx", "1"], "`b` has exited"),
        (&["send", "b", "d", "1"], "`b` has exited"),
        (&["send", "d", "c", "1"], "`c` is paused"),
    ] {
        let before = runtime.net().now();
        let done = typed(&runtime, words).await;
        assert_eq!(done.code, exit::INFRASTRUCTURE, "{words:?}");
        let err = done.captured.err();
        assert!(err.contains(said) && err.contains("hint:"), "{err}");
        assert_eq!(runtime.net().now() - before, Duration::ZERO, "{words:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_by_a_node_is_1_whatever_the_command_and_called_an_error_once() {
    let runtime = up().await;
    let error = RpcError::new(code::WALLET_ERROR, "Error: no coins");
    refuse(&runtime, "sendtoaddress", error);
    for words in [
        &["rpc", "a", "sendtoaddress"][..],
        &["send", "a", "bcrt1qx", "1"],
        &["send", "a", "d", "1"],
    ] {
        let done = typed(&runtime, words).await;
        assert_eq!(done.code, exit::FAILED, "{words:?}");
        let err = done.captured.err();
        assert_eq!(err.matches("error:").count(), 1, "{err}");
        assert!(!err.contains("Error:") && err.contains("no coins"), "{err}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_does_not_answer_is_3() {
    let runtime = up().await;
    runtime.net().on_rpc(|_, node, method, _| {
        let reason = "no route to host".to_owned();
        let node = node.clone();
        (method == "getblockcount").then_some(Err(CallError::Unreachable { node, reason }))
    });
    let done = typed(&runtime, &["rpc", "a", "getblockcount"]).await;
    assert_eq!(done.code, exit::INFRASTRUCTURE);
}

#[tokio::test(start_paused = true)]
async fn results_of_rpc_are_printed_as_bitcoin_cli_prints_them() {
    let runtime = up().await;
    runtime.net().on_rpc(|_, _, method, _| match method {
        "help" => Some(Ok(json!("== Blockchain ==\ngetblockcount\n"))),
        "uptime" => Some(Ok(json!(7))),
        "ping" => Some(Ok(Value::Null)),
        _ => None,
    });
    for (words, printed) in [
        (
            &["rpc", "a", "help"][..],
            "== Blockchain ==\ngetblockcount\n",
        ),
        (&["rpc", "a", "uptime"], "7\n"),
        (&["rpc", "a", "ping"], ""),
        (&["rpc", "a", "ping", "--format", "json"], "null\n"),
        (
            &["rpc", "a", "help", "--format", "json"],
            "\"== Blockchain ==\\ngetblockcount\\n\"\n",
        ),
    ] {
        assert_eq!(typed(&runtime, words).await.out(), printed, "{words:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn amounts_are_written_as_in_topologies() {
    let runtime = up().await;
    for (amount, coins) in [
        ("0.5", 0.5),
        ("0.5BTC", 0.5),
        ("0.5 BTC", 0.5),
        ("50000sat", 0.0005),
        ("50000 sat", 0.0005),
    ] {
        for to in ["bcrt1qx", "d"] {
            let done = typed(&runtime, &["send", "a", to, amount]).await;
            assert_eq!(done.code, exit::PASSED, "{}", done.captured.err());
            assert_eq!(done.out(), "cafe\n");
            let calls = runtime.net().calls();
            let asked = calls.iter().rev().find_map(|call| match call {
                netsplit_runtime::fake::Call::Rpc { method, params, .. } => {
                    (method == "sendtoaddress").then(|| params[1].clone())
                }
                _ => None,
            });
            assert_eq!(asked, Some(json!(coins)), "{amount} to {to}");
        }
    }
    for wrong in ["0", "5 EUR", "-1", "x"] {
        let refused = parse(&["send", "a", "d", "--", wrong]).unwrap_err();
        assert_eq!(refused.kind(), Refusal::ValueValidation, "{wrong}");
    }
}

fn lost(count: u64) -> Event {
    Event::EventsLost { count }
}

#[tokio::test(start_paused = true)]
async fn past_events_are_sorted_by_time_over_all_nodes() {
    let runtime = up().await;
    let at = |node: &str, seq, time_ns| NetEvent::Node {
        node: name(node),
        incarnation: 1,
        record: netsplit_api::event::EventRecord {
            seq,
            time_ns,
            event: lost(seq),
        },
    };
    // The nodes' streams come one after the other.
    for event in [
        at("b", 100, 10),
        at("b", 101, 30),
        at("c", 100, 20),
        at("c", 101, 40),
    ] {
        runtime.net().event_after(Duration::ZERO, event);
    }
    let done = typed(&runtime, &["events", "--format", "json"]).await;
    assert_eq!(done.code, exit::PASSED);
    let times: Vec<u64> = done
        .out()
        .lines()
        .map(|line| {
            serde_json::from_str::<Value>(line).unwrap()["time_ns"]
                .as_u64()
                .unwrap()
        })
        .collect();
    assert_eq!(times, [10, 20, 30, 40]);
}

#[tokio::test(start_paused = true)]
async fn events_are_chosen_by_node_group_and_role() {
    let runtime = up().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    for (words, expected) in [
        (&["events", "b"][..], &["b"][..]),
        (&["events", "role:miner"], &["a"]),
        (&["events", "role:wallet", "b"], &["a", "b", "d"]),
        (&["events", "group"], &["a", "b", "c", "d"]),
        (&["events"], &["a", "b", "c", "d"]),
    ] {
        for node in ["a", "b", "c", "d"] {
            runtime.net().emit(&name(node), lost(1));
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        let words = [words, &["--format", "json"]].concat();
        let done = typed(&runtime, &words).await;
        let told: std::collections::BTreeSet<String> = done
            .out()
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap()["node"].to_string())
            .collect();
        let told: Vec<&str> = told.iter().map(|node| node.trim_matches('"')).collect();
        assert_eq!(told, expected, "{words:?}");
    }
    let done = typed(&runtime, &["events", "role:minor"]).await;
    assert_eq!(done.code, exit::USAGE);
    assert!(done.captured.err().contains("role:miner"));
}

#[tokio::test(start_paused = true)]
async fn events_that_are_kept_no_longer_are_told_by_number() {
    let runtime = up().await;
    let connected = testnet(&runtime).await;
    while let Ok(Some(_)) =
        tokio::time::timeout(Duration::from_millis(1), connected.next_event()).await
    {}
    for (incarnation, seq) in [(1, 5), (1, 6), (1, 9), (2, 1), (2, 2)] {
        let event = NetEvent::Node {
            node: name("b"),
            incarnation,
            record: netsplit_api::event::EventRecord {
                seq,
                time_ns: seq,
                event: lost(seq),
            },
        };
        runtime.net().event_after(Duration::ZERO, event);
    }
    let done = typed(&runtime, &["events"]).await;
    let err = done.captured.err();
    let warnings: Vec<&str> = err
        .lines()
        .filter(|line| line.starts_with("warning"))
        .collect();
    assert_eq!(
        warnings,
        [
            "warning: `b` no longer keeps 4 events after number 0",
            "warning: `b` no longer keeps 2 events after number 6"
        ]
    );
}
