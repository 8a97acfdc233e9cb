//! The node's store on disk: one redb file.
//!
//! Each [`Table`] of the core is a redb table named by its number; keys and values are bytes whose meaning is the core's.

mod backend;

use std::{cell::OnceCell, fmt, fs::OpenOptions, path::Path};

use netsplit_api::config::Durability;
use netsplit_core::store::{Batch, Store, StoreError, Table};
use redb::{Database, ReadOnlyTable, ReadableDatabase as _, ReadableTable as _, TableDefinition};

use self::backend::Backend;

/// Name of the database file in the data directory.
pub const FILE_NAME: &str = "store.redb";

/// Bytes of the file that are kept in memory; the kernel's page cache does the rest.
const CACHE_BYTES: usize = 512 * 1024;

type Definition = TableDefinition<'static, &'static [u8], &'static [u8]>;
type View = Vec<ReadOnlyTable<&'static [u8], &'static [u8]>>;

/// Redb's names of the core's tables: their numbers, in the order of [`Table::ALL`].
const DEFINITIONS: [Definition; Table::ALL.len()] = [
    TableDefinition::new("0"),
    TableDefinition::new("1"),
    TableDefinition::new("2"),
    TableDefinition::new("3"),
    TableDefinition::new("4"),
    TableDefinition::new("5"),
    TableDefinition::new("6"),
];

/// A [`Store`] in one file.
pub struct RedbStore {
    /// All tables as of the last commit; opened on the first read after it. Dropped before the database is.
    view: OnceCell<View>,
    database: Database,
}

impl fmt::Debug for RedbStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedbStore").finish_non_exhaustive()
    }
}

impl RedbStore {
    /// Opens the store in `directory`, which must exist; creates it if there is none.
    ///
    /// # Errors
    /// When the file cannot be opened, is held by another process or is not a store.
    pub fn open(directory: &Path, durability: Durability) -> Result<Self, StoreError> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(directory.join(FILE_NAME))
            .map_err(failed)?;
        let backend = Backend::new(file, durability).map_err(failed)?;
        let database = redb::Builder::new()
            .set_cache_size(CACHE_BYTES)
            .create_with_backend(backend)
            .map_err(failed)?;
        create_tables(&database)?;
        Ok(Self {
            view: OnceCell::new(),
            database,
        })
    }

    fn view(&self) -> Result<&View, StoreError> {
        if let Some(view) = self.view.get() {
            return Ok(view);
        }
        let transaction = self.database.begin_read().map_err(failed)?;
        let tables: Result<View, _> = DEFINITIONS
            .iter()
            .map(|table| transaction.open_table(*table))
            .collect();
        let tables = tables.map_err(failed)?;
        Ok(self.view.get_or_init(|| tables))
    }

    fn table(
        &self,
        table: Table,
    ) -> Result<&ReadOnlyTable<&'static [u8], &'static [u8]>, StoreError> {
        Ok(&self.view()?[table as usize])
    }
}

/// A read fails when a table is missing, so all are there from the start.
fn create_tables(database: &Database) -> Result<(), StoreError> {
    let existing = database.begin_read().map_err(failed)?;
    if DEFINITIONS
        .iter()
        .all(|table| existing.open_table(*table).is_ok())
    {
        return Ok(());
    }
    drop(existing);
    let transaction = database.begin_write().map_err(failed)?;
    for table in DEFINITIONS {
        transaction.open_table(table).map_err(failed)?;
    }
    transaction.commit().map_err(failed)
}

impl Store for RedbStore {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let value = self.table(table)?.get(key).map_err(failed)?;
        Ok(value.map(|value| value.value().to_vec()))
    }

    fn scan(&self, table: Table, visit: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), StoreError> {
        for entry in self.table(table)?.iter().map_err(failed)? {
            let (key, value) = entry.map_err(failed)?;
            visit(key.value(), value.value());
        }
        Ok(())
    }

    fn commit(&mut self, batch: &Batch) -> Result<(), StoreError> {
        // An open view would keep redb from using the pages again that this commit frees.
        self.view.take();
        let transaction = self.database.begin_write().map_err(failed)?;
        for definition in Table::ALL {
            let mut writes = batch
                .writes
                .iter()
                .filter(|((table, _), _)| *table == definition)
                .peekable();
            if writes.peek().is_none() {
                continue;
            }
            let mut table = transaction
                .open_table(DEFINITIONS[definition as usize])
                .map_err(failed)?;
            for ((_, key), value) in writes {
                match value {
                    Some(value) => table.insert(key.as_slice(), value.as_slice()),
                    None => table.remove(key.as_slice()),
                }
                .map_err(failed)?;
            }
        }
        transaction.commit().map_err(failed)
    }
}

fn failed(error: impl fmt::Display) -> StoreError {
    StoreError(error.to_string())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn batch(writes: &[(Table, &str, Option<&str>)]) -> Batch {
        let entry = |(table, key, value): &(Table, &str, Option<&str>)| {
            (
                (*table, key.as_bytes().to_vec()),
                value.map(|v| v.as_bytes().to_vec()),
            )
        };
        Batch {
            writes: writes.iter().map(entry).collect(),
        }
    }

    fn entries(store: &RedbStore, table: Table) -> Vec<(String, String)> {
        let mut found = Vec::new();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        store
            .scan(table, &mut |key, value| {
                found.push((text(key), text(value)));
            })
            .unwrap();
        found
    }

    #[test]
    fn what_is_committed_is_there_after_reopening() {
        let directory = tempfile::tempdir().unwrap();
        for durability in [Durability::Process, Durability::Power] {
            let mut store = RedbStore::open(directory.path(), durability).unwrap();
            store
                .commit(&batch(&[
                    (Table::Coin, "b", Some("2")),
                    (Table::Coin, "a", Some("1")),
                    (Table::Meta, "a", Some("other")),
                ]))
                .unwrap();
            assert_eq!(
                store.get(Table::Coin, b"a").unwrap().as_deref(),
                Some(b"1".as_slice())
            );
            store
                .commit(&batch(&[
                    (Table::Coin, "a", None),
                    (Table::Coin, "c", Some("3")),
                ]))
                .unwrap();
            drop(store);
            let store = RedbStore::open(directory.path(), durability).unwrap();
            let expected = [("b", "2"), ("c", "3")].map(|(k, v)| (k.into(), v.into()));
            assert_eq!(entries(&store, Table::Coin), expected);
            assert_eq!(store.get(Table::Coin, b"a").unwrap(), None);
        }
    }

    #[test]
    fn a_second_owner_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let _first = RedbStore::open(directory.path(), Durability::Process).unwrap();
        assert!(RedbStore::open(directory.path(), Durability::Process).is_err());
    }

    #[test]
    fn a_file_that_is_no_store_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(FILE_NAME), vec![7; 8192]).unwrap();
        assert!(RedbStore::open(directory.path(), Durability::Process).is_err());
    }
}
