//! The same without an engine, and without any right of the machine's: everything here runs as an ordinary user.

use std::{
    fs,
    os::unix::{fs::chown, process::CommandExt},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::netsplit::{
    CUT, Ended, Netsplit, Running, eventually, node_binary, read_json, repository,
};

/// `nobody`: a user with no right to anything, the engine's socket included.
const NOBODY: u32 = 65534;
/// The kernel and the guard are done with a run by then.
const GONE: Duration = Duration::from_secs(15);

/// `netsplit` as an ordinary user has it: in a directory of theirs, beside the node.
struct Ordinary {
    netsplit: Netsplit,
    program: PathBuf,
}

impl Ordinary {
    fn new() -> Self {
        Self::with(Netsplit::new())
    }

    fn with(netsplit: Netsplit) -> Self {
        let home = netsplit.home.path().to_owned();
        let bin = home.join("bin");
        fs::create_dir(&bin).unwrap();
        let program = bin.join("netsplit");
        fs::copy(netsplit.program(), &program).unwrap();
        fs::copy(node_binary(), bin.join("netsplit-node")).unwrap();
        chown(&home, Some(NOBODY), Some(NOBODY)).unwrap();
        Self { netsplit, program }
    }

    fn home(&self) -> &Path {
        self.netsplit.home.path()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(args)
            .env("XDG_STATE_HOME", self.home())
            .env_remove("DOCKER_HOST")
            .current_dir(self.home())
            .uid(NOBODY)
            .gid(NOBODY)
            .stdin(std::process::Stdio::null());
        command
    }

    fn run(&self, args: &[&str]) -> Ended {
        Ended::new(&self.command(args).output().unwrap())
    }

    fn spawn(&self, args: &[&str]) -> Running {
        let mut command = self.command(args);
        command
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped());
        Running {
            child: command.spawn().unwrap(),
        }
    }

    /// Runs a topology and checks how it ended, and that nothing of it is left.
    fn test(&self, file: &str, code: i32, environment: &[(&str, &str)]) -> serde_json::Value {
        let json = self.home().join("verdict.json");
        let output = self
            .command(&["test", file, "--json", json.to_str().unwrap()])
            .envs(environment.iter().copied())
            .output()
            .unwrap();
        let ended = Ended::new(&output).expect(code);
        let verdict = read_json(&json, &ended);
        assert_eq!(verdict["runtime"], "namespaces");
        self.assert_nothing_left(verdict["run_id"].as_str().unwrap());
        verdict
    }

    /// Neither processes nor sockets nor nodes' data.
    #[track_caller]
    fn assert_nothing_left(&self, run: &str) {
        eventually("every process of the run is gone", GONE, || {
            processes(run).is_empty().then_some(())
        });
        let directory = self.home().join("netsplit").join(run);
        eventually("what nodes wrote is gone", GONE, || {
            (!directory.join("nodes").exists() && !directory.join("supervisor.sock").exists())
                .then_some(())
        });
    }
}

/// Processes that name a run in their arguments or their environment, as its supervisor and its nodes do.
fn processes(run: &str) -> Vec<Pid> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    ids.filter(|id: &i32| {
        let names = |what: &str| {
            let said = fs::read(format!("/proc/{id}/{what}")).unwrap_or_default();
            said.windows(run.len()).any(|part| part == run.as_bytes())
        };
        names("cmdline") || names("environ")
    })
    .map(Pid::from_raw)
    .collect()
}

/// The supervisor of a run: the child of the process that the client started, which stays outside.
fn supervisor(run: &str) -> Pid {
    let named: Vec<Pid> = processes(run)
        .into_iter()
        .filter(|id| {
            fs::read_to_string(format!("/proc/{id}/cmdline"))
                .is_ok_and(|line| line.contains("\0supervisor\0"))
        })
        .collect();
    let parent = |id: &Pid| {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap();
        let fields = stat.rsplit_once(')').unwrap().1;
        Pid::from_raw(fields.split_whitespace().nth(1).unwrap().parse().unwrap())
    };
    *named
        .iter()
        .find(|id| named.contains(&parent(id)))
        .expect("a supervisor below its guard")
}

fn topology(name: &str) -> String {
    let file = repository().join("topologies").join(name);
    file.to_str().unwrap().to_owned()
}

/// The file is read by the test, for an ordinary user may not see the repository.
fn passes(name: &str) {
    let ordinary = Ordinary::new();
    let text = fs::read_to_string(topology(name)).unwrap();
    let file = ordinary.netsplit.topology("given", &text);
    let verdict = ordinary.test(&file, 0, &[]);
    assert_eq!(verdict["verdict"], "passed");
    assert_eq!(verdict["teardown"]["ok"], true, "{verdict:#}");
}

#[test]
fn quickstart_passes() {
    passes("quickstart.yaml");
}

#[test]
fn partition_passes() {
    passes("partition.yaml");
}

#[test]
fn churn_passes() {
    passes("churn.yaml");
}

#[test]
fn dns_outage_passes() {
    passes("dns-outage.yaml");
}

#[test]
fn without_the_heal_the_run_fails() {
    let ordinary = Ordinary::new();
    let yaml = CUT
        .replace("  - heal: cut\n", "")
        .replace("within: auto", "within: 5s");
    let file = ordinary.netsplit.topology("unhealed", &yaml);
    assert_eq!(ordinary.test(&file, 1, &[])["verdict"], "failed");
}

