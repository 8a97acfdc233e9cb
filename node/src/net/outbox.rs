//! What waits to be sent to one peer.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

/// Bytes that may wait for one peer; one that lets more pile up is hung up on. A few blocks of the largest size, as
/// many as one `getdata` of ours asks for.
pub(super) const MAX_QUEUED: usize = 16 * 1024 * 1024;

/// A bounded queue of bytes between the node and one connection's writer.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    queue: Mutex<Queue>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    chunks: VecDeque<Vec<u8>>,
    bytes: usize,
    closing: bool,
}

/// What the writer is to do next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Send these bytes.
    Send(Vec<u8>),
    /// Everything is sent, and there will be no more.
    Close,
}

impl Outbox {
    /// Adds bytes; whether there was room.
    pub(super) fn push(&self, bytes: Vec<u8>) -> bool {
        let mut queue = self.lock();
        if queue.bytes + bytes.len() > MAX_QUEUED {
            return false;
        }
        queue.bytes += bytes.len();
        queue.chunks.push_back(bytes);
        drop(queue);
        self.changed.notify_one();
        true
    }

    /// Nothing more will be added.
    pub(super) fn close(&self) {
        self.lock().closing = true;
        self.changed.notify_one();
    }

    /// Waits for the next thing to do. For one writer.
    pub(super) async fn next(&self) -> Next {
        loop {
            if let Some(next) = self.take() {
                return next;
            }
            self.changed.notified().await;
        }
    }

    fn take(&self) -> Option<Next> {
        let mut queue = self.lock();
        if let Some(chunk) = queue.chunks.pop_front() {
            queue.bytes -= chunk.len();
            return Some(Next::Send(chunk));
        }
        // A burst's worth of capacity is given back.
        queue.chunks = VecDeque::new();
        queue.closing.then_some(Next::Close)
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_queued_comes_before_the_end() {
        let outbox = Outbox::default();
        assert!(outbox.push(vec![1]));
        assert!(outbox.push(vec![2]));
        outbox.close();
        assert_eq!(outbox.next().await, Next::Send(vec![1]));
        assert_eq!(outbox.next().await, Next::Send(vec![2]));
        assert_eq!(outbox.next().await, Next::Close);
    }

    #[tokio::test]
    async fn there_is_a_limit_and_sending_makes_room() {
        let outbox = Outbox::default();
        assert!(outbox.push(vec![0; MAX_QUEUED]));
        assert!(!outbox.push(vec![0]));
        assert_eq!(outbox.next().await, Next::Send(vec![0; MAX_QUEUED]));
        assert!(outbox.push(vec![0]));
    }
}
