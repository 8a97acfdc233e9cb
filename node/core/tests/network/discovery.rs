//! Everybody finds peers.

use netsplit_api::{config::Discovery, event::Event};

use crate::testnet::{SECOND, Testnet, with_seeds};

#[test]
fn thirty_nodes_have_enough_peers_soon_after_their_start() {
    with_seeds("start", 40, |seed| {
        let mut testnet = Testnet::new(seed);
        for index in 0..30 {
            let newcomer = testnet.add(|_| {});
            let enough = index.min(8);
            let taken = testnet
                .network
                .run_until(|n| n.peers(newcomer) >= enough, SECOND / 10)
                .unwrap_or_else(|stuck| panic!("node {index} has too few peers {stuck}"));
            if let Some(rest) = (SECOND / 10).checked_sub(taken) {
                testnet.network.run_for(rest);
            }
        }
        testnet.connect().unwrap();
        testnet.network.run_for(3 * SECOND);
        for node in testnet.nodes.clone() {
            let peers = testnet.network.peers(node);
            assert!((8..=15).contains(&peers), "node {node} has {peers} peers");
        }
    });
}

#[test]
fn nodes_that_start_at_once_find_each_other() {
    with_seeds("start_at_once", 40, |seed| {
        let mut testnet = Testnet::new(seed);
        for _ in 0..20 {
            testnet.add(|_| {});
        }
        let taken = testnet.connect().unwrap();
        assert!(taken < 2 * SECOND, "{taken:?}");
        assert!(
            testnet
                .nodes
                .iter()
                .all(|node| testnet.network.peers(*node) <= 15)
        );
    });
}

#[test]
fn a_hundred_nodes_share_the_room_they_have() {
    with_seeds("hundred", 2, |seed| {
        let mut testnet = Testnet::new(seed);
        for _ in 0..100 {
            testnet.add(|_| {});
            testnet.network.run_for(SECOND / 50);
        }
        testnet.connect().unwrap();
        testnet.network.run_for(3 * SECOND);
        for node in &testnet.nodes {
            let peers = testnet.network.peers(*node);
            assert!((8..=15).contains(&peers), "node {node} has {peers} peers");
        }
        testnet.mine(testnet.nodes[50], 1);
        testnet.converge(SECOND).unwrap();
    });
}

#[test]
fn a_pair_has_one_connection_however_they_dial() {
    with_seeds("pair", 200, |seed| {
        let mut testnet = Testnet::new(seed);
        let addresses = [([11, 1, 0, 1], 18444).into(), ([11, 1, 0, 2], 18444).into()];
        for _ in 0..2 {
            testnet.add(|config| {
                config.bootstrap = addresses.to_vec();
                config.discovery = vec![Discovery::Bootstrap];
            });
        }
        testnet.network.run_for(3 * SECOND);
        assert_eq!(
            testnet
                .nodes
                .iter()
                .map(|n| testnet.network.peers(*n))
                .collect::<Vec<_>>(),
            [1, 1]
        );
        let before = testnet.network.events(testnet.nodes[0]).len();
        testnet.network.run_for(5 * SECOND);
        let quiet = testnet.network.events(testnet.nodes[0])[before..]
            .iter()
            .all(|(_, event)| matches!(event, Event::DnsSeedQueried { .. }));
        assert!(quiet, "the connection stays");
    });
}

