//! Templates and the premine.

use bitcoin::{Amount, Block, ScriptBuf};
use netsplit_api::config::{ChainNetwork, Premine};
use netsplit_core::{
    chain::subsidy,
    mempool::Mempool,
    miner::build_block,
    premine::{PremineError, is_premined, premine_blocks},
    time::WallTime,
};

use crate::support::{Fixture, NOW, START, anyone, coins_of, spend};

fn premine(blocks: u32, payees: &[&str]) -> Premine {
    let payees = payees.iter().map(|payee| (*payee).to_owned()).collect();
    Premine {
        blocks,
        time: START,
        payees,
    }
}

fn build(premine: &Premine) -> Vec<Block> {
    premine_blocks(premine, ChainNetwork::Regtest)
        .unwrap()
        .collect()
}

#[test]
fn mined_blocks_take_the_mempool_and_its_fees() {
    let mut fixture = Fixture::with_height(101);
    let mut pool = Mempool::new();
    let tx = spend(&[fixture.coinbase_at(1)], 1, 1000);
    let child = spend(&coins_of(&tx), 1, 234);
    for tx in [&tx, &child] {
        pool.accept(&fixture.chain, &fixture.db, tx.clone(), NOW)
            .unwrap()
            .unwrap();
    }
    let block = build_block(&fixture.chain, &pool, &anyone(), NOW, 0);
    assert_eq!(block.txdata[1..], [tx, child]);
    let expected = subsidy(102) + Amount::from_sat(1234);
    assert_eq!(block.txdata[0].output[0].value, expected);
    assert_eq!(block.bip34_block_height(), Ok(102));
    assert!(block.check_merkle_root() && block.check_witness_commitment());
    let change = fixture.accept(&block).unwrap();
    pool.on_tip_change(&fixture.chain, &fixture.db, &change)
        .unwrap();
    assert!(pool.is_empty());
}

#[test]
fn block_times_follow_the_clock_but_never_fall_behind_the_median() {
    let fixture = Fixture::with_height(20);
    let pool = Mempool::new();
    let at = |now| {
        build_block(&fixture.chain, &pool, &anyone(), now, 0)
            .header
            .time
    };
    assert_eq!(at(NOW), NOW.seconds());
    let median = fixture
        .chain
        .median_time_past(&fixture.chain.tip().hash)
        .unwrap();
    assert_eq!(at(WallTime(0)), median + 1);
}

#[test]
fn extranonces_tell_equal_blocks_apart() {
    let fixture = Fixture::with_height(1);
    let pool = Mempool::new();
    let hash = |nonce| build_block(&fixture.chain, &pool, &anyone(), NOW, nonce).block_hash();
    assert_eq!(hash(1), hash(1));
    assert_ne!(hash(1), hash(2));
}

#[test]
fn premined_blocks_are_the_same_everywhere_and_pay_in_turn() {
    let config = premine(155, &["51", "52", "53"]);
    let blocks = build(&config);
    assert_eq!(blocks, build(&config));
    let mut fixture = Fixture::new();
    for (block, height) in blocks.iter().zip(1u32..) {
        fixture.accept(block);
        let payee = ScriptBuf::from_bytes(vec![0x51 + u8::try_from((height - 1) % 3).unwrap()]);
        assert_eq!(block.txdata[0].output[0].script_pubkey, payee);
        assert_eq!(block.txdata[0].output[0].value, subsidy(height));
        assert_eq!(block.header.time, START + height);
    }
    assert_eq!(fixture.chain.tip().height, 155);
    assert!(is_premined(&config, &fixture.chain));
    let total: Amount = (1..=155).map(subsidy).sum();
    assert_eq!(fixture.chain.coin_stats(&fixture.db).unwrap().total, total);
    assert_eq!(total, Amount::from_int_btc(149 * 50 + 6 * 25));
}

#[test]
fn premines_without_usable_payees_are_refused() {
    let error = |config| premine_blocks(&config, ChainNetwork::Regtest).err();
    assert_eq!(error(premine(1, &[])), Some(PremineError::NoPayee));
    assert_eq!(
        error(premine(1, &["51", "5g"])),
        Some(PremineError::Payee(1))
    );
    assert_eq!(error(premine(0, &[])), None);
}
