//! Draws that managers make from their own random streams.

use std::time::Duration;

use rand_core::Rng;

/// A number below `bound`, which is not 0. The bias of the remainder does not matter at these sizes.
pub(crate) fn below(rng: &mut impl Rng, bound: usize) -> usize {
    let bound = u64::try_from(bound.max(1)).unwrap_or(u64::MAX);
    usize::try_from(rng.next_u64() % bound).expect("below a usize")
}

/// One of `items`.
pub(crate) fn pick<'a, T>(rng: &mut impl Rng, items: &'a [T]) -> Option<&'a T> {
    if items.is_empty() {
        None
    } else {
        items.get(below(rng, items.len()))
    }
}

/// `items` in some order.
pub(crate) fn shuffle<T>(rng: &mut impl Rng, items: &mut [T]) {
    for last in (1..items.len()).rev() {
        items.swap(last, below(rng, last + 1));
    }
}

/// Between three and five quarters of `mean`.
pub(crate) fn jittered(rng: &mut impl Rng, mean: Duration) -> Duration {
    let span = u64::try_from(mean.as_nanos() / 2)
        .unwrap_or(u64::MAX)
        .max(1);
    mean * 3 / 4 + Duration::from_nanos(rng.next_u64() % span)
}
