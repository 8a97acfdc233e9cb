//! Commands on a testnet that is a fake.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::{ffi::OsString, time::Duration};

use clap::FromArgMatches as _;
use netsplit_api::event::Event;
use netsplit_runtime::{NetEvent, Runtime as _, Testnet, fake::FakeRuntime};
use serde_json::Value;
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
