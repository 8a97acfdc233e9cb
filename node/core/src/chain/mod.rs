//! The block tree and the active chain: headers in memory, blocks, coins and undo data in the store.
//!
//! Knows nothing of peers and of transactions outside blocks. Reject words are Bitcoin Core's.
//!
//! - [`Chain`] and what it answers: here and in `read`.
//! - `accept`: new headers and blocks; `connect`: the active chain moves.
//! - `tree`, `coin`: what is known; `block`, `transaction`, `script`: the rules.

use std::{collections::BTreeMap, sync::Mutex};

use bitcoin::{BlockHash, Network, Transaction, Work, block::Header, constants::genesis_block};
use netsplit_api::config::ChainNetwork;

use self::{
    script::ScriptCache,
    tree::{GENESIS, HeaderTree, Index, Status},
};
use crate::{
    consensus::{Branch, Consensus, pow::ProofOfWork},
    db::Db,
    store::{StoreError, Table},
};

mod accept;
pub(crate) mod block;
pub(crate) mod coin;
mod connect;
mod read;
mod script;
mod stats;
pub(crate) mod transaction;
mod tree;

pub use self::{
    accept::{BlockOutcome, HeaderError},
    coin::Coin,
    stats::CoinStats,
    transaction::COINBASE_MATURITY,
};

/// Key of the active tip's hash in [`Table::Meta`].
const TIP_KEY: &[u8] = b"tip";

/// Blocks between halvings of the subsidy on regtest (Bitcoin Core `chainparams.cpp`).
pub const HALVING_INTERVAL: u32 = 150;

/// The last block of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tip {
    /// Its hash.
    pub hash: BlockHash,
    /// Its height; the genesis block has 0.
    pub height: u32,
    /// Expected hashes in the whole chain.
    pub work: Work,
}

/// How the active chain moved: from one tip to a better one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TipChange {
    /// Tip before.
    pub from: Tip,
    /// Tip after.
    pub to: Tip,
    /// Height of the last block both have.
    pub fork_height: u32,
    /// Blocks that left, tip first.
    pub disconnected: Vec<BlockHash>,
    /// Blocks that came, in order.
    pub connected: Vec<BlockHash>,
}

/// How much of a block is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockStatus {
    /// Only its header.
    HeaderOnly,
    /// The block is stored and no rule is known to be broken.
    Stored,
    /// It or an ancestor breaks a rule.
    Invalid,
}

/// A known header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeaderInfo {
    /// The header.
    pub header: Header,
    /// Its height.
    pub height: u32,
    /// Expected hashes up to and with it.
    pub work: Work,
    /// How much of its block is known.
    pub status: BlockStatus,
    /// Whether it was once checked in full as part of the active chain.
    pub validated: bool,
    /// When the header arrived, counted in headers.
    pub order: u32,
}

/// An end of the block tree, as `getchaintips` tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainTip {
    /// Its hash.
    pub hash: BlockHash,
    /// Its height.
    pub height: u32,
    /// Blocks between it and the active chain; 0 for the active tip.
    pub branch_length: u32,
    /// What is known of it.
    pub status: ChainTipStatus,
}

/// What is known of an end of the block tree, in `getchaintips`' words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChainTipStatus {
    /// The active chain's.
    Active,
    /// Fully checked, but not active.
    ValidFork,
    /// All blocks are there, but were never fully checked.
    ValidHeaders,
    /// Not all blocks are there.
    HeadersOnly,
    /// Breaks a rule.
    Invalid,
}

impl ChainTipStatus {
    /// The word `getchaintips` uses.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::ValidFork => "valid-fork",
            Self::ValidHeaders => "valid-headers",
            Self::HeadersOnly => "headers-only",
            Self::Invalid => "invalid",
        }
    }
}

/// The block tree, and which branch of it is active.
pub struct Chain {
    consensus: Box<dyn Consensus + Send + Sync>,
    tree: HeaderTree,
    /// The active chain, genesis first.
    active: Vec<Index>,
    /// Blocks with all ancestors stored that are no worse than the active tip; it is among them.
    candidates: Vec<Index>,
    /// Shared by blocks and the mempool, which reads the chain.
    scripts: Mutex<ScriptCache>,
}

impl Chain {
    /// The chain that `db` holds, or a new one of the genesis block only.
    ///
    /// # Errors
    /// When the store fails or is damaged.
    pub fn open(network: ChainNetwork, db: &mut Db) -> Result<Self, StoreError> {
        let ChainNetwork::Regtest = network;
        let genesis = genesis_block(Network::Regtest);
        let tree = if let Some(tree) = HeaderTree::load(db)? {
            if tree.entry(GENESIS).hash != genesis.block_hash() {
                return Err(StoreError("the store belongs to another network".into()));
            }
            tree
        } else {
            db.put(
                Table::Block,
                key(&genesis.block_hash()),
                bitcoin::consensus::serialize(&genesis),
            );
            db.put(Table::Meta, TIP_KEY.to_vec(), key(&genesis.block_hash()));
            HeaderTree::create(&genesis.header, db)
        };
        let mut chain = Self {
            consensus: Box::new(ProofOfWork::regtest()),
            tree,
            active: vec![GENESIS],
            candidates: Vec::new(),
            scripts: Mutex::default(),
        };
        chain.load_active(db)?;
        Ok(chain)
    }

