//! The tree of all known headers, compact in memory and complete in [`Table::Header`].
//!
//! An entry's parent always has the smaller index. Nothing here knows what makes a block valid.

use std::collections::BTreeMap;

use bitcoin::{
    BlockHash, CompactTarget, TxMerkleNode,
    block::{Header, Version},
    consensus::{deserialize, serialize},
    hashes::Hash as _,
};

use crate::{
    db::Db,
    store::{StoreError, Table},
};

/// Index of an entry; stable while the node lives.
pub(super) type Index = u32;

/// The genesis block's index.
pub(super) const GENESIS: Index = 0;

/// What is known of a block besides its header. The number is its name on disk and never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Status {
    /// Only the header is known.
    HeaderOnly = 0,
    /// The block is stored; what can be checked without its ancestors is checked.
    Stored = 1,
    /// The block was part of the active chain or passed all checks for it.
    Valid = 2,
    /// The block or an ancestor broke a rule.
    Invalid = 3,
}

impl Status {
    fn decode(byte: u8) -> Option<Self> {
        [Self::HeaderOnly, Self::Stored, Self::Valid, Self::Invalid]
            .into_iter()
            .find(|s| *s as u8 == byte)
    }

    /// Whether the block's transactions can be read and it may become active.
    pub(super) const fn has_block(self) -> bool {
        matches!(self, Self::Stored | Self::Valid)
    }
}

/// A header without its parent's hash, and what is known of its block.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) hash: BlockHash,
    version: Version,
    merkle_root: TxMerkleNode,
    pub(super) time: u32,
    bits: CompactTarget,
    nonce: u32,
    pub(super) parent: Index,
    pub(super) height: u32,
    /// Arrival of the header, counted in headers.
    pub(super) order: u32,
    /// Arrival of the block and all its ancestors, counted in blocks from 1; 0 before.
    pub(super) sequence: u32,
    pub(super) status: Status,
}

/// Length of an entry on disk: header, height, order, sequence, status.
const ENCODED: usize = Header::SIZE + 4 + 4 + 4 + 1;

#[derive(Debug, Default)]
pub(super) struct HeaderTree {
    entries: Vec<Entry>,
    index: BTreeMap<BlockHash, Index>,
    /// The best header chain, genesis first.
    best: Vec<Index>,
    /// No block below this height of the best header chain is missing.
    first_missing: usize,
    /// Stored blocks waiting for an ancestor, by parent.
    unlinked: BTreeMap<Index, Vec<Index>>,
    next_order: u32,
    next_sequence: u32,
}

impl HeaderTree {
    /// A tree of the genesis block only, written to `db`.
    pub(super) fn create(genesis: &Header, db: &mut Db) -> Self {
        let mut tree = Self {
            next_sequence: 1,
            ..Self::default()
        };
        let index = tree.push(genesis, GENESIS, 0);
        tree.set_status(db, index, Status::Valid);
        tree.link(db, index);
        tree
    }

    /// The tree that `db` holds; `None` if it holds none.
    pub(super) fn load(db: &Db) -> Result<Option<Self>, StoreError> {
        let mut rows = Vec::new();
        let mut damaged = None;
        db.scan(
            Table::Header,
            &mut |key, value| match Row::decode(key, value) {
                Some(row) => rows.push(row),
                None => damaged = Some(hex::encode(key)),
            },
        )?;
        if let Some(key) = damaged {
            return Err(StoreError(format!("the header {key} is damaged")));
        }
        if rows.is_empty() {
            return Ok(None);
        }
        rows.sort_unstable_by_key(|row| (row.height, row.order));
        let mut tree = Self::default();
        for row in rows {
            tree.restore(&row)?;
        }
        tree.choose_best();
        tree.rebuild_unlinked();
        Ok(Some(tree))
    }

