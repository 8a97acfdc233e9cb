//! Cuts in the real kernel: nodes are private network namespaces on a bridge in another one. Needs root.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, ErrorKind, Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use netsplit_faults::{
    enforcer::{EnforceError, Enforcer},
    link::{Applied, Cut, Drop as Dropped, DropCounters, LinkTable},
    links::Links,
    nft::{
        build::Scope,
        kernel::Kernel,
        namespace,
        probe::probe,
        ruleset::{FORWARD, Family},
    },
};

const PROBE_PORT: u16 = 18460;
const PORT: u16 = 18444;
const PATIENCE: Duration = Duration::from_secs(5);
const HOLDER: &str = "NETSPLIT_TEST_HOLDER";

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// One bridge with nodes 1 to `count`; gone with this value.
struct Lan {
    prefix: String,
    count: u8,
}

fn run(command: &str) -> String {
    let output = Command::new("sh").args(["-ec", command]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.success(),
        "`{command}`: {text} (these tests need root and iproute2)"
    );
    String::from_utf8(output.stdout).unwrap()
}

fn address(node: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, node)
}

impl Lan {
    fn new(count: u8) -> Self {
        assert!(nix::unistd::geteuid().is_root(), "kernel tests need root");
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let lan = Self {
            prefix: format!("nst{}-{number}-", std::process::id()),
            count,
        };
        let host = lan.name(0);
        let mut script = format!(
            "ip netns add {host}; ip -n {host} link add br0 address 02:42:0a:4d:00:fe type bridge; \
             ip -n {host} addr add 10.77.0.254/24 dev br0; ip -n {host} link set br0 up;"
        );
        for node in 1..=count {
            script.push_str(&["ip netns add ", &lan.name(node), "; "].concat());
            script.push_str(&lan.plug(node, &format!("v{node}")));
        }
        run(&script);
        lan
    }

    fn name(&self, node: u8) -> String {
        format!("{}{node}", self.prefix)
    }

    /// Commands that give a node a cable with this name at the bridge's end.
    fn plug(&self, node: u8, port: &str) -> String {
        let (host, name) = (self.name(0), self.name(node));
        format!(
            "ip -n {host} link add {port} type veth peer name eth0 netns {name}; \
             ip -n {host} link set {port} master br0 up; \
             ip -n {name} addr add {}/24 broadcast 10.77.0.255 dev eth0; \
             ip -n {name} link set eth0 up; ip -n {name} link set lo up;",
            address(node)
        )
    }

    /// As an engine restarts a container: same address, new cable.
    fn restart(&self, node: u8) {
        run(&format!(
            "ip -n {} link del eth0; {}",
            self.name(node),
            self.plug(node, &format!("w{node}"))
        ));
        self.greet();
    }

    fn inside<T: Send>(&self, node: u8, work: impl FnOnce() -> T + Send) -> T {
        let file = File::open(format!("/run/netns/{}", self.name(node))).unwrap();
        namespace::inside(file, work).unwrap()
    }

    fn udp(&self, node: u8, port: u16) -> UdpSocket {
        let socket = self
            .inside(node, || UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)))
            .unwrap();
        socket.set_broadcast(true).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket
    }

    /// Every node exchanges a packet with the host, which then knows where each is. The node begins: after a restart it is
    /// the one that announces its new MAC address.
    fn greet(&self) {
        let host = self.udp(0, 7);
        for node in 1..=self.count {
            let socket = self.udp(node, 7);
            socket.send_to(b"hello", (address(254), 7)).unwrap();
            let (_, from) = host.recv_from(&mut [0; 16]).unwrap();
            host.send_to(b"hello", from).unwrap();
            socket.recv_from(&mut [0; 16]).unwrap();
        }
    }

    fn kernel(&self, table: &str) -> Result<Kernel, EnforceError> {
        self.inside(0, || {
            let scope = Scope {
                family: Family::Bridge,
                table: table.to_owned(),
                probe_port: PROBE_PORT,
            };
            Kernel::open(scope, Some("br0"))
        })
    }

    fn links(&self) -> Links<Kernel> {
        let mut links = Links::new(
            self.kernel("netsplit-test").unwrap(),
            (address(0).into(), 24),
        );
        links.set_members((1..=self.count).map(address).collect());
        links
    }

    fn apply(&self, links: &mut Links<Kernel>, table: LinkTable) -> Applied {
        let applied = self.inside(0, || links.apply(table)).unwrap();
        assert_eq!(applied.differences, Vec::<String>::new());
        assert_eq!(applied.pairs_installed, applied.pairs_intended);
        applied
    }

    fn tables(&self) -> String {
        run(&format!("ip netns exec {} nft list ruleset", self.name(0)))
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        for node in 0..=self.count {
            let _ = Command::new("ip")
                .args(["netns", "del", &self.name(node)])
                .status();
        }
    }
}

