//! A routing namespace with nodes behind it, laid out as the namespaces runtime does: one veth and one /32 per node, permanent
//! neighbours, no ARP. Everything over netlink: it works without root.

use std::{
    fs::{self, File},
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::{fs::PermissionsExt, process::CommandExt},
    },
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use netsplit_faults::{
    link::{Applied, Cut, Drop as Dropped, DropCounters, LinkTable},
    links::Links,
    netlink::{
        socket::{NETLINK_ROUTE, Netlink},
        wire::{ACK, Attributes, CREATE, EXCLUSIVE, Writer},
    },
    nft::namespace,
    routed::{Relay, Routed, Segment},
};
use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};

pub(crate) const PROBE_PORT: u16 = 18460;
pub(crate) const PORT: u16 = 18444;
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);
/// Long enough for an answer or an error to arrive that should not.
const MOMENT: Duration = Duration::from_millis(200);
const INSIDE: &str = "NETSPLIT_TEST_INSIDE";
const NOBODY: u32 = 65534;

const NEWLINK: u16 = 16;
const NEWADDR: u16 = 20;
const NEWROUTE: u16 = 24;
const NEWNEIGH: u16 = 28;
const IPV4: u8 = 2;
const GATEWAY: [u8; 4] = [169, 254, 1, 1];
const EVERY_NODE: [u8; 4] = [10, 78, 255, 255];

/// Runs the test of this name in processes of its own whose network namespace is the router: as root where this is root, and as
/// an ordinary user in a user namespace.
pub(crate) fn everywhere(test: &str, body: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        stay_on_one_processor();
        return body();
    }
    let root = nix::unistd::geteuid().is_root();
    // A copy that everybody may run: the build directory may be closed to others.
    let open = tempfile::tempdir().unwrap();
    fs::set_permissions(open.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = open.path().join("test");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let mut rootless = unshare(&["--user", "--map-root-user", "--net"], &program, test);
    if root {
        rootless.uid(NOBODY).gid(NOBODY);
        succeed(test, "root", unshare(&["--net"], &program, test));
    }
    succeed(test, "an ordinary user", rootless);
}

/// On one processor the kernel delivers in the order things were sent in; a busy machine of several may not.
fn stay_on_one_processor() {
    let this = Pid::from_raw(0);
    let allowed = sched_getaffinity(this).unwrap();
    let one = (0..CpuSet::count()).find(|number| allowed.is_set(*number).unwrap());
    let mut set = CpuSet::new();
    set.set(one.unwrap()).unwrap();
    sched_setaffinity(this, &set).unwrap();
}

fn unshare(namespaces: &[&str], program: &Path, test: &str) -> Command {
    let mut command = Command::new("unshare");
    command
        .args(namespaces)
        .arg(program)
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1")
        .current_dir("/");
    command
}

fn succeed(test: &str, who: &str, mut command: Command) {
    let output = command.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "`{test}` as {who}: {text}"
    );
}

pub(crate) fn address(node: u16) -> Ipv4Addr {
    let [high, low] = node.to_be_bytes();
    Ipv4Addr::new(10, 78, high, low)
}

pub(crate) fn side(nodes: &[u16]) -> Vec<IpAddr> {
    nodes.iter().map(|node| address(*node).into()).collect()
}

pub(crate) fn table(version: u64, drops: &[(&[u16], &[u16])]) -> LinkTable {
    let drops = drops.iter().map(|(from, to)| Dropped {
        from: side(from),
        to: side(to),
    });
    let cut = Cut {
        id: "cut".to_owned(),
        drops: drops.collect(),
    };
    LinkTable {
        version,
        cuts: vec![cut],
    }
}

pub(crate) fn healed(version: u64) -> LinkTable {
    let cuts = Vec::new();
    LinkTable { version, cuts }
}

pub(crate) fn counters(links: &mut Links<Routed>) -> Vec<DropCounters> {
    links.counters().unwrap().cuts.remove(0).drops
}

pub(crate) fn apply(links: &mut Links<Routed>, table: LinkTable) -> Applied {
    let applied = links.apply(table).unwrap();
    assert_eq!(applied.differences, [] as [String; 0]);
    assert_eq!(applied.pairs_installed, applied.pairs_intended);
    applied
}

/// The network of this process as the router of nodes 1 to `count`.
pub(crate) struct Router {
    nodes: Vec<OwnedFd>,
    pub(crate) segment: Segment,
}

