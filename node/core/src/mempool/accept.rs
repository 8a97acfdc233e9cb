//! Who is let into the mempool.

use std::{collections::BTreeSet, sync::Arc};

use bitcoin::{Amount, OutPoint, Transaction, Txid, Weight};

use super::{CHAIN_LIMIT, Entry, MIN_RELAY_FEE, Mempool, Package};
use crate::{
    chain::{
        Chain, Coin,
        transaction::{
            check_inputs, check_transaction, is_final, sequence_locks_permit, sigop_cost,
        },
    },
    db::Db,
    store::StoreError,
    time::WallTime,
};

/// Heaviest transaction that is relayed (Bitcoin Core `MAX_STANDARD_TX_WEIGHT`).
const MAX_WEIGHT: Weight = Weight::from_wu(400_000);

/// Smallest transaction without witnesses, in bytes: a smaller one could pass for a node of the Merkle tree
/// (Bitcoin Core `MIN_STANDARD_TX_NONWITNESS_SIZE`).
const MIN_SIZE: usize = 65;

/// Most weighted signature operations of a transaction (Bitcoin Core `MAX_STANDARD_TX_SIGOPS_COST`).
const MAX_SIGOPS: usize = 16_000;

/// A transaction was let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Its id.
    pub txid: Txid,
    /// Cheaper transactions that had to make room.
    pub evicted: Vec<Txid>,
}

/// What kind of reason kept a transaction out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RejectKind {
    /// It waits already, or is in the active chain.
    Known,
    /// Inputs are unknown or spent; it may be valid later.
    MissingInputs,
    /// It spends what another waiting transaction spends.
    Conflict,
    /// It is valid but not relayed, or not yet valid.
    Policy,
    /// It breaks a rule and no block may hold it.
    Invalid,
}

/// Why a transaction was kept out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct TxReject {
    /// What kind of reason.
    pub kind: RejectKind,
    /// Bitcoin Core's words.
    pub reason: String,
}

impl TxReject {
    fn new(kind: RejectKind, reason: impl Into<String>) -> Self {
        Self {
            kind,
            reason: reason.into(),
        }
    }

    fn invalid(reason: &'static str) -> Self {
        Self::new(RejectKind::Invalid, reason)
    }

    fn policy(reason: impl Into<String>) -> Self {
        Self::new(RejectKind::Policy, reason)
    }
}

type Checked<T> = Result<Result<T, TxReject>, StoreError>;

impl Mempool {
    /// Lets a transaction in if it is valid on top of the active tip, pays at least [`MIN_RELAY_FEE`] and spends
    /// nothing that a waiting transaction spends.
    ///
    /// # Errors
    /// The outer one when the store fails. The inner one tells why the transaction was kept out.
    pub fn accept(
        &mut self,
        chain: &Chain,
        db: &Db,
        tx: Transaction,
        now: WallTime,
    ) -> Checked<Accepted> {
        let txid = tx.compute_txid();
        let entry = match self.check(chain, db, tx, now)? {
            Ok(entry) => entry,
            Err(reject) => return Ok(Err(reject)),
        };
        self.next_order += 1;
        self.insert(txid, entry);
        let evicted = self.make_room();
        if evicted.contains(&txid) {
            return Ok(Err(TxReject::policy("mempool full")));
        }
        Ok(Ok(Accepted { txid, evicted }))
    }

    /// Whether [`accept`](Self::accept) would let a transaction in, room aside.
    ///
    /// # Errors
    /// As [`accept`](Self::accept).
    pub fn check(&self, chain: &Chain, db: &Db, tx: Transaction, now: WallTime) -> Checked<Entry> {
        if let Err(reject) = self.check_alone(chain, &tx) {
            return Ok(Err(reject));
        }
        let coins = match self.coins_of(chain, db, &tx)? {
            Ok(coins) => coins,
            Err(reject) => return Ok(Err(reject)),
        };
        Ok(self.check_spend(chain, tx, &coins, now))
    }

    fn check_alone(&self, chain: &Chain, tx: &Transaction) -> Result<(), TxReject> {
        check_transaction(tx).map_err(TxReject::invalid)?;
        if tx.is_coinbase() {
            return Err(TxReject::invalid("coinbase"));
        }
        if tx.weight() > MAX_WEIGHT {
            return Err(TxReject::policy("tx-size"));
        }
        if tx.base_size() < MIN_SIZE {
            return Err(TxReject::policy("tx-size-small"));
        }
        let tip = chain.tip();
        let median = chain.median_time_past(&tip.hash).expect("the tip is known");
        if !is_final(tx, tip.height + 1, median) {
            return Err(TxReject::policy("non-final"));
        }
        if let Some(known) = self.get(&tx.compute_txid()) {
            let same = known.wtxid == tx.compute_wtxid();
            let reason = if same {
                "txn-already-in-mempool"
            } else {
                "txn-same-nonwitness-data-in-mempool"
            };
            return Err(TxReject::new(RejectKind::Known, reason));
        }
        if tx
            .input
            .iter()
            .any(|input| self.spender(&input.previous_output).is_some())
        {
            return Err(TxReject::new(RejectKind::Conflict, "txn-mempool-conflict"));
        }
        Ok(())
    }