fn side(nodes: &[u8]) -> Vec<IpAddr> {
    nodes.iter().map(|node| address(*node).into()).collect()
}

fn table(version: u64, drops: &[(&[u8], &[u8])]) -> LinkTable {
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

fn counters(links: &mut Links<Kernel>) -> Vec<DropCounters> {
    links.counters().unwrap().cuts.remove(0).drops
}

/// Sends `count` datagrams; every one of them must leave without an error.
fn send(from: &UdpSocket, to: impl Into<IpAddr>, port: u16, count: usize) {
    let to = SocketAddr::new(to.into(), port);
    for _ in 0..count {
        from.send_to(b"data", to)
            .expect("a cut is silent at the sender");
    }
}

/// Addresses heard up to and including the datagram that says `end`.
fn heard(socket: &UdpSocket, end: &UdpSocket, at: Ipv4Addr) -> Vec<IpAddr> {
    let port = socket.local_addr().unwrap().port();
    end.send_to(b"end", (at, port)).unwrap();
    let mut heard = Vec::new();
    let mut buffer = [0; 16];
    loop {
        let (length, from) = socket.recv_from(&mut buffer).expect("the end arrives");
        if &buffer[..length] == b"end" {
            return heard;
        }
        heard.push(from.ip());
    }
}

#[test]
fn a_cut_is_silent_and_counted_by_class() {
    let lan = Lan::new(4);
    let mut links = lan.links();
    let sockets: Vec<_> = (1..=4).map(|node| lan.udp(node, PORT)).collect();
    let host = lan.udp(0, PORT);
    let listener = lan
        .inside(3, || TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)))
        .unwrap();
    lan.apply(
        &mut links,
        table(1, &[(&[1, 2], &[3, 4]), (&[3, 4], &[1, 2])]),
    );
    send(&sockets[0], address(3), PORT, 20);
    send(&sockets[0], address(3), PROBE_PORT, 5);
    send(&sockets[0], address(2), PORT, 3);
    send(&sockets[3], address(3), PORT, 2);
    assert_eq!(
        heard(&sockets[2], &host, address(3)),
        [IpAddr::from(address(4)); 2]
    );
    assert_eq!(
        heard(&sockets[1], &host, address(2)),
        [IpAddr::from(address(1)); 3]
    );
    let expected = DropCounters {
        protocol: 20,
        probes: 5,
        group: 0,
    };
    assert_eq!(counters(&mut links), [expected, DropCounters::default()]);
    let connect = |node| {
        let target = (address(3), PORT).into();
        lan.inside(node, || {
            TcpStream::connect_timeout(&target, Duration::from_millis(300))
        })
    };
    assert_eq!(connect(1).unwrap_err().kind(), ErrorKind::TimedOut);
    drop(connect(4).unwrap());
    drop(listener);
    lan.apply(
        &mut links,
        LinkTable {
            version: 2,
            cuts: Vec::new(),
        },
    );
    assert_eq!(lan.tables(), "");
    send(&sockets[0], address(3), PORT, 1);
    assert_eq!(
        heard(&sockets[2], &host, address(3)),
        [IpAddr::from(address(1))]
    );
}

#[test]
fn an_established_connection_falls_silent_and_comes_back() {
    let lan = Lan::new(2);
    let mut links = lan.links();
    let listener = lan
        .inside(2, || TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)))
        .unwrap();
    let mut near = lan
        .inside(1, || TcpStream::connect((address(2), PORT)))
        .unwrap();
    let (mut far, _) = listener.accept().unwrap();
    lan.apply(&mut links, table(1, &[(&[1], &[2]), (&[2], &[1])]));
    near.write_all(b"x").unwrap();
    far.set_read_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    let error = far.read(&mut [0; 1]).unwrap_err();
    assert_eq!(
        error.kind(),
        ErrorKind::WouldBlock,
        "neither data nor a reset"
    );
    assert!(near.take_error().unwrap().is_none());
    assert!(counters(&mut links)[0].protocol > 0);
    lan.apply(
        &mut links,
        LinkTable {
            version: 2,
            cuts: Vec::new(),
        },
    );
    far.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(far.read(&mut [0; 1]).unwrap(), 1);
}

