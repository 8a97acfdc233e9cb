//! The client against the agent, over streams in memory; nodes are small HTTP servers on loopback.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, DuplexStream},
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
};

use super::{
    client::{AgentClient, AgentError},
    server::Agent,
    session,
};
use crate::{
    codec,
    enforcer::{EnforceError, Enforcer, fake::FakeKernel},
    link::{Cut, Drop as Dropped, LinkTable},
    nft::{build::Scope, ruleset::Family},
    protocol::{AgentNode, Configure, FailureKind, Message, Request, RequestBody, Secret},
};

const PATIENCE: Duration = Duration::from_secs(10);

/// What a node serves on `/events`: the incarnation and the number of records.
type Serving = watch::Sender<(u64, u64)>;

/// A node: answers JSON-RPC with what it was asked, and streams numbered events.
struct Node {
    port: u16,
    serving: Arc<Serving>,
    connections: Arc<AtomicUsize>,
    requests: Arc<Mutex<Vec<String>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn start_node() -> Node {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = Arc::new(watch::channel((7, 3)).0);
    let connections = Arc::<AtomicUsize>::default();
    let requests = Arc::<Mutex<Vec<String>>>::default();
    let parts = (
        Arc::clone(&serving),
        Arc::clone(&connections),
        Arc::clone(&requests),
    );
    let task = tokio::spawn(async move {
        let (serving, connections, requests) = parts;
        let mut open = tokio::task::JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            connections.fetch_add(1, Ordering::Relaxed);
            open.spawn(converse(stream, serving.subscribe(), Arc::clone(&requests)));
        }
    });
    Node {
        port,
        serving,
        connections,
        requests,
        task,
    }
}

/// Serves one connection; errors mean that the other side left.
async fn converse(
    stream: TcpStream,
    serving: watch::Receiver<(u64, u64)>,
    requests: Arc<Mutex<Vec<String>>>,
) -> Option<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let (mut head, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await.ok()? == 0 {
                return None;
            }
            if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line == "\r\n" {
                break;
            }
            head += &line;
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.ok()?;
        requests
            .lock()
            .unwrap()
            .push(head.lines().next().unwrap().to_owned());
        assert!(
            head.to_lowercase()
                .contains("authorization: basic dtpzzwnyzxq="),
            "{head}"
        );
        if head.starts_with("GET /events") {
            return events(stream.into_inner(), &head, serving).await;
        }
        let asked: Value = serde_json::from_slice(&body).unwrap();
        if asked["method"] == "hang" {
            std::future::pending::<()>().await;
        }
        let answer = json!({"result": asked["params"], "error": null}).to_string();
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{answer}",
            answer.len()
        );
        stream.get_mut().write_all(answer.as_bytes()).await.ok()?;
    }
}

async fn events(
    mut stream: TcpStream,
    head: &str,
    mut serving: watch::Receiver<(u64, u64)>,
) -> Option<()> {
    let (incarnation, mut last) = *serving.borrow_and_update();
    let known = format!("incarnation={incarnation}&after=");
    let after = head
        .split_once(&known)
        .map(|(_, rest)| rest.split(' ').next().unwrap());
    let mut after: u64 = after.map_or(0, |after| after.parse().unwrap());
    let start = format!("HTTP/1.1 200 OK\r\nnetsplit-incarnation: {incarnation}\r\n\r\n");
    stream.write_all(start.as_bytes()).await.ok()?;
    loop {
        for seq in after + 1..=last {
            stream
                .write_all(format!("{}\n", json!({"seq": seq})).as_bytes())
                .await
                .ok()?;
        }
        after = last;
        serving.changed().await.ok()?;
        let now = *serving.borrow_and_update();
        if now.0 != incarnation {
            return None;
        }
        last = now.1;
    }
}

struct Bench {
    agent: Arc<Agent>,
    kernel: FakeKernel,
}

fn bench() -> Bench {
    let scope = Scope {
        family: Family::Bridge,
        table: "t".to_owned(),
        probe_port: 9,
    };
    let kernel = FakeKernel::new(scope);
    let opened = kernel.clone();
    let open = move |_: &Configure| -> Result<Box<dyn Enforcer>, EnforceError> {
        Ok(Box::new(opened.clone()))
    };
    Bench {
        agent: Arc::new(Agent::new(Box::new(open))),
        kernel,
    }
}

impl Bench {
    fn stream(&self) -> DuplexStream {
        let (near, far) = tokio::io::duplex(4096);
        let (reader, writer) = tokio::io::split(far);
        tokio::spawn(session::serve(Arc::clone(&self.agent), reader, writer));
        near
    }

    fn client(&self) -> (AgentClient, mpsc::Receiver<Message>) {
        let (reader, writer) = tokio::io::split(self.stream());
        AgentClient::new(reader, writer)
    }
}

