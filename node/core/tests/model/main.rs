//! Random operations against a reference that is too simple to be wrong.
//!
//! The reference replays every branch from the genesis block each time it is asked. Operations are drawn from a few
//! bytes each, so that a failing case shrinks to a short list.

#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "tests"
)]
#![allow(unreachable_pub, missing_docs, reason = "tests")]

mod reference;
#[path = "../chain/support.rs"]
mod support;

use std::collections::BTreeMap;

use bitcoin::{Amount, Block, BlockHash, OutPoint, Transaction, Txid, Weight};
use netsplit_core::{
    chain::{BlockOutcome, Chain},
    mempool::Mempool,
    miner::build_block,
    time::WallTime,
};
use proptest::prelude::*;

use crate::{
    reference::Reference,
    support::{Fixture, NOW, anyone, nobody, spend},
};

/// Blocks below every random one: enough for coins to spend.
const BASE: u32 = 106;

#[derive(Clone, Debug)]
enum Op {
    /// A block on one of the newest known blocks.
    Block {
        parent: u8,
        txs: Vec<(u8, u8)>,
        fault: u8,
    },
    /// A block is made and withheld.
    Withhold { parent: u8, txs: Vec<(u8, u8)> },
    /// A withheld block arrives.
    Release { which: u8 },
    /// The header of a withheld block arrives.
    Header { which: u8 },
    /// A transaction for the mempool.
    Send { coin: u8, kind: u8 },
    /// A template becomes a block.
    Mine,
    /// The process dies and comes back.
    Restart,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let txs = || prop::collection::vec((any::<u8>(), any::<u8>()), 0..4);
    let op = prop_oneof![
        5 => (0..6u8, txs(), any::<u8>()).prop_map(|(parent, txs, fault)| Op::Block { parent, txs, fault }),
        3 => (0..6u8, txs()).prop_map(|(parent, txs)| Op::Withhold { parent, txs }),
        3 => any::<u8>().prop_map(|which| Op::Release { which }),
        1 => any::<u8>().prop_map(|which| Op::Header { which }),
        5 => (any::<u8>(), any::<u8>()).prop_map(|(coin, kind)| Op::Send { coin, kind }),
        2 => Just(Op::Mine),
        1 => Just(Op::Restart),
    ];
    prop::collection::vec(op, 1..40)
}

struct World {
    node: Fixture,
    pool: Mempool,
    reference: Reference,
    /// Everything made so far above the base, newest last.
    made: Vec<BlockHash>,
    withheld: Vec<Block>,
    nonce: u64,
}

impl World {
    fn new() -> Self {
        let node = Fixture::with_height(BASE);
        let mut reference = Reference::new();
        for height in 1..=BASE {
            let hash = node.chain.hash_at(height).unwrap();
            reference.deliver(&node.chain.block(&node.db, &hash).unwrap().unwrap());
        }
        let made = vec![node.chain.tip().hash];
        Self {
            node,
            pool: Mempool::new(),
            reference,
            made,
            withheld: Vec::new(),
            nonce: 0,
        }
    }

    fn apply(&mut self, op: &Op) {
        match op {
            Op::Block { parent, txs, fault } => {
                let block = self.make(*parent, txs, *fault);
                self.deliver(&block);
            }
            Op::Withhold { parent, txs } => {
                let block = self.make(*parent, txs, 255);
                self.withheld.push(block);
            }
            Op::Release { which } => {
                if !self.withheld.is_empty() {
                    let block = self
                        .withheld
                        .remove(usize::from(*which) % self.withheld.len());
                    self.deliver(&block);
                }
            }
            Op::Header { which } => self.header(usize::from(*which)),
            Op::Send { coin, kind } => self.send(*coin, *kind),
            Op::Mine => {
                self.nonce += 1;
                let seconds = support::START + self.node.chain.tip().height + 1;
                let now = WallTime(u64::from(seconds) * 1_000_000_000);
                let block = build_block(&self.node.chain, &self.pool, &anyone(), now, self.nonce);
                assert_eq!(block.txdata.len(), self.pool.len() + 1);
                self.deliver(&block);
                assert_eq!(self.node.chain.tip().hash, block.block_hash());
                assert!(self.pool.is_empty());
            }
            Op::Restart => {
                let (chain, db) = self.node.reopened();
                (self.node.chain, self.node.db) = (chain, db);
                self.rehome();
            }
        }
    }

