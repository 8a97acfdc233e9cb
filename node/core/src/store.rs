//! What a node keeps. The one synchronous door out of the core, next to [`crate::io`].
//!
//! A node collects the writes of one input in a [`Batch`], commits it once, and only then releases the outputs of that
//! input: what others were told is never forgotten.

use std::collections::BTreeMap;

/// Kinds of entries. The number is the table's name on disk and never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Table {
    /// Facts about the store itself and the chain: one key each.
    Meta = 0,
    /// Block hash to header, height, status.
    Header = 1,
    /// Block hash to serialised block.
    Block = 2,
    /// Block hash to the coins it spent.
    Undo = 3,
    /// Outpoint to unspent coin.
    Coin = 4,
    /// Socket address to what is known of it.
    Address = 5,
    /// The wallet's changes, in order.
    Wallet = 6,
}

impl Table {
    /// All tables.
    pub const ALL: [Self; 7] = [
        Self::Meta,
        Self::Header,
        Self::Block,
        Self::Undo,
        Self::Coin,
        Self::Address,
        Self::Wallet,
    ];
}

/// Writes that become visible together or not at all. A later write to a key replaces an earlier one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// `None` removes the key.
    pub writes: BTreeMap<(Table, Vec<u8>), Option<Vec<u8>>>,
}

impl Batch {
    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }
}

/// The store could not read or write; the node stops.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store failed: {0}")]
pub struct StoreError(pub String);

/// A key-value store with atomic batches.
pub trait Store {
    /// The value at `key`.
    ///
    /// # Errors
    /// When the medium fails.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// Calls `visit` with every entry of `table` in ascending order of keys.
    ///
    /// # Errors
    /// When the medium fails.
    fn scan(&self, table: Table, visit: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), StoreError>;

    /// Writes all of `batch` or nothing. When this returns, the batch survives the death of the process.
    ///
    /// # Errors
    /// When the medium fails; nothing has been written then.
    fn commit(&mut self, batch: &Batch) -> Result<(), StoreError>;
}

/// A store in memory, for tests and simulated nodes.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    entries: BTreeMap<(Table, Vec<u8>), Vec<u8>>,
}

impl Store for MemoryStore {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.entries.get(&(table, key.to_vec())).cloned())
    }

    fn scan(&self, table: Table, visit: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), StoreError> {
        let from = (table, Vec::new());
        for ((_, key), value) in self
            .entries
            .range(from..)
            .take_while(|((t, _), _)| *t == table)
        {
            visit(key, value);
        }
        Ok(())
    }

    fn commit(&mut self, batch: &Batch) -> Result<(), StoreError> {
        for (key, value) in &batch.writes {
            match value {
                Some(value) => self.entries.insert(key.clone(), value.clone()),
                None => self.entries.remove(key),
            };
        }
        Ok(())
    }
}
