//! Reads the nodes' event streams for one client and never loses its place in one.
//!
//! A client that reads slowly slows the streams down to its pace; what a node then has to forget it says itself, with an
//! `events_lost` record.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde_json::Value;
use tokio::{
    sync::{mpsc, watch},
    task::{AbortHandle, JoinSet},
};

use super::nodes::{Directory, Node, chain};
use crate::{codec, protocol::Message};

/// Response header that names a node's incarnation.
const INCARNATION: &str = "netsplit-incarnation";
/// Longest line of an event stream.
const LINE: usize = 1024 * 1024;
/// Records are handed on when they are this many bytes, or there are no more right now.
const BATCH: usize = 128 * 1024;
/// Pauses between attempts to open a stream, growing from the first to the second.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(250));

/// Where events go, and who is told that a node is there again.
#[derive(Clone)]
pub(super) struct Sink {
    pub(super) frames: mpsc::Sender<Vec<u8>>,
    pub(super) node_back: Arc<dyn Fn() + Send + Sync>,
}

/// The client is gone.
struct Gone;

/// Follows every node, those that are added later included, until the client is gone.
pub(super) async fn all(mut directory: watch::Receiver<Option<Arc<Directory>>>, sink: Sink) {
    let mut tasks = JoinSet::new();
    let mut followed: BTreeMap<String, (Arc<Node>, AbortHandle)> = BTreeMap::new();
    loop {
        let current = directory.borrow_and_update().clone();
        if let Some(current) = current {
            followed.retain(|name, (node, task)| {
                let kept = current.get(name).is_some_and(|now| Arc::ptr_eq(&now, node));
                if !kept {
                    task.abort();
                }
                kept
            });
            for node in current.all() {
                if !followed.contains_key(&node.name) {
                    let one = one(directory.clone(), Arc::clone(node), sink.clone());
                    followed.insert(node.name.clone(), (Arc::clone(node), tasks.spawn(one)));
                }
            }
        }
        tokio::select! {
            changed = directory.changed() => if changed.is_err() { return },
            () = sink.frames.closed() => return,
        }
    }
}