fn sabotage(kind: &str) {
    let ordinary = Ordinary::with(Netsplit::sabotaged());
    let file = ordinary.netsplit.topology("sabotaged", CUT);
    let verdict = ordinary.test(&file, 4, &[("NETSPLIT_SABOTAGE", kind)]);
    assert_eq!(verdict["verdict"], "inconclusive");
}

#[test]
fn an_empty_set_reported_as_done_is_noticed() {
    sabotage("empty-set");
}

#[test]
fn the_right_set_on_the_wrong_hook_is_noticed() {
    sabotage("wrong-hook");
}

/// Starts a testnet that is left running and gives its run's id.
fn up(ordinary: &Ordinary) -> String {
    let file = ordinary.netsplit.topology("cut", CUT);
    ordinary.run(&["up", &file]).expect(0);
    let runs = ordinary.run(&["ls", "--format", "json"]).expect(0).json();
    assert_eq!(runs[0]["runtime"], "namespaces");
    assert_eq!(runs[0]["state"], "detached");
    runs[0]["run"].as_str().unwrap().to_owned()
}

#[test]
fn a_testnet_is_driven_by_hand_and_taken_down() {
    let ordinary = Ordinary::new();
    let run = up(&ordinary);
    ordinary
        .run(&["partition", "miner-1,full-1/rest"])
        .expect(0);
    ordinary.run(&["kill", "full-2"]).expect(0);
    ordinary.run(&["heal"]).expect(0);
    ordinary.run(&["start", "full-2"]).expect(0);
    ordinary
        .run(&["wait", "{converged: {fresh_blocks: 1}}", "--within", "30s"])
        .expect(0);
    let status = ordinary
        .run(&["status", "--format", "json"])
        .expect(0)
        .json();
    let nodes = status["nodes"].as_array().unwrap();
    assert!(
        nodes.iter().all(|node| node["state"] == "running"),
        "{status:#}"
    );
    assert!(
        !ordinary
            .run(&["logs", "full-1"])
            .expect(0)
            .stdout
            .is_empty()
    );
    ordinary.run(&["down"]).expect(0);
    ordinary.assert_nothing_left(&run);
}

/// The kernel removes what ends with the supervisor, the guard the rest, without any command of ours.
#[test]
fn the_supervisors_death_leaves_nothing() {
    let ordinary = Ordinary::new();
    let run = up(&ordinary);
    kill(supervisor(&run), Signal::SIGKILL).unwrap();
    ordinary.assert_nothing_left(&run);
    let runs = ordinary.run(&["ls", "--format", "json"]).expect(0).json();
    assert_eq!(runs, serde_json::json!([]));
}

/// Waits until the only run there is has a supervisor, and gives its id.
fn under_way(ordinary: &Ordinary) -> String {
    let runs = ordinary.home().join("netsplit");
    eventually("the run is under way", Duration::from_secs(30), || {
        let run = fs::read_dir(&runs).ok()?.flatten().next()?;
        let journal = fs::read_to_string(run.path().join("events.ndjson")).ok()?;
        journal
            .contains("fault_changed")
            .then(|| run.file_name().to_str().unwrap().to_owned())
    })
}

fn long_cut(ordinary: &Ordinary) -> (Running, PathBuf) {
    let yaml = CUT.replace("  - heal: cut\n", "  - wait: 60s\n  - heal: cut\n");
    let file = ordinary.netsplit.topology("long-cut", &yaml);
    let json = ordinary.home().join("verdict.json");
    let running = ordinary.spawn(&["test", &file, "--json", json.to_str().unwrap()]);
    (running, json)
}

#[test]
fn the_clients_death_leaves_nothing() {
    let ordinary = Ordinary::new();
    let (running, _) = long_cut(&ordinary);
    let run = under_way(&ordinary);
    running.signal(Signal::SIGKILL);
    ordinary.assert_nothing_left(&run);
}

#[test]
fn an_interrupt_leaves_nothing() {
    let ordinary = Ordinary::new();
    let (running, _) = long_cut(&ordinary);
    let run = under_way(&ordinary);
    running.signal(Signal::SIGINT);
    running.wait().expect(130);
    ordinary.assert_nothing_left(&run);
}

/// With the supervisor goes the cut; what was seen of it proves nothing any more.
#[test]
fn the_supervisors_death_during_a_cut_is_noticed() {
    let ordinary = Ordinary::new();
    let (running, json) = long_cut(&ordinary);
    let run = under_way(&ordinary);
    kill(supervisor(&run), Signal::SIGKILL).unwrap();
    let ended = running.wait().expect(4);
    assert_eq!(read_json(&json, &ended)["verdict"], "inconclusive");
    ordinary.assert_nothing_left(&run);
}

/// As the engine's reaper does: `gc` finds what is left when guard and supervisor were both killed.
#[test]
fn gc_removes_the_files_of_a_run_whose_guard_was_killed_too() {
    let ordinary = Ordinary::new();
    let run = up(&ordinary);
    let supervisor = supervisor(&run);
    let all = processes(&run);
    let guard = all.iter().find(|id| {
        let stat = fs::read_to_string(format!("/proc/{supervisor}/stat")).unwrap();
        let parent = stat.rsplit_once(')').unwrap().1;
        parent.split_whitespace().nth(1) == Some(id.to_string().as_str())
    });
    kill(*guard.expect("a guard"), Signal::SIGKILL).unwrap();
    kill(supervisor, Signal::SIGKILL).unwrap();
    eventually("every process of the run is gone", GONE, || {
        processes(&run).is_empty().then_some(())
    });
    ordinary.run(&["gc"]).expect(0);
    ordinary.assert_nothing_left(&run);
}
