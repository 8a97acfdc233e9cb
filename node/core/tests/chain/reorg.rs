//! Reorganisations: as a whole or not at all, and back.

use bitcoin::{Block, BlockHash, Transaction};
use netsplit_core::chain::{BlockOutcome, CoinStats};

use crate::support::{Fixture, coins_of, reseal, spend};

/// Extends a branch by one block per list of transactions; nothing of it may become active before the last.
fn branch(fixture: &mut Fixture, from: BlockHash, txs: Vec<Vec<Transaction>>) -> Vec<Block> {
    let mut parent = from;
    let mut blocks = Vec::new();
    for (nonce, txs) in (100..).zip(txs) {
        let block = fixture.on(&parent, txs, nonce);
        parent = block.block_hash();
        let headers = [block.header];
        fixture
            .chain
            .accept_headers(&mut fixture.db, &headers, crate::support::NOW)
            .unwrap();
        blocks.push(block);
    }
    blocks
}

fn stats(fixture: &Fixture) -> CoinStats {
    fixture.chain.coin_stats(&fixture.db).unwrap()
}

#[test]
fn the_first_seen_of_equals_stays_active_over_a_restart() {
    let mut fixture = Fixture::with_height(3);
    let parent = fixture.chain.tip().hash;
    let first = fixture.on(&parent, vec![], 1);
    let second = fixture.on(&parent, vec![], 2);
    fixture.accept(&first);
    assert_eq!(fixture.accept(&second), None);
    assert_eq!(fixture.chain.tip().hash, first.block_hash());
    fixture.assert_survives_restart();
    let (chain, db) = fixture.reopened();
    (fixture.chain, fixture.db) = (chain, db);
    let child = fixture.on(&second.block_hash(), vec![], 3);
    let change = fixture.accept(&child).unwrap();
    assert_eq!(change.disconnected, [first.block_hash()]);
    assert_eq!(change.connected, [second.block_hash(), child.block_hash()]);
}

#[test]
fn of_twins_that_waited_for_their_parent_the_first_is_active() {
    let mut fixture = Fixture::with_height(3);
    let tip = fixture.chain.tip().hash;
    let parent = branch(&mut fixture, tip, vec![vec![]]).remove(0);
    let first = fixture.on(&parent.block_hash(), vec![], 1);
    let second = fixture.on(&parent.block_hash(), vec![], 2);
    for block in [&first, &second] {
        assert_eq!(fixture.accept(block), None);
    }
    let change = fixture.accept(&parent).unwrap();
    assert_eq!(change.to.hash, first.block_hash());
    fixture.assert_survives_restart();
}

#[test]
fn there_and_back_restores_every_coin() {
    let mut fixture = Fixture::with_height(103);
    let fork = fixture.chain.tip().hash;
    let first = spend(&[fixture.coinbase_at(1), fixture.coinbase_at(2)], 3, 0);
    let second = spend(&coins_of(&first)[..2], 2, 0);
    let a = branch(
        &mut fixture,
        fork,
        vec![vec![first.clone(), second], vec![]],
    );
    let other = spend(&[fixture.coinbase_at(2)], 2, 0);
    let b = branch(
        &mut fixture,
        fork,
        vec![vec![], vec![other.clone()], vec![first_of(&other)]],
    );
    for block in &a {
        fixture.accept(block);
    }
    let on_a = stats(&fixture);
    fixture.accept(&b[0]);
    fixture.accept(&b[1]);
    assert_eq!(stats(&fixture), on_a);
    let change = fixture.accept(&b[2]).unwrap();
    assert_eq!(change.fork_height, 103);
    assert_eq!(change.disconnected, [a[1].block_hash(), a[0].block_hash()]);
    assert_eq!(change.connected, [0, 1, 2].map(|at| b[at].block_hash()));
    let on_b = stats(&fixture);
    assert_ne!(on_a.hash, on_b.hash);
    fixture.assert_survives_restart();
    // The same coins as a node that never saw the other branch.
    let mut fresh = Fixture::with_height(103);
    for block in &b {
        fresh.accept(block);
    }
    assert_eq!(stats(&fresh), on_b);
    // Back, with two more blocks on the first branch.
    let parent = a[1].block_hash();
    let more = branch(&mut fixture, parent, vec![vec![], vec![]]);
    for block in &more {
        fixture.accept(block);
    }
    assert_eq!(fixture.chain.tip().hash, more[1].block_hash());
    assert_eq!(stats(&fixture).transactions, on_a.transactions + 2);
    fixture.assert_survives_restart();
}

fn first_of(tx: &Transaction) -> Transaction {
    spend(&coins_of(tx)[..1], 1, 0)
}

#[test]
fn a_heavier_branch_with_a_bad_block_changes_nothing() {
    let mut fixture = Fixture::with_height(5);
    let fork = fixture.chain.hash_at(3).unwrap();
    let before = stats(&fixture);
    let good = branch(&mut fixture, fork, vec![vec![], vec![]]);
    let mut bad = fixture.on(&good[1].block_hash(), vec![], 0);
    bad.txdata[0].output[0].value += bitcoin::Amount::ONE_SAT;
    let bad = reseal(&fixture, bad);
    assert_eq!(fixture.accept(&good[0]), None);
    assert_eq!(fixture.accept(&good[1]), None);
    assert_eq!(fixture.refuse(&bad), ("bad-cb-amount".to_owned(), true));
    assert_eq!(stats(&fixture), before);
    fixture.assert_survives_restart();
    // The good part of the branch may still win.
    let child = fixture.on(&good[1].block_hash(), vec![], 0);
    assert!(fixture.accept(&child).is_some());
}

#[test]
fn a_bad_block_in_the_middle_leaves_the_best_valid_part() {
    let mut fixture = Fixture::with_height(2);
    let fork = fixture.chain.hash_at(1).unwrap();
    let good = branch(&mut fixture, fork, vec![vec![], vec![]]);
    let mut bad = fixture.on(&good[1].block_hash(), vec![], 0);
    bad.txdata[0].output[0].value += bitcoin::Amount::ONE_SAT;
    let bad = reseal(&fixture, bad);
    fixture
        .chain
        .accept_headers(&mut fixture.db, &[bad.header], crate::support::NOW)
        .unwrap();
    let after = fixture.on(&bad.block_hash(), vec![], 0);
    for block in [&after, &bad, &good[1]] {
        assert_eq!(fixture.accept(block), None);
    }
    // The lowest block arrives last: all of them are tried, two of them are good.
    let change = fixture.accept(&good[0]).unwrap();
    assert_eq!(change.to.hash, good[1].block_hash());
    assert_eq!(change.disconnected.len(), 1);
    let outcome = fixture.submit(&after);
    assert!(
        matches!(outcome, BlockOutcome::Invalid { reason, .. } if reason == "duplicate-invalid")
    );
    fixture.assert_survives_restart();
}

#[test]
fn a_long_reorganisation_happens_at_once() {
    let mut fixture = Fixture::with_height(300);
    let genesis = fixture.chain.hash_at(0).unwrap();
    let other = branch(&mut fixture, genesis, vec![vec![]; 301]);
    for block in &other[..300] {
        assert_eq!(fixture.accept(block), None);
    }
    let change = fixture.accept(&other[300]).unwrap();
    assert_eq!(
        (change.disconnected.len(), change.connected.len()),
        (300, 301)
    );
    assert_eq!(stats(&fixture).txouts, 301);
    fixture.assert_survives_restart();
}