#[test]
fn one_way_is_one_way_and_arp_still_flows() {
    let lan = Lan::new(2);
    let mut links = lan.links();
    let sockets: Vec<_> = (1..=2).map(|node| lan.udp(node, PORT)).collect();
    let host = lan.udp(0, PORT);
    lan.apply(&mut links, table(1, &[(&[1], &[2])]));
    run(&format!(
        "ip -n {} neigh flush all; ip -n {} neigh flush all",
        lan.name(1),
        lan.name(2)
    ));
    send(&sockets[0], address(2), PORT, 4);
    send(&sockets[1], address(1), PORT, 4);
    assert_eq!(heard(&sockets[1], &host, address(2)), [] as [IpAddr; 0]);
    assert_eq!(
        heard(&sockets[0], &host, address(1)),
        [IpAddr::from(address(2)); 4]
    );
    // Packets only reach the rule once ARP has resolved the receiver, so the count proves that it did.
    assert_eq!(counters(&mut links)[0].protocol, 4);
}

#[test]
fn broadcast_does_not_leak_and_fails_closed_after_a_restart() {
    let lan = Lan::new(4);
    let mut links = lan.links();
    lan.greet();
    let sockets: Vec<_> = (1..=4).map(|node| lan.udp(node, PORT)).collect();
    let host = lan.udp(0, PORT);
    let cut = table(1, &[(&[1, 2], &[3, 4])]);
    lan.apply(&mut links, cut.clone());
    let everyone = [Ipv4Addr::new(10, 77, 0, 255), Ipv4Addr::new(224, 0, 0, 1)];
    let one = IpAddr::from(address(1));
    let round = |sockets: &[UdpSocket]| -> Vec<usize> {
        let route = format!("ip -n {} route replace 224.0.0.0/4 dev eth0", lan.name(1));
        run(&route);
        everyone
            .iter()
            .for_each(|group| send(&sockets[0], *group, PORT, 2));
        let hear = |node: u8| {
            let socket = &sockets[usize::from(node) - 1];
            heard(socket, &host, address(node))
                .iter()
                .filter(|from| **from == one)
                .count()
        };
        (2..=4).map(hear).collect()
    };
    assert_eq!(round(&sockets), [4, 0, 0]);
    assert!(counters(&mut links)[0].group >= 8);
    for node in [2, 3] {
        lan.restart(node);
    }
    assert_eq!(
        round(&sockets),
        [0, 0, 0],
        "ports that are not known get nothing"
    );
    send(&sockets[0], address(3), PORT, 1);
    assert_eq!(heard(&sockets[2], &host, address(3)), [] as [IpAddr; 0]);
    assert!(lan.inside(0, || links.refresh()).unwrap());
    assert_eq!(round(&sockets), [4, 0, 0]);
}

#[test]
fn replacing_keeps_totals_and_other_cuts() {
    let lan = Lan::new(3);
    let mut links = lan.links();
    let one = lan.udp(1, PORT);
    let first = table(1, &[(&[1], &[2])]);
    lan.apply(&mut links, first.clone());
    send(&one, address(2), PORT, 7);
    let second = Cut {
        id: "second".to_owned(),
        ..table(0, &[(&[1], &[3])]).cuts.remove(0)
    };
    lan.apply(
        &mut links,
        LinkTable {
            version: 2,
            cuts: vec![first.cuts[0].clone(), second],
        },
    );
    send(&one, address(2), PORT, 2);
    send(&one, address(3), PORT, 1);
    let counts: Vec<_> = links
        .counters()
        .unwrap()
        .cuts
        .iter()
        .map(|cut| cut.drops[0].protocol)
        .collect();
    assert_eq!(counts, [9, 1]);
}

#[test]
fn nobody_else_can_take_the_table_away() {
    let lan = Lan::new(1);
    let mut links = lan.links();
    lan.apply(&mut links, table(1, &[(&[1], &[2])]));
    assert!(links.owned());
    let error = lan.kernel("netsplit-test").unwrap_err();
    assert!(matches!(error, EnforceError::Refused { .. }), "{error}");
    let host = lan.name(0);
    let delete = "nft delete table bridge netsplit-test";
    let deleted = Command::new("sh")
        .args(["-c", &format!("ip netns exec {host} {delete}")])
        .output();
    assert!(!deleted.unwrap().status.success());
    run(&format!("ip netns exec {host} nft flush ruleset"));
    assert!(lan.tables().contains("netsplit-test"));
    assert!(lan.inside(0, || links.counters()).is_ok());
    links.clear().unwrap();
    assert_eq!(lan.tables(), "");
}

