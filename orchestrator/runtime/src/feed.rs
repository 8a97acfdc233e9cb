//! What a running testnet tells: the nodes' own events from the agent, and whatever else its runtime finds out.

use std::{
    future::Future,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use netsplit_api::event::EventRecord;
use netsplit_faults::protocol::Message;
use netsplit_plan::plan::NodeName;
use serde_json::Value;
use tokio::{sync::mpsc, task::JoinSet};

use crate::NetEvent;

/// Events that wait to be read before the agent's stream is held up.
const WAITING: usize = 4096;
/// Lines of log told with a node's end.
pub(crate) const LAST_LINES: usize = 20;

/// Everything a testnet tells, in one queue. Its tasks end with it.
pub(crate) struct Feed {
    sender: mpsc::Sender<NetEvent>,
    receiver: tokio::sync::Mutex<mpsc::Receiver<NetEvent>>,
    tasks: Mutex<JoinSet<()>>,
    lost: AtomicBool,
}

impl Feed {
    pub(crate) fn open() -> Self {
        let (sender, receiver) = mpsc::channel(WAITING);
        Self {
            sender,
            receiver: tokio::sync::Mutex::new(receiver),
            tasks: Mutex::default(),
            lost: AtomicBool::new(false),
        }
    }

    /// Tells what the agent pushes; `last_words` are asked for when its stream ends.
    pub(crate) fn hear(
        &self,
        pushes: mpsc::Receiver<Message>,
        last_words: impl FnOnce() -> Option<String> + Send + 'static,
    ) {
        self.tell(|events| from_agent(pushes, last_words, events));
    }

    /// Tells what `teller` sends.
    pub(crate) fn tell<T>(&self, teller: impl FnOnce(mpsc::Sender<NetEvent>) -> T)
    where
        T: Future<Output = ()> + Send + 'static,
    {
        self.tasks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .spawn(teller(self.sender.clone()));
    }

    /// The next event. The agent's loss has several witnesses, but is told once.
    pub(crate) async fn next(&self) -> Option<NetEvent> {
        let mut receiver = self.receiver.lock().await;
        loop {
            let event = receiver.recv().await?;
            let lost = matches!(event, NetEvent::AgentLost { .. });
            if !(lost && self.lost.swap(true, Ordering::Relaxed)) {
                return Some(event);
            }
        }
    }

    /// Ends all tasks: what happens from now on is our own doing.
    pub(crate) fn close(&self) {
        self.tasks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .abort_all();
    }
}

/// Passes on what the agent pushes until its stream ends, which is the agent's loss.
async fn from_agent(
    mut pushes: mpsc::Receiver<Message>,
    last_words: impl FnOnce() -> Option<String>,
    events: mpsc::Sender<NetEvent>,
) {
    while let Some(message) = pushes.recv().await {
        for event in translate(message) {
            if events.send(event).await.is_err() {
                return;
            }
        }
    }
    let mut reason = "its stream ended".to_owned();
    if let Some(last) = last_words() {
        reason = format!("{reason}: {last}");
    }
    // The receiver may be gone: then nobody wants to know.
    let _ = events.send(NetEvent::AgentLost { reason }).await;
}

fn translate(message: Message) -> Vec<NetEvent> {
    match message {
        Message::Events {
            node,
            incarnation,
            records,
        } => {
            let node = NodeName(node);
            records
                .into_iter()
                .map(|record| said(&node, incarnation, record))
                .collect()
        }
        Message::EventsEnded { node, reason } => {
            vec![NetEvent::NodeSilent {
                node: NodeName(node),
                reason,
            }]
        }
        Message::Reply { .. } | Message::Tunnel { .. } => Vec::new(),
    }
}

/// A record that cannot be understood is told as a silence: its number is missing from then on.
fn said(node: &NodeName, incarnation: u64, record: Value) -> NetEvent {
    let node = node.clone();
    match serde_json::from_value::<EventRecord>(record) {
        Ok(record) => NetEvent::Node {
            node,
            incarnation,
            record,
        },
        Err(error) => {
            let reason = format!("it sent an event that is not understood: {error}");
            NetEvent::NodeSilent { node, reason }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_that_is_not_understood_is_a_silence() {
        let node = NodeName("a".into());
        let event = said(&node, 1, serde_json::json!({"seq": 1}));
        assert!(matches!(event, NetEvent::NodeSilent { .. }));
    }

    #[tokio::test]
    async fn the_agents_loss_is_told_once_and_with_its_last_words() {
        let feed = Feed::open();
        feed.hear(mpsc::channel(1).1, || Some("out of memory".into()));
        let next = feed.next().await;
        let expected = "its stream ended: out of memory";
        assert!(matches!(next, Some(NetEvent::AgentLost { reason }) if reason == expected));
        feed.hear(mpsc::channel(1).1, || None);
        let node = NodeName("a".into());
        let silence = NetEvent::NodeSilent {
            node,
            reason: String::new(),
        };
        feed.tell(|events| async move {
            // The receiver is here.
            let _ = events.send(silence).await;
        });
        let next = feed.next().await;
        assert!(
            matches!(next, Some(NetEvent::NodeSilent { .. })),
            "{next:?}"
        );
    }
}
