//! Blocks that every node builds for itself, so that a testnet starts with coins to spend.

use bitcoin::{Block, BlockHash, Network, ScriptBuf, constants::genesis_block};
use netsplit_api::config::{ChainNetwork, Premine};

use crate::{
    chain::{Chain, subsidy},
    consensus::pow::ProofOfWork,
    miner::{Coinbase, assemble},
};

/// Why the blocks cannot be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PremineError {
    /// Nobody is to be paid.
    #[error("the premine names no payee")]
    NoPayee,
    /// A payee is not a script in hex.
    #[error("payee {0} of the premine is not hex")]
    Payee(usize),
}

/// The premined blocks in order, first height 1: the same wherever the same `premine` is given.
///
/// # Errors
/// When the payees are not scripts in hex, or there are none.
pub fn premine_blocks(
    premine: &Premine,
    network: ChainNetwork,
) -> Result<impl Iterator<Item = Block> + use<>, PremineError> {
    let ChainNetwork::Regtest = network;
    let payees = parse_payees(premine)?;
    let consensus = ProofOfWork::regtest();
    let (blocks, time) = (premine.blocks, premine.time);
    let mut previous: BlockHash = genesis_block(Network::Regtest).block_hash();
    Ok((1..=blocks)
        .zip((0..payees.len()).cycle())
        .map(move |(height, payee)| {
            let coinbase = Coinbase {
                height,
                payee: &payees[payee],
                value: subsidy(height),
                extranonce: 0,
            };
            let block = assemble(
                &consensus,
                previous,
                time.saturating_add(height),
                &coinbase,
                Vec::new(),
            );
            previous = block.block_hash();
            block
        }))
}

/// Whether the chain already holds all blocks of the premine, without building them: it is at least that high.
#[must_use]
pub fn is_premined(premine: &Premine, chain: &Chain) -> bool {
    chain.tip().height >= premine.blocks
}

fn parse_payees(premine: &Premine) -> Result<Vec<ScriptBuf>, PremineError> {
    let payees: Vec<ScriptBuf> = premine
        .payees
        .iter()
        .enumerate()
        .map(|(at, text)| ScriptBuf::from_hex(text).map_err(|_| PremineError::Payee(at)))
        .collect::<Result<_, _>>()?;
    if payees.is_empty() && premine.blocks > 0 {
        return Err(PremineError::NoPayee);
    }
    Ok(payees)
}