/// In its own process, when asked for: holds a table until it is killed. Otherwise the same in this process, until dropped.
#[test]
fn a_table_lives_as_long_as_its_holder() {
    let hold = |path: &str| {
        let scope = Scope {
            family: Family::Bridge,
            table: "netsplit-held".to_owned(),
            probe_port: 1,
        };
        let kernel = namespace::inside(File::open(path).unwrap(), || {
            Kernel::open(scope, Some("br0"))
        });
        let mut links = Links::new(kernel.unwrap().unwrap(), (address(0).into(), 24));
        links.apply(table(1, &[(&[1], &[2])])).unwrap();
        links
    };
    if let Ok(path) = std::env::var(HOLDER) {
        let _held = hold(&path);
        io::stdout().write_all(b"held\n").unwrap();
        let _ = io::stdin().read(&mut [0; 1]);
        return;
    }
    let lan = Lan::new(1);
    let path = format!("/run/netns/{}", lan.name(0));
    let mut holder = holder(&path);
    assert!(lan.tables().contains("netsplit-held"));
    holder.kill().unwrap();
    holder.wait().unwrap();
    assert_eq!(lan.tables(), "");
    let held = hold(&path);
    assert!(lan.tables().contains("netsplit-held"));
    drop(held);
    assert_eq!(lan.tables(), "");
}

/// This test binary again, as a process that holds a table.
fn holder(path: &str) -> Child {
    let mut holder = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "a_table_lives_as_long_as_its_holder",
            "--nocapture",
        ])
        .env(HOLDER, path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    while !said.contains("held\n") {
        let mut byte = [0; 1];
        let read = holder.stdout.as_mut().unwrap().read(&mut byte).unwrap();
        assert_eq!(read, 1, "the holder ended: {said}");
        said.push(char::from(byte[0]));
    }
    holder
}

#[test]
fn commits_are_fast_and_read_back_whole() {
    let lan = Lan::new(1);
    for (nodes, tables) in [(30_u16, 20), (1000, 5)] {
        let scope = Scope {
            family: Family::Bridge,
            table: "t".to_owned(),
            probe_port: 1,
        };
        let kernel = lan.inside(0, || Kernel::open(scope, Some("br0"))).unwrap();
        let mut links = Links::new(kernel, (Ipv4Addr::new(10, 77, 0, 0).into(), 16));
        let addresses: Vec<IpAddr> = (0..nodes)
            .map(|node| {
                let [high, low] = node.to_be_bytes();
                Ipv4Addr::new(10, 77, high, low).into()
            })
            .collect();
        let (a, b) = addresses.split_at(addresses.len() / 2);
        let drops = [(a, b), (b, a)];
        let drops = drops.map(|(from, to)| Dropped {
            from: from.to_vec(),
            to: to.to_vec(),
        });
        let best = (1..=tables).map(|version| {
            let cut = Cut {
                id: "cut".to_owned(),
                drops: drops.to_vec(),
            };
            let applied = lan.apply(
                &mut links,
                LinkTable {
                    version,
                    cuts: vec![cut],
                },
            );
            assert_eq!(
                applied.pairs_installed,
                u64::from(nodes) * u64::from(nodes) / 2
            );
            Duration::from_nanos(applied.committed_to_ns - applied.committed_from_ns)
        });
        let best = best.min().unwrap();
        assert!(
            best < Duration::from_millis(10),
            "{nodes} nodes took {best:?}"
        );
    }
}

#[test]
fn this_kernel_can_do_what_a_run_needs_and_the_probe_leaves_nothing() {
    let lan = Lan::new(1);
    for family in [Family::Bridge, Family::Inet] {
        assert!(lan.inside(0, || probe(family)).unwrap().owner);
    }
    assert_eq!(lan.tables(), "");
}

#[test]
fn a_table_on_the_wrong_hook_is_a_difference_and_cuts_nothing() {
    let lan = Lan::new(2);
    let mut kernel = lan.kernel("netsplit-hook").unwrap();
    let cuts = [vec![(
        BTreeSet::from([address(1)]),
        BTreeSet::from([address(2)]),
    )]];
    let wanted = netsplit_faults::nft::build::build(&cuts, &Default::default(), kernel.scope());
    assert_eq!(wanted.hook, FORWARD);
    kernel
        .apply(&netsplit_faults::nft::ruleset::Ruleset {
            hook: 3,
            ..wanted.clone()
        })
        .unwrap();
    let got = kernel.read_back().unwrap();
    assert_eq!(
        netsplit_faults::nft::pairs::differences(&wanted, got.as_ref()).len(),
        1
    );
    let (one, two) = (lan.udp(1, PORT), lan.udp(2, PORT));
    send(&one, address(2), PORT, 1);
    let host = lan.udp(0, PORT);
    assert_eq!(heard(&two, &host, address(2)), [IpAddr::from(address(1))]);
}