impl Router {
    /// All nodes are up, and their broadcasts are relayed until the process ends.
    pub(crate) fn new(count: u16) -> Self {
        set("net/ipv4/ip_forward", "1");
        for name in ["all", "default"] {
            set(&format!("net/ipv4/conf/{name}/rp_filter"), "0");
            set(&format!("net/ipv4/conf/{name}/send_redirects"), "0");
        }
        let mut netlink = Netlink::open(NETLINK_ROUTE).unwrap();
        send(&mut netlink, |writer| {
            up(writer, 1);
            own(writer, 1, address(0));
            // What is sent to a node that is gone vanishes.
            route(writer, (address(0), 16), 6, 0, |_| {});
        });
        let nodes = (1..=count).map(|_| new_namespace()).collect();
        let router = Self {
            nodes,
            segment: Segment::default(),
        };
        for node in 1..=count {
            router.plug(&mut netlink, node);
            router.segment.attach(address(node), device(node));
        }
        router.greet();
        let relay = Relay::open(router.segment.clone()).unwrap();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_io()
                .build();
            let Err(error) = runtime.unwrap().block_on(relay.run());
            panic!("the relay ended: {error}");
        });
        router
    }

    /// Waits until every cable carries packets both ways: the kernel makes its ends ready some time after both are up, and
    /// drops what is sent before.
    fn greet(&self) {
        let router = self.udp(0, 7);
        router.set_read_timeout(Some(MOMENT / 10)).unwrap();
        for node in 1..=u16::try_from(self.nodes.len()).unwrap() {
            let socket = self.udp(node, 7);
            socket.set_read_timeout(Some(MOMENT / 10)).unwrap();
            let begin = Instant::now();
            loop {
                socket.send_to(b"hello", (address(0), 7)).unwrap();
                let heard = router.recv_from(&mut [0; 8]);
                router.send_to(b"hello", (address(node), 7)).unwrap();
                if heard.is_ok() && socket.recv_from(&mut [0; 8]).is_ok() {
                    break;
                }
                assert!(begin.elapsed() < PATIENCE, "node {node} hears nothing");
            }
        }
    }

    fn plug(&self, netlink: &mut Netlink, node: u16) {
        let namespace = self.nodes[usize::from(node) - 1].as_fd();
        send(netlink, |writer| {
            cable(writer, node, namespace.as_raw_fd());
            let to_node = (address(node), 32);
            route(writer, to_node, 1, 253, |attributes| {
                attributes.host_number(4, device(node));
            });
            neighbour(writer, device(node), address(node).octets(), mac(2, node));
        });
        self.inside(node, || {
            send(&mut Netlink::open(NETLINK_ROUTE).unwrap(), |writer| {
                up(writer, 1);
                up(writer, 2);
                own(writer, 2, address(node));
                neighbour(writer, 2, GATEWAY, mac(1, node));
                route(writer, (Ipv4Addr::UNSPECIFIED, 0), 1, 0, |attributes| {
                    attributes.bytes(5, &GATEWAY);
                    attributes.host_number(4, 2);
                });
            });
        });
    }

    /// Runs something in the namespace of a node, or of the router for 0.
    pub(crate) fn inside<T: Send>(&self, node: u16, work: impl FnOnce() -> T + Send) -> T {
        match usize::from(node).checked_sub(1) {
            Some(node) => namespace::inside(self.nodes[node].as_fd(), work).unwrap(),
            None => work(),
        }
    }

    pub(crate) fn links(&self) -> Links<Routed> {
        let routed = Routed::open("test", PROBE_PORT, self.segment.clone()).unwrap();
        Links::new(routed, (address(0).into(), 16))
    }

    pub(crate) fn udp(&self, node: u16, port: u16) -> UdpSocket {
        let socket = self.inside(node, || UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)));
        let socket = socket.unwrap();
        socket.set_broadcast(true).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket
    }
}

pub(crate) fn device(node: u16) -> u32 {
    1000 + u32::from(node)
}

fn mac(side: u8, node: u16) -> [u8; 6] {
    let [high, low] = node.to_be_bytes();
    [0x02, side, 0, 0, high, low]
}

fn new_namespace() -> OwnedFd {
    let namespace = namespace::inside_new(|| {
        set("net/ipv6/conf/default/disable_ipv6", "1");
        set("net/ipv6/conf/all/disable_ipv6", "1");
        File::open("/proc/thread-self/ns/net").unwrap()
    });
    namespace.unwrap().into()
}

fn set(name: &str, value: &str) {
    let path = format!("/proc/sys/{name}");
    fs::write(&path, value).unwrap_or_else(|error| panic!("{path}: {error}"));
}

/// Sends everything `fill` writes; the last message asks for an acknowledgement as they all do.
fn send(netlink: &mut Netlink, fill: impl FnOnce(&mut Writer)) {
    let mut writer = Writer::new(netlink.sequence());
    fill(&mut writer);
    netlink.commit(writer.finish()).unwrap();
}