    /// A reopened node writes to a store of its own: copy it so that the next crash can be looked at.
    fn rehome(&mut self) {
        let store = support::SharedStore::default();
        let mut db = netsplit_core::db::Db::new(Box::new(store.clone()));
        for table in netsplit_core::store::Table::ALL {
            let mut rows = Vec::new();
            self.node
                .db
                .scan(table, &mut |k, v| rows.push((k.to_vec(), v.to_vec())))
                .unwrap();
            for (key, value) in rows {
                db.put(table, key, value);
            }
        }
        db.commit().unwrap();
        (self.node.store, self.node.db) = (store, db);
    }

    /// A block on one of the newest blocks, with transactions that spend coins of its branch; `fault` may break it.
    fn make(&mut self, parent: u8, txs: &[(u8, u8)], fault: u8) -> Block {
        self.nonce += 1;
        let parent = self.made[self.made.len().saturating_sub(1 + usize::from(parent))];
        let mut coins = self.reference.spendable(&parent);
        let mut body = Vec::new();
        for (coin, kind) in txs {
            let Some(tx) = transaction(&coins, *coin, *kind) else {
                continue;
            };
            let txid = tx.compute_txid();
            for input in &tx.input {
                coins.remove(&input.previous_output);
            }
            for (vout, output) in (0..).zip(&tx.output) {
                if output.script_pubkey == anyone() {
                    coins.insert(OutPoint { txid, vout }, output.value);
                }
            }
            body.push(tx);
        }
        let height = self.reference.height(&parent) + 1;
        let script = anyone();
        let value = netsplit_core::chain::subsidy(height);
        let coinbase = netsplit_core::miner::Coinbase {
            height,
            payee: &script,
            value,
            extranonce: self.nonce,
        };
        let time = support::START + height;
        let consensus = self.node.chain.consensus();
        let block = netsplit_core::miner::assemble(consensus, parent, time, &coinbase, body);
        let block = self.break_it(block, fault);
        self.made.push(block.block_hash());
        self.reference.announce(&block);
        block
    }

    fn break_it(&self, mut block: Block, fault: u8) -> Block {
        match fault {
            0..12 => block.txdata[0].output[0].value += Amount::ONE_SAT,
            12..24 if block.txdata.len() > 1 => {
                let last = block.txdata.last_mut().unwrap();
                last.output[0].value += Amount::ONE_BTC * 100_000;
            }
            24..36 if block.txdata.len() > 1 => {
                let again = block.txdata[1].clone();
                let mut again = again;
                again.output[0].script_pubkey = nobody();
                block.txdata.push(again);
            }
            _ => return block,
        }
        support::recommit(&self.node, block)
    }

    fn deliver(&mut self, block: &Block) {
        if !self.made.contains(&block.block_hash()) {
            self.made.push(block.block_hash());
            self.reference.announce(block);
        }
        let known_parent = self
            .node
            .chain
            .header(&block.header.prev_blockhash)
            .is_some();
        match self.node.submit(block) {
            BlockOutcome::Accepted { change, .. } => {
                self.reference.deliver(block);
                if let Some(change) = change {
                    let Fixture { chain, db, .. } = &self.node;
                    self.pool.on_tip_change(chain, db, &change).unwrap();
                }
            }
            BlockOutcome::MissingParent(parent) => {
                assert_eq!(parent, block.header.prev_blockhash);
                assert!(!known_parent);
                // Whoever sent it will send it again.
                self.withheld.push(block.clone());
            }
            BlockOutcome::Invalid { reason, permanent } => {
                assert!(permanent, "{reason}");
                self.reference.deliver(block);
                assert!(!self.reference.is_valid(&block.block_hash()), "{reason}");
            }
            BlockOutcome::Duplicate => panic!("every block is delivered once"),
        }
    }

    fn header(&mut self, which: usize) {
        if self.withheld.is_empty() {
            return;
        }
        let header = self.withheld[which % self.withheld.len()].header;
        // Refused below an unknown or invalid parent, which changes nothing.
        let _ = self
            .node
            .chain
            .accept_headers(&mut self.node.db, &[header], NOW);
        self.node.db.commit().unwrap();
    }

    fn send(&mut self, coin: u8, kind: u8) {
        let mut coins = self.reference.spendable(&self.node.chain.tip().hash);
        for (txid, entry) in self.pool.iter() {
            for (vout, output) in (0..).zip(&entry.tx.output) {
                if output.script_pubkey == anyone() {
                    coins.insert(OutPoint { txid: *txid, vout }, output.value);
                }
            }
        }
        let Some(tx) = transaction(&coins, coin, kind) else {
            return;
        };
        let conflict = tx
            .input
            .iter()
            .any(|i| self.pool.spender(&i.previous_output).is_some());
        let Fixture { chain, db, .. } = &self.node;
        let result = self.pool.accept(chain, db, tx, NOW).unwrap();
        if let Err(reject) = &result {
            let known = reject.reason == "txn-already-in-mempool";
            let chained = reject.reason == "too-long-mempool-chain";
            assert!(conflict || known || chained, "{reject}");
        } else {
            assert!(!conflict);
        }
    }