    fn load_active(&mut self, db: &Db) -> Result<(), StoreError> {
        let tip = db
            .get(Table::Meta, TIP_KEY)?
            .and_then(|bytes| self.find_key(&bytes))
            .ok_or_else(|| StoreError("the active tip is lost".into()))?;
        self.active = self.branch_above(tip, GENESIS);
        self.active.insert(0, GENESIS);
        self.candidates = self
            .tree
            .indices()
            .filter(|i| self.is_candidate(*i))
            .collect();
        Ok(())
    }

    fn find_key(&self, bytes: &[u8]) -> Option<Index> {
        let hash: [u8; 32] = bytes.try_into().ok()?;
        self.tree
            .find(&bitcoin::hashes::Hash::from_byte_array(hash))
    }

    fn tip_index(&self) -> Index {
        *self
            .active
            .last()
            .expect("the genesis block is always active")
    }

    fn is_active_index(&self, index: Index) -> bool {
        self.active.get(self.tree.entry(index).height as usize) == Some(&index)
    }

    /// The fork choice's view of a block.
    fn branch(&self, index: Index) -> Branch {
        let entry = self.tree.entry(index);
        Branch {
            height: entry.height,
            sequence: entry.sequence,
        }
    }

    /// Whether a block could become the active tip, or is it.
    fn is_candidate(&self, index: Index) -> bool {
        let entry = self.tree.entry(index);
        entry.status.has_block()
            && entry.sequence != 0
            && !self
                .consensus
                .prefer(self.branch(self.tip_index()), self.branch(index))
    }

    /// The blocks of `tip`'s branch above its ancestor `base`, lowest first.
    fn branch_above(&self, tip: Index, base: Index) -> Vec<Index> {
        let mut path: Vec<Index> =
            std::iter::successors(Some(tip), |index| Some(self.tree.entry(*index).parent))
                .take_while(|index| *index != base)
                .collect();
        path.reverse();
        path
    }

    /// The last active block on the way from `index` down.
    fn fork_with_active(&self, mut index: Index) -> Index {
        while !self.is_active_index(index) {
            index = self.tree.entry(index).parent;
        }
        index
    }

    /// The ancestor of `index` at `height`, or `index` itself if it is not higher.
    fn ancestor(&self, mut index: Index, height: u32) -> Index {
        while self.tree.entry(index).height > height {
            if self.is_active_index(index) {
                return self.active[height as usize];
            }
            index = self.tree.entry(index).parent;
        }
        index
    }

    /// Median time of a block and the ten before it (BIP 113).
    fn median_time(&self, index: Index) -> u32 {
        let mut times = Vec::with_capacity(11);
        let mut at = index;
        for _ in 0..11 {
            times.push(self.tree.entry(at).time);
            if at == GENESIS {
                break;
            }
            at = self.tree.entry(at).parent;
        }
        times.sort_unstable();
        times[times.len() / 2]
    }

    fn work_at(&self, height: u32) -> Work {
        let work = u128::from(self.consensus.work_per_block()) * (u128::from(height) + 1);
        let mut bytes = [0; 32];
        bytes[16..].copy_from_slice(&work.to_be_bytes());
        Work::from_be_bytes(bytes)
    }

    fn tip_of(&self, index: Index) -> Tip {
        let entry = self.tree.entry(index);
        Tip {
            hash: entry.hash,
            height: entry.height,
            work: self.work_at(entry.height),
        }
    }

    /// The consensus mode: proof and fork choice.
    #[must_use]
    pub fn consensus(&self) -> &dyn Consensus {
        &*self.consensus
    }

    /// Whether a transaction's inputs satisfy the scripts of `coins`; what passed is remembered.
    pub(crate) fn scripts_pass(&self, tx: &Transaction, coins: &[Coin]) -> bool {
        let wtxid = tx.compute_wtxid();
        let lock = || {
            self.scripts
                .lock()
                .expect("nothing panics while it holds the lock")
        };
        if lock().contains(&wtxid) {
            return true;
        }
        let pass = script::scripts_pass(tx, coins);
        if pass {
            lock().insert(wtxid);
        }
        pass
    }
}

/// What a block of this height may create (regtest halves every [`HALVING_INTERVAL`] blocks).
#[must_use]
pub fn subsidy(height: u32) -> bitcoin::Amount {
    let initial = 50 * bitcoin::Amount::ONE_BTC.to_sat();
    bitcoin::Amount::from_sat(initial.checked_shr(height / HALVING_INTERVAL).unwrap_or(0))
}

/// A block's key in the store.
fn key(hash: &BlockHash) -> Vec<u8> {
    bitcoin::hashes::Hash::as_byte_array(hash).to_vec()
}

/// Undo data and coins that a reorganisation writes once it succeeded.
type UndoByBlock = BTreeMap<Index, Vec<u8>>;

impl From<Status> for BlockStatus {
    fn from(status: Status) -> Self {
        match status {
            Status::HeaderOnly => Self::HeaderOnly,
            Status::Stored | Status::Valid => Self::Stored,
            Status::Invalid => Self::Invalid,
        }
    }
}
