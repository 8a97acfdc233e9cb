//! The life and the end of runs.

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, resume_unwind},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use futures_util::FutureExt;
use netsplit_api::{
    config::{ChainNetwork, Role},
    event::Event,
};
use netsplit_faults::link::{Cut, Drop, LinkTable};
use netsplit_plan::plan::{NodeName, NodeVerb, Plan, PlannedChain, PlannedNode};
use netsplit_runtime::{
    Launch, NetEvent, NodeState, Ownership, RunId, Runtime, Teardown, Testnet, docker::Docker,
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::timeout,
};

/// Nothing here takes longer unless it is stuck.
const PATIENCE: Duration = Duration::from_secs(60);

fn plan(names: &[&str]) -> Plan {
    let node = |(place, name): (usize, &&str)| PlannedNode {
        name: NodeName((*name).into()),
        group: "n".into(),
        host: u32::try_from(place).unwrap() + 2,
        roles: [Role::Full].into(),
        zone: None,
        behaviour: Default::default(),
        seed: format!("{place:064x}"),
        discovery: Vec::new(),
        relay: Default::default(),
        sync: Default::default(),
        peers: Default::default(),
        timers: Default::default(),
        durability: Default::default(),
        share: None,
        joins: name.starts_with("late"),
    };
    Plan {
        name: "test".into(),
        description: String::new(),
        seed: 1,
        chain: PlannedChain {
            network: ChainNetwork::Regtest,
            block_interval_ms: 1000,
            premine: 0,
            payees: Vec::new(),
        },
        nodes: names.iter().enumerate().map(node).collect(),
        steps: Vec::new(),
        timeout_ms: None,
    }
}

fn launch(run: &str, names: &[&str], ownership: Ownership) -> (Launch, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let launch = Launch {
        plan: plan(names),
        run: RunId(run.into()),
        name: run.into(),
        ownership,
        directory: directory.path().to_path_buf(),
        node_binary: None,
    };
    (launch, directory)
}

/// An id nobody else on this engine has.
pub(crate) fn run_id(kind: &str) -> String {
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_micros();
    format!(
        "test-{kind}-{:08x}",
        u64::try_from(now).unwrap() & 0xffff_ffff
    )
}

fn name(name: &str) -> NodeName {
    NodeName(name.into())
}

/// The next event that `pick` takes.
async fn event<T>(testnet: &dyn Testnet, pick: impl Fn(NetEvent) -> Option<T>) -> T {
    let found = async {
        loop {
            let event = testnet.next_event().await.expect("the events go on");
            if let Some(found) = pick(event) {
                return found;
            }
        }
    };
    timeout(PATIENCE, found)
        .await
        .expect("the event comes in time")
}

/// The number of the start that a node told of.
async fn started(testnet: &dyn Testnet, wanted: &str) -> u64 {
    event(testnet, |event| match event {
        NetEvent::Node {
            node,
            incarnation,
            record,
        } if node.0 == wanted => {
            matches!(record.event, Event::NodeStarted { .. }).then_some(incarnation)
        }
        _ => None,
    })
    .await
}

async fn nothing_left(docker: &Docker, run: &str) {
    let again = docker
        .remove(&RunId(run.into()), mpsc::unbounded_channel().0)
        .await
        .unwrap();
    assert_eq!(again, Teardown::default());
}

pub(crate) async fn driven() {
    let docker = Docker::connect().await.expect("a Docker engine is needed");
    let run = run_id("driven");
    let (launch, _directory) = launch(&run, &["a", "b", "c"], Ownership::Owned);
    let testnet = docker
        .launch(launch, mpsc::unbounded_channel().0)
        .await
        .unwrap();
    // In whatever order they come: a node answers once it has said that it started.
    let mut starts = BTreeMap::new();
    while starts.len() < 3 {
        let (node, incarnation) = event(&*testnet, |event| match event {
            NetEvent::Node {
                node,
                incarnation,
                record,
            } => matches!(record.event, Event::NodeStarted { .. }).then_some((node, incarnation)),
            _ => None,
        })
        .await;
        starts.insert(node.0, incarnation);
    }
    let first = starts["b"];
    for node in ["a", "b", "c"] {
        assert_eq!(
            testnet.rpc(&name(node), "anything", json!([])).await,
            Ok(json!(node))
        );
        assert_eq!(
            testnet.states().await.unwrap()[&name(node)],
            NodeState::Running
        );
    }
    assert!(testnet.logs(&name("a"), 5).await.unwrap()[0].starts_with("a listens at 10."));

    testnet.node(&name("b"), NodeVerb::Kill).await.unwrap();
    let (code, last_lines) = event(&*testnet, |event| match event {
        NetEvent::NodeExited {
            node,
            code,
            last_lines,
        } if node.0 == "b" => Some((code, last_lines)),
        _ => None,
    })
    .await;
    assert_eq!(code, Some(137));
    assert!(last_lines[0].starts_with("b listens"), "{last_lines:?}");
    testnet.node(&name("b"), NodeVerb::Kill).await.unwrap();
    testnet
        .rpc(&name("b"), "anything", json!([]))
        .await
        .unwrap_err();
    testnet.node(&name("b"), NodeVerb::Start).await.unwrap();
    assert_ne!(started(&*testnet, "b").await, first);

    testnet.node(&name("c"), NodeVerb::Pause).await.unwrap();
    assert_eq!(
        testnet.states().await.unwrap()[&name("c")],
        NodeState::Paused
    );
    testnet.node(&name("c"), NodeVerb::Resume).await.unwrap();
    testnet.node(&name("c"), NodeVerb::Stop).await.unwrap();
    assert_eq!(
        testnet.states().await.unwrap()[&name("c")],
        NodeState::Exited
    );

    let address = |node: &str| vec![testnet.info().addresses[&name(node)]];
    let drops = vec![Drop {
        from: address("a"),
        to: address("b"),
    }];
    let cut = LinkTable {
        version: 1,
        cuts: vec![Cut {
            id: "c".into(),
            drops,
        }],
    };
    let applied = testnet.apply(cut).await.unwrap();
    assert_eq!((applied.pairs_intended, applied.pairs_installed), (1, 1));
    assert_eq!(applied.differences, [""; 0]);
    assert_eq!(testnet.counters().await.unwrap().cuts.len(), 1);
    assert_eq!(
        testnet.rpc(&name("a"), "anything", json!([])).await,
        Ok(json!("a"))
    );

    let teardown = testnet.teardown(mpsc::unbounded_channel().0).await;
    // Three nodes, the agent and the network; the reaper is nobody's business.
    assert_eq!(
        teardown,
        Teardown {
            removed: 5,
            left: Vec::new()
        }
    );
    nothing_left(&docker, &run).await;
}

