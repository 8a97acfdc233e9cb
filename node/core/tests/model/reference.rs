//! The naive model: all blocks in one list, every question answered by replaying a branch.

use std::collections::BTreeMap;

use bitcoin::{
    Amount, Block, BlockHash, Network, OutPoint, Transaction, TxOut, constants::genesis_block,
};

use crate::support::anyone;

/// Unspent outputs with height and whether a coinbase made them.
pub type Coins = BTreeMap<OutPoint, (TxOut, u32, bool)>;

pub struct Reference {
    /// Blocks that exist, whether or not the node has them.
    known: BTreeMap<BlockHash, Block>,
    /// Blocks the node has, in the order they became complete.
    complete: Vec<BlockHash>,
    /// Blocks the node has whose ancestors it lacks.
    waiting: Vec<BlockHash>,
    /// What a replay gave before; blocks never change.
    replayed: std::cell::RefCell<BTreeMap<BlockHash, Option<Coins>>>,
}

impl Reference {
    pub fn new() -> Self {
        let genesis = genesis_block(Network::Regtest);
        let hash = genesis.block_hash();
        Self {
            known: [(hash, genesis)].into(),
            complete: vec![hash],
            waiting: vec![],
            replayed: [(hash, Some(Coins::new()))]
                .into_iter()
                .collect::<BTreeMap<_, _>>()
                .into(),
        }
    }

    /// The block exists.
    pub fn announce(&mut self, block: &Block) {
        self.known.insert(block.block_hash(), block.clone());
    }

    /// The node has the block now.
    pub fn deliver(&mut self, block: &Block) {
        self.announce(block);
        self.waiting.push(block.block_hash());
        let mut at = 0;
        // Oldest first, breadth first: parents before children, children in order of arrival.
        let mut queue = vec![];
        if self.complete.contains(&block.header.prev_blockhash) {
            self.waiting.pop();
            queue.push(block.block_hash());
        }
        while at < queue.len() {
            let parent: BlockHash = queue[at];
            self.complete.push(parent);
            let (ready, waiting) = std::mem::take(&mut self.waiting)
                .into_iter()
                .partition(|hash| self.known[hash].header.prev_blockhash == parent);
            self.waiting = waiting;
            let ready: Vec<BlockHash> = ready;
            queue.extend(ready);
            at += 1;
        }
    }

    pub fn height(&self, hash: &BlockHash) -> u32 {
        let mut height = 0;
        let mut block = &self.known[hash];
        while let Some(parent) = self.known.get(&block.header.prev_blockhash) {
            block = parent;
            height += 1;
        }
        height
    }

    /// The coins after a block; `None` if it or an ancestor breaks a rule.
    fn replay(&self, hash: &BlockHash) -> Option<Coins> {
        if let Some(known) = self.replayed.borrow().get(hash) {
            return known.clone();
        }
        let block = &self.known[hash];
        let coins = self.replay(&block.header.prev_blockhash);
        let height = self.height(hash);
        let coins = coins.and_then(|coins| connect(coins, block, height));
        self.replayed.borrow_mut().insert(*hash, coins.clone());
        coins
    }

    pub fn is_valid(&self, hash: &BlockHash) -> bool {
        self.replay(hash).is_some()
    }

    pub fn coins(&self, hash: &BlockHash) -> Coins {
        self.replay(hash).unwrap_or_default()
    }

    /// What a block after `hash` can spend without a signature.
    pub fn spendable(&self, hash: &BlockHash) -> BTreeMap<OutPoint, Amount> {
        let next = self.height(hash) + 1;
        let mature = |height: u32, coinbase: bool| !coinbase || next - height >= 100;
        self.coins(hash)
            .into_iter()
            .filter(|(_, (output, height, coinbase))| {
                output.script_pubkey == anyone() && mature(*height, *coinbase)
            })
            .map(|(outpoint, (output, ..))| (outpoint, output.value))
            .collect()
    }

    /// The highest complete valid block, the first of them to become complete.
    pub fn best(&self) -> BlockHash {
        let valid = self.complete.iter().filter(|hash| self.is_valid(hash));
        let best = valid
            .enumerate()
            .max_by_key(|(at, hash)| (self.height(hash), std::cmp::Reverse(*at)));
        *best.unwrap().1
    }
}

/// The coins after a block; `None` if it breaks a rule that random blocks break.
fn connect(mut coins: Coins, block: &Block, height: u32) -> Option<Coins> {
    let mut fees = Amount::ZERO;
    for tx in &block.txdata {
        if !tx.is_coinbase() {
            let mut total = Amount::ZERO;
            for input in &tx.input {
                let (output, created, coinbase) = coins.remove(&input.previous_output)?;
                if output.script_pubkey != anyone() || (coinbase && height - created < 100) {
                    return None;
                }
                total += output.value;
            }
            let paid: Amount = tx.output.iter().map(|output| output.value).sum();
            fees += total.checked_sub(paid)?;
        }
        create(&mut coins, tx, height);
    }
    let created: Amount = block.txdata[0]
        .output
        .iter()
        .map(|output| output.value)
        .sum();
    let subsidy = Amount::from_int_btc(50 >> (height / 150));
    (created <= subsidy + fees).then_some(coins)
}

/// Adds a transaction's outputs.
pub fn create(coins: &mut Coins, tx: &Transaction, height: u32) {
    let txid = tx.compute_txid();
    for (vout, output) in (0..).zip(&tx.output) {
        if !output.script_pubkey.is_op_return() {
            coins.insert(
                OutPoint { txid, vout },
                (output.clone(), height, tx.is_coinbase()),
            );
        }
    }
}
