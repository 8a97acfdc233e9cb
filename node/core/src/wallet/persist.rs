//! The wallet's changes in the store: one entry each, in order; merged, they give the wallet.

use bdk_wallet::{ChangeSet, chain::Merge as _, serde_json};

use super::WalletError;
use crate::{
    db::Db,
    store::{StoreError, Table},
};

/// Merged into one entry on opening when there are more than this.
const MAX_CHANGES: usize = 256;

/// What the store holds of the wallet.
pub(super) struct Changes {
    /// All changes in one, if there are any.
    pub(super) merged: Option<ChangeSet>,
    /// Key of the next change.
    pub(super) next: u64,
}

/// Reads all changes.
pub(super) fn load(db: &mut Db) -> Result<Changes, WalletError> {
    let mut merged: Option<ChangeSet> = None;
    let mut keys = Vec::new();
    let mut damaged = None;
    db.scan(Table::Wallet, &mut |key, value| {
        keys.push(key.to_vec());
        match serde_json::from_slice::<ChangeSet>(value) {
            Ok(change) => merged.get_or_insert_default().merge(change),
            Err(error) => damaged = Some(error.to_string()),
        }
    })?;
    if let Some(error) = damaged {
        return Err(WalletError::Damaged(error));
    }
    let next = match keys.last() {
        None => 0,
        Some(key) => decode_key(key)? + 1,
    };
    if let Some(merged) = merged.as_ref().filter(|_| keys.len() > MAX_CHANGES) {
        append(db, next, merged)?;
        for key in keys {
            db.delete(Table::Wallet, key);
        }
        return Ok(Changes {
            merged: Some(merged.clone()),
            next: next + 1,
        });
    }
    Ok(Changes { merged, next })
}

/// Writes one change at `key`.
pub(super) fn append(db: &mut Db, key: u64, change: &ChangeSet) -> Result<(), WalletError> {
    let value = serde_json::to_vec(change)
        .map_err(|error| StoreError(format!("a wallet's change cannot be written: {error}")))?;
    db.put(Table::Wallet, key.to_be_bytes().to_vec(), value);
    Ok(())
}

fn decode_key(key: &[u8]) -> Result<u64, WalletError> {
    let key = key
        .try_into()
        .map_err(|_| WalletError::Damaged("a key of wrong length".into()))?;
    Ok(u64::from_be_bytes(key))
}
