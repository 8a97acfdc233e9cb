//! New headers and blocks enter the tree.

use std::borrow::Cow;

use bitcoin::{Block, BlockHash, block::Header, consensus::serialize};

use super::{
    Chain, TipChange,
    block::{Reject, check_block, check_block_at},
    key,
    tree::{Index, Status},
};
use crate::{
    db::Db,
    store::{StoreError, Table},
    time::WallTime,
};

/// How far a block's time may be ahead of the clock, in seconds (Bitcoin Core `MAX_FUTURE_BLOCK_TIME`).
const MAX_FUTURE: u32 = 7200;

/// Lowest version a block may have where BIP 34, 65 and 66 are in force.
const MIN_VERSION: i32 = 4;

/// Why headers were not all accepted; those before the first bad one were.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// A header's parent is not known.
    #[error("the parent of header {0} is unknown")]
    MissingParent(BlockHash),
    /// A header breaks a rule.
    #[error("{reason}")]
    Invalid {
        /// The header.
        hash: BlockHash,
        /// Bitcoin Core's reject word.
        reason: String,
        /// Whether it can never become valid; false for a time too far in the future.
        permanent: bool,
    },
}

/// What became of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BlockOutcome {
    /// The block is stored.
    Accepted {
        /// Its height.
        height: u32,
        /// How the active chain moved; `None` if it did not.
        change: Option<TipChange>,
    },
    /// The block is stored already.
    Duplicate,
    /// The header before it, named here, is not known; nothing is kept.
    MissingParent(BlockHash),
    /// The block breaks a rule.
    Invalid {
        /// Bitcoin Core's reject word.
        reason: String,
        /// Whether no block with this hash can ever be valid. False when the body was tampered with or the time is
        /// too far in the future.
        permanent: bool,
    },
}

impl From<Reject> for BlockOutcome {
    fn from(reject: Reject) -> Self {
        Self::Invalid {
            reason: reject.reason.into_owned(),
            permanent: reject.permanent,
        }
    }
}

impl Chain {
    /// Adds headers, each after its parent, to the tree. Answers with how many were new.
    ///
    /// # Errors
    /// At the first header that has no known parent or breaks a rule; those before it are kept.
    pub fn accept_headers(
        &mut self,
        db: &mut Db,
        headers: &[Header],
        now: WallTime,
    ) -> Result<usize, HeaderError> {
        let before = self.tree.len();
        for header in headers {
            let hash = header.block_hash();
            match self.accept_header(db, header, hash, now) {
                Ok(Some(_)) => {}
                Ok(None) => return Err(HeaderError::MissingParent(hash)),
                Err(Reject { reason, permanent }) => {
                    let reason = reason.into_owned();
                    return Err(HeaderError::Invalid {
                        hash,
                        reason,
                        permanent,
                    });
                }
            }
        }
        Ok(self.tree.len() - before)
    }

    /// The header's place in the tree, made if it has none yet; `None` if its parent is unknown.
    fn accept_header(
        &mut self,
        db: &mut Db,
        header: &Header,
        hash: BlockHash,
        now: WallTime,
    ) -> Result<Option<Index>, Reject> {
        if let Some(index) = self.tree.find(&hash) {
            return match self.tree.entry(index).status {
                Status::Invalid => Err(Reject::invalid("duplicate-invalid")),
                _ => Ok(Some(index)),
            };
        }
        if !self.consensus.proves(header) {
            return Err(Reject::invalid("high-hash"));
        }
        let Some(parent) = self.tree.find(&header.prev_blockhash) else {
            return Ok(None);
        };
        if self.tree.entry(parent).status == Status::Invalid {
            return Err(Reject::invalid("bad-prevblk"));
        }
        self.check_header_at(header, parent, now)?;
        Ok(Some(self.tree.insert(db, header, parent)))
    }

    /// Rules that depend on the header's place (Bitcoin Core `ContextualCheckBlockHeader`).
    fn check_header_at(&self, header: &Header, parent: Index, now: WallTime) -> Result<(), Reject> {
        if header.bits != self.consensus.bits() {
            return Err(Reject::invalid("bad-diffbits"));
        }
        if header.time <= self.median_time(parent) {
            return Err(Reject::invalid("time-too-old"));
        }
        if header.time > now.seconds().saturating_add(MAX_FUTURE) {
            return Err(Reject {
                reason: Cow::Borrowed("time-too-new"),
                permanent: false,
            });
        }
        let version = header.version.to_consensus();
        if version < MIN_VERSION {
            let reason = Cow::Owned(format!("bad-version(0x{version:08x})"));
            return Err(Reject {
                reason,
                permanent: true,
            });
        }
        Ok(())
    }

    /// Checks and stores a block, and moves the active chain if a better one is now complete. Blocks that were stored
    /// before and waited for this one may move it further.
    ///
    /// # Errors
    /// When the store fails; the node must stop then.
    pub fn accept_block(
        &mut self,
        db: &mut Db,
        block: &Block,
        now: WallTime,
    ) -> Result<BlockOutcome, StoreError> {
        let hash = block.block_hash();
        let index = match self.accept_header(db, &block.header, hash, now) {
            Ok(Some(index)) => index,
            Ok(None) => return Ok(BlockOutcome::MissingParent(block.header.prev_blockhash)),
            Err(reject) => return Ok(reject.into()),
        };
        if self.tree.entry(index).status.has_block() {
            return Ok(BlockOutcome::Duplicate);
        }
        let height = self.tree.entry(index).height;
        let median_time = self.median_time(self.tree.entry(index).parent);
        let checked = check_block(block).and_then(|()| check_block_at(block, height, median_time));
        if let Err(reject) = checked {
            if reject.permanent {
                self.invalidate(db, index);
            }
            return Ok(reject.into());
        }
        db.put(Table::Block, key(&hash), serialize(block));
        let linked = self.tree.store(db, index);
        self.tree.skip_stored();
        self.candidates.extend(
            linked
                .into_iter()
                .filter(|i| self.is_candidate(*i))
                .collect::<Vec<_>>(),
        );
        let (change, failures) = self.activate_best(db)?;
        Ok(
            match failures.into_iter().find(|(failed, _)| *failed == index) {
                Some((_, reject)) => reject.into(),
                None if self.tree.entry(index).status == Status::Invalid => {
                    Reject::invalid("bad-prevblk").into()
                }
                None => BlockOutcome::Accepted { height, change },
            },
        )
    }

    /// Marks a block and its descendants as breaking a rule.
    pub(super) fn invalidate(&mut self, db: &mut Db, index: Index) {
        self.tree.invalidate(db, index);
        self.candidates
            .retain(|i| self.tree.entry(*i).status.has_block());
        self.tree.skip_stored();
    }
}
