//! Delays, losses and cuts.

use std::{collections::BTreeSet, time::Duration};

use rand_chacha::ChaCha12Rng;
use rand_core::Rng as _;

use super::HostId;

/// What links are like. Each ordered pair of machines draws its own delay from the range, once.
#[derive(Clone, Copy, Debug)]
pub struct Climate {
    /// Shortest one-way delay.
    pub min_delay: Duration,
    /// Longest one-way delay.
    pub max_delay: Duration,
    /// Share of segments that arrive only when sent again, between 0 and 1.
    pub loss: f64,
}

impl Default for Climate {
    /// A testnet on one machine or in one data centre: 0.1 to 5 ms, no loss.
    fn default() -> Self {
        Self {
            min_delay: Duration::from_micros(100),
            max_delay: Duration::from_millis(5),
            loss: 0.0,
        }
    }
}

#[derive(Debug)]
pub(super) struct Weather {
    climate: Climate,
    rng: ChaCha12Rng,
    seed: u64,
    cuts: BTreeSet<(HostId, HostId)>,
}

impl Weather {
    pub(super) fn new(climate: Climate, mut rng: ChaCha12Rng) -> Self {
        let seed = rng.next_u64();
        Self {
            climate,
            rng,
            seed,
            cuts: BTreeSet::new(),
        }
    }

    pub(super) fn cut(&mut self, from: HostId, to: HostId) {
        if from != to {
            self.cuts.insert((from, to));
        }
    }

    pub(super) fn heal(&mut self) {
        self.cuts.clear();
    }

    pub(super) fn is_cut(&self, from: HostId, to: HostId) -> bool {
        self.cuts.contains(&(from, to))
    }

    /// One-way delay now: the link's own, and up to a fifth more.
    pub(super) fn delay(&mut self, from: HostId, to: HostId) -> Duration {
        let Climate {
            min_delay,
            max_delay,
            ..
        } = self.climate;
        let span = u64::try_from((max_delay - min_delay).as_nanos())
            .unwrap_or(u64::MAX)
            .max(1);
        let link = u64::try_from(from * 65_537 + to).unwrap_or(u64::MAX);
        let own = min_delay + Duration::from_nanos(mix(self.seed ^ mix(link)) % span);
        let fifth = u64::try_from(own.as_nanos() / 5).unwrap_or(u64::MAX).max(1);
        own + Duration::from_nanos(self.rng.next_u64() % fifth)
    }

    pub(super) fn loses(&mut self) -> bool {
        if self.climate.loss <= 0.0 {
            return false;
        }
        #[expect(clippy::cast_precision_loss, reason = "53 bits are exact")]
        let uniform = (self.rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
        uniform < self.climate.loss
    }
}

/// The finaliser of SplitMix64: spreads what differs in few bits.
const fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}
