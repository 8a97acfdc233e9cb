//! Rules for one transaction, with Bitcoin Core's reject words.

use bitcoin::{
    Amount, OutPoint, Transaction, Weight,
    absolute::{LOCK_TIME_THRESHOLD, LockTime},
    relative,
};

use super::coin::Coin;

/// Confirmations a coinbase needs before it can be spent, minus one (Bitcoin Core `consensus.h`).
pub const COINBASE_MATURITY: u32 = 100;

/// Why a transaction breaks a rule, in Bitcoin Core's words.
pub(crate) type Word = &'static str;

/// Rules that need nothing but the transaction (Bitcoin Core `CheckTransaction`).
pub(crate) fn check_transaction(tx: &Transaction) -> Result<(), Word> {
    if tx.input.is_empty() {
        return Err("bad-txns-vin-empty");
    }
    if tx.output.is_empty() {
        return Err("bad-txns-vout-empty");
    }
    if Weight::from_non_witness_data_size(tx.base_size() as u64) > Weight::MAX_BLOCK {
        return Err("bad-txns-oversize");
    }
    check_values(tx)?;
    let mut spent: Vec<&OutPoint> = tx
        .input
        .iter()
        .map(|input| &input.previous_output)
        .collect();
    spent.sort_unstable();
    if spent.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err("bad-txns-inputs-duplicate");
    }
    if tx.is_coinbase() {
        if !(2..=100).contains(&tx.input[0].script_sig.len()) {
            return Err("bad-cb-length");
        }
    } else if tx.input.iter().any(|input| input.previous_output.is_null()) {
        return Err("bad-txns-prevout-null");
    }
    Ok(())
}

fn check_values(tx: &Transaction) -> Result<(), Word> {
    let mut total = Amount::ZERO;
    for output in &tx.output {
        // Bitcoin Core reads the amount as a signed number.
        if i64::try_from(output.value.to_sat()).is_err() {
            return Err("bad-txns-vout-negative");
        }
        if output.value > Amount::MAX_MONEY {
            return Err("bad-txns-vout-toolarge");
        }
        total += output.value;
        if total > Amount::MAX_MONEY {
            return Err("bad-txns-txouttotal-toolarge");
        }
    }
    Ok(())
}

/// Whether the lock time permits a block of this height whose predecessors' median time is `time` (BIP 113).
pub(crate) fn is_final(tx: &Transaction, height: u32, time: u32) -> bool {
    let lock = tx.lock_time.to_consensus_u32();
    let now = if lock < LOCK_TIME_THRESHOLD {
        height
    } else {
        time
    };
    tx.lock_time == LockTime::ZERO || lock < now || tx.input.iter().all(|i| i.sequence.is_final())
}

/// Fee of a transaction that spends `coins`, one per input, in a block of height `height`
/// (Bitcoin Core `CheckTxInputs`).
pub(crate) fn check_inputs(tx: &Transaction, coins: &[Coin], height: u32) -> Result<Amount, Word> {
    let mut total = Amount::ZERO;
    for coin in coins {
        if coin.coinbase && height.saturating_sub(coin.height) < COINBASE_MATURITY {
            return Err("bad-txns-premature-spend-of-coinbase");
        }
        total = total
            .checked_add(coin.output.value)
            .filter(|sum| *sum <= Amount::MAX_MONEY)
            .ok_or("bad-txns-inputvalues-outofrange")?;
    }
    let spent: Amount = tx.output.iter().map(|output| output.value).sum();
    total.checked_sub(spent).ok_or("bad-txns-in-belowout")
}

/// Whether BIP 68 permits the transaction in a block of this height whose predecessors' median time is `time`.
///
/// `median_time_past` gives the median time of the blocks up to and with a height of that block's branch.
pub(crate) fn sequence_locks_permit(
    tx: &Transaction,
    coins: &[Coin],
    height: u32,
    time: u32,
    median_time_past: &dyn Fn(u32) -> u32,
) -> bool {
    // Version numbers are unsigned to BIP 68.
    if tx.version.0.cast_unsigned() < 2 {
        return true;
    }
    tx.input.iter().zip(coins).all(
        |(input, coin)| match input.sequence.to_relative_lock_time() {
            None => true,
            Some(relative::LockTime::Blocks(blocks)) => {
                u64::from(coin.height) + u64::from(blocks.value()) <= u64::from(height)
            }
            Some(relative::LockTime::Time(units)) => {
                let from = median_time_past(coin.height.saturating_sub(1));
                u64::from(from) + 512 * u64::from(units.value()) <= u64::from(time)
            }
        },
    )
}

/// Signature operations, weighted as BIP 141 does.
pub(crate) fn sigop_cost(tx: &Transaction, coins: &[Coin]) -> usize {
    tx.total_sigop_cost(|outpoint| {
        let at = tx
            .input
            .iter()
            .position(|input| input.previous_output == *outpoint)?;
        coins.get(at).map(|coin| coin.output.clone())
    })
}

#[cfg(test)]
mod tests {
    use bitcoin::{ScriptBuf, Sequence, TxIn, TxOut, Witness, transaction::Version};

    use super::*;

    fn spend(sequence: u32, lock_time: u32) -> (Transaction, Vec<Coin>) {
        let output = TxOut {
            value: Amount::from_sat(1000),
            script_pubkey: ScriptBuf::new(),
        };
        let tx = Transaction {
            version: Version::TWO,
            lock_time: LockTime::from_consensus(lock_time),
            input: vec![TxIn {
                previous_output: OutPoint::new(bitcoin::hashes::Hash::all_zeros(), 7),
                script_sig: ScriptBuf::new(),
                sequence: Sequence(sequence),
                witness: Witness::new(),
            }],
            output: vec![output.clone()],
        };
        (
            tx,
            vec![Coin {
                output,
                height: 10,
                coinbase: false,
            }],
        )
    }

    #[test]
    fn lock_times_bind_unless_all_inputs_are_final() {
        assert!(is_final(&spend(0, 0).0, 1, 0));
        assert!(!is_final(&spend(0, 10).0, 10, 0));
        assert!(is_final(&spend(0, 10).0, 11, 0));
        assert!(is_final(&spend(u32::MAX, 10).0, 10, 0));
        assert!(!is_final(
            &spend(0, 1_600_000_000).0,
            2_000_000_000,
            1_600_000_000
        ));
        assert!(is_final(&spend(0, 1_600_000_000).0, 1, 1_600_000_001));
    }

    #[test]
    fn relative_locks_count_blocks_or_512_seconds_of_median_time() {
        let permits = |sequence, height, time| {
            let (tx, coins) = spend(sequence, 0);
            sequence_locks_permit(&tx, &coins, height, time, &|at| 1000 * at)
        };
        assert!(!permits(5, 14, 0));
        assert!(permits(5, 15, 0));
        // The coin's time counts from the median at the block before it: 9 * 1000.
        let two_units = (1 << 22) | 2;
        assert!(!permits(two_units, 0, 9000 + 1023));
        assert!(permits(two_units, 0, 9000 + 1024));
        assert!(permits(5 | (1 << 31), 10, 0), "disabled by bit 31");
        let (mut tx, coins) = spend(5, 0);
        tx.version = Version::ONE;
        assert!(sequence_locks_permit(&tx, &coins, 11, 0, &|_| 0));
        tx.version = Version(-1);
        assert!(!sequence_locks_permit(&tx, &coins, 11, 0, &|_| 0));
    }
}
