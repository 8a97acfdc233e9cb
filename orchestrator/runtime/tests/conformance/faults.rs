//! Cuts, as the nodes see them.

use netsplit_faults::link::{Cut, Drop, LinkTable};
use netsplit_plan::plan::NodeVerb;
use netsplit_runtime::{Ownership, Testnet};
use serde_json::json;

use crate::{
    bench::{Bench, event, name, removed, run_id, start, teardown},
    node::REACH,
};

/// What comes of `from` connecting to `to`.
async fn reach(testnet: &dyn Testnet, from: &str, to: &str) -> String {
    let address = testnet.info().addresses[&name(to)].to_string();
    let answer = testnet.rpc(&name(from), REACH, json!([address])).await;
    answer.unwrap().as_str().unwrap().to_owned()
}

/// Drops what the first of each pair sends to the second.
async fn drop_pairs(testnet: &dyn Testnet, version: u64, pairs: &[(&str, &str)]) {
    let address = |node: &str| vec![testnet.info().addresses[&name(node)]];
    let drops = pairs.iter().map(|(from, to)| Drop {
        from: address(from),
        to: address(to),
    });
    let cut = Cut {
        id: "c".into(),
        drops: drops.collect(),
    };
    let cuts = if pairs.is_empty() {
        Vec::new()
    } else {
        vec![cut]
    };
    let applied = testnet.apply(LinkTable { version, cuts }).await.unwrap();
    assert_eq!(applied.differences, [""; 0]);
    let count = u64::try_from(pairs.len()).unwrap();
    assert_eq!(
        (applied.pairs_installed, applied.pairs_intended),
        (count, count)
    );
}

async fn dropped(testnet: &dyn Testnet) -> u64 {
    let counters = testnet.counters().await.unwrap();
    let drops = counters.cuts.iter().flat_map(|cut| &cut.drops);
    drops.map(|drop| drop.protocol).sum()
}

pub(crate) async fn cut(bench: Bench) {
    let run = run_id("cut");
    let testnet = bench.launch(&run, &["a", "b", "c"], Ownership::Owned).await;
    for _ in 0..3 {
        event(&*testnet, start).await;
    }
    let all = [("a", "b"), ("b", "a"), ("a", "c"), ("c", "b")];
    for (from, to) in all {
        assert_eq!(reach(&*testnet, from, to).await, "reached", "{from} {to}");
    }
    // Replies are dropped too where one direction is.
    drop_pairs(&*testnet, 1, &[("a", "b")]).await;
    assert_eq!(dropped(&*testnet).await, 0);
    assert_eq!(reach(&*testnet, "a", "b").await, "silence");
    assert_eq!(reach(&*testnet, "b", "a").await, "silence");
    assert_eq!(reach(&*testnet, "a", "c").await, "reached");
    assert_eq!(reach(&*testnet, "c", "b").await, "reached");
    assert!(dropped(&*testnet).await > 0);
    // Whoever is cut off is still ours to drive, and comes back cut off.
    testnet.node(&name("b"), NodeVerb::Restart).await.unwrap();
    event(&*testnet, |event| {
        start(event).filter(|(node, _)| node == "b")
    })
    .await;
    assert_eq!(reach(&*testnet, "b", "a").await, "silence");
    assert_eq!(reach(&*testnet, "b", "c").await, "reached");
    drop_pairs(&*testnet, 2, &[]).await;
    for (from, to) in all {
        assert_eq!(reach(&*testnet, from, to).await, "reached", "{from} {to}");
    }
    // A dead node is silent, as one that is unplugged.
    testnet.node(&name("b"), NodeVerb::Kill).await.unwrap();
    assert_eq!(reach(&*testnet, "a", "b").await, "silence");
    assert_eq!(teardown(testnet).await, removed(3 + bench.kind.others()));
    bench.gone(&run).await;
}
