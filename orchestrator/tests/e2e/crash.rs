//! Whatever is killed, whenever: nothing is left.

use std::time::Duration;

use nix::sys::signal::Signal;

use crate::netsplit::{CUT, Netsplit, assert_nothing_left, containers, docker, eventually};

const THIRTY: &str = "
name: thirty
seed: 3
chain: { block_interval: 1s }
nodes:
  seed:  { role: dns-seed }
  miner: { role: miner, count: 2 }
  full:  { role: full, count: 27 }
scenario:
  - wait: { height: { at_least: 1000 }, within: 10m }
";

fn run_of(owner: u32, at_least: usize) -> String {
    eventually("its containers run", Duration::from_secs(60), || {
        let rows = docker(&[
            "ps",
            "--filter",
            &format!("label=netsplit.owner-pid={owner}"),
            "--format",
            "{{.Label \"netsplit.run\"}}",
        ]);
        (rows.len() >= at_least).then(|| rows[0].clone())
    })
}

fn gone_within_15_seconds(run: &str) {
    eventually(
        "the reaper removes the run",
        Duration::from_secs(15),
        || {
            let networks = docker(&[
                "network",
                "ls",
                "-q",
                "--filter",
                &format!("label=netsplit.run={run}"),
            ]);
            (containers(&format!("netsplit.run={run}")).is_empty() && networks.is_empty())
                .then_some(())
        },
    );
    assert_nothing_left(run);
}

#[test]
fn a_killed_test_of_thirty_nodes_is_reaped() {
    let netsplit = Netsplit::new();
    let file = netsplit.topology("thirty", THIRTY);
    let mut running = netsplit.spawn(&["test", &file]);
    let run = run_of(running.child.id(), 32);
    running.signal(Signal::SIGKILL);
    running.child.wait().unwrap();
    gone_within_15_seconds(&run);
}

#[test]
fn a_killed_up_is_reaped_before_it_is_ready() {
    let netsplit = Netsplit::new();
    let file = netsplit.topology("thirty", THIRTY);
    let mut running = netsplit.spawn(&["up", &file]);
    let run = run_of(running.child.id(), 8);
    running.signal(Signal::SIGKILL);
    running.child.wait().unwrap();
    gone_within_15_seconds(&run);
}

#[test]
fn one_interrupt_tears_down_in_order() {
    let netsplit = Netsplit::new();
    let file = netsplit.topology("cut", &CUT.replace("min_height: 3", "min_height: 900"));
    let running = netsplit.spawn(&["test", &file]);
    let run = run_of(running.child.id(), 7);
    running.signal(Signal::SIGINT);
    running.wait().expect(130);
    assert_nothing_left(&run);
}

#[test]
fn two_interrupts_force_it_and_leave_nothing() {
    let netsplit = Netsplit::new();
    let file = netsplit.topology("cut", &CUT.replace("min_height: 3", "min_height: 900"));
    let running = netsplit.spawn(&["test", &file]);
    let run = run_of(running.child.id(), 7);
    running.signal(Signal::SIGINT);
    running.signal(Signal::SIGINT);
    running.wait().expect(130);
    gone_within_15_seconds(&run);
}

/// `gc` removes what a dead run left when its reaper is dead too, and leaves a living run alone.
#[test]
fn gc_removes_the_dead_and_spares_the_living() {
    let netsplit = Netsplit::new();
    let file = netsplit.topology("cut", &CUT.replace("min_height: 3", "min_height: 900"));
    let living = netsplit.spawn(&["test", &file]);
    let mut dying = netsplit.spawn(&["test", &file]);
    let (alive, dead) = (run_of(living.child.id(), 7), run_of(dying.child.id(), 7));
    // The reaper must not be able to act before gc does.
    docker(&["pause", &format!("netsplit-{dead}.reaper")]);
    dying.signal(Signal::SIGKILL);
    dying.child.wait().unwrap();
    netsplit.run(&["gc"]).expect(0);
    assert_nothing_labelled(&dead);
    assert_eq!(containers(&format!("netsplit.run={alive}")).len(), 7);
    living.signal(Signal::SIGINT);
    living.wait().expect(130);
    assert_nothing_left(&alive);
}

#[track_caller]
fn assert_nothing_labelled(run: &str) {
    assert_eq!(
        containers(&format!("netsplit.run={run}")),
        Vec::<String>::new()
    );
    let networks = docker(&[
        "network",
        "ls",
        "-q",
        "--filter",
        &format!("label=netsplit.run={run}"),
    ]);
    assert_eq!(networks, Vec::<String>::new());
}
