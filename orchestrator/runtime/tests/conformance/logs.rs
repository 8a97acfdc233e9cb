//! What nodes write.

use netsplit_plan::plan::NodeVerb;
use netsplit_runtime::{NodeState, Ownership};
use serde_json::json;
use tokio::{sync::mpsc, time::timeout};

use crate::bench::{Bench, PATIENCE, exited, name, removed, run_id, started, teardown};

pub(crate) async fn broken(bench: Bench) {
    let run = run_id("broken");
    let testnet = bench.launch(&run, &["a", "broken"], Ownership::Owned).await;
    let (code, lines) = exited(&*testnet, "broken").await;
    assert_eq!(
        (code, lines),
        (Some(3), vec!["broken cannot go on".to_owned()])
    );
    assert_eq!(
        testnet.states().await.unwrap()[&name("broken")],
        NodeState::Exited
    );
    assert_eq!(teardown(testnet).await, removed(2 + bench.kind.others()));
}

pub(crate) async fn followed(bench: Bench) {
    let run = run_id("followed");
    let testnet = bench.launch(&run, &["a"], Ownership::Owned).await;
    started(&*testnet, "a").await;
    let a = name("a");
    let (sender, mut lines) = mpsc::channel(10);
    let following = testnet.follow_logs(&a, sender);
    let asking = async {
        // Following begins some time after it was asked for; what is written before is not told.
        let first = loop {
            testnet.rpc(&a, "first", json!([])).await.unwrap();
            let patience = std::time::Duration::from_millis(500);
            if let Ok(line) = timeout(patience, lines.recv()).await {
                break line;
            }
        };
        assert_eq!(first.as_deref(), Some("asked first"));
        testnet.rpc(&a, "second", json!([])).await.unwrap();
        while lines.recv().await.expect("the log goes on") != "asked second" {}
        testnet.node(&a, NodeVerb::Kill).await.unwrap();
        while lines.recv().await.is_some() {}
    };
    let both = async { tokio::join!(following, asking) };
    let (ended, ()) = timeout(PATIENCE, both)
        .await
        .expect("it ends with the node");
    ended.unwrap();
    let log = testnet.logs(&a, 1).await.unwrap();
    assert_eq!(log, ["asked second"]);
    teardown(testnet).await;
}
