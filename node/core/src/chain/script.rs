//! Script checks through Bitcoin Core's own interpreter, and a memory of those that passed.

use std::collections::{BTreeSet, VecDeque};

use bitcoin::{Transaction, Wtxid, consensus::serialize};
use bitcoinconsensus::{Utxo, verify};

use super::coin::Coin;

/// How many transactions are remembered; about 100 bytes each.
const REMEMBERED: usize = 4096;

/// Transactions whose scripts passed. A transaction id commits to the coins it spends and the flags never change, so
/// that what passed once passes always.
#[derive(Debug, Default)]
pub(super) struct ScriptCache {
    passed: BTreeSet<Wtxid>,
    oldest_first: VecDeque<Wtxid>,
}

impl ScriptCache {
    pub(super) fn contains(&self, wtxid: &Wtxid) -> bool {
        self.passed.contains(wtxid)
    }

    pub(super) fn insert(&mut self, wtxid: Wtxid) {
        if !self.passed.insert(wtxid) {
            return;
        }
        self.oldest_first.push_back(wtxid);
        if self.oldest_first.len() > REMEMBERED
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            self.passed.remove(&oldest);
        }
    }
}

/// Whether every input satisfies the script of its coin, by all consensus rules up to taproot.
pub(super) fn scripts_pass(tx: &Transaction, coins: &[Coin]) -> bool {
    let bytes = serialize(tx);
    let spent: Option<Vec<Utxo>> = coins.iter().map(spent_output).collect();
    let Some(spent) = spent else { return false };
    coins.iter().enumerate().all(|(input, coin)| {
        let script = coin.output.script_pubkey.as_bytes();
        verify(
            script,
            coin.output.value.to_sat(),
            &bytes,
            Some(&spent),
            input,
        )
        .is_ok()
    })
}

/// The coin as the interpreter reads it; it points into `coin`.
fn spent_output(coin: &Coin) -> Option<Utxo> {
    let script = coin.output.script_pubkey.as_bytes();
    Some(Utxo {
        script_pubkey: script.as_ptr(),
        script_pubkey_len: u32::try_from(script.len()).ok()?,
        value: i64::try_from(coin.output.value.to_sat()).ok()?,
    })
}
