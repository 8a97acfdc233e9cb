//! Transactions that wait for a block: valid on top of the active tip, first seen wins, no replacement.
//!
//! Keeps no orphans: a transaction with unknown inputs is refused. Reject words are Bitcoin Core's.
//!
//! - `accept`: who is let in; `select`: what goes into a block; `reorg`: what a new tip changes.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bitcoin::{Amount, OutPoint, Transaction, Txid, Weight, Wtxid};

use crate::time::WallTime;

mod accept;
mod reorg;
mod select;

pub use self::accept::{Accepted, RejectKind, TxReject};

/// Most unconfirmed ancestors or descendants, itself included (Bitcoin Core `policy.h`).
pub const CHAIN_LIMIT: usize = 25;

/// Lowest fee that is relayed, in satoshis per virtual byte.
pub const MIN_RELAY_FEE: u64 = 1;

/// Most bytes of serialised transactions kept.
pub const DEFAULT_CAPACITY: usize = 5_000_000;

/// A waiting transaction.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The transaction.
    pub tx: Arc<Transaction>,
    /// Its witness id.
    pub wtxid: Wtxid,
    /// What it pays.
    pub fee: Amount,
    /// Its size in virtual bytes.
    pub vsize: u64,
    /// Its weight.
    pub weight: Weight,
    /// Its weighted signature operations.
    pub sigops: usize,
    /// Its serialised size in bytes.
    pub size: usize,
    /// When it came in.
    pub time: WallTime,
    /// Height of the active tip when it came in.
    pub height: u32,
    /// Arrival, counted in transactions.
    pub order: u64,
    /// It and its unconfirmed ancestors.
    pub ancestors: Package,
    /// It and its unconfirmed descendants.
    pub descendants: Package,
}

/// Sums over a transaction and its relatives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Package {
    /// Number of transactions.
    pub count: usize,
    /// Fees.
    pub fee: Amount,
    /// Virtual bytes.
    pub vsize: u64,
}

impl Package {
    const fn one(fee: Amount, vsize: u64) -> Self {
        Self {
            count: 1,
            fee,
            vsize,
        }
    }

    fn add(&mut self, fee: Amount, vsize: u64) {
        *self = Self {
            count: self.count + 1,
            fee: self.fee + fee,
            vsize: self.vsize + vsize,
        };
    }

    fn subtract(&mut self, fee: Amount, vsize: u64) {
        *self = Self {
            count: self.count - 1,
            fee: self.fee - fee,
            vsize: self.vsize - vsize,
        };
    }

    /// Fee per size, in satoshis per 2^20 virtual bytes: an exact order for the sizes that occur.
    fn rate(&self) -> u128 {
        (u128::from(self.fee.to_sat()) << 20) / u128::from(self.vsize.max(1))
    }
}

/// Transactions that wait for a block.
#[derive(Debug)]
pub struct Mempool {
    entries: BTreeMap<Txid, Entry>,
    /// Which transaction spends an outpoint.
    spenders: BTreeMap<OutPoint, Txid>,
    /// Cheapest with descendants first: who leaves when there is no room.
    cheapest: BTreeSet<(u128, Txid)>,
    bytes: usize,
    capacity: usize,
    next_order: u64,
}

impl Default for Mempool {
    fn default() -> Self {
        Self::new()
    }
}

impl Mempool {
    /// An empty mempool of [`DEFAULT_CAPACITY`].
    #[must_use]
    pub const fn new() -> Self {
        Self::with_capacity(DEFAULT_CAPACITY)
    }

    /// An empty mempool that keeps at most `capacity` bytes of serialised transactions.
    #[must_use]
    pub const fn with_capacity(capacity: usize) -> Self {
        Self {
            entries: BTreeMap::new(),
            spenders: BTreeMap::new(),
            cheapest: BTreeSet::new(),
            bytes: 0,
            capacity,
            next_order: 0,
        }
    }

    /// A waiting transaction.
    #[must_use]
    pub fn get(&self, txid: &Txid) -> Option<&Entry> {
        self.entries.get(txid)
    }

    /// Whether a transaction waits.
    #[must_use]
    pub fn contains(&self, txid: &Txid) -> bool {
        self.entries.contains_key(txid)
    }

    /// The waiting transaction that spends an outpoint.
    #[must_use]
    pub fn spender(&self, outpoint: &OutPoint) -> Option<&Txid> {
        self.spenders.get(outpoint)
    }

