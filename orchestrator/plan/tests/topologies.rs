//! The topologies that come with netsplit: each plans, and its plan changes only on purpose.
#![expect(clippy::unwrap_used, reason = "tests")]

use netsplit_api::config::Role;
use netsplit_plan::{
    plan::{Action, NodeName, NodeVerb, Plan},
    planner::remarks,
    problem::Source,
    topology::{self, Options},
};

const FILES: [(&str, &str); 4] = [
    (
        "quickstart",
        include_str!("../../../topologies/quickstart.yaml"),
    ),
    (
        "partition",
        include_str!("../../../topologies/partition.yaml"),
    ),
    ("churn", include_str!("../../../topologies/churn.yaml")),
    (
        "dns-outage",
        include_str!("../../../topologies/dns-outage.yaml"),
    ),
];

fn load(name: &str, text: &str, options: &Options) -> Plan {
    let source = Source::new(format!("{name}.yaml"), text);
    match topology::load(&source, options) {
        Ok(plan) => plan,
        Err(problems) => panic!("{problems}"),
    }
}

#[test]
fn every_topology_has_its_plan() {
    for (name, text) in FILES {
        let plan = load(name, text, &Options::default());
        assert_eq!(plan.name, name);
        insta::assert_snapshot!(name, plan.describe());
        insta::assert_json_snapshot!(format!("{name}.json"), plan);
    }
}

/// Its plan is too long to be kept; what it is about is not.
#[test]
fn a_thousand_nodes_are_cut_into_halves_and_churned() {
    let text = include_str!("../../../topologies/large/thousand.yaml");
    let plan = load("large/thousand", text, &Options::default());
    let with = |role: Role| {
        plan.nodes
            .iter()
            .filter(|node| node.roles.contains(&role))
            .count()
    };
    assert_eq!(plan.nodes.len(), 1_000);
    assert_eq!(
        [Role::DnsSeed, Role::Miner, Role::Wallet].map(with),
        [5, 10, 20]
    );
    for step in &plan.steps {
        match &step.action {
            Action::Partition(cut) => {
                assert_eq!(
                    cut.groups.iter().map(Vec::len).collect::<Vec<_>>(),
                    [500, 500]
                );
                let miners = |group: &Vec<NodeName>| {
                    let is_miner = |node: &&NodeName| node.0.starts_with("miner");
                    group.iter().filter(is_miner).count()
                };
                assert!(cut.groups.iter().all(|group| miners(group) == 5));
            }
            Action::Churn(churn) => {
                let leaves = churn
                    .events
                    .iter()
                    .filter(|event| event.verb == NodeVerb::Kill);
                assert_eq!(leaves.count(), 169, "1 % of 995 in each of 17 seconds");
            }
            _ => {}
        }
    }
}

#[test]
fn a_plan_survives_json() {
    for (name, text) in FILES {
        let plan = load(name, text, &Options::default());
        let json = serde_json::to_string(&plan).unwrap();
        assert_eq!(serde_json::from_str::<Plan>(&json).unwrap(), plan);
    }
}

#[test]
fn another_seed_gives_other_choices_and_the_same_one_the_same() {
    let (name, text) = FILES[2];
    let with = |seed| {
        load(
            name,
            text,
            &Options {
                seed: Some(seed),
                ..Options::default()
            },
        )
    };
    assert_eq!(with(5), with(5));
    assert_ne!(with(5).steps, with(6).steps, "churn");
    assert_ne!(with(5).chain.payees, with(6).chain.payees, "keys");
}

#[test]
fn one_more_node_does_not_reshuffle_the_others() {
    let (name, text) = FILES[1];
    let before = load(name, text, &Options::default());
    let set = vec![
        "nodes.full.count=6".to_owned(),
        "nodes.extra.role=full".to_owned(),
    ];
    let after = load(
        name,
        text,
        &Options {
            set,
            ..Options::default()
        },
    );
    assert_eq!(after.nodes.len(), before.nodes.len() + 3);
    for node in &before.nodes {
        let same = after
            .nodes
            .iter()
            .find(|other| other.name == node.name)
            .unwrap();
        assert_eq!(same.seed, node.seed, "{}", node.name);
    }
}

#[test]
fn nodes_start_seeds_first_and_wallets_last() {
    let (name, text) = FILES[1];
    let plan = load(name, text, &Options::default());
    let names: Vec<&str> = plan.nodes.iter().map(|node| node.name.as_ref()).collect();
    assert_eq!(
        names,
        [
            "seed", "miner-1", "miner-2", "full-1", "full-2", "full-3", "full-4", "wallet"
        ]
    );
    let hosts: Vec<u32> = plan.nodes.iter().map(|node| node.host).collect();
    assert_eq!(hosts, (2..10).collect::<Vec<_>>());
    let share = |name: &str| {
        plan.nodes
            .iter()
            .find(|n| n.name == NodeName(name.to_owned()))
            .unwrap()
            .share
            .unwrap()
    };
    assert!((share("miner-1") - 0.6).abs() < 1e-9);
    assert!((share("miner-2") - 0.4).abs() < 1e-9);
    assert_eq!(plan.chain.payees.len(), 3, "the wallet, then two miners");
}

#[test]
fn more_peers_than_there_are_nodes_are_worth_a_remark_when_asked_for() {
    let plan = |min: u16, full: u16| {
        let text = format!(
            "name: few\ndefaults: {{ discovery: [dns], min_peers: {min}, max_peers: 20 }}\n\
             nodes:\n  seed: {{ role: dns-seed }}\n  full: {{ role: full, count: {full} }}\n"
        );
        load("few", &text, &Options::default())
    };
    assert_eq!(
        remarks(&plan(12, 10)),
        ["nodes of `full` are to have at least 12 peers, but there are only 9 others"]
    );
    assert!(remarks(&plan(9, 10)).is_empty(), "it can be met");
    assert!(remarks(&plan(8, 3)).is_empty(), "the usual number");
}
