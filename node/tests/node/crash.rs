//! SIGKILL at any moment: of a process that writes to the store, and of the real node.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use netsplit_api::config::{CONFIG_ENV, Durability, NodeConfig, Role};
use netsplit_core::store::{Batch, Store as _, Table};
use netsplit_node::store::RedbStore;
use serde_json::{Value, json};

use crate::harness::{Client, PASSWORD, USER, config};

const DIRECTORY_ENV: &str = "NETSPLIT_TEST_STORE";
const KEYS: u8 = 50;
/// Old entries that stay; older ones are deleted.
const KEPT: u64 = 20;

fn batch(number: u64) -> Batch {
    let value = number.to_be_bytes().to_vec();
    let mut batch = Batch::default();
    for key in 0..KEYS {
        batch
            .writes
            .insert((Table::Coin, vec![key]), Some(value.clone()));
    }
    let large = value.repeat(usize::try_from(500 + number % 1000).unwrap());
    batch.writes.insert((Table::Block, value), Some(large));
    if let Some(old) = number.checked_sub(KEPT) {
        batch
            .writes
            .insert((Table::Block, old.to_be_bytes().to_vec()), None);
    }
    batch
}

/// The last batch in the store; panics unless exactly the batches up to it are there.
fn last_whole_batch(store: &RedbStore) -> u64 {
    let number = |value: &[u8]| u64::from_be_bytes(*value.first_chunk().unwrap());
    let Some(first) = store.get(Table::Coin, &[0]).unwrap() else {
        return 0;
    };
    let last = number(&first);
    for key in 0..KEYS {
        assert_eq!(
            number(&store.get(Table::Coin, &[key]).unwrap().unwrap()),
            last,
            "key {key}"
        );
    }
    let mut blocks = Vec::new();
    store
        .scan(Table::Block, &mut |key, value| {
            let key = number(key);
            assert_eq!(
                value,
                batch(key).writes[&(Table::Block, value[..8].to_vec())]
                    .as_ref()
                    .unwrap()
            );
            blocks.push(key);
        })
        .unwrap();
    let expected: Vec<u64> = ((last + 1).saturating_sub(KEPT).max(1)..=last).collect();
    assert_eq!(blocks, expected);
    last
}

/// The process that is killed below: writes batches for ever and says the number of each.
#[test]
#[ignore = "a child of `the_store_survives_sigkill_at_any_moment`"]
fn store_writer() {
    let directory = std::env::var_os(DIRECTORY_ENV).expect("started by its parent");
    let mut store = RedbStore::open(Path::new(&directory), Durability::Process).unwrap();
    let mut out = std::io::stdout();
    for number in last_whole_batch(&store) + 1.. {
        store.commit(&batch(number)).unwrap();
        out.write_all(&number.to_be_bytes()).unwrap();
        out.flush().unwrap();
    }
}

#[test]
fn the_store_survives_sigkill_at_any_moment() {
    let directory = tempfile::tempdir().unwrap();
    let mut highest = 0;
    for round in 0_u64..25 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--ignored",
                "--exact",
                "crash::store_writer",
                "--nocapture",
                "--quiet",
            ])
            .env(DIRECTORY_ENV, directory.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let mut out = child.stdout.take().unwrap();
        wait_for_batch(&mut out, highest + 1);
        // Somewhere within the next commits, elsewhere in each round.
        std::thread::sleep(Duration::from_micros(round * 677 % 5_000));
        child.kill().unwrap();
        child.wait().unwrap();
        let mut rest = Vec::new();
        out.read_to_end(&mut rest).unwrap();
        let told = rest.len() as u64 / 8 + highest + 1;
        let store = RedbStore::open(directory.path(), Durability::Process).unwrap();
        let last = last_whole_batch(&store);
        assert!(
            last == told || last == told + 1,
            "{told} batches were done, {last} are there"
        );
        highest = last;
    }
    assert!(highest > 25);
}

/// Reads up to the announcement of batch `number`, past what the test harness says first.
fn wait_for_batch(out: &mut ChildStdout, number: u64) {
    let wanted = number.to_be_bytes();
    let mut window = [0xff; 8];
    while window != wanted {
        window.rotate_left(1);
        out.read_exact(&mut window[7..]).unwrap();
    }
}

/// A node as a process, in its own right.
struct NodeProcess {
    child: Child,
    log: BufReader<ChildStdout>,
}

impl NodeProcess {
    /// Starts the real binary and waits until it answers.
    fn start(config: &NodeConfig) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_netsplit-node"))
            .env(CONFIG_ENV, serde_json::to_string(config).unwrap())
            .env("NETSPLIT_LOG", "info")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        while !line.contains("NodeStarted") {
            line.clear();
            assert!(log.read_line(&mut line).unwrap() > 0, "the node ended");
        }
        Self { child, log }
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// The exit code, and what it said to the end.
    fn wait(mut self) -> (Option<i32>, String) {
        let mut rest = String::new();
        self.log.read_to_string(&mut rest).unwrap();
        (self.child.wait().unwrap().code(), rest)
    }
}

