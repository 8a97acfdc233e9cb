//! Nodes in this process, and how to talk to them.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    thread,
    time::Duration,
};

use futures_util::StreamExt as _;
use netsplit_api::{
    config::{
        Behaviour, ChainConfig, ChainNetwork, Discovery, Durability, NodeConfig, Password,
        PeerLimits, Premine, Relay, Role, Sync, Timers,
    },
    event::{Event, EventRecord, INCARNATION_HEADER},
    rpc::RpcError,
};
use netsplit_node::NodeExit;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::oneshot;

pub(crate) const USER: &str = "user";
pub(crate) const PASSWORD: &str = "only for tests";
/// Port of DNS seeds: the usual one needs rights.
pub(crate) const DNS_PORT: u16 = 15353;
/// Nothing here takes longer unless it is broken.
const PATIENCE: Duration = Duration::from_secs(20);

/// The seed of the node with this name.
pub(crate) fn seed(name: &str) -> [u8; 32] {
    let mut seed = [7; 32];
    seed.iter_mut()
        .zip(name.bytes())
        .for_each(|(seed, byte)| *seed = byte);
    seed
}

/// A node's configuration. `address` is on loopback and nobody else's.
pub(crate) fn config(name: &str, address: &str, roles: &[Role], directory: &TempDir) -> NodeConfig {
    NodeConfig {
        name: name.to_owned(),
        roles: BTreeSet::from_iter(roles.iter().copied()),
        address: address.parse().unwrap(),
        p2p_port: 18444,
        rpc_port: 18443,
        dns_port: DNS_PORT,
        probe_port: 18460,
        rpc_user: USER.to_owned(),
        rpc_password: Password(PASSWORD.to_owned()),
        data_dir: directory.path().join(name).display().to_string(),
        seed: hex::encode(seed(name)),
        chain: ChainConfig {
            network: ChainNetwork::Regtest,
            block_interval_ms: 1000,
            premine: None,
        },
        discovery: vec![Discovery::Bootstrap, Discovery::Dns, Discovery::Addr],
        relay: Relay::Flood,
        sync: Sync::Headers,
        dns_seeds: Vec::new(),
        bootstrap: Vec::new(),
        peers: PeerLimits::default(),
        timers: Timers::default(),
        miner: None,
        behaviour: Behaviour::Honest,
        durability: Durability::Process,
        clock_offset_ms: 0,
    }
}

/// `blocks` blocks of which the wallet of the node called `payee` owns all.
pub(crate) fn premine(blocks: u32, payee: &str) -> Option<Premine> {
    let script = netsplit_core::wallet::payee_script(&seed(payee));
    Some(Premine {
        blocks,
        time: 1_700_000_000,
        payees: vec![script.to_hex_string()],
    })
}

/// The control API of a node.
#[derive(Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    address: SocketAddr,
}

