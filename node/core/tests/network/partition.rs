//! A cut makes two chains; a heal makes one of them, soon.

use std::time::Duration;

use netsplit_core::virtual_network::HostId;

use crate::testnet::{SECOND, Testnet, with_seeds};

/// Makes sure that both sides have a block of their own and that one side has more work.
fn diverge(testnet: &mut Testnet, fork: u32, left: HostId, right: HostId) {
    for side in [left, right] {
        if testnet.network.tip(side).height == fork {
            testnet.mine(side, 1);
        }
    }
    if testnet.network.tip(left).work == testnet.network.tip(right).work {
        testnet.mine(left, 1);
    }
    assert!(!testnet.network.agree([left, right]), "the chains differ");
}

/// Two halves of `count` nodes, a miner in each; cut for `length`.
fn cut_and_heal(seed: u64, count: usize, length: Duration) {
    let mut testnet = Testnet::new(seed);
    testnet.populate(count, 2);
    testnet.connect().unwrap();
    testnet.network.run_for(3 * SECOND);
    // The miners are the first two: one on each side.
    let (left, right): (Vec<_>, Vec<_>) = testnet
        .nodes
        .iter()
        .copied()
        .partition(|node| node % 2 == testnet.nodes[0] % 2);
    let mut left_and_seed = left.clone();
    left_and_seed.push(testnet.seed);
    testnet.network.cut(&left_and_seed, &right);
    let fork = testnet.network.tip(left[0]).height;
    testnet.network.run_for(length);
    for side in [&left, &right] {
        let enough = (side.len() - 1).min(8);
        for node in side {
            let peers = testnet.network.peers(*node);
            assert!(peers >= enough, "node {node} has {peers} peers in its half");
        }
    }
    diverge(&mut testnet, fork, left[0], right[0]);
    testnet.network.heal();
    let taken = testnet
        .converge(2 * SECOND)
        .unwrap_or_else(|stuck| panic!("cut {length:?}: {stuck}"));
    assert!(taken <= 2 * SECOND);
    testnet.network.run_for(3 * SECOND);
    // Two blocks found at once may keep halves apart until the next one.
    testnet.converge(20 * SECOND).unwrap();
}

#[test]
fn thirty_nodes_converge_within_two_seconds_of_a_ten_second_cut() {
    with_seeds("heal_10", 20, |seed| cut_and_heal(seed, 30, 10 * SECOND));
}

#[test]
fn thirty_nodes_converge_within_two_seconds_of_a_thirty_second_cut() {
    with_seeds("heal_30", 8, |seed| cut_and_heal(seed, 30, 30 * SECOND));
}

#[test]
fn thirty_nodes_converge_within_two_seconds_of_a_minute_long_cut() {
    with_seeds("heal_60", 4, |seed| cut_and_heal(seed, 30, 60 * SECOND));
}

#[test]
fn six_nodes_converge_after_cuts_of_any_length() {
    with_seeds("heal_small", 60, |seed| {
        cut_and_heal(seed, 6, SECOND * (8 + seed as u32 % 13));
    });
}

#[test]
fn a_short_cut_leaves_nothing_behind() {
    with_seeds("heal_short", 60, |seed| {
        let mut testnet = Testnet::new(seed);
        testnet.populate(12, 2);
        testnet.connect().unwrap();
        let (left, right) = testnet.nodes.split_at(6);
        let (left, right) = (left.to_vec(), right.to_vec());
        testnet.network.cut(&left, &right);
        testnet
            .network
            .run_for(SECOND / 10 * (1 + seed as u32 % 40));
        testnet.network.heal();
        testnet.network.run_for(4 * SECOND);
        testnet.converge(20 * SECOND).unwrap();
    });
}

#[test]
fn an_isolated_node_comes_back() {
    with_seeds("isolated", 40, |seed| {
        let mut testnet = Testnet::new(seed);
        testnet.populate(12, 1);
        testnet.connect().unwrap();
        let lonely = testnet.nodes[5];
        let others: Vec<_> = testnet
            .nodes
            .iter()
            .copied()
            .filter(|node| *node != lonely)
            .chain([testnet.seed])
            .collect();
        testnet.network.cut(&[lonely], &others);
        testnet.network.run_for(12 * SECOND);
        assert_eq!(testnet.network.peers(lonely), 0);
        testnet.network.heal();
        testnet.converge(2 * SECOND).unwrap();
        testnet
            .network
            .run_until(|n| n.peers(lonely) >= 8, 2 * SECOND)
            .unwrap();
    });
}

#[test]
fn a_one_way_cut_cuts_too_and_heals() {
    with_seeds("one_way", 20, |seed| {
        let mut testnet = Testnet::new(seed);
        testnet.populate(10, 2);
        testnet.connect().unwrap();
        let (left, right): (Vec<_>, Vec<_>) = testnet
            .nodes
            .iter()
            .copied()
            .partition(|node| node % 2 == 0);
        let fork = testnet.network.tip(left[0]).height;
        testnet.network.cut_one_way(&left, &right);
        testnet.network.run_for(12 * SECOND);
        diverge(&mut testnet, fork, left[0], right[0]);
        testnet.network.heal();
        testnet.converge(2 * SECOND).unwrap();
    });
}
