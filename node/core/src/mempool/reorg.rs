//! What a new tip changes in the mempool.

use std::sync::Arc;

use bitcoin::{Block, Transaction, Txid};

use super::{Entry, Mempool};
use crate::{
    chain::{Chain, TipChange},
    db::Db,
    store::StoreError,
    time::WallTime,
};

impl Mempool {
    /// Follows the active chain, which has moved already: what new blocks hold leaves, what they contradict leaves with
    /// all that descends from it, what only old blocks held comes back if it is still valid.
    ///
    /// Answers with what was dropped without being in a block of the new branch.
    ///
    /// # Errors
    /// When the store fails.
    pub fn on_tip_change(
        &mut self,
        chain: &Chain,
        db: &Db,
        change: &TipChange,
    ) -> Result<Vec<Txid>, StoreError> {
        let mut dropped = Vec::new();
        for hash in &change.connected {
            if let Some(block) = chain.block(db, hash)? {
                self.on_connected(&block, &mut dropped);
            }
        }
        if !change.disconnected.is_empty() {
            self.revalidate(chain, db, change, &mut dropped)?;
        }
        Ok(dropped)
    }

    fn on_connected(&mut self, block: &Block, dropped: &mut Vec<Txid>) {
        for tx in &block.txdata {
            self.remove(&tx.compute_txid());
        }
        for tx in &block.txdata {
            for input in &tx.input {
                if let Some(conflict) = self.spender(&input.previous_output).copied() {
                    dropped.extend(self.remove_with_descendants(&conflict));
                }
            }
        }
    }

    /// Lets in anew, on the new tip, first what the old blocks held and then what waited.
    fn revalidate(
        &mut self,
        chain: &Chain,
        db: &Db,
        change: &TipChange,
        dropped: &mut Vec<Txid>,
    ) -> Result<(), StoreError> {
        let waiting = self.take_all();
        for hash in change.disconnected.iter().rev() {
            let Some(block) = chain.block(db, hash)? else {
                continue;
            };
            let time = WallTime(u64::from(block.header.time) * 1_000_000_000);
            for tx in block.txdata.into_iter().filter(|tx| !tx.is_coinbase()) {
                self.accept_again(chain, db, tx, time, dropped)?;
            }
        }
        for entry in waiting {
            let tx = Arc::unwrap_or_clone(entry.tx);
            self.accept_again(chain, db, tx, entry.time, dropped)?;
        }
        Ok(())
    }

    fn accept_again(
        &mut self,
        chain: &Chain,
        db: &Db,
        tx: Transaction,
        time: WallTime,
        dropped: &mut Vec<Txid>,
    ) -> Result<(), StoreError> {
        let txid = tx.compute_txid();
        match self.accept(chain, db, tx, time)? {
            Ok(accepted) => dropped.extend(accepted.evicted),
            Err(reject) => {
                tracing::debug!(target: "mempool", %txid, reason = reject.reason, "dropped");
                dropped.push(txid);
            }
        }
        Ok(())
    }

    /// Empties the mempool; ancestors come before descendants.
    fn take_all(&mut self) -> Vec<Entry> {
        let order = self.in_order(self.entries.keys().copied());
        let mut entries = std::mem::take(&mut self.entries);
        (self.bytes, self.spenders, self.cheapest) = Default::default();
        order
            .iter()
            .filter_map(|txid| entries.remove(txid))
            .collect()
    }
}
