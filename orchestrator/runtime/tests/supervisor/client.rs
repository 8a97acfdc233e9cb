//! A run as its maker sees it: the supervisor's process, its stream, and what it says. Requests are written out as JSON: this is
//! the contract with clients of other versions.

use std::{
    collections::VecDeque,
    env, fs,
    io::{Read as _, Write as _},
    net::Ipv4Addr,
    os::{
        fd::OwnedFd,
        unix::net::{UnixDatagram, UnixStream},
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

/// Nothing here takes longer unless it is stuck.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// Marks every process of a run in its environment.
const MARK: &str = "NETSPLIT_TEST_RUN";

/// One session with a supervisor.
pub(crate) struct Session {
    stream: UnixStream,
    last: u64,
    pushed: VecDeque<Value>,
}

impl Session {
    pub(crate) fn open(stream: UnixStream, door: &str) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut session = Self {
            stream,
            last: 0,
            pushed: VecDeque::new(),
        };
        session.write(&json!(door));
        session
    }

    fn write(&mut self, message: &Value) {
        let text = message.to_string();
        let length = u32::try_from(text.len()).unwrap();
        // The supervisor may end in the middle of it: then there is no answer.
        let _ = self.stream.write_all(&length.to_be_bytes());
        let _ = self.stream.write_all(text.as_bytes());
    }

    /// The next message; none when the stream ended.
    fn read(&mut self) -> Option<Value> {
        let mut length = [0; 4];
        match self.stream.read_exact(&mut length) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("no answer"),
            Err(_) => return None,
        }
        let mut text = vec![0; usize::try_from(u32::from_be_bytes(length)).unwrap()];
        self.stream.read_exact(&mut text).unwrap();
        Some(serde_json::from_slice(&text).unwrap())
    }

    /// Asks and does not wait; answers the request's number.
    pub(crate) fn send(&mut self, body: &Value) -> u64 {
        self.last += 1;
        self.write(&json!({ "id": self.last, "body": body }));
        self.last
    }

    /// Asks and waits for the reply's body; what is told in between is kept.
    pub(crate) fn ask(&mut self, body: &Value) -> Value {
        let id = self.send(body);
        loop {
            let message = self.read().expect("the stream goes on");
            if message["type"] == "reply" && message["body"]["id"] == id {
                return message["body"]["body"].clone();
            }
            self.pushed.push_back(message);
        }
    }

    /// Asks for what has to be done.
    pub(crate) fn done(&mut self, body: &Value) {
        let reply = self.ask(body);
        assert_eq!(reply["type"], "done", "{body} was answered with {reply}");
    }

    /// Asks for what has to fail; the reason and the hints.
    pub(crate) fn fails(&mut self, body: &Value) -> String {
        let reply = self.ask(body);
        assert_eq!(reply["type"], "failed", "{body} was answered with {reply}");
        format!("{} {}", reply["body"]["reason"], reply["body"]["hints"])
    }

    /// The next thing of this type that is told, or has been.
    pub(crate) fn told(&mut self, kind: &str) -> Value {
        let kept = self
            .pushed
            .iter()
            .position(|message| message["type"] == kind);
        if let Some(found) = kept.and_then(|place| self.pushed.remove(place)) {
            return found["body"].clone();
        }
        loop {
            let message = self.read().expect("the stream goes on");
            if message["type"] == kind {
                return message["body"].clone();
            }
            self.pushed.push_back(message);
        }
    }

    pub(crate) fn act(&mut self, node: &str, verb: &str) {
        self.done(&act(node, verb));
    }

    pub(crate) fn status(&mut self) -> Value {
        let reply = self.ask(&json!({ "type": "status" }));
        assert_eq!(reply["type"], "status", "{reply}");
        reply["body"].clone()
    }

    pub(crate) fn hang_up(&self, how: std::net::Shutdown) {
        self.stream.shutdown(how).unwrap();
    }

    /// Returns when the other side has ended the stream.
    pub(crate) fn ended(&mut self) {
        while self.read().is_some() {}
    }
}

pub(crate) fn act(node: &str, verb: &str) -> Value {
    json!({ "type": "act", "body": { "node": node, "verb": verb } })
}

/// A run and its maker. Dropping it ends the run.
pub(crate) struct Run {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) guard: Child,
    pub(crate) session: Session,
}

impl Run {
    /// Starts a supervisor that knows nothing yet, by these words of this program.
    pub(crate) fn start(word: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (near, far) = UnixStream::pair().unwrap();
        let log = fs::File::create(directory.path().join("supervisor.log")).unwrap();
        let guard = Command::new(env::current_exe().unwrap())
            .arg(word)
            .arg(directory.path())
            .env(MARK, directory.path())
            .stdin(OwnedFd::from(far))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Self {
            session: Session::open(near, "supervisor"),
            directory,
            guard,
        }
    }

