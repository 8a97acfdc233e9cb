//! The store as one input sees it: what is committed, under what this input has written so far.
//!
//! Knows nothing of what the entries mean.

use std::iter::Peekable;

use crate::store::{Batch, Store, StoreError, Table};

/// A store with the uncommitted writes of the input at hand on top.
pub struct Db {
    store: Box<dyn Store + Send>,
    batch: Batch,
}

impl Db {
    /// A view of `store` with nothing written yet.
    #[must_use]
    pub fn new(store: Box<dyn Store + Send>) -> Self {
        Self {
            store,
            batch: Batch::default(),
        }
    }

    /// The value at `key`, uncommitted writes included.
    ///
    /// # Errors
    /// When the medium fails.
    pub fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        match self.batch.writes.get(&(table, key.to_vec())) {
            Some(written) => Ok(written.clone()),
            None => self.store.get(table, key),
        }
    }

    /// Writes `value` at `key`; in force at once, on the medium after [`commit`](Self::commit).
    pub fn put(&mut self, table: Table, key: Vec<u8>, value: Vec<u8>) {
        self.batch.writes.insert((table, key), Some(value));
    }

    /// Removes `key`; in force at once, on the medium after [`commit`](Self::commit).
    pub fn delete(&mut self, table: Table, key: Vec<u8>) {
        self.batch.writes.insert((table, key), None);
    }

    /// Calls `visit` with every entry of `table` in ascending order of keys, uncommitted writes included.
    ///
    /// # Errors
    /// When the medium fails.
    pub fn scan(
        &self,
        table: Table,
        visit: &mut dyn FnMut(&[u8], &[u8]),
    ) -> Result<(), StoreError> {
        let mut written = self
            .batch
            .writes
            .range((table, Vec::new())..)
            .take_while(|((of, _), _)| *of == table)
            .map(|((_, key), value)| (key.as_slice(), value.as_deref()))
            .peekable();
        self.store.scan(table, &mut |key, value| {
            visit_below(&mut written, key, visit);
            match written.next_if(|(at, _)| *at == key) {
                Some((_, Some(newer))) => visit(key, newer),
                Some((_, None)) => {}
                None => visit(key, value),
            }
        })?;
        for (key, value) in written {
            if let Some(value) = value {
                visit(key, value);
            }
        }
        Ok(())
    }

    /// Whether something waits to be committed.
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        !self.batch.is_empty()
    }

    /// Puts all writes since the last commit on the medium, or none.
    ///
    /// # Errors
    /// When the medium fails; the writes stay in force in memory then, and the node must stop.
    pub fn commit(&mut self) -> Result<(), StoreError> {
        if self.batch.is_empty() {
            return Ok(());
        }
        self.store.commit(&self.batch)?;
        self.batch.writes.clear();
        Ok(())
    }
}

/// Visits the written entries whose keys come before `limit`.
fn visit_below<'a>(
    written: &mut Peekable<impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>>,
    limit: &[u8],
    visit: &mut dyn FnMut(&[u8], &[u8]),
) {
    while let Some((key, value)) = written.next_if(|(key, _)| *key < limit) {
        if let Some(value) = value {
            visit(key, value);
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::store::MemoryStore;

    fn entries(db: &Db, table: Table) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut found = Vec::new();
        db.scan(table, &mut |key, value| {
            found.push((key.to_vec(), value.to_vec()));
        })
        .unwrap();
        found
    }

    #[test]
    fn scan_merges_committed_and_written_in_key_order() {
        let mut db = Db::new(Box::new(MemoryStore::default()));
        for key in [2u8, 4, 6] {
            db.put(Table::Coin, vec![key], vec![key]);
        }
        db.commit().unwrap();
        db.put(Table::Coin, vec![1], vec![10]);
        db.put(Table::Coin, vec![4], vec![40]);
        db.delete(Table::Coin, vec![6]);
        db.delete(Table::Coin, vec![3]);
        db.put(Table::Coin, vec![9], vec![90]);
        db.put(Table::Address, vec![0], vec![0]);
        let expected = [(1, 10), (2, 2), (4, 40), (9, 90)].map(|(k, v)| (vec![k], vec![v]));
        assert_eq!(entries(&db, Table::Coin), expected);
        db.commit().unwrap();
        assert!(!db.is_dirty());
        assert_eq!(entries(&db, Table::Coin), expected);
    }

    #[test]
    fn get_sees_writes_before_the_commit() {
        let mut db = Db::new(Box::new(MemoryStore::default()));
        db.put(Table::Meta, vec![1], vec![2]);
        assert_eq!(db.get(Table::Meta, &[1]).unwrap(), Some(vec![2]));
        db.commit().unwrap();
        db.delete(Table::Meta, vec![1]);
        assert_eq!(db.get(Table::Meta, &[1]).unwrap(), None);
    }
}
