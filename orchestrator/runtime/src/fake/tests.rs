#![expect(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use netsplit_api::{
    config::{ChainNetwork, PeerLimits, Role, Timers},
    event::Event,
    probe::{ProbeReceived, ProbeSent, Sockets, TcpOutcome},
};
use netsplit_faults::link::{Cut, Drop, LinkTable};
use netsplit_plan::plan::{NodeName, NodeVerb, Plan, PlannedChain, PlannedNode};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{Call, FakeRuntime};
use crate::{Launch, NetEvent, NodeState, Ownership, RunId, Runtime, Testnet};

pub(crate) fn plan(names: &[&str]) -> Plan {
    let node = |(place, name): (usize, &&str)| PlannedNode {
        name: NodeName((*name).into()),
        group: "full".into(),
        host: u32::try_from(place).unwrap() + 2,
        roles: [Role::Full].into(),
        zone: None,
        behaviour: Default::default(),
        seed: format!("{place:064x}"),
        discovery: Vec::new(),
        relay: Default::default(),
        sync: Default::default(),
        peers: PeerLimits::default(),
        timers: Timers::default(),
        durability: Default::default(),
        share: None,
        joins: name.starts_with("late"),
    };
    Plan {
        name: "test".into(),
        description: String::new(),
        seed: 1,
        chain: PlannedChain {
            network: ChainNetwork::Regtest,
            block_interval_ms: 1000,
            premine: 0,
            payees: Vec::new(),
        },
        nodes: names.iter().enumerate().map(node).collect(),
        steps: Vec::new(),
        timeout_ms: None,
    }
}

fn name(name: &str) -> NodeName {
    NodeName(name.into())
}

async fn launch(names: &[&str]) -> (FakeRuntime, Box<dyn Testnet>) {
    let runtime = FakeRuntime::new();
    let launch = Launch {
        plan: plan(names),
        run: RunId("test-00000001".into()),
        name: "test".into(),
        ownership: Ownership::Owned,
        directory: "/nonexistent".into(),
        node_binary: None,
    };
    let testnet = runtime
        .launch(launch, mpsc::unbounded_channel().0)
        .await
        .unwrap();
    (runtime, testnet)
}

fn cut(testnet: &dyn Testnet, version: u64, from: &str, to: &str) -> LinkTable {
    let address = |node: &str| vec![testnet.info().addresses[&name(node)]];
    let drops = vec![Drop {
        from: address(from),
        to: address(to),
    }];
    LinkTable {
        version,
        cuts: vec![Cut {
            id: "c".into(),
            drops,
        }],
    }
}

async fn probe(testnet: &dyn Testnet, from: &str, to: &str) -> (TcpOutcome, u32) {
    let id = "00000000000000aa";
    let target = testnet.info().addresses[&name(to)];
    let listen = json!({"id": id, "for_ms": 1000});
    testnet
        .rpc(&name(to), "x_probe_listen", listen)
        .await
        .unwrap();
    let send = json!({"id": id, "targets": [target], "datagrams": 3, "timeout_ms": 500});
    let sent = testnet
        .rpc(&name(from), "x_probe_send", send)
        .await
        .unwrap();
    let sent: ProbeSent = serde_json::from_value(sent).unwrap();
    let report = testnet
        .rpc(&name(to), "x_probe_report", json!({"id": id}))
        .await
        .unwrap();
    let report: ProbeReceived = serde_json::from_value(report).unwrap();
    (
        sent.targets[0].tcp.clone(),
        report.senders.iter().map(|sender| sender.datagrams).sum(),
    )
}

async fn sockets(testnet: &dyn Testnet, node: &str) -> Sockets {
    let answer = testnet
        .rpc(&name(node), "x_sockets", Value::Null)
        .await
        .unwrap();
    serde_json::from_value(answer).unwrap()
}

#[tokio::test(start_paused = true)]
async fn nodes_that_start_say_so_and_find_each_other() {
    let (_, testnet) = launch(&["a", "b", "late"]).await;
    let mut said = Vec::new();
    for _ in 0..4 {
        let Some(NetEvent::Node {
            node,
            incarnation: 1,
            record,
        }) = testnet.next_event().await
        else {
            panic!("an event of a node")
        };
        said.push((
            node.0,
            record.seq,
            matches!(record.event, Event::PeerConnected { .. }),
        ));
    }
    let expected = [
        ("a", 1, false),
        ("b", 1, false),
        ("b", 2, true),
        ("a", 2, true),
    ];
    assert_eq!(
        said,
        expected.map(|(node, seq, peer)| (node.to_owned(), seq, peer))
    );
    assert_eq!(
        testnet.states().await.unwrap()[&name("late")],
        NodeState::Planned
    );
}

