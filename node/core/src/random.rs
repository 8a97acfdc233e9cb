//! Named random streams: everything a node leaves to chance derives from its seed and a label.
//!
//! Streams with different labels are independent, so that a new consumer does not shift what others draw.

use rand_chacha::ChaCha12Rng;
use rand_core::SeedableRng as _;
use sha2::{Digest as _, Sha256};

/// The stream `label` of the node with this `seed`: `ChaCha12` keyed with `SHA-256(seed ‖ label)`.
#[must_use]
pub fn stream(seed: &[u8; 32], label: &str) -> ChaCha12Rng {
    let key = Sha256::new()
        .chain_update(seed)
        .chain_update(label.as_bytes())
        .finalize();
    ChaCha12Rng::from_seed(key.into())
}

/// The 32 bytes of a seed written as 64 hex digits; `None` if it is not that.
#[must_use]
pub fn parse_seed(text: &str) -> Option<[u8; 32]> {
    hex::decode(text).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use rand_core::Rng as _;

    use super::*;

    #[test]
    fn labels_and_seeds_name_different_streams() {
        let draw = |seed: u8, label| stream(&[seed; 32], label).next_u64();
        assert_eq!(draw(1, "mining"), draw(1, "mining"));
        assert_ne!(draw(1, "mining"), draw(1, "wallet"));
        assert_ne!(draw(1, "mining"), draw(2, "mining"));
    }

    #[test]
    fn seeds_are_64_hex_digits() {
        assert_eq!(parse_seed(&"0f".repeat(32)), Some([15; 32]));
        assert_eq!(parse_seed("0f"), None);
        assert_eq!(parse_seed(&"zz".repeat(32)), None);
    }
}
