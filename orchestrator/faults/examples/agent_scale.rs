//! What the agent costs per node: memory of the connections, processor time of their making and of every event.
//!
//! `agent_scale NODES EVENTS` prints one line of JSON. The nodes are another process on loopback, one address each.

use std::{
    error::Error,
    fs,
    io::{self, BufRead as _, Write as _},
    net::{IpAddr, Ipv4Addr},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use netsplit_faults::{
    agent::Host,
    codec,
    enforcer::fake::FakeKernel,
    nft::{build::Scope, ruleset::Family},
    protocol::{AgentNode, Configure, Request, RequestBody, Secret},
};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::watch,
};

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [role, count] = arguments.as_slice() else {
        return Err("usage: agent_scale NODES EVENTS".into());
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    match role.as_str() {
        "serve" => runtime.block_on(serve(count.parse()?)),
        nodes => runtime.block_on(measure(nodes.parse()?, count.parse()?)),
    }
}

/// All nodes at once: JSON-RPC that lets every node write its events, and the event streams.
async fn serve(events: u64) -> Outcome<()> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
    writeln!(io::stdout(), "{}", listener.local_addr()?.port())?;
    let go = Arc::new(watch::channel(false).0);
    loop {
        let (stream, _) = listener.accept().await?;
        let go = Arc::clone(&go);
        tokio::spawn(async move {
            // The other side may leave at any time.
            let _ = converse(stream, &go, events).await;
        });
    }
}

