//! A crash at any moment loses nothing that others were told; a failing store stops the node.

use netsplit_api::event::Event;

use crate::testnet::{SECOND, Testnet, with_seeds};

#[test]
fn nodes_that_crash_while_others_mine_lose_nothing() {
    with_seeds("crash", 40, |seed| {
        let mut testnet = Testnet::new(seed);
        testnet.populate(8, 2);
        testnet.connect().unwrap();
        for round in 0..8_u64 {
            let victim = testnet.nodes[((seed + 3 * round) % 8) as usize];
            let before = testnet.network.tip(victim);
            testnet.network.kill(victim);
            testnet
                .network
                .run_for(SECOND / 10 * (1 + (seed + round) as u32 % 15));
            testnet.network.restart(victim);
            let after = testnet.network.tip(victim);
            assert!(
                after.work >= before.work,
                "round {round}: the chain is as it was"
            );
            testnet.network.run_for(SECOND / 2);
        }
        testnet.connect().unwrap();
        testnet.converge(3 * SECOND).unwrap();
    });
}

#[test]
fn a_failing_store_stops_the_node_before_it_tells_anybody() {
    with_seeds("store_fails", 60, |seed| {
        let mut testnet = Testnet::new(seed);
        testnet.populate(5, 1);
        testnet.connect().unwrap();
        let victim = testnet.nodes[0];
        testnet.network.fail_store_after(victim, seed % 30);
        testnet
            .network
            .run_until(|n| n.running(victim).is_none(), 120 * SECOND)
            .unwrap();
        let last = &testnet.network.events(victim).last().unwrap().1;
        assert!(matches!(last, Event::StoreFailed { .. }), "{last:?}");
        testnet.network.run_for(2 * SECOND);
        let told: u32 = testnet.nodes[1..]
            .iter()
            .map(|n| testnet.network.tip(*n).height)
            .max()
            .unwrap();
        testnet.network.restart(victim);
        assert!(
            testnet.network.tip(victim).height >= told,
            "what others know it knows"
        );
        testnet.connect().unwrap();
        testnet.converge(3 * SECOND).unwrap();
    });
}
