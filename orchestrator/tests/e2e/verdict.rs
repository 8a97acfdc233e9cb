//! Proof that the verdict can fail: a broken scenario fails, a broken cut is never believed.

use std::time::Duration;

use crate::netsplit::{
    CUT, Netsplit, Running, assert_nothing_left, containers, docker, eventually, read_json, run_id,
};

#[test]
fn without_the_heal_the_run_fails() {
    let netsplit = Netsplit::new();
    let yaml = CUT
        .replace("  - heal: cut\n", "")
        .replace("within: auto", "within: 5s");
    let file = netsplit.topology("unhealed", &yaml);
    let (ended, verdict) = netsplit.test(&file, &[]);
    ended.expect(1);
    assert_eq!(verdict["verdict"], "failed");
    assert_eq!(verdict["steps"][3]["status"], "failed", "{verdict:#}");
    assert_nothing_left(&run_id(&verdict));
}

fn sabotage(kind: &str) {
    let netsplit = Netsplit::sabotaged();
    let file = netsplit.topology("sabotaged", CUT);
    let json = netsplit.home.path().join("verdict.json");
    let output = netsplit
        .command(&["test", &file, "--json", json.to_str().unwrap()])
        .env("NETSPLIT_SABOTAGE", kind)
        .output()
        .unwrap();
    let screen = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(4), "{screen}");
    let verdict: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(&json).unwrap()).unwrap();
    assert_eq!(verdict["verdict"], "inconclusive");
    assert_nothing_left(&run_id(&verdict));
}

#[test]
fn an_empty_set_reported_as_done_is_noticed() {
    sabotage("empty-set");
}

#[test]
fn the_right_set_on_the_wrong_hook_is_noticed() {
    sabotage("wrong-hook");
}

/// The words that switch the sabotage on are in the test-only program and not in the one that is released.
#[test]
fn the_released_program_cannot_be_sabotaged() {
    let has = |path: &std::path::Path| {
        let bytes = std::fs::read(path).unwrap();
        bytes
            .windows(18)
            .any(|w| w == b"NETSPLIT_SABOTAGE\0" || w == b"NETSPLIT_SABOTAGE=")
            || bytes.windows(17).any(|w| w == b"NETSPLIT_SABOTAGE")
    };
    let sabotaged = std::env::var_os("NETSPLIT_SABOTAGED").expect("run ci/test");
    assert!(has(sabotaged.as_ref()), "the check itself finds nothing");
    assert!(!has(env!("CARGO_BIN_EXE_netsplit").as_ref()));
}

/// Starts the cut scenario with a long look at the cut and gives the run's id once all nodes run.
fn long_cut(netsplit: &Netsplit) -> (Running, std::path::PathBuf, String) {
    let yaml = CUT
        .replace("min_height: 3", "min_height: 8")
        .replace("  - heal: cut\n", "  - wait: 15s\n  - heal: cut\n");
    let file = netsplit.topology("long-cut", &yaml);
    let json = netsplit.home.path().join("verdict.json");
    let running = netsplit.spawn(&["test", &file, "--json", json.to_str().unwrap()]);
    let owner = format!("netsplit.owner-pid={}", running.child.id());
    let run = eventually("all nodes run", Duration::from_secs(60), || {
        let rows = docker(&[
            "ps",
            "--filter",
            &format!("label={owner}"),
            "--filter",
            "label=netsplit.role=node",
            "--format",
            "{{.Label \"netsplit.run\"}}",
        ]);
        (rows.len() == 5).then(|| rows[0].clone())
    });
    (running, json, run)
}

fn container(run: &str, label: &str) -> String {
    docker(&[
        "ps",
        "-q",
        "--filter",
        &format!("label=netsplit.run={run}"),
        "--filter",
        &format!("label={label}"),
    ])
    .pop()
    .unwrap_or_else(|| panic!("no container {label} in {run}"))
}

/// Somebody joins two nodes by another network, around the one that is cut.
#[test]
fn a_second_network_around_the_cut_is_noticed() {
    let netsplit = Netsplit::new();
    let (running, json, run) = long_cut(&netsplit);
    let bypass = format!("bypass-{run}");
    docker(&["network", "create", "--internal", &bypass]);
    for node in ["miner-1", "miner-2"] {
        let id = container(&run, &format!("netsplit.node={node}"));
        docker(&["network", "connect", &bypass, &id]);
    }
    let ended = running.wait();
    docker(&["network", "rm", &bypass]);
    let ended = ended.expect(4);
    assert_eq!(read_json(&json, &ended)["verdict"], "inconclusive");
    assert_nothing_left(&run);
}

/// The agent's death takes the cut with it; what was seen of the cut proves nothing any more.
#[test]
fn the_agents_death_during_the_cut_is_noticed() {
    let netsplit = Netsplit::new();
    let (running, json, run) = long_cut(&netsplit);
    eventually("the cut is in force", Duration::from_secs(60), || {
        let tables = std::process::Command::new("nft")
            .args(["list", "ruleset"])
            .output()
            .unwrap();
        String::from_utf8_lossy(&tables.stdout)
            .contains("netsplit")
            .then_some(())
    });
    docker(&["kill", &container(&run, "netsplit.role=agent")]);
    let ended = running.wait().expect(4);
    assert_eq!(read_json(&json, &ended)["verdict"], "inconclusive");
    assert_eq!(
        containers(&format!("netsplit.run={run}")),
        Vec::<String>::new()
    );
    assert_nothing_left(&run);
}
