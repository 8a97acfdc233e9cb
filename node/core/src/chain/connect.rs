//! The active chain moves to the best branch, as a whole or not at all.

use bitcoin::{Amount, Block, OutPoint};

use super::{
    Chain, Coin, TIP_KEY, TipChange, UndoByBlock,
    block::{MAX_SIGOP_COST, Reject},
    coin::{CoinView, decode_undo, encode_undo, write_coins},
    key, subsidy,
    transaction::{check_inputs, sequence_locks_permit, sigop_cost},
    tree::{Index, Status},
};
use crate::{
    db::Db,
    store::{StoreError, Table},
};

/// A block that broke a rule while it was connected.
type Failure = (Index, Reject);

impl Chain {
    /// Makes the best complete branch active. Branches that turn out invalid are marked and the next best is tried;
    /// the active tip itself is always among them.
    pub(super) fn activate_best(
        &mut self,
        db: &mut Db,
    ) -> Result<(Option<TipChange>, Vec<Failure>), StoreError> {
        let mut failures = Vec::new();
        loop {
            let best = self.best_candidate();
            if best == self.tip_index() {
                return Ok((None, failures));
            }
            match self.move_to(db, best)? {
                Ok(change) => {
                    let kept = std::mem::take(&mut self.candidates);
                    self.candidates = kept.into_iter().filter(|i| self.is_candidate(*i)).collect();
                    return Ok((Some(change), failures));
                }
                Err(failure) => {
                    self.invalidate(db, failure.0);
                    failures.push(failure);
                }
            }
        }
    }

    fn best_candidate(&self) -> Index {
        let better = |best: Index, index: &Index| {
            let prefer = self
                .consensus
                .prefer(self.branch(*index), self.branch(best));
            if prefer { *index } else { best }
        };
        self.candidates.iter().fold(self.tip_index(), better)
    }

    /// Disconnects down to the fork and connects up to `target`. Changes nothing if a block on the way is invalid.
    fn move_to(
        &mut self,
        db: &mut Db,
        target: Index,
    ) -> Result<Result<TipChange, Failure>, StoreError> {
        let fork = self.fork_with_active(target);
        let fork_height = self.tree.entry(fork).height;
        let leaving: Vec<Index> = self.active[fork_height as usize + 1..]
            .iter()
            .rev()
            .copied()
            .collect();
        let coming = self.branch_above(target, fork);
        let mut view = CoinView::new(db);
        for index in &leaving {
            self.disconnect(&mut view, db, *index)?;
        }
        let mut undo = UndoByBlock::new();
        for index in &coming {
            match self.connect(&mut view, db, *index)? {
                Ok(spent) => undo.insert(*index, encode_undo(&spent)),
                Err(reject) => return Ok(Err((*index, reject))),
            };
        }
        let changes = view.into_changes();
        write_coins(db, changes);
        let from = self.tip();
        self.write_active(db, fork_height, &coming, undo);
        let hashes = |indices: &[Index]| indices.iter().map(|i| self.tree.entry(*i).hash).collect();
        Ok(Ok(TipChange {
            from,
            to: self.tip(),
            fork_height,
            disconnected: hashes(&leaving),
            connected: hashes(&coming),
        }))
    }

    fn write_active(&mut self, db: &mut Db, fork_height: u32, coming: &[Index], undo: UndoByBlock) {
        self.active.truncate(fork_height as usize + 1);
        self.active.extend(coming);
        for (index, undo) in undo {
            let hash = self.tree.entry(index).hash;
            db.put(Table::Undo, key(&hash), undo);
            if self.tree.entry(index).status != Status::Valid {
                self.tree.set_status(db, index, Status::Valid);
            }
        }
        db.put(Table::Meta, TIP_KEY.to_vec(), key(&self.tip().hash));
    }

    fn read_block(&self, db: &Db, index: Index) -> Result<Block, StoreError> {
        let hash = self.tree.entry(index).hash;
        self.block(db, &hash)?
            .ok_or_else(|| StoreError(format!("the block {hash} is lost")))
    }

    /// Takes back what a block did to the coins.
    fn disconnect(&self, view: &mut CoinView<'_>, db: &Db, index: Index) -> Result<(), StoreError> {
        let block = self.read_block(db, index)?;
        let hash = self.tree.entry(index).hash;
        let lost = || StoreError(format!("the undo data of block {hash} are lost"));
        let undo = db.get(Table::Undo, &key(&hash))?.ok_or_else(lost)?;
        let mut spent = decode_undo(&undo).ok_or_else(lost)?;
        for tx in block.txdata.iter().rev() {
            let txid = tx.compute_txid();
            for vout in (0..).take(tx.output.len()) {
                view.remove(OutPoint { txid, vout });
            }
            if tx.is_coinbase() {
                continue;
            }
            for input in tx.input.iter().rev() {
                view.add(input.previous_output, spent.pop().ok_or_else(lost)?);
            }
        }
        Ok(())
    }

