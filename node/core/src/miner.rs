//! When a miner finds a block, and what it puts into it.
//!
//! Does not decide whether the node mines, nor submits the block.

use std::time::Duration;

use bitcoin::{
    Amount, Block, BlockHash, OutPoint, Script, ScriptBuf, Sequence, Transaction, TxIn, TxOut,
    Weight, Witness,
    absolute::LockTime,
    block::{Header, Version},
    hashes::Hash as _,
    transaction,
};
use rand_chacha::ChaCha12Rng;
use rand_core::Rng as _;

use crate::{
    chain::{
        Chain,
        block::{COMMITMENT_PREFIX, height_push, transaction_root, witness_commitment},
        subsidy,
    },
    consensus::Consensus,
    mempool::Mempool,
    random,
    time::{Instant, WallTime},
};

/// Version of the blocks made here: BIP 9 with no deployment signalled.
const BLOCK_VERSION: i32 = 0x2000_0000;

/// Kept free for header, coinbase and transaction count (Bitcoin Core `-blockreservedweight`).
const RESERVED_WEIGHT: Weight = Weight::from_wu(8_000);

/// Kept free for the coinbase (Bitcoin Core `coinbase_output_max_additional_sigops`).
const RESERVED_SIGOPS: usize = 400;

/// The moments at which a miner finds blocks: a Poisson process whose rate is the miner's share of one block per
/// interval. It depends on the seed only, not on what others find.
#[derive(Clone, Debug)]
pub struct MinerSchedule {
    rng: ChaCha12Rng,
    mean: Duration,
    next: Instant,
}

impl MinerSchedule {
    /// The schedule of the node with this `seed`, from `now` on. `share` is of the testnet's hash power, above 0 and at
    /// most 1.
    #[must_use]
    pub fn new(seed: &[u8; 32], share: f64, block_interval: Duration, now: Instant) -> Self {
        let mean = block_interval.div_f64(share.clamp(1e-6, 1.0));
        let mut schedule = Self {
            rng: random::stream(seed, "mining"),
            mean,
            next: now,
        };
        schedule.advance(now);
        schedule
    }

    /// When the next block is found.
    #[must_use]
    pub const fn next(&self) -> Instant {
        self.next
    }

    /// Draws the moment after the one that has come. A miner that slept does not catch up.
    pub fn advance(&mut self, now: Instant) {
        // 53 random bits in (0, 1]: never zero, whose logarithm is infinite.
        #[expect(clippy::cast_precision_loss, reason = "2^53 and below are exact")]
        let uniform = ((self.rng.next_u64() >> 11) + 1) as f64 / (1u64 << 53) as f64;
        self.next = self.next.max(now) + self.mean.mul_f64(-uniform.ln());
    }
}

/// A block on top of the active tip, with its proof: the best of the mempool, fees and subsidy to `payee`.
///
/// `extranonce` tells blocks apart that are equal otherwise.
#[must_use]
pub fn build_block(
    chain: &Chain,
    mempool: &Mempool,
    payee: &Script,
    now: WallTime,
    extranonce: u64,
) -> Block {
    let tip = chain.tip();
    let height = tip.height + 1;
    let median = chain.median_time_past(&tip.hash).expect("the tip is known");
    let selected = mempool.select(
        Weight::MAX_BLOCK - RESERVED_WEIGHT,
        crate::chain::block::MAX_SIGOP_COST - RESERVED_SIGOPS,
    );
    let fees: Amount = selected.iter().map(|entry| entry.fee).sum();
    let coinbase = Coinbase {
        height,
        payee,
        value: subsidy(height) + fees,
        extranonce,
    };
    let transactions = selected
        .iter()
        .map(|entry| Transaction::clone(&entry.tx))
        .collect();
    let time = now.seconds().max(median.saturating_add(1));
    assemble(chain.consensus(), tip.hash, time, &coinbase, transactions)
}

/// What distinguishes one coinbase from another.
#[derive(Clone, Copy, Debug)]
pub struct Coinbase<'a> {
    /// Height of its block.
    pub height: u32,
    /// Who is paid.
    pub payee: &'a Script,
    /// How much.
    pub value: Amount,
    /// Anything.
    pub extranonce: u64,
}

/// A block after `previous` with these transactions, in this order, below a coinbase; with commitment and proof.
#[must_use]
pub fn assemble(
    consensus: &dyn Consensus,
    previous: BlockHash,
    time: u32,
    coinbase: &Coinbase<'_>,
    transactions: Vec<Transaction>,
) -> Block {
    let mut txdata = vec![coinbase_transaction(coinbase)];
    txdata.extend(transactions);
    commit_to_witnesses(&mut txdata);
    let mut header = Header {
        version: Version::from_consensus(BLOCK_VERSION),
        prev_blockhash: previous,
        merkle_root: transaction_root(&txdata),
        time,
        bits: consensus.bits(),
        nonce: 0,
    };
    consensus.seal(&mut header);
    Block { header, txdata }
}

fn coinbase_transaction(coinbase: &Coinbase<'_>) -> Transaction {
    let mut script = height_push(coinbase.height);
    script.push(8);
    script.extend(coinbase.extranonce.to_le_bytes());
    Transaction {
        version: transaction::Version::TWO,
        lock_time: LockTime::ZERO,
        input: vec![TxIn {
            previous_output: OutPoint::null(),
            script_sig: ScriptBuf::from_bytes(script),
            sequence: Sequence::MAX,
            witness: Witness::from_slice(&[[0; 32]]),
        }],
        output: vec![TxOut {
            value: coinbase.value,
            script_pubkey: coinbase.payee.to_owned(),
        }],
    }
}

/// Adds the output of BIP 141 to the coinbase, whose witness is the reserved value.
fn commit_to_witnesses(transactions: &mut [Transaction]) {
    let commitment = witness_commitment(transactions, &[0; 32]);
    let mut script = COMMITMENT_PREFIX.to_vec();
    script.extend(commitment.as_byte_array());
    transactions[0].output.push(TxOut {
        value: Amount::ZERO,
        script_pubkey: ScriptBuf::from_bytes(script),
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(1);

    fn schedule(seed: u8, share: f64) -> MinerSchedule {
        MinerSchedule::new(&[seed; 32], share, INTERVAL, Instant(0))
    }

    #[test]
    fn the_schedule_depends_on_the_seed_only() {
        let (mut a, mut b) = (schedule(1, 0.5), schedule(1, 0.5));
        for _ in 0..100 {
            let at = a.next();
            a.advance(at);
            b.advance(at);
            assert_eq!(a.next(), b.next());
        }
        assert_ne!(a.next(), schedule(2, 0.5).next());
    }

    #[test]
    fn the_rate_is_the_share_of_one_block_per_interval() {
        for share in [1.0, 0.6, 0.1] {
            let mut miner = schedule(3, share);
            let rounds = 20_000;
            for _ in 0..rounds {
                let at = miner.next();
                miner.advance(at);
            }
            let blocks_per_second = f64::from(rounds) / (miner.next().0 as f64 / 1e9);
            // Standard deviation of the rate: 1/sqrt(20000) = 0.7 %.
            assert!(
                (blocks_per_second / share - 1.0).abs() < 0.035,
                "{blocks_per_second}"
            );
        }
    }

    #[test]
    fn a_miner_that_slept_does_not_catch_up() {
        let mut miner = schedule(4, 1.0);
        miner.advance(Instant(1_000_000_000_000));
        assert!(miner.next() > Instant(1_000_000_000_000));
    }
}
