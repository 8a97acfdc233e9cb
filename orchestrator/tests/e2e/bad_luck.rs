//! Bad input starts nothing; a machine that cannot do it is named with a hint.

use crate::netsplit::{CUT, Netsplit, containers};

#[test]
fn every_problem_is_listed_and_nothing_is_started() {
    let netsplit = Netsplit::new();
    let yaml = CUT
        .replace("block_interval: 500ms", "block_interval: 500")
        .replace("role: full,", "roll: full,")
        .replace("heal: cut", "heal: cat")
        .replace("[miner-2, full-2]", "[miner-9]");
    let file = netsplit.topology("broken", &yaml);
    let before = containers("netsplit.run").len();
    let ended = netsplit.run(&["test", &file]).expect(2);
    for wanted in ["500", "roll", "cat", "miner-9"] {
        assert!(
            ended.stderr.contains(wanted),
            "{wanted} is missing:\n{}",
            ended.stderr
        );
    }
    assert_eq!(containers("netsplit.run").len(), before);
}

#[test]
fn no_engine_is_an_infrastructure_error() {
    let netsplit = Netsplit::new();
    let file = netsplit.topology("cut", CUT);
    let output = netsplit
        .command(&["test", &file, "--runtime", "docker"])
        .env("DOCKER_HOST", "unix:///nonexistent/docker.sock")
        .output()
        .unwrap();
    let screen = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{screen}");
    assert!(screen.contains("hint:"), "{screen}");
}

/// A binary that would not run in an empty image is refused before anything starts.
#[test]
fn a_dynamic_node_binary_is_refused() {
    let netsplit = Netsplit::new();
    let file = netsplit.topology("cut", CUT);
    let ended = netsplit
        .run(&["test", &file, "--node-binary", "/bin/ls"])
        .expect(3);
    assert!(ended.stderr.contains("static"), "{}", ended.stderr);
}

/// A node that dies at its start fails the run with its last words, and nothing is left.
#[test]
fn a_node_that_dies_at_start_is_shown_with_its_last_words() {
    let netsplit = Netsplit::new();
    let file = netsplit.topology("cut", CUT);
    // netsplit itself refuses to be a node without the subcommand: a static program that ends at once.
    let ended = netsplit
        .run(&[
            "test",
            &file,
            "--node-binary",
            dying_binary(&netsplit).as_str(),
        ])
        .expect(3);
    assert!(ended.stderr.contains("last words"), "{}", ended.stderr);
    crate::netsplit::assert_nothing_left("cut");
}

fn dying_binary(netsplit: &Netsplit) -> String {
    let source = netsplit.home.path().join("dies.rs");
    let program = netsplit.home.path().join("dies");
    std::fs::write(&source, "fn main() { panic!(\"these are my last words\") }").unwrap();
    let status = std::process::Command::new("rustc")
        .args(["-C", "target-feature=+crt-static", "-o"])
        .args([&program, &source])
        .status()
        .unwrap();
    assert!(status.success());
    program.to_str().unwrap().to_owned()
}