    pub(crate) fn begin() -> Self {
        let mut run = Self::start("supervisor");
        let reply = run.session.ask(&run.beginning());
        assert_eq!(reply["type"], "begun", "{reply}\n{}", run.log());
        run
    }

    pub(crate) fn beginning(&self) -> Value {
        json!({ "type": "begin", "body": {
            "run": "test-1", "name": "test", "started": 1, "subnet": ["10.248.0.0", 16],
            "program": [env::current_exe().unwrap(), ["node"]],
        }})
    }

    pub(crate) fn with_nodes(count: u32) -> Self {
        let mut run = Self::begin();
        run.launch(0..count);
        run
    }

    /// Launches the nodes with these numbers and waits until they listen.
    pub(crate) fn launch(&mut self, numbers: std::ops::Range<u32>) {
        let request = self.launching(numbers.clone());
        self.session.done(&request);
        for number in numbers {
            assert_eq!(self.tell(&name(number), "pid"), "1");
        }
    }

    /// A request for the nodes with these numbers.
    pub(crate) fn launching(&self, numbers: std::ops::Range<u32>) -> Value {
        let nodes: Vec<Value> = numbers.map(|number| self.node(number)).collect();
        json!({ "type": "launch", "body": nodes })
    }

    fn node(&self, number: u32) -> Value {
        let name = name(number);
        json!({
            "name": name, "address": address(number), "limits": { "memory": null, "cpus": null },
            "environment": [
                [MARK, self.directory.path()], ["NODE_ADDRESS", address(number)], ["NODE_DATA", self.data(&name)],
            ],
        })
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn data(&self, node: &str) -> PathBuf {
        self.path().join("nodes").join(node).join("data")
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path().join("supervisor.log")).unwrap()
    }

    /// Another session, at the socket.
    pub(crate) fn visit(&self, door: &str) -> Session {
        let stream = UnixStream::connect(self.path().join("supervisor.sock")).unwrap();
        Session::open(stream, door)
    }

    /// Tells a node something, by a socket in its data directory that no network namespace hides; answers what it says.
    pub(crate) fn tell(&self, node: &str, command: &str) -> String {
        let data = self.data(node);
        let path = data.join("tester");
        let own = UnixDatagram::bind(&path).unwrap();
        own.set_read_timeout(Some(PATIENCE)).unwrap();
        let end = Instant::now() + PATIENCE;
        // A node that has just started may not listen yet.
        while let Err(error) = own.send_to(command.as_bytes(), data.join("control")) {
            assert!(Instant::now() < end, "`{node}` does not listen: {error}");
            std::thread::yield_now();
        }
        let mut answer = [0; 256];
        let length = own.recv(&mut answer).unwrap();
        fs::remove_file(path).unwrap();
        String::from_utf8(answer[..length].to_vec()).unwrap()
    }

    /// What a node sees of another: `ok`, `silent` or an error.
    pub(crate) fn reach(&self, from: &str, to: u32) -> String {
        self.tell(from, &format!("reach {}", address(to)))
    }

    /// Ids of all processes of the run as this process sees them, guard and supervisor included.
    pub(crate) fn processes(&self) -> Vec<u32> {
        let mark = format!("{MARK}={}", self.path().display());
        let all = fs::read_dir("/proc").unwrap().flatten();
        all.filter_map(|entry| {
            let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
            let environment = fs::read(entry.path().join("environ")).ok()?;
            let marked = environment
                .split(|byte| *byte == 0)
                .any(|line| line == mark.as_bytes());
            marked.then_some(pid)
        })
        .collect()
    }

    /// The supervisor's process: the guard's child.
    pub(crate) fn supervisor(&self) -> u32 {
        let guard = self.guard.id();
        let children = fs::read_to_string(format!("/proc/{guard}/task/{guard}/children")).unwrap();
        children.trim().parse().unwrap()
    }

    /// Waits for the guard's end; its code, and how long it took.
    pub(crate) fn wait(&mut self) -> (Option<i32>, Duration) {
        let begin = Instant::now();
        let status = self.guard.wait().unwrap();
        (status.code(), begin.elapsed())
    }

    pub(crate) fn assert_nothing_left(&self) {
        assert_eq!(self.processes(), Vec::<u32>::new());
        let left = fs::read_dir(self.path()).unwrap().flatten();
        let left: Vec<_> = left.map(|entry| entry.file_name()).collect();
        assert_eq!(left, ["supervisor.log"]);
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = self.session.stream.shutdown(std::net::Shutdown::Both);
        let _ = self.guard.wait();
        if std::thread::panicking() {
            eprintln!("{}", self.log());
        }
    }
}

pub(crate) fn name(number: u32) -> String {
    format!("full-{number}")
}

pub(crate) fn address(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 248, 0, 2)) + number)
}
