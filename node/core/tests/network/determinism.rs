//! The same seed gives the same run, to the last line.

use std::collections::BTreeSet;

use netsplit_core::virtual_network::Climate;

use crate::testnet::{SECOND, Testnet};

fn run(seed: u64) -> (u64, String) {
    let climate = Climate {
        loss: 0.02,
        ..Climate::default()
    };
    let mut testnet = Testnet::with_climate(seed, climate);
    testnet.populate(10, 3);
    let (left, right) = (testnet.nodes[..5].to_vec(), testnet.nodes[5..].to_vec());
    testnet.network.cut(&left, &right);
    testnet.network.run_for(6 * SECOND);
    testnet.network.kill(right[1]);
    testnet.network.heal();
    testnet.network.run_for(SECOND);
    testnet.network.restart(right[1]);
    testnet.network.run_for(3 * SECOND);
    (testnet.network.fingerprint(), testnet.network.trace())
}

#[test]
fn the_same_seed_twice_gives_the_same_trace() {
    let mut seen = BTreeSet::new();
    for seed in 0..10 {
        let (first, second) = (run(seed), run(seed));
        assert_eq!(first.1, second.1, "seed {seed}");
        assert_eq!(first.0, second.0, "seed {seed}");
        assert!(seen.insert(first.0), "another seed, another run");
    }
}
