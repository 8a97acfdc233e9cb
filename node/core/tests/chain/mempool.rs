//! The mempool's door, its order, its size, and what new tips do to it.

use bitcoin::{
    Amount, OutPoint, Sequence, Transaction, Txid, Weight, Witness, absolute::LockTime,
    hashes::Hash as _,
};
use netsplit_core::mempool::{Mempool, RejectKind};

use crate::support::{Fixture, NOW, anyone, coins_of, nobody, output, spend};

/// Virtual size of a transaction with one input and one output of `support::spend`.
const SIZE: u64 = 82;

struct Pool {
    fixture: Fixture,
    pool: Mempool,
}

impl Pool {
    fn new() -> Self {
        Self {
            fixture: Fixture::with_height(110),
            pool: Mempool::new(),
        }
    }

    fn accept(&mut self, tx: &Transaction) -> Txid {
        let fixture = &self.fixture;
        let result = self
            .pool
            .accept(&fixture.chain, &fixture.db, tx.clone(), NOW)
            .unwrap();
        result.unwrap_or_else(|reject| panic!("{reject}")).txid
    }

    fn refuse(&mut self, tx: &Transaction) -> (RejectKind, String) {
        let before = self.pool.len();
        let fixture = &self.fixture;
        let result = self
            .pool
            .accept(&fixture.chain, &fixture.db, tx.clone(), NOW)
            .unwrap();
        let reject = result.unwrap_err();
        assert_eq!(self.pool.len(), before);
        (reject.kind, reject.reason)
    }

    /// Spends the coinbase of block `height`.
    fn tx(&self, height: u32, outputs: u64, fee: u64) -> Transaction {
        spend(&[self.fixture.coinbase_at(height)], outputs, fee)
    }

    fn block(&mut self, block: &bitcoin::Block) -> Vec<Txid> {
        let change = self.fixture.accept(block).unwrap();
        let fixture = &self.fixture;
        self.pool
            .on_tip_change(&fixture.chain, &fixture.db, &change)
            .unwrap()
    }

    fn selected(&self) -> Vec<Txid> {
        let all = self.pool.select(Weight::MAX_BLOCK, 80_000);
        all.iter().map(|entry| entry.tx.compute_txid()).collect()
    }
}

#[test]
fn a_payment_and_its_children_wait_in_order() {
    let mut pool = Pool::new();
    let parent = pool.tx(1, 2, 300);
    let child = spend(&coins_of(&parent), 1, 5000);
    assert_eq!(
        pool.refuse(&child),
        (
            RejectKind::MissingInputs,
            "bad-txns-inputs-missingorspent".into()
        )
    );
    let parent_id = pool.accept(&parent);
    let child_id = pool.accept(&child);
    let entry = pool.pool.get(&child_id).unwrap();
    assert_eq!(
        (entry.fee, entry.ancestors.count),
        (Amount::from_sat(5000), 2)
    );
    assert_eq!(
        pool.pool.get(&parent_id).unwrap().descendants.fee,
        Amount::from_sat(5300)
    );
    assert_eq!(pool.selected(), [parent_id, child_id]);
}

