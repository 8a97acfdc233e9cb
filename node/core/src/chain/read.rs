//! What the chain tells others.

use std::collections::BTreeSet;

use bitcoin::{Block, BlockHash, OutPoint, block::Header, consensus::deserialize};

use super::{
    BlockStatus, Chain, ChainTip, ChainTipStatus, Coin, HeaderInfo, Tip,
    coin::read_coin,
    key,
    tree::{GENESIS, Index, Status},
};
use crate::{
    db::Db,
    store::{StoreError, Table},
};

impl Chain {
    /// The active chain's last block, fully validated.
    #[must_use]
    pub fn tip(&self) -> Tip {
        self.tip_of(self.tip_index())
    }

    /// The last header of the best chain of headers that breaks no known rule; its blocks may be missing.
    #[must_use]
    pub fn best_header(&self) -> Tip {
        self.tip_of(self.tree.best_header())
    }

    /// What is known of a block; `None` if nothing.
    #[must_use]
    pub fn header(&self, hash: &BlockHash) -> Option<HeaderInfo> {
        let index = self.tree.find(hash)?;
        let entry = self.tree.entry(index);
        Some(HeaderInfo {
            header: self.tree.header(index),
            height: entry.height,
            work: self.work_at(entry.height),
            status: BlockStatus::from(entry.status),
            validated: entry.status == Status::Valid,
            order: entry.order,
        })
    }

    /// Number of known headers.
    #[must_use]
    pub fn header_count(&self) -> usize {
        self.tree.len()
    }

    /// Whether a block is part of the active chain.
    #[must_use]
    pub fn is_active(&self, hash: &BlockHash) -> bool {
        self.tree
            .find(hash)
            .is_some_and(|index| self.is_active_index(index))
    }

    /// The active block at `height`.
    #[must_use]
    pub fn hash_at(&self, height: u32) -> Option<BlockHash> {
        self.active
            .get(height as usize)
            .map(|index| self.tree.entry(*index).hash)
    }

    /// The block at `height` of the best chain of headers; for nodes that keep headers only.
    #[must_use]
    pub fn best_hash_at(&self, height: u32) -> Option<BlockHash> {
        self.tree
            .best_path()
            .get(height as usize)
            .map(|index| self.tree.entry(*index).hash)
    }

    /// Median time of a known block and the ten before it, in seconds since the epoch (BIP 113).
    #[must_use]
    pub fn median_time_past(&self, hash: &BlockHash) -> Option<u32> {
        self.tree.find(hash).map(|index| self.median_time(index))
    }

    /// A stored block.
    ///
    /// # Errors
    /// When the store fails or the block is damaged.
    pub fn block(&self, db: &Db, hash: &BlockHash) -> Result<Option<Block>, StoreError> {
        let Some(bytes) = self.block_bytes(db, hash)? else {
            return Ok(None);
        };
        match deserialize(&bytes) {
            Ok(block) => Ok(Some(block)),
            Err(error) => Err(StoreError(format!("the block {hash} is damaged: {error}"))),
        }
    }

    /// A stored block as it goes over the wire, witnesses included.
    ///
    /// # Errors
    /// When the store fails.
    pub fn block_bytes(&self, db: &Db, hash: &BlockHash) -> Result<Option<Vec<u8>>, StoreError> {
        db.get(Table::Block, &key(hash))
    }

    /// Hashes from `from` down to the genesis block, ten in a row and then ever sparser; names the branch to a peer.
    /// Empty if `from` is unknown.
    #[must_use]
    pub fn locator(&self, from: &BlockHash) -> Vec<BlockHash> {
        let Some(mut index) = self.tree.find(from) else {
            return Vec::new();
        };
        let mut hashes = Vec::new();
        let mut step = 1;
        loop {
            let entry = self.tree.entry(index);
            hashes.push(entry.hash);
            if entry.height == 0 {
                return hashes;
            }
            index = self.ancestor(index, entry.height.saturating_sub(step));
            if hashes.len() > 10 {
                step = step.saturating_mul(2);
            }
        }
    }

    /// The first active block that a locator names, else the genesis block.
    #[must_use]
    pub fn find_fork(&self, locator: &[BlockHash]) -> BlockHash {
        let found = locator.iter().find(|hash| self.is_active(hash));
        *found.unwrap_or(&self.tree.entry(GENESIS).hash)
    }

