//! What only processes in namespaces have: supervisors and their guards.

use std::path::Path;

use netsplit_runtime::{
    NetEvent, Ownership, RunId,
    journal::{self, FILE_NAME},
    owner::{Life, Owner},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::json;

use crate::bench::{Bench, Kind, event, name, removed, run_id, start, teardown};

/// A run's guard and supervisor, as its journal tells.
fn keepers(bench: &Bench, run: &RunId) -> [Owner; 2] {
    let story = journal::read(&bench.directory(run).join(FILE_NAME)).unwrap();
    story.unwrap().keepers.try_into().unwrap()
}

fn signal(process: &Owner, signal: Signal) {
    assert_eq!(process.life(), Life::Alive);
    kill(Pid::from_raw(process.pid.cast_signed()), signal).unwrap();
}

pub(crate) async fn side_by_side(bench: Bench) {
    let runs = [run_id("left"), run_id("right")];
    let [left, right] = runs.each_ref().map(|run| {
        let nodes = if run.0.contains("left") {
            ["l", "l2"]
        } else {
            ["r", "r2"]
        };
        let bench = &bench;
        async move { bench.launch(run, &nodes, Ownership::Owned).await }
    });
    let (left, right) = tokio::join!(left, right);
    assert_eq!(
        left.info().addresses[&name("l")],
        right.info().addresses[&name("r")]
    );
    for (testnet, node) in [(&left, "l"), (&right, "r")] {
        for _ in 0..2 {
            event(&**testnet, start).await;
        }
        let answer = testnet.rpc(&name(node), "anything", json!([])).await;
        assert_eq!(answer, Ok(json!(node)));
    }
    assert_eq!(teardown(left).await, removed(3));
    let answer = right.rpc(&name("r"), "anything", json!([])).await;
    assert_eq!(answer, Ok(json!("r")));
    assert_eq!(teardown(right).await, removed(3));
}

pub(crate) async fn far_down(bench: Bench) {
    let deep = bench.home().join("d".repeat(120)).join("e".repeat(120));
    let bench = Bench::at(Kind::Namespaces, &deep).await;
    let run = run_id("deep");
    let test = live_deep(&bench, &run);
    bench.removing(&[&run], test).await;
}

async fn live_deep(bench: &Bench, run: &RunId) {
    let testnet = bench.launch(run, &["a"], Ownership::Detachable).await;
    testnet.detach().await.unwrap();
    let testnet = bench.runtime.attach(run).await.unwrap();
    event(&*testnet, start).await;
    assert_eq!(bench.remove(run).await, removed(2));
    bench.gone(run).await;
}

pub(crate) async fn killed(bench: Bench) {
    let run = run_id("lost");
    let testnet = bench.launch(&run, &["a", "b"], Ownership::Owned).await;
    event(&*testnet, start).await;
    let [guard, supervisor] = keepers(&bench, &run);
    signal(&supervisor, Signal::SIGKILL);
    let lost = |event| matches!(event, NetEvent::AgentLost { .. }).then_some(());
    event(&*testnet, lost).await;
    // The guard removes what the kernel does not.
    drop(testnet);
    bench.gone(&run).await;
    assert_eq!(guard.life(), Life::Dead);
}

pub(crate) async fn hung(bench: Bench) {
    let run = run_id("hung");
    let test = live_hung(&bench, &run);
    bench.removing(&[&run], test).await;
}

async fn live_hung(bench: &Bench, run: &RunId) {
    let testnet = bench.launch(run, &["a"], Ownership::Detachable).await;
    testnet.detach().await.unwrap();
    let [guard, supervisor] = keepers(bench, run);
    signal(&supervisor, Signal::SIGSTOP);
    // It may only be slow: nobody removes it unasked.
    assert_eq!(bench.runtime.gc().await.unwrap(), []);
    assert_eq!(bench.find(run).await.unwrap().state, "detached");
    assert_eq!(bench.remove(run).await, removed(2));
    assert_eq!((guard.life(), supervisor.life()), (Life::Dead, Life::Dead));
    bench.gone(run).await;
}

pub(crate) async fn collected(bench: Bench) {
    let runs = [run_id("dead"), run_id("alive")];
    let test = live_collected(&bench, &runs);
    bench.removing(&runs.each_ref(), test).await;
}

async fn live_collected(bench: &Bench, [dead, alive]: &[RunId; 2]) {
    for run in [dead, alive] {
        let testnet = bench.launch(run, &["a", "b"], Ownership::Detachable).await;
        testnet.detach().await.unwrap();
    }
    let [guard, supervisor] = keepers(bench, dead);
    for process in [&guard, &supervisor] {
        signal(process, Signal::SIGKILL);
    }
    while supervisor.life() == Life::Alive {
        tokio::task::yield_now().await;
    }
    let nodes = |run: &RunId| bench.directory(run).join("nodes");
    assert!(nodes(dead).join("a/data").exists());
    let found = bench.find(dead).await.unwrap();
    assert_eq!((found.state.as_str(), found.nodes), ("dead", 2));
    let collected = bench.runtime.gc().await.unwrap();
    assert_eq!(collected, [(dead.clone(), removed(2))]);
    assert!(kept(&bench.directory(dead)), "its journal is for people");
    bench.gone(dead).await;
    assert_eq!(bench.find(alive).await.unwrap().state, "detached");
    assert_eq!(bench.remove(alive).await, removed(3));
    bench.gone(alive).await;
}

fn kept(directory: &Path) -> bool {
    directory.join(FILE_NAME).exists()
}