#[test]
fn every_word_of_the_door() {
    let mut pool = Pool::new();
    let good = pool.tx(1, 1, 1000);
    let refused = |pool: &mut Pool, change: &dyn Fn(&mut Transaction)| {
        let mut tx = good.clone();
        change(&mut tx);
        pool.refuse(&tx)
    };
    let invalid = |reason: &str| (RejectKind::Invalid, reason.to_owned());
    let policy = |reason: &str| (RejectKind::Policy, reason.to_owned());
    let p = &mut pool;
    assert_eq!(
        refused(p, &|tx| tx.output.clear()),
        invalid("bad-txns-vout-empty")
    );
    assert_eq!(
        refused(p, &|tx| tx.input[0].previous_output = OutPoint::null()),
        // A coinbase's script is checked first.
        invalid("bad-cb-length")
    );
    let oversize = refused(p, &|tx| {
        tx.output[0].script_pubkey = vec![0x6a; 1_000_000].into();
    });
    assert_eq!(oversize, invalid("bad-txns-oversize"));
    let heavy = refused(p, &|tx| {
        tx.output[0].script_pubkey = vec![0x6a; 100_000].into();
    });
    assert_eq!(heavy, policy("tx-size"));
    let small = refused(p, &|tx| tx.output[0].script_pubkey = vec![0x51].into());
    assert_eq!(small, policy("tx-size-small"));
    let later = refused(p, &|tx| {
        tx.lock_time = LockTime::from_consensus(111);
        tx.input[0].sequence = Sequence::ZERO;
    });
    assert_eq!(later, policy("non-final"));
    let young = refused(p, &|tx| tx.input[0].sequence = Sequence::from_height(111));
    assert_eq!(young, policy("non-BIP68-final"));
    let cheap = refused(p, &|tx| {
        tx.output[0].value += Amount::from_sat(1000 - SIZE + 1);
    });
    assert_eq!(cheap, policy("min relay fee not met, 81 < 82"));
    let below = refused(p, &|tx| tx.output[0].value += Amount::from_sat(1001));
    assert_eq!(below, invalid("bad-txns-in-belowout"));
    let sigops = refused(p, &|tx| {
        tx.output[0].value -= Amount::from_sat(10_000);
        tx.output[0].script_pubkey = vec![0xac; 4001].into();
    });
    assert_eq!(sigops, policy("bad-txns-too-many-sigops"));
    let coinbase = pool.fixture.next(vec![]).txdata.remove(0);
    assert_eq!(pool.refuse(&coinbase), invalid("coinbase"));
    let premature = pool.tx(12, 1, 1000);
    assert_eq!(
        pool.refuse(&premature),
        policy("bad-txns-premature-spend-of-coinbase")
    );
}

#[test]
fn known_and_conflicting_transactions_stay_out() {
    let mut pool = Pool::new();
    let first = pool.tx(1, 1, 1000);
    pool.accept(&first);
    let known = |reason: &str| (RejectKind::Known, reason.to_owned());
    assert_eq!(pool.refuse(&first), known("txn-already-in-mempool"));
    let mut other_witness = first.clone();
    other_witness.input[0].witness = Witness::from_slice(&[[1]]);
    assert_eq!(
        pool.refuse(&other_witness),
        known("txn-same-nonwitness-data-in-mempool")
    );
    // First seen wins, whatever the fee.
    let richer = pool.tx(1, 1, 1_000_000);
    assert_eq!(
        pool.refuse(&richer),
        (RejectKind::Conflict, "txn-mempool-conflict".into())
    );
    let block = pool.fixture.next(vec![first.clone()]);
    pool.block(&block);
    assert_eq!(pool.refuse(&first), known("txn-already-known"));
}

#[test]
fn scripts_are_checked() {
    let mut pool = Pool::new();
    let mut fund = pool.tx(1, 1, 1000);
    fund.output[0].script_pubkey = nobody();
    pool.accept(&fund);
    let steal = spend(&coins_of(&fund), 1, 1000);
    let word = "mandatory-script-verify-flag-failed";
    assert_eq!(pool.refuse(&steal), (RejectKind::Invalid, word.into()));
}

#[test]
fn chains_of_unconfirmed_transactions_end_at_25() {
    let mut pool = Pool::new();
    let mut tx = pool.tx(1, 2, 1000);
    let root = tx.clone();
    for _ in 0..24 {
        pool.accept(&tx);
        tx = spend(&coins_of(&tx)[..1], 1, 1000);
    }
    pool.accept(&tx);
    let over = spend(&coins_of(&tx), 1, 1000);
    assert_eq!(
        pool.refuse(&over),
        (RejectKind::Policy, "too-long-mempool-chain".into())
    );
    // The root has 25 descendants with itself: no other child either.
    let sibling = spend(&coins_of(&root)[1..], 1, 1000);
    assert_eq!(
        pool.refuse(&sibling),
        (RejectKind::Policy, "too-long-mempool-chain".into())
    );
    let block = pool.fixture.next(vec![root]);
    pool.block(&block);
    pool.accept(&over);
}

