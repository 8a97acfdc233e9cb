//! Steps for a testnet that runs, and what its nodes are told at birth.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::{collections::BTreeMap, fmt::Write as _, net::Ipv4Addr};

use netsplit_api::config::{DNS_PORT, NodeConfig};
use netsplit_plan::{
    node_config::RunContext,
    observe::Lifecycle,
    plan::{Action, Hold, NodeName, Partition, Plan, PlannedStep},
    planner::Situation,
    problem::{Look, Problems, Source},
    topology::{self, Options, Typed},
};

fn plan() -> Plan {
    let text = include_str!("../../../topologies/dns-outage.yaml");
    topology::load(&Source::new("dns-outage.yaml", text), &Options::default()).unwrap()
}

fn steps(text: &str, situation: &Situation) -> Result<Vec<PlannedStep>, Problems> {
    topology::load_steps(&Source::new("steps", text), &plan(), situation)
}

fn name(text: &str) -> NodeName {
    NodeName(text.to_owned())
}

#[test]
fn steps_are_planned_from_where_the_testnet_is() {
    let mut situation = Situation::default();
    let cut = steps(
        "- partition: { id: x, groups: [[full-1], [full-2, miner]] }",
        &situation,
    );
    let Action::Partition(cut) = &cut.unwrap()[0].action else {
        panic!("a cut")
    };
    assert_eq!(
        cut.groups,
        [vec![name("full-1")], vec![name("miner"), name("full-2")]]
    );
    assert!(
        steps("- heal: x", &situation)
            .unwrap_err()
            .to_string()
            .contains("was ever made")
    );
    situation.cuts.insert(Partition::clone(cut)).unwrap();
    situation
        .past_cuts
        .insert(cut.id.clone(), cut.groups.clone());
    let healed = steps(
        "- heal: x\n- assert: { diverged: { between: x } }",
        &situation,
    )
    .unwrap();
    assert_eq!(
        healed[0].action,
        Action::Heal {
            id: Some("x".to_owned())
        }
    );
    assert_eq!(healed[0].text, "heal: x");
    assert_eq!(
        healed.iter().map(|step| step.index).collect::<Vec<_>>(),
        [1, 2]
    );
}

#[test]
fn what_became_of_nodes_is_known() {
    let mut situation = Situation::default();
    assert!(steps("- start: [seed]", &situation).is_err());
    situation.nodes.insert(name("seed"), Lifecycle::Stopped);
    assert!(steps("- start: [seed]", &situation).is_ok());
    assert!(steps("- kill: [newcomer-1]", &situation).is_err());
    assert!(
        steps(
            "- join: { group: newcomer }\n- kill: [newcomer-1]",
            &situation
        )
        .is_ok()
    );
    assert!(steps("- join: { group: newcomer, count: 2 }", &situation).is_err());
    situation
        .nodes
        .insert(name("newcomer-1"), Lifecycle::Running);
    assert!(steps("- kill: [newcomer-1]", &situation).is_ok());
    assert!(steps("- join: { group: newcomer }", &situation).is_err());
}

#[test]
fn steps_on_their_own_are_checked_like_those_of_a_file() {
    let found = steps(
        "- hael: x\n- wait: 5\n- kill: nobody",
        &Situation::default(),
    );
    assert_eq!(found.unwrap_err().list().len(), 3);
    assert!(steps("heal: x", &Situation::default()).is_err());
}

#[test]
fn a_topology_in_place_of_steps_is_told_from_steps() {
    let found = steps("name: x\nnodes: {}\n", &Situation::default()).unwrap_err();
    assert!(found.to_string().contains("this is a topology"), "{found}");
    let found = steps("heal: x", &Situation::default()).unwrap_err();
    assert!(found.list()[0].help.as_deref().unwrap().contains("`- `"));
}

/// Only the command that made a fault knows when it ends, and it waits for that itself.
#[test]
fn the_end_of_a_fault_made_before_cannot_be_waited_for() {
    let mut situation = Situation::default();
    situation.churns.insert("storm".to_owned());
    situation.past_cuts.insert("old".to_owned(), Vec::new());
    let found = steps("- wait: { over: storm }", &situation).unwrap_err();
    assert!(
        found.to_string().contains("the command that made it"),
        "{found}"
    );
    let over = steps("- wait: { over: old }", &situation).unwrap();
    assert!(matches!(&over[0].action, Action::Over { id } if id == "old"));
}

fn typed(step: &'static str, text: &str, limit: Option<(&'static str, &str)>) -> Vec<String> {
    let patience = (step == "wait").then_some("30s");
    let typed = Typed {
        step,
        text,
        limit,
        patience,
    };
    match topology::load_typed(&typed, &plan(), &Situation::default()) {
        Ok(steps) => steps.into_iter().map(|step| step.text).collect(),
        Err(problems) => vec![problems.render(Look::Plain)],
    }
}

#[test]
fn assertions_may_be_typed_short() {
    assert_eq!(
        typed("assert", "converged", None),
        ["assert: { converged: {} }"]
    );
    for text in ["{height: {at_least: 5}}", "height: { at_least: 5 }"] {
        assert_eq!(
            typed("assert", text, None),
            ["assert: { height: { at_least: 5 } }"]
        );
    }
    assert_eq!(typed("wait", "10s", None), ["wait: 10s"]);
}