    /// Checks a block against the coins (Bitcoin Core `ConnectBlock`) and applies it. Answers with the coins it spent.
    fn connect(
        &self,
        view: &mut CoinView<'_>,
        db: &Db,
        index: Index,
    ) -> Result<Result<Vec<Coin>, Reject>, StoreError> {
        let block = self.read_block(db, index)?;
        if overwrites_coins(view, &block)? {
            return Ok(Err(Reject::invalid("bad-txns-BIP30")));
        }
        let height = self.tree.entry(index).height;
        let mut all_spent = Vec::new();
        let mut totals = Totals::default();
        for tx in &block.txdata {
            if !tx.is_coinbase() {
                let Some(spent) = coins_of(view, tx)? else {
                    return Ok(Err(Reject::invalid("bad-txns-inputs-missingorspent")));
                };
                if let Err(reject) = self.check_spend(index, tx, &spent, &mut totals) {
                    return Ok(Err(reject));
                }
                all_spent.extend(spent);
            } else if let Err(reject) = totals.add_sigops(sigop_cost(tx, &[])) {
                return Ok(Err(reject));
            }
            apply(view, tx, height);
        }
        let created: Amount = block.txdata[0]
            .output
            .iter()
            .map(|output| output.value)
            .sum();
        if created > subsidy(height) + totals.fees {
            return Ok(Err(Reject::invalid("bad-cb-amount")));
        }
        Ok(Ok(all_spent))
    }

    fn check_spend(
        &self,
        index: Index,
        tx: &bitcoin::Transaction,
        spent: &[Coin],
        totals: &mut Totals,
    ) -> Result<(), Reject> {
        let entry = self.tree.entry(index);
        let fee = check_inputs(tx, spent, entry.height).map_err(Reject::invalid)?;
        totals.add_fee(fee)?;
        let median_time = self.median_time(entry.parent);
        let median_at = |height| self.median_time(self.ancestor(entry.parent, height));
        if !sequence_locks_permit(tx, spent, entry.height, median_time, &median_at) {
            return Err(Reject::invalid("bad-txns-nonfinal"));
        }
        totals.add_sigops(sigop_cost(tx, spent))?;
        // What was fully checked once stays valid: its ancestors are the same.
        if entry.status != Status::Valid && !self.scripts_pass(tx, spent) {
            return Err(Reject::invalid("mandatory-script-verify-flag-failed"));
        }
        Ok(())
    }
}

/// Sums over a block.
#[derive(Default)]
struct Totals {
    fees: Amount,
    sigops: usize,
}

impl Totals {
    fn add_fee(&mut self, fee: Amount) -> Result<(), Reject> {
        self.fees += fee;
        if self.fees > Amount::MAX_MONEY {
            return Err(Reject::invalid("bad-txns-accumulated-fee-outofrange"));
        }
        Ok(())
    }

    fn add_sigops(&mut self, cost: usize) -> Result<(), Reject> {
        self.sigops += cost;
        if self.sigops > MAX_SIGOP_COST {
            return Err(Reject::invalid("bad-blk-sigops"));
        }
        Ok(())
    }
}

/// Whether a block creates a transaction that still has unspent outputs (BIP 30).
fn overwrites_coins(view: &CoinView<'_>, block: &Block) -> Result<bool, StoreError> {
    for tx in &block.txdata {
        let txid = tx.compute_txid();
        for vout in (0..).take(tx.output.len()) {
            if view.get(&OutPoint { txid, vout })?.is_some() {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// The coins a transaction spends, one per input; `None` if one is missing.
fn coins_of(
    view: &CoinView<'_>,
    tx: &bitcoin::Transaction,
) -> Result<Option<Vec<Coin>>, StoreError> {
    tx.input
        .iter()
        .map(|input| view.get(&input.previous_output))
        .collect()
}

/// Spends a transaction's inputs and creates its outputs.
fn apply(view: &mut CoinView<'_>, tx: &bitcoin::Transaction, height: u32) {
    let coinbase = tx.is_coinbase();
    if !coinbase {
        for input in &tx.input {
            view.remove(input.previous_output);
        }
    }
    let txid = tx.compute_txid();
    for (vout, output) in (0..).zip(&tx.output) {
        if !Coin::is_unspendable(output) {
            view.add(
                OutPoint { txid, vout },
                Coin {
                    output: output.clone(),
                    height,
                    coinbase,
                },
            );
        }
    }
}