#[test]
fn a_transaction_has_at_most_24_unconfirmed_ancestors() {
    let mut pool = Pool {
        fixture: Fixture::with_height(130),
        pool: Mempool::new(),
    };
    let parents: Vec<Transaction> = (1..=25).map(|height| pool.tx(height, 1, 1000)).collect();
    for parent in &parents {
        pool.accept(parent);
    }
    let coins: Vec<_> = parents.iter().flat_map(coins_of).collect();
    let over = (RejectKind::Policy, "too-long-mempool-chain".to_owned());
    assert_eq!(pool.refuse(&spend(&coins, 1, 5000)), over);
    pool.accept(&spend(&coins[1..], 1, 5000));
}

#[test]
fn the_cheapest_leave_when_there_is_no_room() {
    let mut pool = Pool::new();
    pool.pool = Mempool::with_capacity(250); // three of 82 bytes
    let [low, middle, high, higher] =
        [(1, 100), (2, 200), (3, 300), (4, 400)].map(|(height, fee)| pool.tx(height, 1, fee));
    let low_id = pool.accept(&low);
    pool.accept(&middle);
    pool.accept(&high);
    let fixture = &pool.fixture;
    let accepted = pool
        .pool
        .accept(&fixture.chain, &fixture.db, higher, NOW)
        .unwrap()
        .unwrap();
    assert_eq!(accepted.evicted, [low_id]);
    assert_eq!(
        pool.refuse(&low),
        (RejectKind::Policy, "mempool full".into())
    );
    assert_eq!(pool.pool.bytes(), 3 * 82);
    // A child that pays keeps its cheap parent in.
    let rich = spend(&coins_of(&middle), 1, 5000);
    let middle_id = middle.compute_txid();
    pool.accept(&rich);
    assert!(pool.pool.contains(&middle_id) && !pool.pool.contains(&high.compute_txid()));
}

#[test]
fn templates_prefer_what_pays_with_its_ancestors() {
    let mut pool = Pool::new();
    let cheap_parent = pool.tx(1, 1, 100);
    let rich_child = spend(&coins_of(&cheap_parent), 1, 10_000);
    let middle = pool.tx(2, 1, 1000);
    let low = pool.tx(3, 1, 150);
    for tx in [&low, &cheap_parent, &middle, &rich_child] {
        pool.accept(tx);
    }
    let expected = [&cheap_parent, &rich_child, &middle, &low].map(Transaction::compute_txid);
    assert_eq!(pool.selected(), expected);
    // With room for three only, the package stays whole.
    let three = Weight::from_wu(3 * 4 * 82);
    let some: Vec<_> = pool
        .pool
        .select(three, 80_000)
        .iter()
        .map(|e| e.tx.compute_txid())
        .collect();
    assert_eq!(some, expected[..3]);
    assert!(pool.pool.select(Weight::from_wu(4 * 81), 80_000).is_empty());
}

#[test]
fn a_child_does_not_keep_the_rate_of_a_parent_that_is_taken() {
    let mut pool = Pool::new();
    let rich_parent = pool.tx(1, 1, 10_000);
    let cheap_child = spend(&coins_of(&rich_parent), 1, 100);
    let middle = pool.tx(2, 1, 1000);
    for tx in [&rich_parent, &cheap_child, &middle] {
        pool.accept(tx);
    }
    let expected = [&rich_parent, &middle, &cheap_child].map(Transaction::compute_txid);
    assert_eq!(pool.selected(), expected);
}