fn configuration(port: u16, nodes: &[(&str, IpAddr)]) -> Configure {
    let nodes = nodes.iter().map(|(name, address)| AgentNode {
        name: (*name).to_owned(),
        address: *address,
    });
    Configure {
        run: "test".to_owned(),
        device: Some("lo".to_owned()),
        subnet: (IpAddr::from([127, 0, 0, 0]), 8),
        rpc_user: "u".to_owned(),
        rpc_password: Secret("secret".to_owned()),
        rpc_port: port,
        probe_port: 9,
        nodes: nodes.collect(),
    }
}

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn kind<T: std::fmt::Debug>(result: Result<T, AgentError>) -> FailureKind {
    match result.unwrap_err() {
        AgentError::Failed { kind, .. } => kind,
        other => panic!("{other}"),
    }
}

async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.expect("in time")
}

#[tokio::test]
async fn links_state_and_health_travel() {
    let bench = bench();
    let (client, _pushes) = bench.client();
    assert_eq!(client.get_state().await.unwrap(), Value::Null);
    assert_eq!(
        kind(client.apply(LinkTable::default()).await),
        FailureKind::NotConfigured
    );
    client.configure(configuration(1, &[])).await.unwrap();
    let mut other = configuration(1, &[]);
    other.run = "other".to_owned();
    assert_eq!(kind(client.configure(other).await), FailureKind::BadRequest);
    let drops = vec![Dropped {
        from: vec![LOOPBACK],
        to: vec![[127, 0, 0, 2].into()],
    }];
    let table = LinkTable {
        version: 3,
        cuts: vec![Cut {
            id: "c".to_owned(),
            drops,
        }],
    };
    let applied = client.apply(table).await.unwrap();
    assert_eq!((applied.version, applied.pairs_installed), (3, 1));
    assert!(applied.committed_from_ns <= applied.committed_to_ns);
    assert_eq!(client.counters().await.unwrap().cuts.len(), 1);
    let (second, _) = bench.client();
    second.put_state(json!({"faults": [1]})).await.unwrap();
    assert_eq!(client.get_state().await.unwrap(), json!({"faults": [1]}));
    let health = second.health().await.unwrap();
    assert_eq!(
        (health.run.as_deref(), health.version, health.owned),
        (Some("test"), 3, true)
    );
    second.clear().await.unwrap();
    assert!(bench.kernel.table().is_none());
}

#[tokio::test]
async fn calls_reach_nodes_over_few_connections_and_a_slow_one_holds_up_nobody() {
    let (bench, node) = (bench(), start_node().await);
    let (client, _pushes) = bench.client();
    client
        .configure(configuration(node.port, &[("a", LOOPBACK)]))
        .await
        .unwrap();
    let hanging = client.clone();
    let hanging = tokio::spawn(async move {
        hanging
            .rpc("a", "hang", json!([]), Duration::from_millis(400))
            .await
    });
    for round in 0..50 {
        let answer = within(client.rpc("a", "echo", json!([round]), PATIENCE))
            .await
            .unwrap();
        assert_eq!(
            (answer.status, &answer.body["result"]),
            (200, &json!([round]))
        );
    }
    assert!(
        node.connections.load(Ordering::Relaxed) <= 2,
        "connections are used again"
    );
    assert_eq!(
        kind(within(hanging).await.unwrap()),
        FailureKind::Unreachable
    );
    assert_eq!(
        kind(client.rpc("b", "x", json!([]), PATIENCE).await),
        FailureKind::BadRequest
    );
    let outside = configuration(node.port, &[("a", [8, 8, 8, 8].into())]);
    assert_eq!(
        kind(client.configure(outside).await),
        FailureKind::BadRequest
    );
    let nobody = configuration(node.port, &[("a", [127, 0, 0, 9].into())]);
    client.configure(nobody).await.unwrap();
    let refused = within(client.rpc("a", "x", json!([]), PATIENCE)).await;
    assert_eq!(kind(refused), FailureKind::Unreachable);
}

/// The next pushed message.
async fn push(pushes: &mut mpsc::Receiver<Message>) -> Message {
    within(pushes.recv()).await.expect("the stream is open")
}

