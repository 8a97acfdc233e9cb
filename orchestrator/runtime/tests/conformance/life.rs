//! The life of runs.

use std::collections::BTreeMap;

use netsplit_plan::plan::NodeVerb;
use netsplit_runtime::{NetEvent, NodeState, Ownership, RunId, Teardown, Testnet};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::bench::{Bench, event, exited, name, plan, removed, run_id, start, started, teardown};

pub(crate) async fn driven(bench: Bench) {
    let run = run_id("driven");
    let testnet = bench.launch(&run, &["a", "b", "c"], Ownership::Owned).await;
    assert_eq!(testnet.info().runtime, bench.kind.name());
    // In whatever order they come: a node answers once it has said that it started.
    let mut starts = BTreeMap::new();
    while starts.len() < 3 {
        let (node, incarnation) = event(&*testnet, start).await;
        starts.insert(node, incarnation);
    }
    let state = bench
        .find(&run)
        .await
        .map(|found| (found.state, found.nodes));
    assert_eq!(state, Some(("owned".into(), 3)));
    for node in ["a", "b", "c"] {
        let node = name(node);
        let answer = testnet.rpc(&node, "anything", json!([])).await;
        assert_eq!(answer, Ok(json!(node)));
        assert_eq!(testnet.states().await.unwrap()[&node], NodeState::Running);
    }
    let lines = testnet.logs(&name("a"), 5).await.unwrap();
    assert!(lines[0].starts_with("a listens at 10."), "{lines:?}");
    verbs(&*testnet, starts["b"]).await;
    assert_eq!(teardown(testnet).await, removed(3 + bench.kind.others()));
    bench.gone(&run).await;
}

async fn verbs(testnet: &dyn Testnet, first: u64) {
    let (b, c) = (name("b"), name("c"));
    testnet.node(&b, NodeVerb::Kill).await.unwrap();
    let (code, last_lines) = exited(testnet, "b").await;
    assert_eq!(code, Some(137));
    assert!(last_lines[0].starts_with("b listens"), "{last_lines:?}");
    testnet.node(&b, NodeVerb::Kill).await.unwrap();
    testnet.rpc(&b, "anything", json!([])).await.unwrap_err();
    testnet.node(&b, NodeVerb::Start).await.unwrap();
    let second = started(testnet, "b").await;
    assert_ne!(second, first);
    testnet.node(&b, NodeVerb::Restart).await.unwrap();
    assert_ne!(started(testnet, "b").await, second);

    testnet.node(&c, NodeVerb::Pause).await.unwrap();
    assert_eq!(testnet.states().await.unwrap()[&c], NodeState::Paused);
    testnet.node(&c, NodeVerb::Resume).await.unwrap();
    assert_eq!(testnet.states().await.unwrap()[&c], NodeState::Running);
    testnet.node(&c, NodeVerb::Stop).await.unwrap();
    assert_eq!(testnet.states().await.unwrap()[&c], NodeState::Exited);
    assert_eq!(exited(testnet, "c").await.0, Some(0));
    testnet
        .node(&name("nobody"), NodeVerb::Kill)
        .await
        .unwrap_err();
}

pub(crate) async fn detached(bench: Bench) {
    let run = run_id("detached");
    let test = live_detached(&bench, &run);
    bench.removing(&[&run], test).await;
}

async fn live_detached(bench: &Bench, run: &RunId) {
    let testnet = bench
        .launch(run, &["a", "late"], Ownership::Detachable)
        .await;
    let state = async || {
        bench
            .find(run)
            .await
            .map(|found| (found.state, found.nodes))
    };
    assert_eq!(state().await, Some(("starting".into(), 1)));
    testnet.put_state(json!({ "kept": true })).await.unwrap();
    let credentials = testnet.credentials();
    testnet.detach().await.unwrap();
    assert_eq!(state().await, Some(("detached".into(), 1)));
    bench.runtime.gc().await.unwrap();

    let testnet = bench.runtime.attach(run).await.unwrap();
    assert_eq!(testnet.info().run, *run);
    assert_eq!(testnet.credentials(), credentials);
    assert_eq!(testnet.get_state().await.unwrap(), json!({ "kept": true }));
    let late = name("late");
    assert_eq!(testnet.states().await.unwrap()[&late], NodeState::Planned);
    testnet.join(&late).await.unwrap();
    started(&*testnet, "late").await;
    let answer = testnet.rpc(&late, "anything", json!([])).await;
    assert_eq!(answer, Ok(json!("late")));
    assert_eq!(tunnelled(&*testnet).await, json!("a"));
    testnet.node(&late, NodeVerb::Kill).await.unwrap();
    assert_eq!(exited(&*testnet, "late").await.0, Some(137));

    assert_eq!(bench.remove(run).await, removed(2 + bench.kind.others()));
    let lost = |event| matches!(event, NetEvent::AgentLost { .. }).then_some(());
    event(&*testnet, lost).await;
    bench.gone(run).await;
    assert!(bench.runtime.attach(run).await.is_err());
}

/// What node `a` answers to a request through a tunnel.
async fn tunnelled(testnet: &dyn Testnet) -> serde_json::Value {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap());
    let (client, server) = tokio::join!(client, listener.accept());
    let (mut client, (server, _)) = (client.unwrap(), server.unwrap());
    let node = name("a");
    let asked = async move {
        let request = b"POST / HTTP/1.1\r\ncontent-length: 0\r\n\r\n";
        client.write_all(request).await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        serde_json::from_str::<serde_json::Value>(body).unwrap()["result"].clone()
    };
    let port = netsplit_api::config::RPC_PORT;
    let (carried, answer) = tokio::join!(testnet.tunnel(&node, port, server), asked);
    carried.unwrap();
    answer
}

pub(crate) async fn owned(bench: Bench) {
    let run = run_id("owned");
    let testnet = bench.launch(&run, &["a"], Ownership::Owned).await;
    let refused = testnet.detach().await.unwrap_err();
    assert!(refused.operation.contains("cannot be left alone"));
    bench.gone(&run).await;
}

pub(crate) async fn checked(bench: Bench) {
    bench.runtime.check(&plan(&["a", "b"])).await.unwrap();
    assert_eq!(bench.runtime.gc().await.unwrap(), []);
    assert_eq!(std::fs::read_dir(bench.home()).unwrap().count(), 0);
}

pub(crate) async fn examined(bench: Bench) {
    let found = bench.runtime.doctor().await;
    for what in ["start", "cut", "remove"] {
        let diagnosis = found.iter().find(|diagnosis| diagnosis.what == what);
        assert!(
            diagnosis.is_some_and(|diagnosis| diagnosis.ok),
            "{what}: {found:#?}"
        );
    }
    let bad: Vec<_> = found.iter().filter(|diagnosis| !diagnosis.ok).collect();
    assert!(bad.is_empty(), "{bad:#?}");
    assert_eq!(
        bench.remove(&RunId("doctor".into())).await,
        Teardown::default()
    );
}
