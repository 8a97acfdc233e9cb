#![expect(clippy::unwrap_used, reason = "tests")]

use netsplit_api::{
    config::{Discovery, Durability, PeerLimits, Relay, Sync, Timers},
    rpc::Status,
};

use super::*;

fn planned(name: &str, role: Role) -> PlannedNode {
    PlannedNode {
        name: NodeName(name.into()),
        group: name.split('-').next().unwrap_or_default().into(),
        host: 2,
        roles: BTreeSet::from([role]),
        zone: None,
        behaviour: Behaviour::default(),
        seed: String::new(),
        discovery: vec![Discovery::Dns],
        relay: Relay::default(),
        sync: Sync::default(),
        peers: PeerLimits::default(),
        timers: Timers::default(),
        durability: Durability::default(),
        share: None,
        joins: false,
    }
}

fn answer(height: u32, tip: &str) -> Option<Status> {
    Some(Status {
        height,
        tip: tip.repeat(16),
        peers: 8,
        inbound: 3,
        outbound: 5,
        mempool: 1,
        rss_bytes: 6_500_000,
        dns_nodes: 0,
    })
}

fn status() -> TestnetStatus {
    let address = |last: u8| Some(IpAddr::from([172, 30, 0, last]));
    let running = NodeState::Running;
    let nodes = vec![
        node_status(
            &planned("seed", Role::DnsSeed),
            address(2),
            running,
            answer(0, "0000").as_ref(),
        ),
        node_status(
            &planned("miner-1", Role::Miner),
            address(3),
            running,
            answer(107, "00ab").as_ref(),
        ),
        node_status(
            &planned("full-1", Role::Full),
            address(4),
            running,
            answer(107, "00ab").as_ref(),
        ),
        node_status(
            &planned("full-2", Role::Full),
            address(5),
            running,
            answer(109, "00cd").as_ref(),
        ),
        node_status(&planned("full-3", Role::Full), address(6), running, None),
        node_status(
            &planned("full-4", Role::Full),
            address(7),
            NodeState::Exited,
            None,
        ),
        node_status(
            &planned("wallet", Role::Wallet),
            address(8),
            NodeState::Paused,
            None,
        ),
        node_status(
            &planned("late-1", Role::Full),
            None,
            NodeState::Planned,
            None,
        ),
    ];
    TestnetStatus {
        name: "partition".into(),
        run_id: "partition-7f3a9c21".into(),
        runtime: "docker".into(),
        seed: 42,
        tips: tips(&nodes),
        nodes,
        faults: vec![Fault {
            id: "cut".into(),
            kind: "partition".into(),
            pairs: 40,
            dropped_packets: 1_234,
            since: 1_000.5,
        }],
    }
}

#[test]
fn people_see_nodes_tips_and_faults() {
    insta::assert_snapshot!(render(&status(), Timestamp(1_012_700_000_000)));
}

#[test]
fn programs_get_the_fields_of_the_contract() {
    let mut value = serde_json::to_value(status()).unwrap();
    value["nodes"].as_array_mut().unwrap().truncate(2);
    insta::assert_json_snapshot!(value);
}

#[test]
fn one_tip_is_said_so() {
    let mut status = status();
    status.nodes.truncate(3);
    status.tips = tips(&status.nodes);
    status.faults.clear();
    let text = render(&status, Timestamp(0));
    assert!(
        text.ends_with("one tip: ..00ab00ab at height 107\nno fault in force"),
        "{text}"
    );
}
