//! The node's clocks: the host's monotonic one, and its wall clock moved by the configured offset.

use std::time::{Duration, Instant as HostInstant, SystemTime, UNIX_EPOCH};

use netsplit_core::time::{Instant, Now, WallTime};

/// Reads both clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    origin: HostInstant,
    offset_ms: i64,
}

impl Clock {
    /// Monotonic time counts from now on; wall time is the host's plus `offset_ms`.
    pub(crate) fn start(offset_ms: i64) -> Self {
        Self {
            origin: HostInstant::now(),
            offset_ms,
        }
    }

    /// What the node is told.
    pub(crate) fn now(&self) -> Now {
        Now {
            mono: Instant(nanoseconds(self.origin.elapsed())),
            wall: self.wall(),
        }
    }

    /// Time since the start.
    pub(crate) fn uptime(&self) -> Duration {
        self.origin.elapsed()
    }

    /// When the host's clock shows what the node calls `deadline`.
    pub(crate) fn host_time(&self, deadline: Instant) -> tokio::time::Instant {
        tokio::time::Instant::from_std(self.origin + Duration::from_nanos(deadline.0))
    }

    fn wall(&self) -> WallTime {
        let offset_ns = i128::from(self.offset_ms) * 1_000_000;
        let shifted = (i128::from(epoch_nanoseconds()) + offset_ns).max(0);
        WallTime(u64::try_from(shifted).unwrap_or(u64::MAX))
    }
}

/// The host's wall clock, without any offset: nanoseconds since the epoch.
pub(crate) fn epoch_nanoseconds() -> u64 {
    nanoseconds(
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default(),
    )
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_offset_moves_the_wall_clock_only() {
        let ahead = Clock::start(3_600_000);
        let behind = Clock::start(-3_600_000);
        let gap = ahead.now().wall.seconds() - behind.now().wall.seconds();
        assert!((7_199..=7_201).contains(&gap), "{gap}");
        assert!(ahead.now().mono.0 < 10_000_000_000);
        assert_eq!(Clock::start(i64::MIN).now().wall, WallTime(0));
    }
}
