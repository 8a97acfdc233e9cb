//! A database file whose syncs can be left out.
//!
//! redb orders its writes and marks the end of a commit with the last of them. What a process has written stays in the
//! kernel when the process dies, so that order alone makes a commit survive `kill -9`; only a loss of power needs the
//! sync. redb's own `Durability::None` does not help here: it keeps commits in the process.

use std::{fs::File, io, ops::Bound};

use netsplit_api::config::Durability;
use redb::{BackendError, DatabaseError, StorageBackend, backends::FileBackend};

/// A file, synced or not.
#[derive(Debug)]
pub(super) struct Backend {
    file: FileBackend,
    durability: Durability,
}

impl Backend {
    /// Locks `file` for this process.
    pub(super) fn new(file: File, durability: Durability) -> Result<Self, DatabaseError> {
        Ok(Self {
            file: FileBackend::new(file)?,
            durability,
        })
    }
}

impl StorageBackend for Backend {
    fn len(&self) -> Result<u64, io::Error> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        self.file.set_len(len)
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        match self.durability {
            Durability::Process => Ok(()),
            Durability::Power => self.file.sync_data(),
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.file.write(offset, data)
    }

    fn close(&self) -> Result<(), io::Error> {
        self.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_range(start, end)
    }

    fn try_lock_shared_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }
}