/// Reads events until `last` of `incarnation`; every one exactly once and in order.
async fn expect_events(pushes: &mut mpsc::Receiver<Message>, wanted: u64, first: u64, last: u64) {
    let mut next = first;
    while next <= last {
        match push(pushes).await {
            Message::Events {
                incarnation,
                records,
                ..
            } => {
                assert_eq!(incarnation, wanted);
                for record in records {
                    assert_eq!(record["seq"], next);
                    next += 1;
                }
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn events_are_resumed_where_they_stopped_and_begin_anew_after_a_restart() {
    let (bench, node) = (bench(), start_node().await);
    let (client, mut pushes) = bench.client();
    client
        .configure(configuration(node.port, &[]))
        .await
        .unwrap();
    client.follow().await.unwrap();
    client
        .configure(configuration(node.port, &[("a", LOOPBACK)]))
        .await
        .unwrap();
    expect_events(&mut pushes, 7, 1, 3).await;
    node.serving.send_replace((7, 2000));
    expect_events(&mut pushes, 7, 4, 2000).await;
    node.serving.send_replace((8, 2));
    assert!(matches!(push(&mut pushes).await, Message::EventsEnded { node, .. } if node == "a"));
    expect_events(&mut pushes, 8, 1, 2).await;
    let asked = node.requests.lock().unwrap().clone();
    assert!(
        asked.contains(&"GET /events?incarnation=7&after=2000 HTTP/1.1".to_owned()),
        "{asked:?}"
    );
    let (second, mut others) = bench.client();
    second.follow().await.unwrap();
    expect_events(&mut others, 8, 1, 2).await;
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_up_nobody() {
    let (bench, node) = (bench(), start_node().await);
    let (client, _pushes) = bench.client();
    client
        .configure(configuration(node.port, &[("a", LOOPBACK)]))
        .await
        .unwrap();
    node.serving.send_replace((7, 100_000));
    let mut stuck = bench.stream();
    let follow = codec::encode(&Request {
        id: 1,
        body: RequestBody::Follow,
    })
    .unwrap();
    stuck.write_all(&follow).await.unwrap();
    let (reader, mut pushes) = bench.client();
    reader.follow().await.unwrap();
    expect_events(&mut pushes, 7, 1, 100_000).await;
    within(client.rpc("a", "echo", json!([]), PATIENCE))
        .await
        .unwrap();
}

#[tokio::test]
async fn garbage_ends_a_session_and_no_other() {
    let bench = bench();
    let (client, _pushes) = bench.client();
    for garbage in [&b"\xff\xff\xff\xff"[..], b"\0\0\0\x02{}", b"\0\0\0\x01x"] {
        let mut stream = bench.stream();
        stream.write_all(garbage).await.unwrap();
        assert_eq!(within(stream.read(&mut [0; 1])).await.unwrap(), 0);
    }
    assert!(client.health().await.is_ok());
}

#[tokio::test]
async fn whoever_waits_learns_that_the_agent_is_lost() {
    let (near, far) = tokio::io::duplex(4096);
    let (reader, writer) = tokio::io::split(near);
    let (client, mut pushes) = AgentClient::new(reader, writer);
    let waiting = client.clone();
    let waiting = tokio::spawn(async move { waiting.health().await });
    let mut far = BufReader::new(far);
    let _: Request = codec::read(&mut far).await.unwrap().unwrap();
    drop(far);
    assert!(within(waiting).await.unwrap().unwrap_err().is_lost());
    assert!(within(client.health()).await.unwrap_err().is_lost());
    assert!(within(pushes.recv()).await.is_none());
}

#[tokio::test]
async fn tunnels_carry_both_directions_and_a_full_one_holds_up_nobody() {
    let bench = bench();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (client, _pushes) = bench.client();
    client
        .configure(configuration(1, &[("a", LOOPBACK)]))
        .await
        .unwrap();
    let full = client.open_tunnel("a", port).await.unwrap();
    let (mut flood, _) = listener.accept().await.unwrap();
    let flood = tokio::spawn(async move {
        let bytes = vec![1; 1024 * 1024];
        while flood.write_all(&bytes).await.is_ok() {}
    });
    let tunnel = within(client.open_tunnel("a", port)).await.unwrap();
    let (mut node, _) = listener.accept().await.unwrap();
    let sent: Vec<u8> = (0..1_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let expected = sent.clone();
    let (mut near_reader, mut near_writer) = tokio::io::split(tunnel);
    let up = async {
        near_writer.write_all(&sent).await.unwrap();
        near_writer.shutdown().await.unwrap();
    };
    let echo = async {
        let (mut reader, mut writer) = node.split();
        tokio::io::copy(&mut reader, &mut writer).await.unwrap();
        writer.shutdown().await.unwrap();
    };
    let down = async {
        let mut got = Vec::new();
        near_reader.read_to_end(&mut got).await.unwrap();
        got
    };
    let ((), (), got) = within(async { tokio::join!(up, echo, down) }).await;
    assert!(got == expected, "{} of {} bytes", got.len(), expected.len());
    drop(full);
    within(flood).await.unwrap();
    assert_eq!(
        kind(client.open_tunnel("a", 1).await),
        FailureKind::Unreachable
    );
    assert_eq!(
        kind(client.open_tunnel("b", port).await),
        FailureKind::BadRequest
    );
}

/// What a release must not be able to do is not even in the binary.
#[cfg(not(feature = "sabotage"))]
#[test]
fn cuts_cannot_be_broken_on_purpose() {
    // Without this the process's own code would not be part of the test's binary.
    std::hint::black_box(super::serve as fn() -> _);
    let binary = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    let holds = |words: &[&str], glue: &str| {
        let text = words.join(glue);
        binary
            .windows(text.len())
            .any(|window| window == text.as_bytes())
    };
    assert!(
        holds(&["NETSPLIT", "AGENT", "OWNED"], "_"),
        "the search works"
    );
    assert!(!holds(&["NETSPLIT", "SABOTAGE"], "_"));
    assert!(!holds(&["wrong", "hook"], "-") && !holds(&["empty", "set"], "-"));
}
