//! What the process exits with: constants, and which of several codes wins.

/// Everything held and nothing is left.
pub const PASSED: u8 = 0;
/// An assertion failed or did not come true in its `within`, or a node answered a call with an error.
pub const FAILED: u8 = 1;
/// Wrong usage or an invalid topology; nothing was started.
pub const USAGE: u8 = 2;
/// Infrastructure: the engine, an image, a missing capability, a node that died or does not answer.
pub const INFRASTRUCTURE: u8 = 3;
/// A fault could not be shown to be real.
pub const INCONCLUSIVE: u8 = 4;
/// Passed, but something could not be removed.
pub const LEFT_BEHIND: u8 = 5;
/// The whole run took longer than its `timeout`.
pub const TIMED_OUT: u8 = 124;
/// Somebody interrupted it.
pub const INTERRUPTED: u8 = 130;

/// Every code from the one that wins over all others to the one that loses to all.
///
/// [`USAGE`] never meets the codes after it within one run, because nothing was started; over several files it would
/// be found before the first of them is started.
const PRECEDENCE: [u8; 8] = [
    INTERRUPTED,
    INFRASTRUCTURE,
    USAGE,
    TIMED_OUT,
    INCONCLUSIVE,
    FAILED,
    LEFT_BEHIND,
    PASSED,
];

/// The code that wins: 130 > 3 > 2 > 124 > 4 > 1 > 5 > 0. A code that is none of ours counts as [`INFRASTRUCTURE`].
#[must_use]
pub fn worst(codes: impl IntoIterator<Item = u8>) -> u8 {
    let rank = |code: &u8| {
        PRECEDENCE
            .iter()
            .position(|known| known == code)
            .unwrap_or(1)
    };
    codes.into_iter().min_by_key(rank).unwrap_or(PASSED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn precedence_is_the_documented_one() {
        assert_eq!(worst([]), PASSED);
        assert_eq!(worst([PASSED, LEFT_BEHIND]), LEFT_BEHIND);
        assert_eq!(worst([LEFT_BEHIND, FAILED]), FAILED);
        assert_eq!(worst([FAILED, INCONCLUSIVE]), INCONCLUSIVE);
        assert_eq!(worst([INCONCLUSIVE, TIMED_OUT]), TIMED_OUT);
        assert_eq!(worst([TIMED_OUT, INFRASTRUCTURE, PASSED]), INFRASTRUCTURE);
        assert_eq!(worst([INFRASTRUCTURE, INTERRUPTED, FAILED]), INTERRUPTED);
    }
}