    /// The first block of the best chain of headers that a locator names, else the genesis block.
    #[must_use]
    pub fn find_best_fork(&self, locator: &[BlockHash]) -> BlockHash {
        let on_best = |hash: &BlockHash| {
            self.tree.find(hash).is_some_and(|i| {
                self.tree
                    .best_path()
                    .get(self.tree.entry(i).height as usize)
                    == Some(&i)
            })
        };
        *locator
            .iter()
            .find(|hash| on_best(hash))
            .unwrap_or(&self.tree.entry(GENESIS).hash)
    }

    /// At most `max` active headers after `fork`, up to and with `stop`. None if `fork` is not active.
    #[must_use]
    pub fn headers_after(
        &self,
        fork: &BlockHash,
        stop: Option<&BlockHash>,
        max: usize,
    ) -> Vec<Header> {
        let after = self.after(&self.active, fork, stop, max);
        after.iter().map(|index| self.tree.header(*index)).collect()
    }

    /// At most `max` active blocks' hashes after `fork`, up to and with `stop`. None if `fork` is not active.
    #[must_use]
    pub fn hashes_after(
        &self,
        fork: &BlockHash,
        stop: Option<&BlockHash>,
        max: usize,
    ) -> Vec<BlockHash> {
        let after = self.after(&self.active, fork, stop, max);
        after
            .iter()
            .map(|index| self.tree.entry(*index).hash)
            .collect()
    }

    /// Like [`headers_after`](Self::headers_after) on the best chain of headers; for nodes that keep headers only.
    #[must_use]
    pub fn best_headers_after(
        &self,
        fork: &BlockHash,
        stop: Option<&BlockHash>,
        max: usize,
    ) -> Vec<Header> {
        let after = self.after(self.tree.best_path(), fork, stop, max);
        after.iter().map(|index| self.tree.header(*index)).collect()
    }

    fn after<'a>(
        &self,
        path: &'a [Index],
        fork: &BlockHash,
        stop: Option<&BlockHash>,
        max: usize,
    ) -> &'a [Index] {
        let height_on_path = |hash: &BlockHash| {
            let index = self.tree.find(hash)?;
            let height = self.tree.entry(index).height as usize;
            (path.get(height) == Some(&index)).then_some(height)
        };
        let Some(from) = height_on_path(fork).map(|height| height + 1) else {
            return &[];
        };
        let end = path.len().min(from.saturating_add(max));
        let end = match stop.and_then(height_on_path) {
            Some(stop) => end.min(stop + 1),
            None => end,
        };
        path.get(from..end).unwrap_or(&[])
    }

    /// At most `max` blocks of the best chain of headers that are not stored and not skipped, lowest first.
    #[must_use]
    pub fn missing_blocks(&self, max: usize, skip: &dyn Fn(&BlockHash) -> bool) -> Vec<BlockHash> {
        let missing = self.tree.missing().map(|index| self.tree.entry(index).hash);
        missing.filter(|hash| !skip(hash)).take(max).collect()
    }

    /// All ends of the block tree, highest first.
    #[must_use]
    pub fn tips(&self) -> Vec<ChainTip> {
        let parents: BTreeSet<Index> = self
            .tree
            .indices()
            .skip(1)
            .map(|index| self.tree.entry(index).parent)
            .collect();
        let active = self.tip_index();
        let mut ends: Vec<Index> = self
            .tree
            .indices()
            .filter(|index| *index == active || !parents.contains(index))
            .collect();
        ends.sort_by_key(|i| {
            (
                std::cmp::Reverse(self.tree.entry(*i).height),
                self.tree.entry(*i).order,
            )
        });
        ends.into_iter()
            .map(|index| self.chain_tip(index))
            .collect()
    }

    fn chain_tip(&self, index: Index) -> ChainTip {
        let entry = self.tree.entry(index);
        let fork = self.tree.entry(self.fork_with_active(index)).height;
        let status = match entry.status {
            _ if index == self.tip_index() => ChainTipStatus::Active,
            Status::Invalid => ChainTipStatus::Invalid,
            Status::Valid => ChainTipStatus::ValidFork,
            Status::Stored if entry.sequence != 0 => ChainTipStatus::ValidHeaders,
            Status::Stored | Status::HeaderOnly => ChainTipStatus::HeadersOnly,
        };
        ChainTip {
            hash: entry.hash,
            height: entry.height,
            branch_length: entry.height - fork,
            status,
        }
    }

    /// The coin at `outpoint`, if the active chain has it unspent.
    ///
    /// # Errors
    /// When the store fails or the coin is damaged.
    pub fn coin(&self, db: &Db, outpoint: &OutPoint) -> Result<Option<Coin>, StoreError> {
        read_coin(db, outpoint)
    }
}
