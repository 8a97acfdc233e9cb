//! Figures of the whole coin set, as `gettxoutsetinfo` tells them.

use bitcoin::{
    Amount, Txid,
    consensus::Encodable as _,
    hashes::{Hash as _, sha256d},
};

use super::{Chain, Coin, coin::decode_coin_key};
use crate::{
    db::Db,
    store::{StoreError, Table},
};

/// Figures of the whole coin set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CoinStats {
    /// Transactions with at least one unspent output.
    pub transactions: u64,
    /// Unspent outputs.
    pub txouts: u64,
    /// Bitcoin Core's measure of size that does not depend on the store, in bytes.
    pub bogosize: u64,
    /// Sum of all coins.
    pub total: Amount,
    /// Bitcoin Core's `hash_serialized_3`.
    pub hash: sha256d::Hash,
}

impl Chain {
    /// Figures of the whole coin set at the active tip. Reads every coin.
    ///
    /// # Errors
    /// When the store fails or a coin is damaged.
    pub fn coin_stats(&self, db: &Db) -> Result<CoinStats, StoreError> {
        let mut stats = CoinStats {
            transactions: 0,
            txouts: 0,
            bogosize: 0,
            total: Amount::ZERO,
            hash: sha256d::Hash::all_zeros(),
        };
        let mut engine = sha256d::Hash::engine();
        let mut last: Option<Txid> = None;
        let mut damaged = false;
        db.scan(Table::Coin, &mut |key, value| {
            let (Some(outpoint), Some(coin)) = (decode_coin_key(key), Coin::decode(value)) else {
                damaged = true;
                return;
            };
            stats.transactions += u64::from(last.replace(outpoint.txid) != Some(outpoint.txid));
            stats.txouts += 1;
            stats.bogosize += 50 + coin.output.script_pubkey.len() as u64;
            stats.total += coin.output.value;
            outpoint
                .consensus_encode(&mut engine)
                .expect("hashing cannot fail");
            coin.code()
                .consensus_encode(&mut engine)
                .expect("hashing cannot fail");
            coin.output
                .consensus_encode(&mut engine)
                .expect("hashing cannot fail");
        })?;
        if damaged {
            return Err(StoreError("a coin is damaged".into()));
        }
        stats.hash = sha256d::Hash::from_engine(engine);
        Ok(stats)
    }
}