/// Follows one node.
async fn one(directory: watch::Receiver<Option<Arc<Directory>>>, node: Arc<Node>, sink: Sink) {
    let mut place = Place::default();
    let mut pause = BACK_OFF.0;
    loop {
        let Some(current) = directory.borrow().clone() else {
            return;
        };
        match current.events(&node, &place.query()).await {
            Ok(response) => {
                pause = BACK_OFF.0;
                (sink.node_back)();
                let Ok(reason) = read(response, &node, &mut place, &sink).await else {
                    return;
                };
                node.forget();
                let ended = Message::EventsEnded {
                    node: node.name.clone(),
                    reason,
                };
                if send(&sink, &ended).await.is_err() {
                    return;
                }
            }
            Err(reason) => {
                tracing::debug!(node = node.name, reason, "no event stream");
                node.forget();
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(BACK_OFF.1);
    }
}

/// How far a node's events are read.
#[derive(Default)]
struct Place {
    incarnation: Option<u64>,
    after: u64,
}

impl Place {
    fn query(&self) -> String {
        match self.incarnation {
            Some(incarnation) => format!("?incarnation={incarnation}&after={}", self.after),
            None => String::new(),
        }
    }

    fn enter(&mut self, incarnation: u64) {
        if self.incarnation != Some(incarnation) {
            *self = Self {
                incarnation: Some(incarnation),
                after: 0,
            };
        }
    }
}

/// Hands on records until the stream ends; says why it did.
async fn read(
    mut response: reqwest::Response,
    node: &Node,
    place: &mut Place,
    sink: &Sink,
) -> Result<String, Gone> {
    let incarnation = response.headers().get(INCARNATION);
    let incarnation = incarnation.and_then(|value| value.to_str().ok()?.parse().ok());
    let Some(incarnation) = incarnation else {
        return Ok(format!("the answer has no header `{INCARNATION}`"));
    };
    place.enter(incarnation);
    let mut lines = Lines::default();
    loop {
        match response.chunk().await {
            Ok(Some(bytes)) => {
                let (records, end) = lines.push(&bytes);
                for records in batches(records) {
                    if let Some(seq) = records.last().and_then(|record| record["seq"].as_u64()) {
                        place.after = seq;
                    }
                    let node = node.name.clone();
                    send(
                        sink,
                        &Message::Events {
                            node,
                            incarnation,
                            records,
                        },
                    )
                    .await?;
                }
                if let Some(reason) = end {
                    return Ok(reason);
                }
            }
            Ok(None) => return Ok("the node closed its event stream".to_owned()),
            Err(error) => return Ok(chain(&error)),
        }
    }
}

async fn send(sink: &Sink, message: &Message) -> Result<(), Gone> {
    let frame = codec::encode(message).map_err(|_| Gone)?;
    sink.frames.send(frame).await.map_err(|_| Gone)
}

/// Splits records so that no message is much longer than a batch.
fn batches(records: Vec<(usize, Value)>) -> Vec<Vec<Value>> {
    let mut batches: Vec<Vec<Value>> = Vec::new();
    let mut room = 0;
    for (length, record) in records {
        match batches.last_mut() {
            Some(batch) if length <= room => batch.push(record),
            _ => {
                room = BATCH;
                batches.push(vec![record]);
            }
        }
        room = room.saturating_sub(length);
    }
    batches
}

/// Bytes becoming lines.
#[derive(Default)]
struct Lines {
    rest: Vec<u8>,
}

impl Lines {
    /// The records that are whole now, with their lengths, and why the stream cannot be read on, if it cannot.
    fn push(&mut self, bytes: &[u8]) -> (Vec<(usize, Value)>, Option<String>) {
        self.rest.extend_from_slice(bytes);
        let mut records = Vec::new();
        let mut start = 0;
        while let Some(length) = self.rest[start..].iter().position(|byte| *byte == b'\n') {
            let line = &self.rest[start..start + length];
            start += length + 1;
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            match serde_json::from_slice(line) {
                Ok(record) => records.push((length, record)),
                Err(error) => return (records, Some(format!("an event is not JSON: {error}"))),
            }
        }
        self.rest.drain(..start);
        let end = (self.rest.len() > LINE).then(|| "an event is too long".to_owned());
        (records, end)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    proptest! {
        #[test]
        fn records_do_not_depend_on_where_chunks_end(sizes in prop::collection::vec(1_usize..40, 1..20)) {
            let text: String = (1..=20).map(|seq| format!("{}\n", json!({"seq": seq, "x": "é\n"}))).collect();
            let mut lines = Lines::default();
            let mut found = Vec::new();
            let mut bytes = text.as_bytes();
            for size in sizes.iter().cycle() {
                let (now, later) = bytes.split_at((*size).min(bytes.len()));
                let (records, end) = lines.push(now);
                prop_assert!(end.is_none());
                found.extend(records.into_iter().filter_map(|(_, record)| record["seq"].as_u64()));
                bytes = later;
                if bytes.is_empty() { break }
            }
            prop_assert_eq!(found, (1..=20).collect::<Vec<u64>>());
        }
    }

    #[test]
    fn a_line_without_end_and_a_line_that_is_not_json_end_the_stream() {
        let mut lines = Lines::default();
        assert!(lines.push(&vec![b'x'; LINE + 1]).1.is_some());
        let (records, end) = Lines::default().push(b"{\"seq\":1}\nnonsense\n");
        assert_eq!((records.len(), end.is_some()), (1, true));
    }

    #[test]
    fn batches_keep_order_and_size() {
        let records = (0..10).map(|n| (BATCH / 3, json!(n))).collect();
        let batches = batches(records);
        assert_eq!(
            batches.iter().map(Vec::len).collect::<Vec<_>>(),
            [3, 3, 3, 1]
        );
        assert_eq!(
            batches.concat(),
            (0..10).map(|n| json!(n)).collect::<Vec<_>>()
        );
    }
}