    /// The coins a transaction spends, confirmed or waiting.
    fn coins_of(&self, chain: &Chain, db: &Db, tx: &Transaction) -> Checked<Vec<Coin>> {
        let mut coins = Vec::with_capacity(tx.input.len());
        for input in &tx.input {
            match self.coin(chain, db, &input.previous_output)? {
                Some(coin) => coins.push(coin),
                None => return Ok(Err(missing(chain, db, tx)?)),
            }
        }
        Ok(Ok(coins))
    }

    fn coin(
        &self,
        chain: &Chain,
        db: &Db,
        outpoint: &OutPoint,
    ) -> Result<Option<Coin>, StoreError> {
        let Some(parent) = self.get(&outpoint.txid) else {
            return chain.coin(db, outpoint);
        };
        let output = usize::try_from(outpoint.vout)
            .ok()
            .and_then(|at| parent.tx.output.get(at));
        let height = chain.tip().height + 1;
        Ok(output.map(|output| Coin {
            output: output.clone(),
            height,
            coinbase: false,
        }))
    }

    fn check_spend(
        &self,
        chain: &Chain,
        tx: Transaction,
        coins: &[Coin],
        now: WallTime,
    ) -> Result<Entry, TxReject> {
        let tip = chain.tip();
        let fee = check_inputs(&tx, coins, tip.height + 1).map_err(|word| match word {
            // Mature for a sender who is a block ahead.
            "bad-txns-premature-spend-of-coinbase" => TxReject::policy(word),
            _ => TxReject::invalid(word),
        })?;
        if !locks_permit(chain, &tx, coins) {
            return Err(TxReject::policy("non-BIP68-final"));
        }
        let (sigops, vsize) = (sigop_cost(&tx, coins), tx.weight().to_vbytes_ceil());
        check_price(sigops, vsize, fee)?;
        let ancestors = self.ancestors(&tx);
        self.check_limits(&ancestors)?;
        if !chain.scripts_pass(&tx, coins) {
            return Err(TxReject::invalid("mandatory-script-verify-flag-failed"));
        }
        let mut package = Package::one(fee, vsize);
        for ancestor in ancestors.iter().filter_map(|txid| self.get(txid)) {
            package.add(ancestor.fee, ancestor.vsize);
        }
        Ok(Entry {
            wtxid: tx.compute_wtxid(),
            fee,
            vsize,
            weight: tx.weight(),
            sigops,
            size: tx.total_size(),
            time: now,
            height: tip.height,
            order: self.next_order,
            ancestors: package,
            descendants: Package::one(fee, vsize),
            tx: Arc::new(tx),
        })
    }

    fn check_limits(&self, ancestors: &BTreeSet<Txid>) -> Result<(), TxReject> {
        let full = |txid: &Txid| {
            self.get(txid)
                .is_some_and(|entry| entry.descendants.count >= CHAIN_LIMIT)
        };
        if ancestors.len() >= CHAIN_LIMIT || ancestors.iter().any(full) {
            return Err(TxReject::policy("too-long-mempool-chain"));
        }
        Ok(())
    }

    /// Evicts what pays least, with its descendants, until the rest fits.
    fn make_room(&mut self) -> Vec<Txid> {
        let mut evicted = Vec::new();
        while self.bytes > self.capacity
            && let Some((_, cheapest)) = self.cheapest.first().copied()
        {
            evicted.extend(self.remove_with_descendants(&cheapest));
        }
        evicted
    }
}

/// Whether BIP 68 permits the transaction in the next block.
fn locks_permit(chain: &Chain, tx: &Transaction, coins: &[Coin]) -> bool {
    let tip = chain.tip().height;
    let median_at = |height: u32| {
        let hash = chain
            .hash_at(height.min(tip))
            .expect("at most the tip's height");
        chain
            .median_time_past(&hash)
            .expect("active blocks are known")
    };
    sequence_locks_permit(tx, coins, tip + 1, median_at(tip), &median_at)
}

/// Whether a transaction pays for what it costs others.
fn check_price(sigops: usize, vsize: u64, fee: Amount) -> Result<(), TxReject> {
    if sigops > MAX_SIGOPS {
        return Err(TxReject::policy("bad-txns-too-many-sigops"));
    }
    let needed = vsize * MIN_RELAY_FEE;
    if fee.to_sat() < needed {
        let reason = format!("min relay fee not met, {} < {needed}", fee.to_sat());
        return Err(TxReject::policy(reason));
    }
    Ok(())
}

/// Tells a transaction whose inputs are unknown from one that is confirmed itself.
fn missing(chain: &Chain, db: &Db, tx: &Transaction) -> Result<TxReject, StoreError> {
    let txid = tx.compute_txid();
    for vout in (0..).take(tx.output.len()) {
        if chain.coin(db, &OutPoint { txid, vout })?.is_some() {
            return Ok(TxReject::new(RejectKind::Known, "txn-already-known"));
        }
    }
    Ok(TxReject::new(
        RejectKind::MissingInputs,
        "bad-txns-inputs-missingorspent",
    ))
}
