//! Launches that somebody gave up on.
//!
//! The engine finishes a call whether or not anybody listens, so a launch that was simply dropped could create something
//! after everything was removed. It goes on instead until its calls are answered, begins nothing new, and the removal of
//! its run waits for it.

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{sync::oneshot, task::JoinHandle, time::timeout};

use crate::{RunId, RuntimeError};

/// A removal waits this long for the launch to settle.
const PATIENCE: Duration = Duration::from_secs(30);

/// Launches under way, which give the number of things they removed again; clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Pending(Arc<Mutex<BTreeMap<RunId, JoinHandle<usize>>>>);

/// Sets the flag unless the launch was waited for.
struct GivenUp {
    stop: Arc<AtomicBool>,
    waited: bool,
}

impl Drop for GivenUp {
    fn drop(&mut self) {
        if !self.waited {
            self.stop.store(true, Ordering::Relaxed);
        }
    }
}

impl Pending {
    /// Waits for a launch. When this is dropped before, `stop` is set and the launch goes on by itself.
    pub(super) async fn wait<T: Send + 'static>(
        &self,
        run: &RunId,
        stop: Arc<AtomicBool>,
        launch: impl Future<Output = Result<T, RuntimeError>> + Send + 'static,
    ) -> Result<T, RuntimeError> {
        let (sender, receiver) = oneshot::channel();
        let task = tokio::spawn(async move {
            // What nobody waits for any more is dropped here, before the removal begins.
            let launched = launch.await;
            let removed = launched.as_ref().err().map_or(0, |error| error.removed);
            let _ = sender.send(launched);
            removed
        });
        self.tasks().insert(run.clone(), task);
        let mut given_up = GivenUp {
            stop,
            waited: false,
        };
        let launched = receiver.await;
        given_up.waited = true;
        self.tasks().remove(run);
        launched.unwrap_or_else(|gone| {
            Err(RuntimeError::with_source(
                format!("failed to launch run `{run}`"),
                gone,
            ))
        })
    }

    /// Returns when no launch of this run is under way any more, or after a while: how many things it removed again by
    /// itself.
    pub(super) async fn settled(&self, run: &RunId) -> usize {
        let Some(task) = self.tasks().remove(run) else {
            return 0;
        };
        if let Ok(ended) = timeout(PATIENCE, task).await {
            return ended.unwrap_or(0);
        }
        tracing::warn!(%run, "the engine is still busy with calls of a launch that was given up");
        0
    }

    fn tasks(&self) -> std::sync::MutexGuard<'_, BTreeMap<RunId, JoinHandle<usize>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run() -> RunId {
        RunId("r-00000001".into())
    }

    /// Works for a second, and says whether it was stopped.
    async fn work(stop: Arc<AtomicBool>, done: Arc<AtomicBool>) -> Result<bool, RuntimeError> {
        tokio::time::sleep(Duration::from_secs(1)).await;
        done.store(true, Ordering::Relaxed);
        Ok(stop.load(Ordering::Relaxed))
    }

    #[tokio::test(start_paused = true)]
    async fn a_launch_that_is_waited_for_is_not_stopped() {
        let (pending, stop) = (Pending::default(), Arc::new(AtomicBool::new(false)));
        let launched = pending
            .wait(&run(), stop.clone(), work(stop.clone(), Arc::default()))
            .await;
        assert!(matches!(launched, Ok(false)));
        assert!(!stop.load(Ordering::Relaxed) && pending.tasks().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_launch_that_was_given_up_settles_before_its_removal() {
        let (pending, stop, done) = (
            Pending::default(),
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicBool::new(false)),
        );
        let launch = work(stop.clone(), done.clone());
        let run = run();
        let waited = pending.wait(&run, stop.clone(), launch);
        assert!(timeout(Duration::from_millis(10), waited).await.is_err());
        assert!(stop.load(Ordering::Relaxed) && !done.load(Ordering::Relaxed));
        pending.settled(&run).await;
        assert!(done.load(Ordering::Relaxed));
    }

    /// An interrupted `up` once said that it had removed nothing.
    #[tokio::test(start_paused = true)]
    async fn what_a_launch_removed_by_itself_is_told_to_the_removal() {
        let (pending, run) = (Pending::default(), run());
        let launch = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let mut error = RuntimeError::new("nobody wants it any more");
            error.removed = 5;
            Err::<(), _>(error)
        };
        let waited = pending.wait(&run, Arc::default(), launch);
        assert!(timeout(Duration::from_millis(10), waited).await.is_err());
        assert_eq!(pending.settled(&run).await, 5);
        assert_eq!(pending.settled(&run).await, 0);
    }
}
