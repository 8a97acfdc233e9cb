//! Doing something to many things, some at a time.

use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::{StreamExt, future::BoxFuture, stream::FuturesUnordered};

/// Engine calls in flight at a time. More gain nothing: the engine serialises most of the work (moby#42096).
const IN_FLIGHT: usize = 8;

/// Works on all items and hands each result to `done`. Once `stop` is set, no further ones are begun; those in flight are
/// always waited for, because the engine finishes a call whether or not anybody listens.
pub(super) async fn for_all<'a, T, R>(
    items: impl IntoIterator<Item = T>,
    stop: &AtomicBool,
    work: impl Fn(T) -> BoxFuture<'a, R>,
    mut done: impl FnMut(R),
) {
    let mut items = items.into_iter();
    let mut flying = FuturesUnordered::new();
    loop {
        while flying.len() < IN_FLIGHT && !stop.load(Ordering::Relaxed) {
            let Some(item) = items.next() else { break };
            flying.push(work(item));
        }
        let Some(result) = flying.next().await else {
            return;
        };
        done(result);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[tokio::test]
    async fn never_more_than_eight_fly_and_all_land() {
        let (flying, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let (flying, most) = (&flying, &most);
        let mut landed = 0;
        let work = |_| -> BoxFuture<'_, ()> {
            Box::pin(async move {
                let now = flying.fetch_add(1, Ordering::Relaxed) + 1;
                most.fetch_max(now, Ordering::Relaxed);
                tokio::task::yield_now().await;
                flying.fetch_sub(1, Ordering::Relaxed);
            })
        };
        for_all(0..100, &AtomicBool::new(false), work, |()| landed += 1).await;
        assert_eq!((landed, most.load(Ordering::Relaxed)), (100, IN_FLIGHT));
    }

    #[tokio::test]
    async fn after_a_stop_only_those_in_flight_land() {
        let stop = AtomicBool::new(false);
        let mut landed = 0;
        let work = |_| -> BoxFuture<'_, ()> { Box::pin(tokio::task::yield_now()) };
        for_all(0..100, &stop, work, |()| {
            landed += 1;
            stop.store(true, Ordering::Relaxed);
        })
        .await;
        assert_eq!(landed, IN_FLIGHT);
    }
}
