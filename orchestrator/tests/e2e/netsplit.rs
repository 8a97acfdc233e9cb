//! The command line under test, and what the engine and the kernel say beside it.

use std::{
    io::Read,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

/// `netsplit` with a state directory of its own.
pub(crate) struct Netsplit {
    program: PathBuf,
    pub(crate) home: tempfile::TempDir,
}

/// How a command ended.
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    pub(crate) fn new(output: &Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Checks the exit code and shows the whole screen if it is another.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(
            self.code, code,
            "--- stdout\n{}\n--- stderr\n{}",
            self.stdout, self.stderr
        );
        self
    }

    /// Standard output as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|e| panic!("not JSON: {e}\n{}\n{}", self.stdout, self.stderr))
    }
}

impl Netsplit {
    /// The program as it is released.
    pub(crate) fn new() -> Self {
        Self::with_program(env!("CARGO_BIN_EXE_netsplit").into())
    }

    /// The program built with its test-only sabotage, which `ci/test` provides.
    pub(crate) fn sabotaged() -> Self {
        let program = std::env::var_os("NETSPLIT_SABOTAGED").map_or_else(
            || panic!("NETSPLIT_SABOTAGED is not set: run ci/test, which builds that program"),
            PathBuf::from,
        );
        Self::with_program(program)
    }

    fn with_program(program: PathBuf) -> Self {
        let answers = Command::new("docker").arg("version").output();
        assert!(
            answers.is_ok_and(|o| o.status.success()),
            "these tests need Docker Engine: ci/install engine"
        );
        Self {
            program,
            home: tempfile::tempdir().unwrap(),
        }
    }

    /// The program under test.
    pub(crate) fn program(&self) -> &Path {
        &self.program
    }

    /// A command that is not started yet.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(args)
            .env("XDG_STATE_HOME", self.home.path())
            .env("NETSPLIT_NODE_BINARY", node_binary())
            .stdin(Stdio::null());
        command
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Ended {
        Ended::new(&self.command(args).output().unwrap())
    }

    /// Starts a command and leaves it running.
    pub(crate) fn spawn(&self, args: &[&str]) -> Running {
        let child = self
            .command(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Running { child }
    }

    /// Writes a topology and gives its path.
    pub(crate) fn topology(&self, name: &str, yaml: &str) -> String {
        let path = self.home.path().join(format!("{name}.yaml"));
        std::fs::write(&path, yaml).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Runs `test FILE --json` and gives how it ended with its JSON verdict.
    pub(crate) fn test(&self, file: &str, more: &[&str]) -> (Ended, Value) {
        let json = self.home.path().join("verdict.json");
        let mut args = vec!["test", file, "--json", json.to_str().unwrap()];
        args.extend(more);
        let ended = self.run(&args);
        let verdict = read_json(&json, &ended);
        (ended, verdict)
    }
}

/// The file `--json` wrote.
#[track_caller]
pub(crate) fn read_json(path: &Path, ended: &Ended) -> Value {
    let text = std::fs::read_to_string(path)
        .unwrap_or_else(|e| panic!("no verdict: {e}\n{}\n{}", ended.stdout, ended.stderr));
    serde_json::from_str(&text).unwrap()
}

/// A command that runs.
pub(crate) struct Running {
    pub(crate) child: Child,
}

impl Running {
    /// Sends a signal.
    pub(crate) fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        nix::sys::signal::kill(pid, signal).unwrap();
    }

    /// Waits for the end.
    pub(crate) fn wait(mut self) -> Ended {
        let mut stdout = String::new();
        let mut stderr = String::new();
        let out = self.child.stdout.take();
        let reader = std::thread::spawn(move || {
            out.map(|mut o| o.read_to_string(&mut stdout));
            stdout
        });
        self.child
            .stderr
            .take()
            .map(|mut e| e.read_to_string(&mut stderr));
        let status = self.child.wait().unwrap();
        Ended {
            code: status.code().unwrap_or(-1),
            stdout: reader.join().unwrap(),
            stderr,
        }
    }
}

/// A test that fails half-way leaves no run behind: its reaper notices.
impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The small node binary beside `netsplit`.
pub(crate) fn node_binary() -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_netsplit")).with_file_name("netsplit-node");
    assert!(path.exists(), "{} is not built", path.display());
    path
}

/// The repository's root.
pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

/// Output lines of the engine's own client.
pub(crate) fn docker(args: &[&str]) -> Vec<String> {
    let output = Command::new("docker").args(args).output().unwrap();
    assert!(
        output.status.success(),
        "docker {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(str::to_owned)
        .collect()
}

/// Containers with a label of ours, dead ones included.
pub(crate) fn containers(label: &str) -> Vec<String> {
    docker(&["ps", "-aq", "--filter", &format!("label={label}")])
}

/// Waits until something is so; the end of the world is far, the next look near.
#[track_caller]
pub(crate) fn eventually<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begin.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Checks that neither engine nor kernel nor process table remember a run.
#[track_caller]
pub(crate) fn assert_nothing_left(run: &str) {
    let label = format!("netsplit.run={run}");
    assert_eq!(
        containers(&label),
        Vec::<String>::new(),
        "containers of {run}"
    );
    let networks = docker(&["network", "ls", "-q", "--filter", &format!("label={label}")]);
    assert_eq!(networks, Vec::<String>::new(), "networks of {run}");
    let tables = Command::new("nft")
        .args(["list", "tables"])
        .output()
        .unwrap();
    let tables = String::from_utf8_lossy(&tables.stdout).into_owned();
    assert!(
        !tables.contains(&format!("netsplit-{run}")),
        "firewall tables are left:\n{tables}"
    );
}

/// The run id in a verdict.
pub(crate) fn run_id(verdict: &Value) -> String {
    verdict["run_id"].as_str().unwrap().to_owned()
}

/// Two miners and two full nodes, cut in two and healed: the smallest scenario that tells a partition from none.
pub(crate) const CUT: &str = "
name: cut
seed: 7
chain: { block_interval: 500ms }
nodes:
  seed:  { role: dns-seed }
  miner: { role: miner, count: 2 }
  full:  { role: full, count: 2 }
scenario:
  - wait: { converged: { min_height: 3 }, within: 60s }
  - partition: { id: cut, groups: [[miner-1, full-1], [miner-2, full-2]] }
  - assert: { diverged: { between: cut, min_blocks: 1 }, within: 30s }
  - heal: cut
  - assert: { converged: { fresh_blocks: 1 }, within: auto }
";
