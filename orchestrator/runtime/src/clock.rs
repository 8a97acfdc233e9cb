//! The wall clock, for runtimes whose time is the world's.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::Timestamp;

/// The time.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

/// Whole seconds since the epoch.
pub(crate) const fn seconds(at: Timestamp) -> u64 {
    at.0 / 1_000_000_000
}

/// Returns when the clock has reached `at`.
pub(crate) async fn sleep_until(at: Timestamp) {
    // Looked at again after each sleep: the wall clock may be set meanwhile.
    loop {
        let rest = at - now();
        if rest.is_zero() {
            return;
        }
        tokio::time::sleep(rest.min(Duration::from_secs(1))).await;
    }
}