/// `struct ifinfomsg`
fn interface(index: u32, up: bool) -> [u8; 16] {
    let flag = u32::from(up).to_ne_bytes();
    let mut header = [0; 16];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&flag);
    header[12..16].copy_from_slice(&flag);
    header
}

fn up(writer: &mut Writer, device: u32) {
    writer.message(NEWLINK, ACK, &interface(device, true), |_| {});
}

/// A veth whose other end is `eth0`, number 2, in the namespace of this descriptor.
fn cable(writer: &mut Writer, node: u16, namespace: i32) {
    let ours = interface(device(node), true);
    writer.message(NEWLINK, CREATE | EXCLUSIVE | ACK, &ours, |link| {
        link.text(3, &format!("v{node}"));
        link.bytes(1, &mac(1, node));
        link.nested(18, |info| {
            info.text(1, "veth");
            info.nested(2, |data| {
                data.nested_after(1, &interface(2, false), |peer| {
                    peer.text(3, "eth0");
                    peer.bytes(1, &mac(2, node));
                    peer.host_number(28, namespace.cast_unsigned());
                });
            });
        });
    });
}

fn own(writer: &mut Writer, device: u32, address: Ipv4Addr) {
    let [a, b, c, d] = device.to_ne_bytes();
    let header = [IPV4, 32, 0, 0, a, b, c, d];
    writer.message(NEWADDR, CREATE | EXCLUSIVE | ACK, &header, |attributes| {
        attributes.bytes(2, &address.octets());
        attributes.bytes(1, &address.octets());
        if device != 1 {
            attributes.bytes(4, &EVERY_NODE);
        }
    });
}

fn neighbour(writer: &mut Writer, device: u32, address: [u8; 4], mac: [u8; 6]) {
    const PERMANENT: u8 = 0x80;
    let mut header = [0; 12];
    header[0] = IPV4;
    header[4..8].copy_from_slice(&device.to_ne_bytes());
    header[8..10].copy_from_slice(&u16::from(PERMANENT).to_ne_bytes());
    writer.message(NEWNEIGH, CREATE | EXCLUSIVE | ACK, &header, |attributes| {
        attributes.bytes(1, &address);
        attributes.bytes(2, &mac);
    });
}

/// A route of a kind (1 unicast, 6 blackhole) and scope to a network.
fn route(
    writer: &mut Writer,
    (network, prefix): (Ipv4Addr, u8),
    kind: u8,
    scope: u8,
    fill: impl FnOnce(&mut Attributes<'_>),
) {
    const MAIN: u8 = 254;
    const STATIC: u8 = 4;
    const ON_LINK: u32 = 4;
    let [a, b, c, d] = if prefix == 0 { ON_LINK } else { 0 }.to_ne_bytes();
    let header = [IPV4, prefix, 0, 0, MAIN, STATIC, scope, kind, a, b, c, d];
    writer.message(NEWROUTE, CREATE | EXCLUSIVE | ACK, &header, |attributes| {
        if prefix > 0 {
            attributes.bytes(1, &network.octets());
        }
        fill(attributes);
    });
}

/// Sends `count` datagrams; every one of them must leave without an error, and none may come back.
pub(crate) fn say(from: &UdpSocket, to: impl Into<IpAddr>, port: u16, count: usize) {
    let to = SocketAddr::new(to.into(), port);
    for _ in 0..count {
        from.send_to(b"data", to)
            .expect("a cut is silent at the sender");
    }
}

/// Addresses heard up to the datagram that says `end`, and until there are `at_least` so many: the end does not have to be the
/// last where it comes by another way.
pub(crate) fn heard(socket: &UdpSocket, at_least: usize) -> Vec<IpAddr> {
    let (mut heard, mut ended) = (Vec::new(), false);
    let mut buffer = vec![0; 0x1_0000];
    while !ended || heard.len() < at_least {
        let (length, from) = socket.recv_from(&mut buffer).unwrap_or_else(|error| {
            panic!("heard {heard:?} and no more, ended {ended}: {error}");
        });
        match &buffer[..length] {
            b"end" => ended = true,
            b"data" => heard.push(from.ip()),
            large if large.iter().all(|byte| *byte == b'x') => heard.push(from.ip()),
            other => panic!("broken on the way: {other:?}"),
        }
    }
    heard
}

/// Whether nothing at all reaches a socket for a moment, errors included.
pub(crate) fn is_silent(socket: &UdpSocket) -> bool {
    socket.set_read_timeout(Some(MOMENT)).unwrap();
    let begin = Instant::now();
    let received = socket.recv_from(&mut [0; 16]);
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    received.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
        && begin.elapsed() >= MOMENT
}
