//! The wallet's transactions, for `gettransaction`, `listtransactions` and rebroadcasting.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bdk_wallet::{WalletTx, chain::ChainPosition};
use bitcoin::{Amount, BlockHash, Transaction, Txid};

use super::Wallet;

/// A transaction that concerns the wallet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalletTransaction {
    /// The transaction.
    pub tx: Arc<Transaction>,
    /// Its id.
    pub txid: Txid,
    /// Height and hash of the active block that holds it; `None` while it waits.
    pub block: Option<(u32, BlockHash)>,
    /// Own coins it spends.
    pub sent: Amount,
    /// What it pays to the wallet.
    pub received: Amount,
    /// What it pays to miners, if the wallet knows all the coins it spends.
    pub fee: Option<Amount>,
    /// Time of its block or when it was last seen waiting, in seconds since the epoch.
    pub time: u64,
}

impl Wallet {
    /// A transaction that concerns the wallet and is valid on the active chain.
    #[must_use]
    pub fn transaction(&self, txid: &Txid) -> Option<WalletTransaction> {
        self.inner.get_tx(*txid).map(|tx| self.describe(&tx))
    }

    /// All transactions that concern the wallet, oldest first, those that wait last.
    #[must_use]
    pub fn transactions(&self) -> Vec<WalletTransaction> {
        let mut all: Vec<_> = self
            .inner
            .transactions()
            .map(|tx| self.describe(&tx))
            .collect();
        all.sort_by_key(|tx| {
            let height = tx.block.map_or(u32::MAX, |(height, _)| height);
            (height, tx.time, tx.txid)
        });
        all
    }

    fn describe(&self, tx: &WalletTx<'_>) -> WalletTransaction {
        let node = &tx.tx_node;
        let (sent, received) = self.inner.sent_and_received(&node.tx);
        let (block, time) = match &tx.chain_position {
            ChainPosition::Confirmed { anchor, .. } => {
                let id = anchor.block_id;
                (Some((id.height, id.hash)), anchor.confirmation_time)
            }
            ChainPosition::Unconfirmed { last_seen, .. } => (None, last_seen.unwrap_or(0)),
        };
        WalletTransaction {
            tx: Arc::clone(&node.tx),
            txid: node.txid,
            block,
            sent,
            received,
            fee: self.inner.calculate_fee(&node.tx).ok(),
            time,
        }
    }
}

/// Reorders so that no transaction comes before one it spends from.
pub(super) fn ancestors_first(transactions: Vec<Arc<Transaction>>) -> Vec<Arc<Transaction>> {
    let mut waiting: BTreeMap<Txid, Arc<Transaction>> = transactions
        .into_iter()
        .map(|tx| (tx.compute_txid(), tx))
        .collect();
    let mut ordered = Vec::with_capacity(waiting.len());
    while !waiting.is_empty() {
        let spends_waiting = |tx: &Transaction| {
            tx.input
                .iter()
                .any(|input| waiting.contains_key(&input.previous_output.txid))
        };
        let ready: BTreeSet<Txid> = waiting
            .iter()
            .filter(|(_, tx)| !spends_waiting(tx))
            .map(|(txid, _)| *txid)
            .collect();
        if ready.is_empty() {
            // Transactions cannot spend from each other in a circle.
            break;
        }
        ordered.extend(ready.iter().filter_map(|txid| waiting.remove(txid)));
    }
    ordered
}