    fn check(&self) {
        let chain = &self.node.chain;
        let tip = self.reference.best();
        assert_eq!(chain.tip().hash, tip);
        let coins = self.reference.coins(&tip);
        let stats = chain.coin_stats(&self.node.db).unwrap();
        assert_eq!(stats.txouts, coins.len() as u64);
        for (outpoint, expected) in &coins {
            let coin = chain.coin(&self.node.db, outpoint).unwrap().unwrap();
            assert_eq!(
                (&coin.output, coin.height, coin.coinbase),
                (&expected.0, expected.1, expected.2)
            );
        }
        self.check_pool(&coins, chain);
        self.node.assert_survives_restart();
    }

    fn check_pool(&self, coins: &reference::Coins, chain: &Chain) {
        let mut spent: BTreeMap<OutPoint, Txid> = BTreeMap::new();
        let mut available = coins.clone();
        let all = self.pool.select(Weight::MAX_BLOCK, usize::MAX);
        assert_eq!(all.len(), self.pool.len());
        let mut bytes = 0;
        for entry in all {
            let txid = entry.tx.compute_txid();
            let mut total = Amount::ZERO;
            for input in &entry.tx.input {
                assert_eq!(spent.insert(input.previous_output, txid), None);
                let (output, height, coinbase) = available.remove(&input.previous_output).unwrap();
                assert!(!coinbase || chain.tip().height + 1 - height >= 100);
                total += output.value;
            }
            let paid: Amount = entry.tx.output.iter().map(|output| output.value).sum();
            assert_eq!(entry.fee, total - paid);
            reference::create(&mut available, &entry.tx, chain.tip().height + 1);
            bytes += entry.size;
            self.check_packages(&txid);
        }
        assert_eq!(bytes, self.pool.bytes());
    }

    /// The sums kept with an entry are what counting again gives.
    fn check_packages(&self, txid: &Txid) {
        let ancestors = self.relatives(txid, |of, other| self.spends_from(of, other));
        let descendants = self.relatives(txid, |of, other| self.spends_from(other, of));
        for (package, relatives) in [
            (self.pool.get(txid).unwrap().ancestors, ancestors),
            (self.pool.get(txid).unwrap().descendants, descendants),
        ] {
            assert_eq!(package.count, relatives.len());
            let entries = || relatives.iter().map(|txid| self.pool.get(txid).unwrap());
            assert_eq!(package.fee, entries().map(|e| e.fee).sum::<Amount>());
            assert_eq!(package.vsize, entries().map(|e| e.vsize).sum::<u64>());
        }
    }

    fn spends_from(&self, txid: &Txid, from: &Txid) -> bool {
        let tx = &self.pool.get(txid).unwrap().tx;
        tx.input
            .iter()
            .any(|input| input.previous_output.txid == *from)
    }

    fn relatives(&self, txid: &Txid, related: impl Fn(&Txid, &Txid) -> bool) -> Vec<Txid> {
        let mut found = vec![*txid];
        let mut at = 0;
        while at < found.len() {
            for (other, _) in self.pool.iter() {
                if related(&found[at], other) && !found.contains(other) {
                    found.push(*other);
                }
            }
            at += 1;
        }
        found
    }
}

/// A valid transaction that spends one or two of the coins.
fn transaction(coins: &BTreeMap<OutPoint, Amount>, coin: u8, kind: u8) -> Option<Transaction> {
    let fee = 400 + u64::from(kind);
    let coins: Vec<_> = coins
        .iter()
        .filter(|(_, value)| value.to_sat() > 10_000)
        .collect();
    let pick = |at: usize| coins.get(at % coins.len().max(1)).map(|(o, v)| (**o, **v));
    let mut chosen = vec![pick(usize::from(coin))?];
    if kind.is_multiple_of(3)
        && let Some(second) = pick(usize::from(coin) + 1)
        && second != chosen[0]
    {
        chosen.push(second);
    }
    Some(spend(&chosen, 1 + u64::from(kind % 4), fee))
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 256,
        failure_persistence: None,
        rng_seed: proptest::test_runner::RngSeed::Fixed(2_100),
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_node_agrees_with_the_reference(ops in ops()) {
        let mut world = World::new();
        for op in &ops {
            world.apply(op);
            world.check();
        }
    }
}