#[test]
fn the_dns_seed_names_who_lives_and_nobody_else() {
    with_seeds("dns", 40, |seed| {
        let mut testnet = Testnet::new(seed);
        testnet.populate(10, 0);
        let all = testnet.network.addresses(&testnet.nodes);
        let named = |n: &netsplit_core::virtual_network::VirtualNetwork, host| {
            n.node(host)
                .dns_answer()
                .into_iter()
                .collect::<std::collections::BTreeSet<_>>()
        };
        let host = testnet.seed;
        testnet
            .network
            .run_until(|n| named(n, host) == all, 3 * SECOND)
            .unwrap();
        let dead = testnet.nodes[3];
        testnet.network.kill(dead);
        let mut living = testnet.nodes.clone();
        living.retain(|node| *node != dead);
        let living = testnet.network.addresses(&living);
        testnet
            .network
            .run_until(|n| named(n, host) == living, 4 * SECOND)
            .unwrap();
        testnet.network.restart(dead);
        testnet
            .network
            .run_until(|n| named(n, host) == all, 4 * SECOND)
            .unwrap();
    });
}

#[test]
fn without_the_seed_the_known_carry_on_and_newcomers_wait_for_it() {
    with_seeds("seed_dies", 30, |seed| {
        let mut testnet = Testnet::new(seed);
        testnet.populate(10, 1);
        testnet.connect().unwrap();
        testnet.network.run_for(3 * SECOND);
        testnet.network.kill(testnet.seed);
        // One restarts: its address book is enough.
        let restarted = testnet.nodes[5];
        testnet.network.kill(restarted);
        testnet.network.run_for(2 * SECOND);
        testnet.network.restart(restarted);
        testnet
            .network
            .run_until(|n| n.peers(restarted) >= 8, SECOND)
            .unwrap();
        let newcomer = testnet.add(|_| {});
        testnet.network.run_for(5 * SECOND);
        assert_eq!(
            testnet.network.peers(newcomer),
            0,
            "nobody knows of it, and it of nobody"
        );
        testnet.network.restart(testnet.seed);
        testnet
            .network
            .run_until(|n| n.peers(newcomer) >= 8, 5 * SECOND)
            .unwrap();
        testnet.converge(3 * SECOND).unwrap();
    });
}

/// Fewer nodes than everybody is to have peers: they soon stop asking again and again.
#[test]
fn nodes_that_can_never_have_enough_peers_ask_ever_more_seldom() {
    with_seeds("too_few", 20, |seed| {
        let mut testnet = Testnet::new(seed);
        testnet.populate(3, 0);
        testnet.connect().unwrap();
        testnet.network.run_for(30 * SECOND);
        let queries = |testnet: &Testnet, node| {
            let events = testnet.network.events(node).iter();
            let query = |event: &Event| matches!(event, Event::DnsSeedQueried { .. });
            events.filter(|(_, event)| query(event)).count()
        };
        let before = testnet.nodes.iter().map(|n| queries(&testnet, *n));
        let before: Vec<usize> = before.collect();
        testnet.network.run_for(60 * SECOND);
        for (node, before) in testnet.nodes.iter().zip(before) {
            let asked = queries(&testnet, *node) - before;
            assert!((4..=12).contains(&asked), "node {node} asked {asked} times");
        }
        // Somebody new is found at once all the same: it asks, and so is known.
        let newcomer = testnet.add(|_| {});
        testnet
            .network
            .run_until(|n| n.peers(newcomer) == 3, 2 * SECOND)
            .unwrap();
    });
}

/// A group that could find nobody while it was cut off finds the others soon after the heal.
#[test]
fn newcomers_who_were_cut_off_find_the_others_after_the_heal() {
    with_seeds("cut_newcomers", 20, |seed| {
        let mut testnet = Testnet::new(seed);
        testnet.populate(10, 1);
        testnet.connect().unwrap();
        let mut others = testnet.nodes.clone();
        others.push(testnet.seed);
        let newcomers: Vec<_> = (0..2).map(|_| testnet.add(|_| {})).collect();
        testnet.network.cut(&others, &newcomers);
        testnet.network.run_for(30 * SECOND);
        testnet.network.heal();
        testnet
            .network
            .run_until(
                |n| newcomers.iter().all(|node| n.peers(*node) >= 8),
                5 * SECOND,
            )
            .unwrap();
        testnet.converge(3 * SECOND).unwrap();
    });
}