pub(crate) async fn detached() {
    let docker = Docker::connect().await.expect("a Docker engine is needed");
    let run = run_id("detached");
    // Nobody else ends a detached run if this fails.
    let ended = AssertUnwindSafe(live_detached(&docker, &run))
        .catch_unwind()
        .await;
    docker
        .remove(&RunId(run), mpsc::unbounded_channel().0)
        .await
        .unwrap();
    if let Err(panic) = ended {
        resume_unwind(panic);
    }
}

async fn live_detached(docker: &Docker, run: &str) {
    let (launch, _directory) = launch(run, &["a", "late"], Ownership::Detachable);
    let testnet = docker
        .launch(launch, mpsc::unbounded_channel().0)
        .await
        .unwrap();
    testnet.put_state(json!({ "kept": true })).await.unwrap();
    let credentials = testnet.credentials();
    testnet.detach().await.unwrap();
    let state = |runs: Vec<netsplit_runtime::RunSummary>| {
        runs.into_iter()
            .find(|found| found.run.0 == run)
            .map(|found| (found.state, found.nodes))
    };
    assert_eq!(
        state(docker.list().await.unwrap()),
        Some(("detached".into(), 1))
    );
    docker.gc().await.unwrap();

    let testnet = docker.attach(&RunId(run.into())).await.unwrap();
    assert_eq!(testnet.credentials(), credentials);
    assert_eq!(testnet.get_state().await.unwrap(), json!({ "kept": true }));
    assert_eq!(
        testnet.states().await.unwrap()[&name("late")],
        NodeState::Planned
    );
    testnet.join(&name("late")).await.unwrap();
    started(&*testnet, "late").await;
    assert_eq!(
        testnet.rpc(&name("late"), "anything", json!([])).await,
        Ok(json!("late"))
    );
    assert_eq!(tunnelled(&*testnet).await, json!("a"));

    let removed = docker
        .remove(&RunId(run.into()), mpsc::unbounded_channel().0)
        .await
        .unwrap();
    assert_eq!(
        removed,
        Teardown {
            removed: 4,
            left: Vec::new()
        }
    );
    let lost = |event| matches!(event, NetEvent::AgentLost { .. }).then_some(());
    event(&*testnet, lost).await;
    nothing_left(docker, run).await;
}

/// What node `a` answers to a request through a tunnel.
async fn tunnelled(testnet: &dyn Testnet) -> serde_json::Value {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    let (server, _) = listener.accept().await.unwrap();
    let node = name("a");
    let asked = async move {
        let mut client = client;
        client
            .write_all(b"POST / HTTP/1.1\r\ncontent-length: 0\r\n\r\n")
            .await
            .unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        serde_json::from_str::<serde_json::Value>(body).unwrap()["result"].clone()
    };
    let port = netsplit_api::config::RPC_PORT;
    let (carried, answer) = tokio::join!(testnet.tunnel(&node, port, server), asked);
    carried.unwrap();
    answer
}

/// Another process makes a run and is killed: after so many milliseconds, or once it is up.
pub(crate) async fn killed() {
    let docker = Docker::connect().await.expect("a Docker engine is needed");
    for after in [Some(100), Some(250), Some(400), Some(600), None] {
        let run = run_id("killed");
        let mut maker = Command::new(std::env::current_exe().unwrap())
            .args(["maker", &run])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        match after {
            Some(after) => tokio::time::sleep(Duration::from_millis(after)).await,
            None => {
                let mut up = [0; 3];
                std::io::Read::read_exact(maker.stdout.as_mut().unwrap(), &mut up).unwrap();
            }
        }
        maker.kill().unwrap();
        maker.wait().unwrap();
        let killed = Instant::now();
        loop {
            let runs = docker.list().await.unwrap();
            if !runs.iter().any(|found| found.run.0 == run) {
                break;
            }
            assert!(
                killed.elapsed() < PATIENCE,
                "killed after {after:?}: {runs:?}"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        nothing_left(&docker, &run).await;
    }
}

/// The subcommand `maker`.
pub(crate) async fn make(run: &str) {
    let docker = Docker::connect().await.unwrap();
    let (launch, _directory) = launch(run, &["a", "b", "c"], Ownership::Detachable);
    let _testnet = docker
        .launch(launch, mpsc::unbounded_channel().0)
        .await
        .unwrap();
    println!("up");
    std::future::pending::<()>().await;
}

pub(crate) async fn examined() {
    let docker = Docker::connect().await.expect("a Docker engine is needed");
    let found = docker.doctor().await;
    for what in ["engine", "start", "cut", "remove"] {
        let diagnosis = found.iter().find(|diagnosis| diagnosis.what == what);
        assert!(
            diagnosis.is_some_and(|diagnosis| diagnosis.ok),
            "{what}: {found:#?}"
        );
    }
}