#[tokio::test(start_paused = true)]
async fn a_one_way_cut_stops_datagrams_one_way_and_connections_both() {
    let (_, testnet) = launch(&["a", "b"]).await;
    assert_eq!(probe(&*testnet, "a", "b").await, (TcpOutcome::Connected, 3));
    let applied = testnet.apply(cut(&*testnet, 1, "a", "b")).await.unwrap();
    assert_eq!((applied.pairs_intended, applied.pairs_installed), (1, 1));
    assert_eq!(probe(&*testnet, "a", "b").await, (TcpOutcome::TimedOut, 0));
    assert_eq!(probe(&*testnet, "b", "a").await, (TcpOutcome::TimedOut, 3));
    testnet
        .sleep_until(testnet.now() + Duration::from_secs(2))
        .await;
    let counted = testnet.counters().await.unwrap().cuts[0].drops[0];
    // Three datagrams and a connection attempt one way, an answer to the other's attempt.
    assert_eq!((counted.probes, counted.protocol), (5, 10));
    testnet
        .apply(LinkTable {
            version: 2,
            cuts: Vec::new(),
        })
        .await
        .unwrap();
    assert_eq!(probe(&*testnet, "a", "b").await, (TcpOutcome::Connected, 3));
}

#[tokio::test(start_paused = true)]
async fn bytes_stand_still_while_a_link_is_cut() {
    let (_, testnet) = launch(&["a", "b"]).await;
    testnet
        .sleep_until(testnet.now() + Duration::from_secs(1))
        .await;
    testnet.apply(cut(&*testnet, 1, "a", "b")).await.unwrap();
    let before = sockets(&*testnet, "b").await.sockets[0].clone();
    testnet
        .sleep_until(testnet.now() + Duration::from_secs(1))
        .await;
    let after = sockets(&*testnet, "b").await.sockets[0].clone();
    assert!(before.bytes_received >= 1000, "{before:?}");
    assert_eq!(before.bytes_received, after.bytes_received);
    assert!(after.bytes_acked >= before.bytes_acked + 1000, "{after:?}");
    assert_eq!(after.state, "established");
}

#[tokio::test(start_paused = true)]
async fn a_leak_shows_in_the_probe_though_the_table_is_in_force() {
    let (runtime, testnet) = launch(&["a", "b"]).await;
    runtime.net().leak(&name("a"), &name("b"));
    testnet.apply(cut(&*testnet, 1, "a", "b")).await.unwrap();
    assert_eq!(probe(&*testnet, "a", "b").await.1, 3);
}

#[tokio::test(start_paused = true)]
async fn the_script_answers_and_fails_when_told() {
    let (runtime, testnet) = launch(&["a", "b"]).await;
    runtime.net().on_rpc(|net, node, method, _| {
        net.emit_after(
            Duration::from_secs(3),
            node,
            Event::StoreFailed {
                reason: method.to_owned(),
            },
        );
        (method == "getblockcount").then(|| Ok(json!(7)))
    });
    assert_eq!(
        testnet.rpc(&name("a"), "getblockcount", json!([])).await,
        Ok(json!(7))
    );
    let next = runtime.net().calls().len();
    runtime.net().fail_at(next);
    testnet
        .rpc(&name("a"), "getblockcount", json!([]))
        .await
        .unwrap_err();
    assert!(
        matches!(&runtime.net().calls()[next], Call::Rpc { method, .. } if method == "getblockcount")
    );
}

#[tokio::test(start_paused = true)]
async fn a_killed_node_does_not_answer_and_comes_back_as_another_incarnation() {
    let (runtime, testnet) = launch(&["a", "b"]).await;
    for _ in 0..4 {
        testnet.next_event().await.unwrap();
    }
    runtime.net().log(&name("a"), "last words");
    testnet.node(&name("a"), NodeVerb::Kill).await.unwrap();
    let Some(NetEvent::NodeExited {
        code: Some(137),
        last_lines,
        ..
    }) = testnet.next_event().await
    else {
        panic!("the end of a node")
    };
    assert_eq!(last_lines, ["last words"]);
    testnet
        .rpc(&name("a"), "x_sockets", Value::Null)
        .await
        .unwrap_err();
    testnet.node(&name("a"), NodeVerb::Start).await.unwrap();
    let Some(NetEvent::Node {
        incarnation: 2,
        record,
        ..
    }) = testnet.next_event().await
    else {
        panic!("its return")
    };
    assert!(matches!(
        record.event,
        Event::NodeStarted { incarnation: 2, .. }
    ));
}

#[tokio::test(start_paused = true)]
async fn time_is_virtual_and_events_come_in_its_order() {
    let (runtime, testnet) = launch(&[]).await;
    let begun = std::time::Instant::now();
    let event = |reason: &str| NetEvent::AgentLost {
        reason: reason.into(),
    };
    runtime
        .net()
        .event_after(Duration::from_secs(3600), event("second"));
    runtime
        .net()
        .event_after(Duration::from_secs(60), event("first"));
    runtime.net().end_events();
    for expected in ["first", "second"] {
        let Some(NetEvent::AgentLost { reason }) = testnet.next_event().await else {
            panic!("an event")
        };
        assert_eq!(reason, expected);
    }
    assert!(testnet.next_event().await.is_none());
    assert!(begun.elapsed() < Duration::from_secs(30));
}
