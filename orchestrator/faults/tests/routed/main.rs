//! Cuts where a namespace routes between the nodes: in the real kernel, as root and as an ordinary user.

#![expect(clippy::unwrap_used, reason = "tests")]

mod router;

use std::{
    collections::BTreeSet,
    io::{ErrorKind, Read, Write},
    net::{IpAddr, Ipv4Addr, TcpListener, TcpStream, UdpSocket},
    time::Duration,
};

use netsplit_faults::{
    enforcer::{EnforceError, Enforcer},
    link::DropCounters,
    nft::{build::build, ruleset::Ruleset},
    routed::Routed,
};
use router::{
    PATIENCE, PORT, PROBE_PORT, Router, address, apply, counters, everywhere, healed, heard,
    is_silent, say, side, table,
};

const A: &[u16] = &[1, 2, 3];
const B: &[u16] = &[4, 5, 6];
const GROUP: Ipv4Addr = Ipv4Addr::new(239, 1, 2, 3);
/// Of the whole run's network.
const DIRECTED: Ipv4Addr = Ipv4Addr::new(10, 78, 255, 255);

/// Marks the end of what was sent before, by a way no cut touches: from the router itself.
fn end(router: &Router, nodes: &[u16]) {
    let socket = router.udp(0, 0);
    for node in nodes {
        socket.send_to(b"end", (address(*node), PORT)).unwrap();
    }
}

#[test]
fn a_cut_is_silent_and_counted_by_class() {
    everywhere("a_cut_is_silent_and_counted_by_class", || {
        let router = Router::new(6);
        let mut links = router.links();
        assert!(links.owned());
        let sockets: Vec<_> = (1..=6).map(|node| router.udp(node, PORT)).collect();
        let connected = router.udp(1, 0);
        connected.connect((address(4), PORT)).unwrap();
        let applied = apply(&mut links, table(1, &[(A, B), (B, A)]));
        assert_eq!(applied.pairs_installed, 18);
        connected.send(b"data").unwrap();
        say(&sockets[0], address(4), PORT, 20);
        say(&sockets[0], address(4), PROBE_PORT, 5);
        say(&sockets[0], address(2), PORT, 3);
        say(&sockets[5], address(4), PORT, 2);
        end(&router, &[2, 4]);
        assert_eq!(heard(&sockets[3], 2), side(&[6, 6]));
        assert_eq!(heard(&sockets[1], 3), side(&[1, 1, 1]));
        let expected = DropCounters {
            protocol: 21,
            probes: 5,
            group: 0,
        };
        assert_eq!(counters(&mut links), [expected, DropCounters::default()]);
        assert!(is_silent(&connected), "an error came back");
        connected.send(b"data").expect("no error is pending");
        apply(&mut links, healed(2));
        say(&sockets[0], address(4), PORT, 1);
        end(&router, &[4]);
        assert_eq!(heard(&sockets[3], 1), side(&[1]));
    });
}

#[test]
fn one_way_is_one_way() {
    everywhere("one_way_is_one_way", || {
        let router = Router::new(6);
        let mut links = router.links();
        let sockets: Vec<_> = (1..=6).map(|node| router.udp(node, PORT)).collect();
        apply(&mut links, table(1, &[(A, B)]));
        for (from, to) in [(1_usize, 4), (4, 1), (3, 6), (6, 3)] {
            say(&sockets[from - 1], address(to), PORT, 4);
        }
        end(&router, &[1, 3, 4, 6]);
        assert_eq!(heard(&sockets[3], 0), [] as [IpAddr; 0]);
        assert_eq!(heard(&sockets[5], 0), [] as [IpAddr; 0]);
        assert_eq!(heard(&sockets[0], 4), side(&[4; 4]));
        assert_eq!(heard(&sockets[2], 4), side(&[6; 4]));
        assert_eq!(counters(&mut links)[0].protocol, 8);
    });
}

#[test]
fn tcp_falls_silent_and_comes_back() {
    everywhere("tcp_falls_silent_and_comes_back", || {
        let router = Router::new(6);
        let mut links = router.links();
        let listener = router.inside(4, || TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)));
        let listener = listener.unwrap();
        let connect = |node, patience| {
            let target = (address(4), PORT).into();
            router.inside(node, || TcpStream::connect_timeout(&target, patience))
        };
        let mut near = connect(1, PATIENCE).unwrap();
        let (mut far, _) = listener.accept().unwrap();
        apply(&mut links, table(1, &[(A, B), (B, A)]));
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
        let refused = connect(2, Duration::from_millis(300)).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::TimedOut);
        connect(5, PATIENCE).unwrap();
        assert!(counters(&mut links)[0].protocol >= 2);
        apply(&mut links, healed(2));
        far.set_read_timeout(Some(PATIENCE)).unwrap();
        assert_eq!(far.read(&mut [0; 1]).unwrap(), 1);
        connect(2, PATIENCE).unwrap();
    });
}

/// Seven nodes, of which the last ends what the others say: the relay keeps the order.
fn segment() -> (Router, Vec<UdpSocket>) {
    let router = Router::new(7);
    let sockets = (1..=7).map(|node| router.udp(node, PORT)).collect();
    (router, sockets)
}

/// Node 1 speaks to everybody: so many datagrams reach the nodes 2 to 6, one of them cut up on the way.
fn speak(sockets: &[UdpSocket], to: Ipv4Addr, expected: [usize; 5]) {
    sockets[0].send_to(b"data", (to, PORT)).unwrap();
    sockets[0].send_to(&[b'x'; 4000], (to, PORT)).unwrap();
    sockets[6]
        .send_to(b"end", (Ipv4Addr::BROADCAST, PORT))
        .unwrap();
    for (socket, count) in sockets[1..6].iter().zip(expected) {
        let from = vec![IpAddr::from(address(1)); count];
        assert_eq!(heard(socket, count), from, "to {to}, {expected:?} expected");
    }
}

