//! Every random choice of a plan: child streams of one seed, by label, so that one more choice does not shift the others.

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng as _, SeedableRng as _};
use sha2::{Digest as _, Sha256};

/// A stream of random numbers.
pub(super) struct Stream(ChaCha20Rng);

impl Stream {
    /// The stream `label` of the run's seed: `ChaCha20` keyed with `SHA-256("netsplit" ‖ seed ‖ label)`.
    pub(super) fn new(seed: u64, label: &str) -> Self {
        let key = Sha256::new()
            .chain_update(b"netsplit")
            .chain_update(seed.to_le_bytes())
            .chain_update(label.as_bytes())
            .finalize();
        Self(ChaCha20Rng::from_seed(key.into()))
    }

    /// The first 32 bytes.
    pub(super) fn bytes(mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        self.0.fill_bytes(&mut bytes);
        bytes
    }

    /// A number below `bound`, which is above 0. The bias is below 2^-32 for bounds below 2^32.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        let wide = u128::from(self.0.next_u64()) * u128::from(bound);
        u64::try_from(wide >> 64).expect("the upper half of 128 bits is 64 bits")
    }

    /// `count` different elements of `items`, in random order; all of them if there are fewer.
    pub(super) fn choose<T: Clone>(&mut self, items: &[T], count: usize) -> Vec<T> {
        let mut pool = items.to_vec();
        let mut chosen = Vec::new();
        while chosen.len() < count && !pool.is_empty() {
            let place = self.below(pool.len() as u64);
            let place = usize::try_from(place).expect("below the length of a list");
            chosen.push(pool.swap_remove(place));
        }
        chosen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_and_seeds_name_different_streams() {
        assert_eq!(Stream::new(1, "a").bytes(), Stream::new(1, "a").bytes());
        assert_ne!(Stream::new(1, "a").bytes(), Stream::new(1, "b").bytes());
        assert_ne!(Stream::new(1, "a").bytes(), Stream::new(2, "a").bytes());
    }

    #[test]
    fn choices_are_different_elements() {
        let items: Vec<u32> = (0..10).collect();
        let mut chosen = Stream::new(7, "x").choose(&items, 4);
        chosen.sort_unstable();
        chosen.dedup();
        assert_eq!(chosen.len(), 4);
        assert_eq!(Stream::new(7, "x").choose(&items, 99).len(), 10);
    }
}