async fn converse(stream: TcpStream, go: &watch::Sender<bool>, events: u64) -> io::Result<()> {
    let mut stream = BufReader::with_capacity(1024, stream);
    loop {
        let (mut head, mut length) = (String::new(), 0);
        while !head.ends_with("\r\n\r\n") {
            let start = head.len();
            if stream.read_line(&mut head).await? == 0 {
                return Ok(());
            }
            if let Some(value) = head[start..].to_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or(0);
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        if head.starts_with("GET") {
            let start = b"HTTP/1.1 200 OK\r\nnetsplit-incarnation: 1\r\n\r\n";
            stream.write_all(start).await?;
            let mut go = go.subscribe();
            go.wait_for(|go| *go).await.map_err(io::Error::other)?;
            for seq in 1..=events {
                stream.write_all(record(seq).as_bytes()).await?;
            }
            return std::future::pending().await;
        }
        if body.windows(4).any(|word| word == b"\"go\"") {
            go.send_replace(true);
        }
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
        stream.write_all(answer).await?;
    }
}

fn record(seq: u64) -> String {
    let hash = "5a".repeat(32);
    let record = json!({"seq": seq, "time_ns": 1_700_000_000_000_000_000_u64 + seq, "event": {"type": "block_accepted",
        "hash": hash, "previous": hash, "height": seq, "from": "10.248.3.77:18444", "transactions": 3, "work": hash}});
    format!("{record}\n")
}

/// The parts of a pushed message that are counted.
#[derive(Deserialize)]
struct Push {
    body: Records,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Records {
    records: Vec<IgnoredAny>,
}

async fn measure(nodes: u32, events: u64) -> Outcome<()> {
    let mut server = Server::start(events)?;
    let scope = Scope {
        family: Family::Inet,
        table: "t".to_owned(),
        probe_port: 1,
    };
    let host = Host::new(move |_| Ok(Box::new(FakeKernel::new(scope.clone()))));
    let (near, far) = tokio::io::duplex(64 * 1024);
    let (reader, writer) = tokio::io::split(far);
    tokio::spawn(host.attend(reader, writer));
    let mut agent = Agent {
        stream: BufReader::new(near),
        next: 0,
    };
    let bare = resident()?;
    let names: Vec<String> = (1..=nodes).map(|node| format!("node-{node}")).collect();
    let configure = configure(server.port()?, &names);
    agent.ask(RequestBody::Configure(configure)).await?;
    let begin = (Instant::now(), processor());
    for name in &names {
        agent.call(name, "hello").await?;
    }
    let called = (resident()?, begin.0.elapsed(), processor() - begin.1);
    let begin = (Instant::now(), processor());
    agent.ask(RequestBody::Follow).await?;
    // Whoever is called once more has answered to `/events` in the meantime, or soon will.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let followed = (resident()?, processor() - begin.1);
    let begin = (Instant::now(), processor());
    agent.send(rpc(&names[0], "go")).await?;
    let mut missing = u64::from(nodes) * events;
    while missing > 0 {
        let push: Push = codec::read(&mut agent.stream)
            .await?
            .ok_or("the agent left")?;
        missing -= u64::try_from(push.body.records.len())?;
    }
    let (elapsed, spent) = (begin.0.elapsed(), processor() - begin.1);
    let each = |kib: u64| kib.saturating_sub(bare) / u64::from(nodes);
    let report = json!({
        "nodes": nodes,
        "bare_kib": bare,
        "kib_per_node_called": each(called.0),
        "kib_per_node_called_and_followed": each(followed.0),
        "call_cpu_us_per_node": called.2.as_micros() / u128::from(nodes),
        "call_us_per_node": called.1.as_micros() / u128::from(nodes),
        "follow_cpu_us_per_node": followed.1.as_micros() / u128::from(nodes),
        "events": u64::from(nodes) * events,
        "event_cpu_ns": spent.as_nanos() / u128::from(u64::from(nodes) * events),
        "events_ms": elapsed.as_millis(),
        "after_kib": resident()?,
    });
    writeln!(io::stdout(), "{report}")?;
    Ok(())
}

fn configure(port: u16, names: &[String]) -> Configure {
    let nodes = (1_u32..).zip(names).map(|(number, name)| AgentNode {
        name: name.clone(),
        address: IpAddr::V4(Ipv4Addr::from(0x7f01_0000 + number)),
    });
    Configure {
        run: "scale".to_owned(),
        device: None,
        subnet: (IpAddr::from([127, 0, 0, 0]), 8),
        rpc_user: "u".to_owned(),
        rpc_password: Secret("p".to_owned()),
        rpc_port: port,
        probe_port: 1,
        nodes: nodes.collect(),
    }
}

fn rpc(node: &str, method: &str) -> RequestBody {
    RequestBody::Rpc {
        node: node.to_owned(),
        method: method.to_owned(),
        params: json!([]),
        timeout_ms: 10_000,
    }
}

/// The agent's stream, read as cheaply as can be.
struct Agent {
    stream: BufReader<tokio::io::DuplexStream>,
    next: u64,
}

impl Agent {
    async fn send(&mut self, body: RequestBody) -> Outcome<()> {
        self.next += 1;
        let frame = codec::encode(&Request {
            id: self.next,
            body,
        })?;
        Ok(self.stream.write_all(&frame).await?)
    }

    async fn ask(&mut self, body: RequestBody) -> Outcome<()> {
        self.send(body).await?;
        let answer: serde_json::Value = codec::read(&mut self.stream).await?.ok_or("no answer")?;
        match answer["body"]["body"]["type"].as_str() {
            Some("failed") | None => Err(answer.to_string().into()),
            Some(_) => Ok(()),
        }
    }

    async fn call(&mut self, node: &str, method: &str) -> Outcome<()> {
        self.ask(rpc(node, method)).await
    }
}

/// The process of the nodes; ends with this value.
struct Server(Child);

impl Server {
    fn start(events: u64) -> io::Result<Self> {
        let server = Command::new(std::env::current_exe()?)
            .args(["serve", &events.to_string()])
            .stdout(Stdio::piped())
            .spawn()?;
        Ok(Self(server))
    }

    fn port(&mut self) -> Outcome<u16> {
        let said = self.0.stdout.as_mut().ok_or("no output")?;
        let mut line = String::new();
        io::BufReader::new(said).read_line(&mut line)?;
        Ok(line.trim().parse()?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Resident memory of this process, in KiB.
fn resident() -> Outcome<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    Ok(number.ok_or("no VmRSS")?.parse()?)
}

/// Processor time this process has used.
fn processor() -> Duration {
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF);
    let time = |of: nix::sys::time::TimeVal| {
        Duration::from_secs(of.tv_sec().try_into().unwrap_or(0))
            + Duration::from_micros(of.tv_usec().try_into().unwrap_or(0))
    };
    usage.map_or(Duration::ZERO, |usage| {
        time(usage.user_time()) + time(usage.system_time())
    })
}