#[test]
fn blocks_remove_what_they_hold_and_what_they_contradict() {
    let mut pool = Pool::new();
    let held = pool.tx(1, 1, 1000);
    let contradicted = pool.tx(2, 1, 1000);
    let child = spend(&coins_of(&contradicted), 1, 1000);
    let stays = spend(&coins_of(&held), 1, 1000);
    for tx in [&held, &contradicted, &child, &stays] {
        pool.accept(tx);
    }
    let mut rival = pool.tx(2, 1, 0);
    rival.output[0].script_pubkey = nobody();
    let block = pool.fixture.next(vec![held, rival]);
    let mut dropped = pool.block(&block);
    dropped.sort();
    let mut expected = [contradicted, child].map(|tx| tx.compute_txid());
    expected.sort();
    assert_eq!(dropped, expected);
    assert_eq!(pool.selected(), [stays.compute_txid()]);
    assert_eq!(
        pool.pool
            .get(&stays.compute_txid())
            .unwrap()
            .ancestors
            .count,
        1
    );
}

#[test]
fn a_reorganisation_returns_transactions_and_drops_what_lost_its_ground() {
    let mut pool = Pool::new();
    let fork = pool.fixture.chain.tip().hash;
    let returns = pool.tx(1, 1, 1000);
    let contradicted = pool.tx(2, 1, 1000);
    let block = pool
        .fixture
        .next(vec![returns.clone(), contradicted.clone()]);
    pool.block(&block);
    // Both spend what only the old branch confirmed.
    let follows = spend(&coins_of(&returns), 1, 1000);
    let falls = spend(&coins_of(&contradicted), 1, 1000);
    pool.accept(&follows);
    pool.accept(&falls);
    let mut rival = pool.tx(2, 1, 0);
    rival.output[0].script_pubkey = nobody();
    let other = pool.fixture.on(&fork, vec![rival], 1);
    assert_eq!(pool.fixture.accept(&other), None);
    let better = pool.fixture.on(&other.block_hash(), vec![], 2);
    let mut dropped = pool.block(&better);
    dropped.sort();
    let mut expected = [contradicted, falls].map(|tx| tx.compute_txid());
    expected.sort();
    assert_eq!(dropped, expected);
    assert_eq!(
        pool.selected(),
        [returns, follows].map(|tx| tx.compute_txid())
    );
}

#[test]
fn spends_of_coinbases_that_vanish_are_dropped() {
    let mut pool = Pool::new();
    let fork = pool.fixture.chain.hash_at(109).unwrap();
    // Mature on the old branch at height 110, not on the new one that ends at 111 with another block 11.
    let tx = pool.tx(11, 1, 1000);
    pool.accept(&tx);
    let mut parent = pool.fixture.chain.hash_at(10).unwrap();
    for nonce in 0..101 {
        let block = pool.fixture.on(&parent, vec![], 1000 + nonce);
        parent = block.block_hash();
        if let Some(change) = pool.fixture.accept(&block) {
            let fixture = &pool.fixture;
            let dropped = pool
                .pool
                .on_tip_change(&fixture.chain, &fixture.db, &change)
                .unwrap();
            assert_eq!(dropped, [tx.compute_txid()]);
        }
    }
    assert!(!pool.fixture.chain.is_active(&fork));
    assert!(pool.pool.is_empty());
}

#[test]
fn outputs_of_waiting_transactions_exist_only_as_far_as_they_go() {
    let mut pool = Pool::new();
    let parent = pool.tx(1, 1, 1000);
    pool.accept(&parent);
    let beyond = OutPoint {
        txid: parent.compute_txid(),
        vout: 1,
    };
    let mut tx = spend(&[(beyond, Amount::from_sat(5000))], 1, 1000);
    assert_eq!(pool.refuse(&tx).0, RejectKind::MissingInputs);
    tx.input[0].previous_output.txid = Txid::all_zeros();
    tx.output.push(output(1, &anyone()));
    assert_eq!(pool.refuse(&tx).0, RejectKind::MissingInputs);
}
