//! How nodes agree on a chain: which proof a block needs and which of two branches is better.
//!
//! Whether a block's contents are valid is not asked here but in [`crate::chain`].

use bitcoin::{CompactTarget, block::Header};

pub mod pow;

/// A fully stored branch, named by its last block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Branch {
    /// Height of its last block.
    pub height: u32,
    /// When its last block arrived, counted in blocks: smaller was seen earlier.
    pub sequence: u32,
}

/// A consensus mode. One variant per file, chosen once.
pub trait Consensus {
    /// The only difficulty a block's header may name.
    fn bits(&self) -> CompactTarget;

    /// Work of one block, expected hashes.
    fn work_per_block(&self) -> u64;

    /// Whether the header carries the proof that lets its maker extend the chain.
    fn proves(&self, header: &Header) -> bool;

    /// Changes the header's free fields until it [`proves`](Self::proves).
    fn seal(&self, header: &mut Header);

    /// Fork choice: whether `a` is to be the active chain rather than `b`.
    fn prefer(&self, a: Branch, b: Branch) -> bool;
}
