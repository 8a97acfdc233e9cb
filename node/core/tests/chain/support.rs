//! A chain on a store that can be looked at, and blocks and transactions to feed it.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::sync::{Arc, Mutex};

use bitcoin::{
    Amount, Block, BlockHash, OutPoint, Script, ScriptBuf, Sequence, Transaction, TxIn, TxOut,
    Witness, absolute::LockTime, transaction::Version,
};
use netsplit_api::config::ChainNetwork;
use netsplit_core::{
    chain::{BlockOutcome, Chain, TipChange, subsidy},
    db::Db,
    miner::{Coinbase, assemble},
    store::{Batch, MemoryStore, Store, StoreError, Table},
    time::WallTime,
};

/// Time of block `h` is this plus `h` seconds.
pub const START: u32 = 1_700_000_000;

/// A clock that is ahead of all blocks made here.
pub const NOW: WallTime = WallTime(1_700_005_000 * 1_000_000_000);

/// A memory store that stays visible while a `Db` owns it.
#[derive(Clone, Default)]
pub struct SharedStore(pub Arc<Mutex<MemoryStore>>);

impl Store for SharedStore {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.0.lock().unwrap().get(table, key)
    }

    fn scan(&self, table: Table, visit: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), StoreError> {
        self.0.lock().unwrap().scan(table, visit)
    }

    fn commit(&mut self, batch: &Batch) -> Result<(), StoreError> {
        self.0.lock().unwrap().commit(batch)
    }
}

impl SharedStore {
    /// What is committed now, as a process that died would leave it.
    pub fn crash(&self) -> Db {
        Db::new(Box::new(self.0.lock().unwrap().clone()))
    }
}

pub struct Fixture {
    pub store: SharedStore,
    pub db: Db,
    pub chain: Chain,
}

impl Fixture {
    /// The genesis block only.
    pub fn new() -> Self {
        let store = SharedStore::default();
        let mut db = Db::new(Box::new(store.clone()));
        let chain = Chain::open(ChainNetwork::Regtest, &mut db).unwrap();
        db.commit().unwrap();
        Self { store, db, chain }
    }

    /// A chain of `height` blocks whose coinbases pay [`anyone`].
    pub fn with_height(height: u32) -> Self {
        let mut fixture = Self::new();
        fixture.extend(height);
        fixture
    }

    pub fn extend(&mut self, blocks: u32) {
        for _ in 0..blocks {
            let block = self.next(vec![]);
            self.accept(&block);
        }
    }

    pub fn submit(&mut self, block: &Block) -> BlockOutcome {
        let outcome = self.chain.accept_block(&mut self.db, block, NOW).unwrap();
        self.db.commit().unwrap();
        outcome
    }

    /// Submits a block that must be stored.
    pub fn accept(&mut self, block: &Block) -> Option<TipChange> {
        match self.submit(block) {
            BlockOutcome::Accepted { change, .. } => change,
            other => panic!("{other:?}"),
        }
    }

    /// Submits a block that must break a rule; answers with the word and whether that is for good.
    pub fn refuse(&mut self, block: &Block) -> (String, bool) {
        let before = self.chain.tip();
        match self.submit(block) {
            BlockOutcome::Invalid { reason, permanent } => {
                assert_eq!(self.chain.tip(), before);
                (reason, permanent)
            }
            other => panic!("{other:?}"),
        }
    }

    /// A block on the active tip.
    pub fn next(&self, transactions: Vec<Transaction>) -> Block {
        self.on(&self.chain.tip().hash, transactions, 0)
    }

    /// A block on any known header; `extranonce` tells twins apart. Creates the subsidy and no fees.
    pub fn on(&self, parent: &BlockHash, transactions: Vec<Transaction>, extranonce: u64) -> Block {
        let height = self.chain.header(parent).unwrap().height + 1;
        let script = anyone();
        let coinbase = Coinbase {
            height,
            payee: &script,
            value: subsidy(height),
            extranonce,
        };
        assemble(
            self.chain.consensus(),
            *parent,
            START + height,
            &coinbase,
            transactions,
        )
    }