async fn assert_chain(client: &Client) -> u64 {
    let height = client
        .call("getblockcount", json!([]))
        .await
        .as_u64()
        .unwrap();
    let tips = client.call("getchaintips", json!([])).await;
    assert_eq!(tips.as_array().unwrap().len(), 1, "{tips}");
    let mut hash = client.call("getbestblockhash", json!([])).await;
    for at in (1..=height).rev() {
        let block = client.call("getblock", json!([hash])).await;
        assert_eq!((&block["height"], &block["nTx"]), (&json!(at), &json!(1)));
        hash = block["previousblockhash"].clone();
    }
    let coins = client.call("gettxoutsetinfo", json!([])).await;
    assert_eq!(
        (&coins["height"], &coins["txouts"]),
        (&json!(height), &json!(height))
    );
    let subsidy: f64 = (1..=height)
        .map(|at| 50.0 / f64::from(1_u32 << (at / 150)))
        .sum();
    let total = coins["total_amount"].as_f64().unwrap();
    assert!((total - subsidy).abs() < 1e-7, "{total} of {subsidy}");
    height
}

/// Mines until the node is gone; counts the blocks it has told of.
async fn mine(client: Client, address: Value, mined: Arc<AtomicU64>) {
    let params = json!([1, address]);
    let request = json!({"method": "generatetoaddress", "params": params}).to_string();
    loop {
        let url = client.url("/");
        let post = client
            .http()
            .post(url)
            .basic_auth(USER, Some(PASSWORD))
            .body(request.clone());
        let Ok(response) = post.send().await else {
            return;
        };
        assert_eq!(response.status().as_u16(), 200);
        if response.bytes().await.is_err() {
            return;
        }
        mined.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn the_node_survives_sigkill_while_it_mines() {
    let directory = tempfile::tempdir().unwrap();
    let config = config("a", "127.93.0.1", &[Role::Full, Role::Wallet], &directory);
    let client = Client::new(&config);
    let mut address = Value::Null;
    let mut acknowledged = 0;
    for round in 0..8_u64 {
        let node = NodeProcess::start(&config);
        let height = assert_chain(&client).await;
        assert!(
            height >= acknowledged,
            "{acknowledged} were acknowledged, {height} are there"
        );
        if address.is_null() {
            address = client.call("getnewaddress", json!([])).await;
        }
        let mined = Arc::new(AtomicU64::new(0));
        let mining = tokio::spawn(mine(client.clone(), address.clone(), Arc::clone(&mined)));
        tokio::time::sleep(Duration::from_millis(30 + round * 37 % 100)).await;
        node.kill();
        mining.await.unwrap();
        acknowledged = height + mined.load(Ordering::Relaxed);
    }
    assert!(acknowledged > 8, "{acknowledged}");
    let node = NodeProcess::start(&config);
    assert!(assert_chain(&client).await >= acknowledged);
    let next = client.call("getnewaddress", json!([])).await;
    assert_ne!(
        next, address,
        "an address that was given out is not given out again"
    );
    node.kill();
}

#[tokio::test]
async fn sigterm_and_stop_end_the_node_in_good_order() {
    let directory = tempfile::tempdir().unwrap();
    let config = config("a", "127.93.1.1", &[Role::Full], &directory);
    let client = Client::new(&config);
    let node = NodeProcess::start(&config);
    let id = nix::unistd::Pid::from_raw(i32::try_from(node.child.id()).unwrap());
    let mut events = client.events(None, 0).await;
    assert!(events.next().await.is_some());
    nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGTERM).unwrap();
    let (code, log) = node.wait();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("the node has stopped"), "{log}");

    let node = NodeProcess::start(&config);
    let said = client.call("stop", json!([])).await;
    assert_eq!(said, json!("netsplit node stopping"));
    let (code, log) = node.wait();
    assert_eq!(code, Some(0), "{log}");
    assert!(!log.contains(PASSWORD) && !log.contains(&config.seed));
}

#[test]
fn a_node_without_a_usable_configuration_says_why() {
    let start = |config: Option<&str>| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_netsplit-node"));
        command.env_remove(CONFIG_ENV);
        if let Some(config) = config {
            command.env(CONFIG_ENV, config);
        }
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(start(None).contains("no configuration: set `NETSPLIT_NODE_CONFIG`"));
    let wrong = start(Some("{}"));
    assert!(wrong.contains("caused by: missing field"), "{wrong}");
}