impl Client {
    pub(crate) fn new(config: &NodeConfig) -> Self {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self {
            http,
            address: SocketAddr::new(config.address, config.rpc_port),
        }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn http(&self) -> &reqwest::Client {
        &self.http
    }

    /// Posts a body to a path; the status and the body of the answer.
    pub(crate) async fn post(&self, path: &str, body: impl Into<reqwest::Body>) -> (u16, String) {
        let request = self
            .http
            .post(self.url(path))
            .basic_auth(USER, Some(PASSWORD))
            .body(body);
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    pub(crate) async fn try_call(&self, method: &str, params: Value) -> Result<Value, RpcError> {
        let request = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let (_, text) = self.post("/", request.to_string()).await;
        let mut reply: Value = serde_json::from_str(&text).unwrap();
        match reply.get_mut("error") {
            Some(error) => Err(serde_json::from_value(error.take()).unwrap()),
            None => Ok(reply["result"].take()),
        }
    }

    pub(crate) async fn call(&self, method: &str, params: Value) -> Value {
        match self.try_call(method, params).await {
            Ok(result) => result,
            Err(error) => panic!("{method} failed: {error}"),
        }
    }

    /// The stream of events from the one after `after` on.
    pub(crate) async fn events(&self, incarnation: Option<u64>, after: u64) -> EventStream {
        let incarnation = incarnation.map_or_else(String::new, |i| format!("incarnation={i}&"));
        let url = self.url(&format!("/events?{incarnation}after={after}"));
        let request = self.http.get(url).basic_auth(USER, Some(PASSWORD));
        let response = request.send().await.unwrap().error_for_status().unwrap();
        let header = response.headers()[INCARNATION_HEADER].to_str().unwrap();
        EventStream {
            incarnation: header.parse().unwrap(),
            chunks: Box::pin(response.bytes_stream()),
            buffer: Vec::new(),
        }
    }

    /// Waits for an event, past or future.
    pub(crate) async fn wait_for(&self, wanted: impl Fn(&Event) -> bool) -> EventRecord {
        self.events(None, 0).await.until(wanted).await
    }

    /// Waits until the active tip is `hash`.
    pub(crate) async fn wait_for_tip(&self, tip: &Value) {
        let at_tip = |event: &Event| match event {
            Event::TipChanged { hash, .. } | Event::NodeStarted { tip: hash, .. } => tip == hash,
            _ => false,
        };
        self.wait_for(at_tip).await;
    }
}

type Chunks = dyn futures_util::Stream<Item = reqwest::Result<bytes::Bytes>> + Send;

pub(crate) struct EventStream {
    pub(crate) incarnation: u64,
    chunks: std::pin::Pin<Box<Chunks>>,
    buffer: Vec<u8>,
}

impl EventStream {
    /// The next event; `None` at the end of the stream.
    pub(crate) async fn next(&mut self) -> Option<EventRecord> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).unwrap());
            }
            self.buffer.extend(self.chunks.next().await?.ok()?);
        }
    }

    pub(crate) async fn until(&mut self, wanted: impl Fn(&Event) -> bool) -> EventRecord {
        let search = async {
            loop {
                let record = self.next().await.expect("the node ended");
                if wanted(&record.event) {
                    return record;
                }
            }
        };
        tokio::time::timeout(PATIENCE, search)
            .await
            .expect("the event did not come")
    }
}

/// A node in a thread of its own, as in a process of its own.
pub(crate) struct TestNode {
    pub(crate) client: Client,
    pub(crate) config: NodeConfig,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<Result<(), NodeExit>>>,
}

impl TestNode {
    /// Starts a node and waits until it answers.
    pub(crate) async fn start(config: NodeConfig) -> Self {
        let (stop, stopped) = oneshot::channel();
        let own = config.clone();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(netsplit_node::serve(own, async {
                let _ = stopped.await;
            }))
        });
        let node = Self {
            client: Client::new(&config),
            config,
            stop: Some(stop),
            thread: Some(thread),
        };
        node.wait_until_listening().await;
        node
    }

    async fn wait_until_listening(&self) {
        let address = self.client.address;
        for _ in 0..2000 {
            if tokio::net::TcpStream::connect(address).await.is_ok() {
                return;
            }
            assert!(!self.has_ended(), "the node ended");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("the node does not listen");
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.thread
            .as_ref()
            .is_none_or(thread::JoinHandle::is_finished)
    }

    /// Ends the node in good order.
    pub(crate) fn stop(mut self) -> Result<(), NodeExit> {
        self.end()
    }

    fn end(&mut self) -> Result<(), NodeExit> {
        drop(self.stop.take());
        self.thread
            .take()
            .map_or(Ok(()), |thread| thread.join().unwrap())
    }

    pub(crate) fn p2p(&self) -> SocketAddr {
        SocketAddr::new(self.config.address, self.config.p2p_port)
    }

    pub(crate) fn ip(&self) -> IpAddr {
        self.config.address
    }
}

impl Drop for TestNode {
    fn drop(&mut self) {
        if !thread::panicking() {
            self.end().unwrap();
        }
    }
}
