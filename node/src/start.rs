//! From a configuration to a running node, and to its end.

use std::{
    fs,
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use netsplit_api::config::{NodeConfig, Role};
use netsplit_core::node::Node;
use tokio::{
    net::{TcpListener, UdpSocket},
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch},
    task::{JoinHandle, JoinSet},
    time,
};

use crate::{
    clock::{Clock, epoch_nanoseconds},
    dns,
    events::Events,
    exit::NodeExit,
    listen_address, logs,
    net::{self, Network},
    probes::Probes,
    rpc,
    shell::{QUEUE, Shell},
    store::RedbStore,
};

/// Time for replies and event streams that are under way when the node ends.
const FAREWELL: Duration = Duration::from_millis(500);

/// Runs a node as this process: logs to stdout, ends with `stop`, SIGTERM or SIGINT.
///
/// # Errors
/// When the node cannot start or its store fails.
pub fn run(config: NodeConfig) -> Result<(), NodeExit> {
    logs::start();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(NodeExit::Runtime)?;
    runtime.block_on(async {
        let signals = signals().map_err(NodeExit::Runtime)?;
        // As a task, the node takes turns with its connections; what the runtime blocks on has to wait until the kernel
        // was asked for more, after every message.
        let node = tokio::spawn(serve(config, signals));
        node.await
            .map_err(|ended| NodeExit::Runtime(ended.into()))?
    })
}

/// Resolves at the first signal to end. As the first process of a container, a node has no default handlers.
fn signals() -> io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Runs a node on the current runtime, which must have one thread, until `stop` or its own `stop` method.
///
/// # Errors
/// When the node cannot start or its store fails.
pub async fn serve(config: NodeConfig, stop: impl Future<Output = ()>) -> Result<(), NodeExit> {
    let directory = PathBuf::from(&config.data_dir);
    fs::create_dir_all(&directory).map_err(|source| NodeExit::DataDir {
        path: directory.clone(),
        source,
    })?;
    let store = RedbStore::open(&directory, config.durability).map_err(NodeExit::Store)?;
    let clock = Clock::start(config.clock_offset_ms);
    let node = Node::new(config.clone(), Box::new(store), clock.now()).map_err(NodeExit::Node)?;

    let (wakes, inbox) = mpsc::channel(QUEUE);
    let doors = Doors::open(&config)?;
    // Microseconds: no two starts share one, and JSON readers that know floats only keep all digits.
    let events = Events::new(epoch_nanoseconds() / 1000);
    let (stopped, stop_api) = watch::channel(false);
    let api = tokio::spawn(rpc::serve(
        doors.rpc,
        rpc::Server {
            wakes: wakes.clone(),
            probes: Probes::new(config.address, config.probe_port),
            events: events.clone(),
            credentials: Arc::new(rpc::Credentials::new(
                &config.rpc_user,
                &config.rpc_password.0,
            )),
        },
        stop_api,
    ));
    let mut tasks = JoinSet::new();
    if let Some(listener) = doors.p2p {
        tasks.spawn(net::accept(listener, wakes.clone()));
    }
    if let Some((udp, tcp)) = doors.dns {
        tasks.spawn(dns::server::serve_udp(udp, wakes.clone()));
        tasks.spawn(dns::server::serve_tcp(tcp, wakes.clone()));
    }

    let ms = Duration::from_millis;
    let network = Network::new(
        config.address,
        ms(config.timers.dial_ms),
        ms(config.timers.idle_ms),
        wakes.clone(),
    );
    tracing::info!(name = config.name, address = %config.address, "the node starts");
    let mut shell = Shell::new(config, clock, node, network, events.clone(), wakes);
    let result = shell.run(inbox, stop).await;
    tasks.abort_all();
    events.close();
    stopped.send_replace(true);
    end(api).await;
    tracing::info!("the node has stopped");
    result.map_err(NodeExit::Store)
}

async fn end(api: JoinHandle<()>) {
    let abort = api.abort_handle();
    if time::timeout(FAREWELL, api).await.is_err() {
        abort.abort();
    }
}

/// The ports a node opens when it starts.
struct Doors {
    rpc: TcpListener,
    p2p: Option<TcpListener>,
    dns: Option<(UdpSocket, TcpListener)>,
}

impl Doors {
    fn open(config: &NodeConfig) -> Result<Self, NodeExit> {
        let listen = |what, ip: IpAddr, port| {
            let address = SocketAddr::new(ip, port);
            net::socket::listen(address).map_err(|source| NodeExit::Listen {
                what,
                address,
                source,
            })
        };
        let rpc = listen(
            "the control API",
            listen_address(config.address),
            config.rpc_port,
        )?;
        let is_peer = config.roles.iter().any(|role| *role != Role::DnsSeed);
        let p2p = is_peer
            .then(|| listen("peers", config.address, config.p2p_port))
            .transpose()?;
        let dns = config.roles.contains(&Role::DnsSeed).then(|| {
            let address = SocketAddr::new(config.address, config.dns_port);
            let udp = open_udp(address).map_err(|source| NodeExit::Listen {
                what: "DNS",
                address,
                source,
            })?;
            Ok((udp, listen("DNS", config.address, config.dns_port)?))
        });
        Ok(Self {
            rpc,
            p2p,
            dns: dns.transpose()?,
        })
    }
}

fn open_udp(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = std::net::UdpSocket::bind(address)?;
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket)
}
