//! Blocks and transactions reach everybody.

use bitcoin::{Amount, ScriptBuf};
use netsplit_api::config::Role;
use netsplit_core::{
    io::{Command, Reply},
    virtual_network::Climate,
};

use crate::testnet::{SECOND, Testnet, with_seeds};

#[test]
fn a_mined_block_reaches_all_within_a_second() {
    with_seeds("blocks", 30, |seed| {
        let climate = Climate {
            loss: (seed % 3) as f64 * 0.02,
            ..Climate::default()
        };
        let mut testnet = Testnet::with_climate(seed, climate);
        testnet.populate(20, 0);
        testnet.connect().unwrap();
        for round in 0..5 {
            let miner = testnet.nodes[(seed as usize + round) % 20];
            let hash = testnet.mine(miner, 1)[0];
            testnet.converge(SECOND).unwrap();
            assert_eq!(testnet.network.tip(testnet.nodes[0]).hash, hash);
        }
    });
}

#[test]
fn a_routing_node_passes_headers_on_and_takes_no_blocks() {
    let mut testnet = Testnet::new(1);
    testnet.populate(5, 0);
    let routing = testnet.add(|config| config.roles = [Role::Routing].into());
    testnet
        .network
        .run_until(|n| n.peers(routing) == 5, 3 * SECOND)
        .unwrap();
    let hash = testnet.mine(testnet.nodes[0], 3)[2];
    let learns = |n: &netsplit_core::virtual_network::VirtualNetwork| {
        n.node(routing).chain().best_header().hash == hash
    };
    testnet.network.run_until(learns, SECOND).unwrap();
    assert_eq!(testnet.network.tip(routing).height, 0);
}

#[test]
fn a_payment_spreads_and_is_mined() {
    with_seeds("payment", 20, |seed| {
        let mut testnet = Testnet::new(seed).premined(101, &[1]);
        testnet.populate(1, 1);
        let wallet = testnet.add(|config| config.roles = [Role::Wallet].into());
        testnet.populate(6, 0);
        testnet.connect().unwrap();
        let payee = match testnet
            .network
            .command(wallet, Command::NewAddress)
            .unwrap()
        {
            Reply::Address(address) => address.script_pubkey(),
            other => panic!("{other:?}"),
        };
        let send = Command::SendToAddress {
            script: payee,
            amount: Amount::ONE_BTC,
            fee_rate: None,
        };
        let Reply::Sent(txid) = testnet.network.command(wallet, send).unwrap() else {
            panic!()
        };
        let all = testnet.nodes.clone();
        let spread = |n: &netsplit_core::virtual_network::VirtualNetwork| {
            let mined = n.tip(all[0]).height > 101;
            mined
                || all
                    .iter()
                    .all(|node| n.node(*node).mempool().contains(&txid))
        };
        testnet.network.run_until(spread, SECOND).unwrap();
        let gone = |n: &netsplit_core::virtual_network::VirtualNetwork| {
            n.agree(all.iter().copied())
                && all.iter().all(|node| n.node(*node).mempool().is_empty())
        };
        testnet.network.run_until(gone, 30 * SECOND).unwrap();
        let node = testnet.network.node(all[3]);
        let mined = (102..=node.chain().tip().height).any(|height| {
            let hash = node.chain().hash_at(height).unwrap();
            let block = node.chain().block(node.db(), &hash).unwrap().unwrap();
            block.txdata.iter().any(|tx| tx.compute_txid() == txid)
        });
        assert!(mined, "the payment is in the chain");
    });
}

/// The wallet that paid is gone by the time the sides meet: the others have to bring its payment over.
#[test]
fn a_payment_that_a_reorganisation_returns_reaches_the_winning_side() {
    with_seeds("returned", 20, |seed| {
        let mut testnet = Testnet::new(seed).premined(101, &[0]);
        let payer = testnet.add(|config| config.roles = [Role::Wallet].into());
        testnet.populate(7, 0);
        testnet.connect().unwrap();
        let (losers, winners) = testnet.nodes.split_at(4);
        let (losers, winners) = (losers.to_vec(), winners.to_vec());
        testnet.network.cut(&losers, &winners);
        let send = Command::SendToAddress {
            // A taproot output that nobody can spend.
            script: ScriptBuf::from_bytes([&[0x51, 0x20][..], &[2; 32]].concat()),
            amount: Amount::ONE_BTC,
            fee_rate: None,
        };
        let Reply::Sent(txid) = testnet.network.command(payer, send).unwrap() else {
            panic!()
        };
        testnet.mine(payer, 1);
        testnet.mine(winners[0], 3);
        // Long enough for both sides to settle, too short to lose a peer.
        testnet.network.run_for(SECOND);
        assert!(!testnet.network.agree([losers[1], winners[0]]));
        testnet.network.kill(payer);
        testnet.network.heal();
        let waits = |n: &netsplit_core::virtual_network::VirtualNetwork| {
            n.agree(losers[1..].iter().chain(&winners).copied())
                && winners
                    .iter()
                    .all(|node| n.node(*node).mempool().contains(&txid))
        };
        testnet.network.run_until(waits, 4 * SECOND).unwrap();
    });
}