    /// The coinbase output of the active block at `height`.
    pub fn coinbase_at(&self, height: u32) -> (OutPoint, Amount) {
        let hash = self.chain.hash_at(height).unwrap();
        let block = self.chain.block(&self.db, &hash).unwrap().unwrap();
        let coinbase = &block.txdata[0];
        (
            OutPoint {
                txid: coinbase.compute_txid(),
                vout: 0,
            },
            coinbase.output[0].value,
        )
    }

    /// The chain as a restart after a crash now would find it.
    pub fn reopened(&self) -> (Chain, Db) {
        let mut db = self.store.crash();
        let chain = Chain::open(ChainNetwork::Regtest, &mut db).unwrap();
        (chain, db)
    }

    /// Everything a restart must not change.
    pub fn assert_survives_restart(&self) {
        let (chain, db) = self.reopened();
        assert_eq!(chain.tip(), self.chain.tip());
        assert_eq!(chain.best_header(), self.chain.best_header());
        assert_eq!(chain.header_count(), self.chain.header_count());
        assert_eq!(chain.tips(), self.chain.tips());
        assert_eq!(
            chain.coin_stats(&db).unwrap(),
            self.chain.coin_stats(&self.db).unwrap()
        );
        let missing = |chain: &Chain| chain.missing_blocks(usize::MAX, &|_| false);
        assert_eq!(missing(&chain), missing(&self.chain));
        for height in 0..=chain.tip().height {
            assert_eq!(chain.hash_at(height), self.chain.hash_at(height));
        }
    }
}

/// Makes header and proof fit the transactions again.
pub fn reseal(fixture: &Fixture, mut block: Block) -> Block {
    if let Some(root) = block.compute_merkle_root() {
        block.header.merkle_root = root;
    }
    fixture.chain.consensus().seal(&mut block.header);
    block
}

/// Makes commitment, header and proof fit the transactions again.
pub fn recommit(fixture: &Fixture, mut block: Block) -> Block {
    let root = block.witness_root().unwrap();
    let commitment = Block::compute_witness_commitment(&root, &[0; 32]);
    let mut script = vec![0x6a, 0x24, 0xaa, 0x21, 0xa9, 0xed];
    script.extend(bitcoin::hashes::Hash::as_byte_array(&commitment));
    let last = block.txdata[0].output.last_mut().unwrap();
    last.script_pubkey = ScriptBuf::from_bytes(script);
    reseal(fixture, block)
}

/// A script that anybody can satisfy with nothing.
pub fn anyone() -> ScriptBuf {
    let mut script = vec![0x61; 21]; // OP_NOP
    script.push(0x51); // OP_1
    ScriptBuf::from_bytes(script)
}

/// A script that nobody can satisfy.
pub fn nobody() -> ScriptBuf {
    ScriptBuf::from_bytes(vec![0x00; 22])
}

pub fn input(previous_output: OutPoint) -> TxIn {
    TxIn {
        previous_output,
        script_sig: ScriptBuf::new(),
        sequence: Sequence::MAX,
        witness: Witness::new(),
    }
}

pub fn output(sats: u64, script: &Script) -> TxOut {
    TxOut {
        value: Amount::from_sat(sats),
        script_pubkey: script.to_owned(),
    }
}

/// Spends `coins` into equal outputs to [`anyone`], leaving `fee` satoshis in all.
pub fn spend(coins: &[(OutPoint, Amount)], outputs: u64, fee: u64) -> Transaction {
    let total: Amount = coins.iter().map(|(_, value)| *value).sum();
    let each = (total.to_sat() - fee) / outputs;
    let mut tx = Transaction {
        version: Version::TWO,
        lock_time: LockTime::ZERO,
        input: coins.iter().map(|(outpoint, _)| input(*outpoint)).collect(),
        output: (0..outputs).map(|_| output(each, &anyone())).collect(),
    };
    tx.output[0].value += Amount::from_sat(total.to_sat() - fee - each * outputs);
    tx
}

/// The outputs of `tx` as coins.
pub fn coins_of(tx: &Transaction) -> Vec<(OutPoint, Amount)> {
    let txid = tx.compute_txid();
    (0..)
        .zip(&tx.output)
        .map(|(vout, o)| (OutPoint { txid, vout }, o.value))
        .collect()
}