    /// Number of waiting transactions.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes of all waiting transactions, serialised.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// All waiting transactions, by id.
    pub fn iter(&self) -> impl Iterator<Item = (&Txid, &Entry)> {
        self.entries.iter()
    }

    /// Ids of the waiting transactions that `tx` spends from.
    fn parents(&self, tx: &Transaction) -> BTreeSet<Txid> {
        let txids = tx.input.iter().map(|input| input.previous_output.txid);
        txids.filter(|txid| self.contains(txid)).collect()
    }

    /// Ids of the waiting transactions that spend from `txid`.
    fn children(&self, txid: &Txid) -> BTreeSet<Txid> {
        let first = OutPoint {
            txid: *txid,
            vout: 0,
        };
        let last = OutPoint {
            txid: *txid,
            vout: u32::MAX,
        };
        self.spenders
            .range(first..=last)
            .map(|(_, spender)| *spender)
            .collect()
    }

    /// All waiting transactions that `tx` descends from.
    fn ancestors(&self, tx: &Transaction) -> BTreeSet<Txid> {
        self.closure(self.parents(tx), |txid| match self.get(txid) {
            Some(entry) => self.parents(&entry.tx),
            None => BTreeSet::new(),
        })
    }

    /// All waiting transactions that descend from `txid`.
    fn descendants(&self, txid: &Txid) -> BTreeSet<Txid> {
        self.closure(self.children(txid), |txid| self.children(txid))
    }

    fn closure(
        &self,
        start: BTreeSet<Txid>,
        next: impl Fn(&Txid) -> BTreeSet<Txid>,
    ) -> BTreeSet<Txid> {
        let mut open: Vec<Txid> = start.iter().copied().collect();
        let mut found = start;
        while let Some(txid) = open.pop() {
            open.extend(next(&txid).into_iter().filter(|txid| found.insert(*txid)));
        }
        found
    }

    /// Ancestors before descendants, else as they came.
    fn in_order(&self, txids: impl IntoIterator<Item = Txid>) -> Vec<Txid> {
        let mut ordered: Vec<Txid> = txids.into_iter().collect();
        ordered.sort_by_key(|txid| {
            self.get(txid)
                .map(|entry| (entry.ancestors.count, entry.order))
        });
        ordered
    }

    fn insert(&mut self, txid: Txid, entry: Entry) {
        let (fee, vsize) = (entry.fee, entry.vsize);
        for ancestor in self.ancestors(&entry.tx) {
            self.update_descendants(&ancestor, |package| package.add(fee, vsize));
        }
        for input in &entry.tx.input {
            self.spenders.insert(input.previous_output, txid);
        }
        self.bytes += entry.size;
        self.cheapest.insert((entry.descendants.rate(), txid));
        self.entries.insert(txid, entry);
    }

    fn update_descendants(&mut self, txid: &Txid, update: impl FnOnce(&mut Package)) {
        if let Some(entry) = self.entries.get_mut(txid) {
            self.cheapest.remove(&(entry.descendants.rate(), *txid));
            update(&mut entry.descendants);
            self.cheapest.insert((entry.descendants.rate(), *txid));
        }
    }

    /// Removes one transaction; its descendants stay, as when a block holds it.
    fn remove(&mut self, txid: &Txid) -> Option<Entry> {
        let descendants = self.descendants(txid);
        let tx = Arc::clone(&self.get(txid)?.tx);
        let ancestors = self.ancestors(&tx);
        let entry = self.entries.remove(txid)?;
        self.cheapest.remove(&(entry.descendants.rate(), *txid));
        for descendant in descendants {
            if let Some(descendant) = self.entries.get_mut(&descendant) {
                descendant.ancestors.subtract(entry.fee, entry.vsize);
            }
        }
        for ancestor in ancestors {
            self.update_descendants(&ancestor, |package| {
                package.subtract(entry.fee, entry.vsize);
            });
        }
        for input in &entry.tx.input {
            self.spenders.remove(&input.previous_output);
        }
        self.bytes -= entry.size;
        Some(entry)
    }

    /// Removes a transaction and all that descend from it. Answers with all of them.
    fn remove_with_descendants(&mut self, txid: &Txid) -> Vec<Txid> {
        let mut gone = self.in_order(self.descendants(txid));
        gone.insert(0, *txid);
        // Children first: a parent is the way to the relatives beyond it.
        gone.reverse();
        gone.retain(|txid| self.remove(txid).is_some());
        gone
    }
}