const WHOLE: [usize; 5] = [2; 5];
const HALF: [usize; 5] = [2, 2, 0, 0, 0];

#[test]
fn broadcast_and_multicast_stay_on_their_side_of_a_cut() {
    everywhere(
        "broadcast_and_multicast_stay_on_their_side_of_a_cut",
        || {
            let (router, sockets) = segment();
            let mut links = router.links();
            for everyone in [Ipv4Addr::BROADCAST, DIRECTED] {
                speak(&sockets, everyone, WHOLE);
            }
            apply(&mut links, table(1, &[(A, B), (B, A)]));
            for everyone in [Ipv4Addr::BROADCAST, DIRECTED] {
                speak(&sockets, everyone, HALF);
            }
            // Twice two datagrams, the second in three fragments, to each of three nodes.
            let groups: Vec<_> = counters(&mut links).iter().map(|of| of.group).collect();
            assert_eq!(groups, [24, 0]);
            for (node, socket) in (1..).zip(&sockets) {
                socket.join_multicast_v4(&GROUP, &address(node)).unwrap();
            }
            speak(&sockets, GROUP, HALF);
            assert!(counters(&mut links)[0].group >= 36);
            apply(&mut links, healed(2));
            for everyone in [Ipv4Addr::BROADCAST, DIRECTED, GROUP] {
                speak(&sockets, everyone, WHOLE);
            }
        },
    );
}

#[test]
fn one_broadcast_reaches_hundreds() {
    everywhere("one_broadcast_reaches_hundreds", || {
        const COUNT: u16 = 300;
        let router = Router::new(COUNT);
        let sockets: Vec<_> = (1..=COUNT).map(|node| router.udp(node, PORT)).collect();
        for _ in 0..3 {
            say(&sockets[0], Ipv4Addr::BROADCAST, PORT, 1);
        }
        for socket in &sockets[1..] {
            for _ in 0..3 {
                let (_, from) = socket.recv_from(&mut [0; 16]).unwrap();
                assert_eq!(from.ip(), address(1));
            }
        }
    });
}

#[test]
fn a_node_that_is_down_neither_hears_nor_is_heard() {
    everywhere("a_node_that_is_down_neither_hears_nor_is_heard", || {
        let (router, sockets) = segment();
        router.segment.detach(address(3));
        let others_hear_one = || {
            say(&sockets[0], Ipv4Addr::BROADCAST, PORT, 1);
            sockets[6]
                .send_to(b"end", (Ipv4Addr::BROADCAST, PORT))
                .unwrap();
            for place in [1, 3, 4, 5] {
                assert_eq!(heard(&sockets[place], 1), side(&[1]));
            }
        };
        others_hear_one();
        assert!(is_silent(&sockets[2]), "node 3 got a copy");
        say(&sockets[2], Ipv4Addr::BROADCAST, PORT, 1);
        others_hear_one();
        // What a machine says to everybody it hears itself, whatever becomes of it outside.
        let (_, itself) = sockets[2].recv_from(&mut [0; 16]).unwrap();
        assert_eq!(itself.ip(), address(3));
        router.segment.attach(address(3), router::device(3));
        speak(&sockets, Ipv4Addr::BROADCAST, WHOLE);
    });
}

#[test]
fn a_cut_lives_as_long_as_its_holder() {
    everywhere("a_cut_lives_as_long_as_its_holder", || {
        let (router, sockets) = segment();
        let mut links = router.links();
        apply(&mut links, table(1, &[(A, B)]));
        let error = Routed::open("test", PROBE_PORT, router.segment.clone()).unwrap_err();
        assert!(matches!(error, EnforceError::Refused { .. }), "{error}");
        drop(links);
        say(&sockets[0], address(4), PORT, 1);
        end(&router, &[4]);
        assert_eq!(heard(&sockets[3], 1), side(&[1]));
        speak(&sockets, Ipv4Addr::BROADCAST, WHOLE);
        // The name is free again.
        router.links();
    });
}

/// What the test-only sabotage of the agent makes of a table really cuts nothing here, broadcasts included.
#[test]
fn a_broken_table_lets_everything_pass() {
    everywhere("a_broken_table_lets_everything_pass", || {
        let (router, sockets) = segment();
        let mut routed = Routed::open("test", PROBE_PORT, router.segment.clone()).unwrap();
        let addresses = |nodes: &[u16]| nodes.iter().map(|node| address(*node)).collect();
        let cut: Vec<(BTreeSet<_>, BTreeSet<_>)> = vec![(addresses(A), addresses(B))];
        let whole = build(&[cut], &Default::default(), routed.scope());
        let mut empty = whole.clone();
        empty.sets.iter_mut().for_each(|set| set.elements.clear());
        let elsewhere = Ruleset {
            hook: 3,
            ..whole.clone()
        };
        for broken in [empty, elsewhere] {
            routed.apply(&broken).unwrap();
            say(&sockets[0], address(4), PORT, 1);
            end(&router, &[4]);
            assert_eq!(heard(&sockets[3], 1), side(&[1]));
            speak(&sockets, Ipv4Addr::BROADCAST, WHOLE);
            let got = routed.read_back().unwrap().unwrap();
            assert_eq!((&got.ruleset, got.foreign.len()), (&broken, 0));
        }
        routed.apply(&whole).unwrap();
        speak(&sockets, Ipv4Addr::BROADCAST, HALF);
    });
}
