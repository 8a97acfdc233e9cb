//! `up`, and everything one can do to a running testnet by hand.

use std::time::Duration;

use serde_json::Value;

use crate::netsplit::{CUT, Ended, Netsplit, assert_nothing_left, eventually};

struct Up {
    netsplit: Netsplit,
    run: String,
}

impl Up {
    fn new(name: &str, yaml: &str) -> Self {
        let netsplit = Netsplit::new();
        let file = netsplit.topology(name, yaml);
        netsplit.run(&["up", &file, "--name", name]).expect(0);
        let status = netsplit
            .run(&["status", name, "--format", "json"])
            .expect(0)
            .json();
        Self {
            netsplit,
            run: status["run_id"].as_str().unwrap().to_owned(),
        }
    }

    /// A command about this testnet; others may run beside it.
    fn run(&self, name: &str, args: &[&str]) -> Ended {
        self.netsplit.run(&[args, &["--name", name]].concat())
    }

    fn status(&self, name: &str) -> Value {
        self.netsplit
            .run(&["status", name, "--format", "json"])
            .expect(0)
            .json()
    }

    fn down(self, name: &str) {
        self.netsplit.run(&["down", name]).expect(0);
        assert_nothing_left(&self.run);
    }
}

/// A test that fails half-way leaves no testnet to the next one.
impl Drop for Up {
    fn drop(&mut self) {
        self.netsplit.run(&["down", &self.run]);
    }
}

/// The whole story by single commands: cut, diverge, heal, converge, pay, stop, start, go.
#[test]
fn a_testnet_is_driven_by_hand() {
    let name = "e2e-by-hand";
    let yaml = CUT
        .replace("name: cut", "name: e2e-by-hand")
        .replace(
            "chain: { block_interval: 500ms }",
            "chain: { block_interval: 500ms, premine: 101 }",
        )
        .replace("  full:  {", "  wallet: { role: wallet }\n  full:  {");
    let up = Up::new(name, &yaml);
    let run = |args: &[&str]| up.run(name, args);
    let status = up.status(name);
    assert_eq!(status["nodes"].as_array().unwrap().len(), 6, "{status:#}");

    run(&["partition", "miner-1,full-1/rest", "--id", "split"]).expect(0);
    assert_eq!(up.status(name)["faults"][0]["id"], "split");
    run(&[
        "wait",
        "{diverged: {between: split, min_blocks: 1}}",
        "--within",
        "30s",
    ])
    .expect(0);
    // Held at once it cannot converge: the exit code says so.
    run(&["assert", "converged"]).expect(1);
    run(&["heal", "split"]).expect(0);
    run(&["wait", "{converged: {fresh_blocks: 1}}", "--within", "30s"]).expect(0);
    assert_eq!(up.status(name)["faults"].as_array().unwrap().len(), 0);

    let address = run(&["rpc", "miner-1", "getnewaddress"]).expect(0);
    let address = address.stdout.trim().trim_matches('"').to_owned();
    run(&["send", "wallet", &address, "0.5"]).expect(0);
    run(&[
        "wait",
        "{confirmed: {tx: last, depth: 1}}",
        "--within",
        "30s",
    ])
    .expect(0);

    run(&["kill", "full-2"]).expect(0);
    let state = |status: &Value, node: &str| {
        let nodes = status["nodes"].as_array().unwrap().clone();
        nodes.into_iter().find(|n| n["name"] == node).unwrap()["state"].clone()
    };
    assert_eq!(state(&up.status(name), "full-2"), "exited");
    run(&["start", "full-2"]).expect(0);
    assert_eq!(state(&up.status(name), "full-2"), "running");
    run(&["pause", "full-1"]).expect(0);
    assert_eq!(state(&up.status(name), "full-1"), "paused");
    run(&["resume", "full-1"]).expect(0);
    run(&["wait", "converged", "--within", "30s"]).expect(0);
    let logs = run(&["logs", "full-1"]).expect(0);
    assert!(!logs.stdout.is_empty());
    up.down(name);
}

/// The command line needs nothing but the engine's socket: it works where there is no route to the containers.
#[test]
fn no_route_to_the_containers_is_needed() {
    let netsplit = Netsplit::new();
    let file = netsplit.topology("cut", CUT);
    let program = env!("CARGO_BIN_EXE_netsplit");
    let output = std::process::Command::new("unshare")
        .args(["--net", program, "test", &file])
        .env("XDG_STATE_HOME", netsplit.home.path())
        .env("NETSPLIT_NODE_BINARY", crate::netsplit::node_binary())
        .output()
        .unwrap();
    let screen = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{screen}");
}

/// `forward` opens a loopback port that a plain HTTP client with the printed credentials can use.
#[test]
fn forward_leads_to_a_nodes_rpc() {
    let name = "e2e-forwarded";
    let up = Up::new(name, &CUT.replace("name: cut", "name: e2e-forwarded"));
    let mut running = up.netsplit.spawn(&["forward", "full-1", "--name", name]);
    let child = &mut running.child;
    let mut line = String::new();
    let mut out = std::io::BufReader::new(child.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut out, &mut line).unwrap();
    let word = |key: &str| {
        line.split_whitespace()
            .find_map(|w| w.strip_prefix(key))
            .unwrap_or_else(|| panic!("no {key} in {line}"))
            .to_owned()
    };
    let answer = eventually("the port answers", Duration::from_secs(10), || {
        let output = std::process::Command::new("curl")
            .args([
                "-s",
                "-u",
                &format!("{}:{}", word("-rpcuser="), word("-rpcpassword=")),
            ])
            .args(["-d", r#"{"method":"getblockcount","params":[],"id":1}"#])
            .arg(format!("http://127.0.0.1:{}/", word("-rpcport=")))
            .output()
            .unwrap();
        serde_json::from_slice::<Value>(&output.stdout).ok()
    });
    assert!(answer["result"].is_u64(), "{answer}");
    child.kill().unwrap();
    child.wait().unwrap();
    up.down(name);
}
