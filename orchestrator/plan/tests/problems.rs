//! What is wrong with a topology, on screen.
#![expect(clippy::unwrap_used, reason = "tests")]

use netsplit_plan::{
    plan::Plan,
    problem::{Look, Problems, Source},
    topology::{self, Options},
};

fn load(text: &str) -> Result<Plan, Problems> {
    topology::load(&Source::new("bad.yaml", text), &Options::default())
}

/// The messages of a topology's problems, one a line.
fn problems(text: &str) -> String {
    load(text).unwrap_err().to_string()
}

/// A sound topology with this scenario.
fn with_scenario(steps: &str) -> String {
    format!(
        "name: x
chain: {{ premine: 101 }}
nodes:
  seed:   {{ role: dns-seed }}
  miner:  {{ role: miner, count: 2, zone: [eu, us] }}
  full:   {{ role: full, count: 4, zone: [eu, us] }}
  wallet: {{ role: wallet, zone: us }}
  late:   {{ role: full, count: 0 }}
scenario:
  - join: {{ group: late }}
{steps}"
    )
}

/// The messages about a scenario, without places.
fn about(steps: &str) -> Vec<String> {
    match load(&with_scenario(steps)) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.list().iter().map(|p| p.message.clone()).collect(),
    }
}

fn one(steps: &str) -> String {
    let found = about(steps);
    assert_eq!(found.len(), 1, "{found:#?}");
    found.into_iter().next().unwrap()
}

#[test]
fn all_problems_are_told_at_once() {
    let found = load(include_str!("bad/everything.yaml")).unwrap_err();
    insta::assert_snapshot!("everything", found.render(Look::Plain));
    insta::assert_snapshot!("everything-short", found.to_string());
}

#[test]
fn colours_are_asked_for() {
    let found = load("name: x").unwrap_err();
    assert!(found.render(Look::Colour).contains('\u{1b}'));
    assert!(!found.render(Look::Plain).contains('\u{1b}'));
}

#[test]
fn broken_yaml_has_a_place() {
    let broken = [
        "name: [x\nnodes: }",
        "name: x\nnodes:\n\t- a",
        "name: x\nname: y\nseed: 1\nseed: 2",
        "",
        "name: !tag x",
        "- a\n- b",
        "name: x\nnodes: {}",
        "name: x\nnodes: { a: 1, b: { role: full, count: -1 } }\nseed: soon\ntimeout: 5",
        &"[".repeat(100_000),
        "a: &a [x, x]\nb: *a",
    ];
    let all: Vec<String> = broken.into_iter().map(problems).collect();
    insta::assert_snapshot!("broken", all.join("\n\n"));
}

#[test]
fn a_sound_scenario_has_no_problems() {
    let none: Vec<String> = Vec::new();
    assert_eq!(about("  - heal: all\n").len(), 1);
    assert_eq!(
        about("  - partition: { shape: halves, for: 5s }\n  - wait: { over: partition-1 }\n"),
        none
    );
    assert_eq!(
        about("  - partition: { shape: isolate, of: full-1 }\n  - heal: all\n"),
        none
    );
    assert_eq!(
        about("  - kill: full-1\n  - start: { nodes: [full-1] }\n"),
        none
    );
    assert_eq!(
        about(
            "  - kill: [full-1]\n  - start: [full-1]\n  - pause: [role:miner]\n  - resume: [miner]\n"
        ),
        none
    );
    assert_eq!(about("  - mine: { node: full-1, blocks: 3 }\n"), none);
    assert_eq!(
        about(
            "  - send: { id: a, from: wallet, to: miner-1, amount: 700 sat, fee_rate: 5 sat/vB }\n  - assert: { confirmed: { tx: a, nodes: full } }\n"
        ),
        none
    );
    assert_eq!(
        about("  - assert: { reachable: { from: full, to: seed, expect: false } }\n"),
        none
    );
    assert_eq!(about("  - wait: 10s\n"), none);
    assert_eq!(about("  - assert: { converged: { nodes: all } }\n"), none);
    assert_eq!(
        about("  - assert: { balance: { nodes: all, at_least: 1 } }\n"),
        none
    );
}

#[test]
fn a_fault_is_healed_once() {
    assert!(one("  - heal: cut\n").contains("no fault `cut` was ever made"));
    let made = "  - partition: { id: cut, groups: [[full], rest] }\n  - heal: cut\n";
    assert!(one(&format!("{made}  - heal: cut\n")).contains("is over already"));
    assert!(one(&format!("{made}  - heal: all\n")).contains("nothing is cut"));
    assert_eq!(about(&format!("{made}{made}")), Vec::<String>::new());
}

#[test]
fn ids_are_unique_while_in_force() {
    let cut = "  - partition: { id: cut, groups: [[full], rest] }\n";
    assert!(one(&format!("{cut}{cut}")).contains("in force already"));
    let churn = "  - churn: { id: cut, nodes: full, fraction: 50%, down: 1s, for: 4s }\n";
    assert!(one(&format!("{cut}{churn}")).contains("in force already"));
    assert!(one("  - partition: { id: all, groups: [[full], rest] }\n").contains("reserved"));
}

