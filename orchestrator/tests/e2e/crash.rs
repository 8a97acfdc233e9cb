//! Whatever is killed, whenever: nothing is left.

use std::{
    io::{BufRead, BufReader, Read},
    time::Duration,
};

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

/// Milliseconds from a run's first line to the interrupt: image, reaper, network, agent, nodes created, nodes started.
const MOMENTS: [u64; 9] = [0, 30, 60, 100, 150, 250, 400, 600, 1000];

/// Whatever the launch was about to make when somebody changed their mind: it is waited for and removed.
#[test]
fn an_interrupt_at_any_moment_of_a_launch_leaves_nothing() {
    for moment in MOMENTS {
        let netsplit = Netsplit::new();
        let file = netsplit.topology("cut", &CUT.replace("min_height: 3", "min_height: 900"));
        let mut running = netsplit.spawn(&["test", &file]);
        let mut screen = BufReader::new(running.child.stderr.take().unwrap());
        let mut seen = String::new();
        screen.read_line(&mut seen).unwrap();
        assert!(seen.contains("Running"), "{seen}");
        let run = begun(&netsplit);
        std::thread::sleep(Duration::from_millis(moment));
        running.signal(Signal::SIGINT);
        screen.read_to_string(&mut seen).unwrap();
        let ended = running.wait();
        assert_eq!(ended.code, 130, "after {moment} ms:\n{seen}");
        assert_nothing_left(&run);
    }
}

/// The id of the only run of this state directory.
fn begun(netsplit: &Netsplit) -> String {
    let runs = std::fs::read_dir(netsplit.home.path().join("netsplit")).unwrap();
    let runs: Vec<_> = runs.map(|run| run.unwrap().file_name()).collect();
    assert_eq!(runs.len(), 1, "{runs:?}");
    runs[0].to_str().unwrap().to_owned()
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