#[test]
fn a_limit_may_be_typed_apart_and_wait_is_patient() {
    let text = "{converged: {}, within: 9s}";
    assert_eq!(
        typed("wait", "converged", None),
        ["wait: { converged: {}, within: 30s }"]
    );
    assert_eq!(
        typed("wait", text, None),
        ["wait: { converged: {}, within: 9s }"]
    );
    assert_eq!(
        typed("wait", text, Some(("within", "1m"))),
        ["wait: { converged: {}, within: 1m }"]
    );
    assert_eq!(
        typed("assert", "converged", Some(("for", "5s"))),
        ["assert: { converged: {}, for: 5s }"]
    );
}

/// Nobody is shown a step that was made up around what was typed.
#[test]
fn problems_are_shown_in_the_words_that_were_typed() {
    let wrong = [
        ("convergd", None),
        ("{converged: {min_hight: 5}}", None),
        ("converged", Some(("within", "5 apples"))),
        ("converged", Some(("within", ""))),
        ("{converged: {}", None),
        ("10", None),
        ("{over: x}", None),
        ("[converged]", None),
        ("", None),
    ];
    let mut page = String::new();
    for (text, limit) in wrong {
        let shown = typed("wait", text, limit).concat();
        write!(page, "$ {text} {limit:?}\n{shown}").unwrap();
    }
    assert!(
        !page.contains("<<") && !page.contains("within: 30s"),
        "{page}"
    );
    insta::assert_snapshot!(page);
}

fn configs() -> BTreeMap<String, NodeConfig> {
    let plan = plan();
    let address = |host: u32| Ipv4Addr::from_bits(Ipv4Addr::new(10, 9, 0, 0).to_bits() + host);
    let context = RunContext {
        addresses: plan
            .nodes
            .iter()
            .map(|n| (n.name.clone(), address(n.host).into()))
            .collect(),
        started_unix: 1_000_000,
        rpc_user: "user".to_owned(),
        rpc_password: "secret".to_owned(),
    };
    plan.nodes
        .iter()
        .map(|n| (n.name.0.clone(), plan.node_config(n, &context)))
        .collect()
}

#[test]
fn nodes_are_told_what_they_are() {
    let configs = configs();
    let miner = &configs["miner"];
    assert_eq!(miner.address, Ipv4Addr::new(10, 9, 0, 3));
    assert_eq!(
        miner.dns_seeds,
        [(Ipv4Addr::new(10, 9, 0, 2), DNS_PORT).into()]
    );
    assert!((miner.miner.unwrap().share - 1.0).abs() < f64::EPSILON);
    assert!(configs["full-1"].miner.is_none());
    let premine = miner.chain.premine.clone().unwrap();
    assert_eq!(premine.blocks, 101);
    assert_eq!(
        u64::from(premine.time) + 101,
        999_999,
        "the newest block is just in the past"
    );
    assert_eq!(premine.payees.len(), 1);
    assert_eq!(
        configs["full-1"].chain.premine, miner.chain.premine,
        "the same on every node"
    );
    assert!(
        configs["newcomer-1"].chain.premine.is_none(),
        "joiners fetch those blocks"
    );
    assert!(!format!("{miner:?}").contains("secret"));
}

/// The groups of the one cut that these words make.
fn groups(words: &str) -> Vec<String> {
    let planned = steps(
        &format!("- partition: {{ {words} }}"),
        &Situation::default(),
    )
    .unwrap();
    let Action::Partition(cut) = &planned[0].action else {
        panic!("a cut")
    };
    let text = |group: &Vec<NodeName>| {
        group
            .iter()
            .map(AsRef::as_ref)
            .collect::<Vec<&str>>()
            .join(" ")
    };
    cut.groups.iter().map(text).collect()
}

#[test]
fn groups_and_shapes_are_resolved_in_the_plans_order() {
    assert_eq!(
        groups("groups: [[full-2, full-1], miner]"),
        ["full-1 full-2", "miner"]
    );
    // Joiners belong to the rest, if there is one, and to nothing else before they joined.
    assert_eq!(
        groups("groups: [[role:full], rest]"),
        ["full-1 full-2 full-3", "seed miner newcomer-1"]
    );
    assert_eq!(
        groups("shape: halves"),
        ["seed miner full-1", "full-2 full-3"]
    );
    assert_eq!(
        groups("shape: halves, of: full"),
        ["full-1 full-2", "full-3"]
    );
    assert_eq!(
        groups("shape: isolate, of: [full-1, full-3]"),
        ["full-1", "full-3", "seed miner full-2 newcomer-1"]
    );
}

#[test]
fn when_an_assertion_must_hold_is_resolved() {
    let hold = |words: &str| {
        let text = format!("- assert: {{ supply: {{}}, {words} }}");
        match steps(&text, &Situation::default())
            .unwrap()
            .remove(0)
            .action
        {
            Action::Assert(check) => check.hold,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(hold("within: auto"), Hold::Within { ms: 10_000 });
    assert_eq!(hold("within: 1.5s"), Hold::Within { ms: 1_500 });
    assert_eq!(hold("for: 2m"), Hold::For { ms: 120_000 });
    assert_eq!(hold(""), Hold::Now);
}
