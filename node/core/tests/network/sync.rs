//! Those who come late catch up, by either strategy; a crash loses nothing.

use netsplit_api::config::Sync;

use crate::testnet::{SECOND, Testnet, with_seeds};

fn late_joiner(seed: u64, sync: Sync, blocks: u32) {
    let mut testnet = Testnet::new(seed);
    testnet.populate(4, 0);
    testnet.connect().unwrap();
    testnet.mine(testnet.nodes[0], blocks);
    testnet.converge(20 * SECOND).unwrap();
    testnet.add(|config| config.sync = sync);
    testnet.converge(5 * SECOND).unwrap();
    assert_eq!(testnet.network.tip(testnet.nodes[4]).height, blocks);
}

#[test]
fn a_late_joiner_gets_500_blocks_headers_first() {
    with_seeds("late_headers", 6, |seed| {
        late_joiner(seed, Sync::Headers, 500);
    });
}

#[test]
fn a_late_joiner_gets_500_blocks_by_getblocks() {
    with_seeds("late_blocks", 6, |seed| {
        late_joiner(seed, Sync::Blocks, 500);
    });
}

#[test]
fn more_than_two_answers_to_getblocks_are_needed_for_1200_blocks() {
    late_joiner(1, Sync::Blocks, 1200);
}

#[test]
fn more_than_one_answer_to_getheaders_is_needed_for_2100_blocks() {
    late_joiner(1, Sync::Headers, 2100);
}

#[test]
fn a_late_joiner_is_not_kept_waiting_by_the_silent() {
    with_seeds("late_cut", 20, |seed| {
        let sync = if seed % 2 == 0 {
            Sync::Headers
        } else {
            Sync::Blocks
        };
        let mut testnet = Testnet::new(seed);
        testnet.populate(5, 0);
        testnet.connect().unwrap();
        testnet.mine(testnet.nodes[0], 300);
        testnet.converge(20 * SECOND).unwrap();
        let late = testnet.add(|config| config.sync = sync);
        testnet
            .network
            .run_until(|n| n.tip(late).height > 20, 5 * SECOND)
            .unwrap();
        // All but one fall silent in the middle of it.
        let silent = testnet.nodes[..4].to_vec();
        testnet.network.cut(&[late], &silent);
        testnet
            .network
            .run_until(|n| n.tip(late).height == 300, 8 * SECOND)
            .unwrap();
    });
}

#[test]
fn both_strategies_mix() {
    with_seeds("mixed", 20, |seed| {
        let mut testnet = Testnet::new(seed);
        for index in 0..10 {
            testnet.add(|config| {
                config.sync = if index % 2 == 0 {
                    Sync::Headers
                } else {
                    Sync::Blocks
                };
            });
        }
        testnet.connect().unwrap();
        for round in 0..6 {
            testnet.mine(testnet.nodes[round], 3);
            testnet.converge(SECOND).unwrap();
        }
        let (left, right) = (testnet.nodes[..5].to_vec(), testnet.nodes[5..].to_vec());
        testnet.network.cut(&left, &right);
        testnet.network.run_for(10 * SECOND);
        testnet.mine(left[0], 5);
        testnet.mine(right[0], 7);
        testnet.network.run_for(SECOND);
        testnet.network.heal();
        testnet.converge(2 * SECOND).unwrap();
        assert_eq!(testnet.network.tip(left[0]).height, 25);
    });
}