#[test]
fn groups_of_a_cut_are_disjoint_and_not_empty() {
    assert!(one("  - partition: { groups: [[full], [zone:eu]] }\n").contains("in two groups"));
    assert!(one("  - partition: { groups: [[all, late], rest] }\n").contains("is empty"));
    assert!(one("  - partition: { groups: [[full]] }\n").contains("cut from itself"));
    assert!(
        one("  - partition: { groups: [[full], rest, miner], one_way: true }\n")
            .contains("exactly two")
    );
    assert!(one("  - partition: { groups: [[full, rest], miner] }\n").contains("one whole group"));
    assert!(one("  - partition: { shape: isolate }\n").contains("whom"));
    assert!(one("  - partition: { id: x }\n").contains("neither"));
}

#[test]
fn nodes_are_done_to_what_can_be_done_to_them() {
    assert!(one("  - start: [full-1]\n").contains("cannot be started: it is running"));
    assert!(one("  - kill: [full-1]\n  - kill: [full-1]\n").contains("cannot be killed"));
    assert!(one("  - resume: [full-1]\n").contains("cannot be resumed"));
    assert!(one("  - pause: [full]\n  - restart: [full-2]\n").contains("cannot be restarted"));
    assert!(one("  - kill: [miner-1]\n  - mine: { node: miner-1 }\n").contains("is not running"));
}

#[test]
fn a_churn_says_in_one_way_how_many_leave() {
    let churn = |words: &str| format!("  - churn: {{ nodes: full, {words}down: 1s, for: 4s }}\n");
    assert!(one(&churn("")).contains("neither `fraction` nor `rate`"));
    assert!(one(&churn("fraction: 50%, rate: 1%/s, ")).contains("exclude each other"));
    assert!(one(&churn("rate: 1%/s, every: 1s, ")).contains("`every` belongs to `fraction`"));
    assert!(one(&churn("rate: 1%, ")).contains("is not a rate"));
    assert!(one(&churn("fraction: 120%, ")).contains("out of range"));
    assert_eq!(about(&churn("rate: 1%/s, ")), [""; 0]);
}

#[test]
fn a_churn_makes_states_unsure_until_it_is_over() {
    let churn = "  - churn: { id: c, nodes: full, fraction: 50%, down: 1s, for: 4s }\n";
    assert_eq!(
        about(&format!("{churn}  - start: [full-1]\n")),
        Vec::<String>::new()
    );
    let over = format!("{churn}  - wait: {{ over: c }}\n");
    assert!(one(&format!("{over}  - start: [full-1]\n")).contains("is running"));
    assert!(one(&format!("{churn}  - heal: c\n")).contains("ends itself"));
    assert!(one(&format!("{over}  - wait: {{ over: c }}\n")).contains("over already"));
    assert!(one("  - churn: { nodes: full, fraction: 50%, down: 4s, for: 4s }\n").contains("back"));
}

#[test]
fn payments_need_a_wallet_with_a_mature_coin() {
    let send = |rest: &str| one(&format!("  - send: {{ {rest} }}\n"));
    assert!(send("from: full-1, to: wallet, amount: 1").contains("has no wallet"));
    assert!(send("from: wallet, to: full-1, amount: 1").contains("no keys"));
    assert!(send("from: wallet, to: miner, amount: 1").contains("names 2 nodes"));
    assert!(send("from: wallet, to: miner-1, amount: 1 sat").contains("dust"));
    let young = with_scenario("  - send: { from: wallet, to: miner-1, amount: 1 }\n")
        .replace("premine: 101", "premine: 50");
    assert!(problems(&young).contains("no coin of `wallet` can be mature here"));
    let poor = with_scenario("  - send: { from: wallet, to: miner-1, amount: 1 }\n")
        .replace("premine: 101", "premine: 0");
    assert!(problems(&poor).contains("has no coins"));
}

#[test]
fn assertions_that_can_never_hold_are_problems() {
    let check = |words: &str| one(&format!("  - assert: {{ {words} }}\n"));
    assert!(check("confirmed: { tx: last }").contains("no transaction"));
    assert!(check("diverged: { between: cut }").contains("no cut `cut`"));
    assert!(check("peers: { between: [5, 2] }").contains("above"));
    assert!(check("height: { at_least: 3, nodes: seed }").contains("keeps no chain"));
    assert!(check("balance: { nodes: full-1, at_least: 1 }").contains("has no wallet"));
    assert!(check("within: 5s").contains("exactly one assertion"));
    assert!(check("over: x").contains("no assertion"));
    let still = with_scenario("  - assert: { height: { at_least: 102 }, within: 5s }\n")
        .replace("role: miner", "role: full");
    assert!(problems(&still).contains("nobody mines"));
}

#[test]
fn settings_are_checked_like_the_file() {
    let set = |setting: &str| {
        let options = Options {
            seed: None,
            set: vec![setting.to_owned()],
        };
        topology::load(&Source::new("x.yaml", with_scenario("")), &options)
    };
    let plan = set("chain.block_interval=250ms").unwrap();
    assert_eq!(plan.chain.block_interval_ms, 250);
    assert_eq!(set("nodes.full.count=2").unwrap().nodes.len(), 7);
    assert_eq!(
        set("scenario=[]").unwrap_err().list().len(),
        1,
        "nobody joins `late`"
    );
    let wrong = [
        "chain.block_interval=250",
        "chain.blok_interval=250ms",
        "scenario.7=x",
        "nonsense",
    ];
    let all: Vec<String> = wrong
        .into_iter()
        .map(|setting| set(setting).unwrap_err().render(Look::Plain))
        .collect();
    insta::assert_snapshot!("settings", all.join("\n"));
}
