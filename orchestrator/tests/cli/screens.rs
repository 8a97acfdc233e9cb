//! Scripts of commands and the screens they give.

use crate::screen::Screen;

const BROKEN: &str = "\
name: broken
chain: { block_interval: 500 }
nodes:
  seed:  { role: dns-seed }
  miner: { roll: miner, count: 2 }
  full:  { role: full, count: 2 }
scenario:
  - partition: { id: cut, groups: [[full-1], [full-9]] }
  - heal: cat
";

#[test]
fn wrong_usage() {
    let mut screen = Screen::new();
    screen
        .type_in("tset x.yaml")
        .type_in("test")
        .type_in("partition a,b")
        .type_in("partition a,/b")
        .type_in("status --timeout 30")
        .type_in("status --runtime sim")
        .type_in("mine miner-1 0")
        .type_in("send wallet miner-1 0")
        .type_in("mine miner-1 many")
        .type_in("logs full-1 --lines -1")
        .type_in("forward full-1 70000")
        .type_in("test x.yaml --seed x")
        .type_in("partition")
        .type_in("churn full --for 1m")
        .type_in("down --all x")
        .type_in("down --all -n x");
    insta::assert_snapshot!(screen.text());
}

#[test]
fn bad_topologies() {
    let mut screen = Screen::new();
    screen.file("broken.yaml", BROKEN);
    screen.file("other.yaml", "name: other\nnodes: {}\n");
    // How a problem is shown is pinned where it is made, in netsplit-plan.
    screen
        .type_in("validate broken.yaml")
        .type_in("test broken.yaml other.yaml");
    let text = screen.text();
    for wrong in ["`500`", "`roll`", "`full-9`", "`cat`"] {
        assert!(
            text.matches(wrong).count() >= 2,
            "{wrong} is not told by both:\n{text}"
        );
    }
    assert!(
        text.contains("other.yaml:2:8"),
        "the second file is checked, too:\n{text}"
    );
    let ends = text.matches("nothing was started\nexit code 2").count();
    assert_eq!(ends, 1, "only `test` would have started something:\n{text}");
    assert!(
        !screen.path().join("state").exists(),
        "nothing is started, nothing is recorded"
    );
}

#[test]
fn files_that_cannot_be_read() {
    let mut screen = Screen::new();
    screen.file("no.yaml", "a: [\n");
    screen
        .type_in("plan missing.yaml")
        .type_in("validate missing.yaml no.yaml");
    insta::assert_snapshot!(screen.text());
}

#[test]
fn good_files_are_told_beside_bad_ones() {
    let mut screen = Screen::new();
    screen.file("other.yaml", "name: other\nnodes: {}\n");
    screen
        .type_in("init good.yaml --quiet")
        .type_in("validate good.yaml other.yaml missing.yaml")
        .type_in("validate good.yaml other.yaml missing.yaml --format json");
    insta::assert_snapshot!(screen.text());
}

#[test]
fn an_engine_named_in_no_known_way() {
    let mut screen = Screen::new();
    screen.engine("foo").type_in("ls --runtime docker");
    insta::assert_snapshot!(screen.text());
}

#[test]
fn no_engine() {
    let mut screen = Screen::new();
    screen
        .type_in("init x.yaml")
        .type_in("test x.yaml")
        .type_in("ls")
        .type_in("down");
    insta::assert_snapshot!(screen.text());
}

#[test]
fn a_first_topology() {
    let mut screen = Screen::new();
    screen
        .type_in("init")
        .type_in("init")
        .type_in("init --force --quiet")
        .type_in("validate netsplit.yaml")
        .type_in("validate netsplit.yaml --set nodes.full.count=4")
        .type_in("plan netsplit.yaml --seed 7");
    insta::assert_snapshot!(screen.text());
}

#[test]
fn what_is_for_programs_is_json() {
    let mut screen = Screen::new();
    screen
        .type_in("init")
        .type_in("plan netsplit.yaml --format json")
        .type_in("schema");
    let text = screen.text();
    let documents = text.split("$ netsplit").skip(2).map(|screen| {
        let lines = screen
            .lines()
            .filter_map(|line| line.strip_prefix("stdout|"));
        lines.collect::<Vec<_>>().join("\n")
    });
    for document in documents {
        let value: serde_json::Value = serde_json::from_str(&document).unwrap();
        assert!(value.is_object());
    }
}

#[test]
fn completions_know_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let mut screen = Screen::new();
        screen.type_in(&format!("completions {shell}"));
        let text = screen.text();
        assert!(
            text.contains("partition") && text.contains("exit code 0"),
            "{shell}"
        );
    }
}
