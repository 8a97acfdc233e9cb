//! Names nobody else has.

use crate::RuntimeError;

/// `N` random bytes in hex.
///
/// # Errors
/// When the machine gives none.
pub(crate) fn hex<const N: usize>() -> Result<String, RuntimeError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)
        .map_err(|error| RuntimeError::with_source("failed to get random bytes", error))?;
    Ok(::hex::encode(bytes))
}