    fn restore(&mut self, row: &Row) -> Result<(), StoreError> {
        let parent = match self.index.get(&row.header.prev_blockhash) {
            Some(parent) => *parent,
            None if self.entries.is_empty() => GENESIS,
            None => {
                return Err(StoreError(format!(
                    "the parent of header {} is lost",
                    row.hash
                )));
            }
        };
        self.next_order = self.next_order.max(row.order + 1);
        self.next_sequence = self.next_sequence.max(row.sequence + 1);
        let index = self.push_entry(&row.header, row.hash, parent, row.height);
        let entry = &mut self.entries[index as usize];
        (entry.order, entry.sequence, entry.status) = (row.order, row.sequence, row.status);
        Ok(())
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn find(&self, hash: &BlockHash) -> Option<Index> {
        self.index.get(hash).copied()
    }

    pub(super) fn entry(&self, index: Index) -> &Entry {
        &self.entries[index as usize]
    }

    pub(super) fn indices(&self) -> impl Iterator<Item = Index> + use<> {
        0..Index::try_from(self.entries.len()).expect("indices are handed out as u32")
    }

    /// The whole header of an entry.
    pub(super) fn header(&self, index: Index) -> Header {
        let entry = self.entry(index);
        let prev_blockhash = if index == GENESIS {
            BlockHash::all_zeros()
        } else {
            self.entry(entry.parent).hash
        };
        Header {
            version: entry.version,
            prev_blockhash,
            merkle_root: entry.merkle_root,
            time: entry.time,
            bits: entry.bits,
            nonce: entry.nonce,
        }
    }

    /// Adds a header below `parent`, which must not be there yet.
    pub(super) fn insert(&mut self, db: &mut Db, header: &Header, parent: Index) -> Index {
        let index = self.push(header, parent, self.entry(parent).height + 1);
        self.write(db, index);
        if self.entry(index).height > self.entry(self.best_header()).height {
            self.set_best(index);
        }
        index
    }

    fn push(&mut self, header: &Header, parent: Index, height: u32) -> Index {
        let index = self.push_entry(header, header.block_hash(), parent, height);
        self.entries[index as usize].order = self.next_order;
        self.next_order += 1;
        index
    }

    fn push_entry(
        &mut self,
        header: &Header,
        hash: BlockHash,
        parent: Index,
        height: u32,
    ) -> Index {
        let index = Index::try_from(self.entries.len()).expect("fewer than 2^32 headers");
        self.entries.push(Entry {
            hash,
            version: header.version,
            merkle_root: header.merkle_root,
            time: header.time,
            bits: header.bits,
            nonce: header.nonce,
            parent,
            height,
            order: 0,
            sequence: 0,
            status: Status::HeaderOnly,
        });
        self.index.insert(hash, index);
        index
    }

    fn write(&self, db: &mut Db, index: Index) {
        let entry = self.entry(index);
        let mut value = serialize(&self.header(index));
        value.extend(entry.height.to_le_bytes());
        value.extend(entry.order.to_le_bytes());
        value.extend(entry.sequence.to_le_bytes());
        value.push(entry.status as u8);
        db.put(Table::Header, entry.hash.to_byte_array().to_vec(), value);
    }

    pub(super) fn set_status(&mut self, db: &mut Db, index: Index, status: Status) {
        self.entries[index as usize].status = status;
        self.write(db, index);
    }

    /// Notes that the block of `index` is stored. Answers with the blocks that now have all ancestors, in order of
    /// height.
    pub(super) fn store(&mut self, db: &mut Db, index: Index) -> Vec<Index> {
        self.set_status(db, index, Status::Stored);
        let parent = self.entry(index).parent;
        if self.entry(parent).sequence == 0 {
            self.unlinked.entry(parent).or_default().push(index);
            return Vec::new();
        }
        let mut linked = vec![index];
        let mut next = 0;
        while let Some(index) = linked.get(next).copied() {
            self.link(db, index);
            linked.extend(self.unlinked.remove(&index).unwrap_or_default());
            next += 1;
        }
        linked
    }

    fn link(&mut self, db: &mut Db, index: Index) {
        self.entries[index as usize].sequence = self.next_sequence;
        self.next_sequence += 1;
        self.write(db, index);
        if self.best.is_empty() {
            self.set_best(index);
        }
    }

    /// Marks a block and all its descendants.
    pub(super) fn invalidate(&mut self, db: &mut Db, index: Index) {
        self.set_status(db, index, Status::Invalid);
        for child in self.indices().skip(index as usize + 1) {
            let entry = self.entry(child);
            let parent = self.entry(entry.parent).status;
            if parent == Status::Invalid && entry.status != Status::Invalid {
                self.unlinked.remove(&child);
                self.set_status(db, child, Status::Invalid);
            }
        }
        self.unlinked.remove(&index);
        for waiting in self.unlinked.values_mut() {
            waiting.retain(|i| self.entries[*i as usize].status.has_block());
        }
        let best = self.best_header();
        if self.entry(best).status == Status::Invalid {
            self.choose_best();
        }
    }

    fn rebuild_unlinked(&mut self) {
        for index in self.indices() {
            let entry = self.entry(index);
            if entry.status.has_block() && entry.sequence == 0 {
                self.unlinked.entry(entry.parent).or_default().push(index);
            }
        }
    }

    /// Chooses the best header anew: highest, then earliest.
    fn choose_best(&mut self) {
        let best = self
            .indices()
            .filter(|i| self.entry(*i).status != Status::Invalid)
            .min_by_key(|i| {
                (
                    std::cmp::Reverse(self.entry(*i).height),
                    self.entry(*i).order,
                )
            });
        self.set_best(best.unwrap_or(GENESIS));
    }

    fn set_best(&mut self, index: Index) {
        let height = self.entry(index).height as usize;
        self.best.resize(height + 1, Index::MAX);
        let mut at = index;
        loop {
            let height = self.entry(at).height as usize;
            if self.best[height] == at {
                break;
            }
            self.best[height] = at;
            self.first_missing = self.first_missing.min(height);
            if height == 0 {
                break;
            }
            at = self.entry(at).parent;
        }
    }

    pub(super) fn best_header(&self) -> Index {
        *self.best.last().expect("the genesis block is always there")
    }

    /// The best header chain, genesis first.
    pub(super) fn best_path(&self) -> &[Index] {
        &self.best
    }

    /// Blocks of the best header chain that are not stored, lowest first.
    pub(super) fn missing(&self) -> impl Iterator<Item = Index> + '_ {
        self.best[self.first_missing.min(self.best.len())..]
            .iter()
            .copied()
            .filter(|i| !self.entry(*i).status.has_block())
    }

    /// Moves the start of [`missing`](Self::missing) past what is stored.
    pub(super) fn skip_stored(&mut self) {
        while self
            .best
            .get(self.first_missing)
            .is_some_and(|i| self.entries[*i as usize].status.has_block())
        {
            self.first_missing += 1;
        }
    }
}

/// A decoded entry of [`Table::Header`].
struct Row {
    hash: BlockHash,
    header: Header,
    height: u32,
    order: u32,
    sequence: u32,
    status: Status,
}

impl Row {
    fn decode(key: &[u8], value: &[u8]) -> Option<Self> {
        let value: &[u8; ENCODED] = value.try_into().ok()?;
        let (header, rest) = value.split_first_chunk::<{ Header::SIZE }>()?;
        let (height, rest) = rest.split_first_chunk()?;
        let (order, rest) = rest.split_first_chunk()?;
        let (sequence, rest) = rest.split_first_chunk()?;
        Some(Self {
            hash: BlockHash::from_byte_array(key.try_into().ok()?),
            header: deserialize(header).ok()?,
            height: u32::from_le_bytes(*height),
            order: u32::from_le_bytes(*order),
            sequence: u32::from_le_bytes(*sequence),
            status: Status::decode(*rest.first()?)?,
        })
    }
}
