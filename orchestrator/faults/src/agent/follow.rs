//! Reads the nodes' event streams for one client and never loses its place in one.
//!
//! A client that reads slowly slows the streams down to its pace; what a node then has to forget it says itself, with an
//! `events_lost` record.

use std::{collections::BTreeMap, fmt, io, sync::Arc, time::Duration};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
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
                let (batches, end) = lines.push(&bytes);
                for batch in batches {
                    place.after = batch.last_seq().unwrap_or(place.after);
                    let frame = codec::events(&node.name, incarnation, &batch.records);
                    hand_on(sink, frame).await?;
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
    hand_on(sink, codec::encode(message)).await
}

async fn hand_on(sink: &Sink, frame: io::Result<Vec<u8>>) -> Result<(), Gone> {
    let frame = frame.map_err(|_| Gone)?;
    sink.frames.send(frame).await.map_err(|_| Gone)
}

/// Records as the node wrote them, separated by commas: they are checked, but neither taken apart nor put together again.
#[derive(Default)]
struct Batch {
    records: Vec<u8>,
    /// Where the last record begins.
    last: usize,
}

impl Batch {
    fn push(&mut self, record: &[u8]) {
        if !self.records.is_empty() {
            self.records.push(b',');
        }
        self.last = self.records.len();
        self.records.extend_from_slice(record);
    }

    fn has_room(&self, length: usize) -> bool {
        self.records.len() + length <= BATCH
    }

    fn last_seq(&self) -> Option<u64> {
        #[derive(Deserialize)]
        struct Record {
            seq: u64,
        }
        let record: Record = serde_json::from_slice(&self.records[self.last..]).ok()?;
        Some(record.seq)
    }
}

/// Bytes becoming lines.
#[derive(Default)]
struct Lines {
    rest: Vec<u8>,
}

impl Lines {
    /// The records that are whole now, in pieces not much longer than a batch, and why the stream cannot be read on, if it
    /// cannot.
    fn push(&mut self, bytes: &[u8]) -> (Vec<Batch>, Option<String>) {
        self.rest.extend_from_slice(bytes);
        let mut batches: Vec<Batch> = Vec::new();
        let mut start = 0;
        while let Some(length) = self.rest[start..].iter().position(|byte| *byte == b'\n') {
            let line = self.rest[start..start + length].trim_ascii();
            start += length + 1;
            if line.is_empty() {
                continue;
            }
            if let Err(error) = serde_json::from_slice::<Checked>(line) {
                return (batches, Some(format!("an event is not JSON: {error}")));
            }
            match batches.last_mut() {
                Some(batch) if batch.has_room(line.len()) => batch.push(line),
                _ => {
                    batches.push(Batch::default());
                    batches.last_mut().expect("just pushed").push(line);
                }
            }
        }
        // There are as many of these as nodes: what one burst needed is not kept.
        self.rest = self.rest.split_off(start);
        let end = (self.rest.len() > LINE).then(|| "an event is too long".to_owned());
        (batches, end)
    }
}

/// Any JSON value: checked as strictly as a reader will who keeps it, depth and numbers included, and not kept.
struct Checked;

impl<'de> Deserialize<'de> for Checked {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for Checked {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self, A::Error> {
        while items.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self, A::Error> {
        while entries.next_entry::<Self, Self>()?.is_some() {}
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn records(batches: &[Batch]) -> Vec<Value> {
        let parse = |batch: &Batch| -> Vec<Value> {
            let text = String::from_utf8(batch.records.clone()).unwrap();
            serde_json::from_str(&format!("[{text}]")).unwrap()
        };
        batches.iter().flat_map(parse).collect()
    }

    proptest! {
        #[test]
        fn records_do_not_depend_on_where_chunks_end(sizes in prop::collection::vec(1_usize..40, 1..20)) {
            let text: String = (1..=20).map(|seq| format!("{}\r\n\n", json!({"seq": seq, "x": "é\n"}))).collect();
            let mut lines = Lines::default();
            let (mut found, mut last) = (Vec::new(), None);
            let mut bytes = text.as_bytes();
            for size in sizes.iter().cycle() {
                let (now, later) = bytes.split_at((*size).min(bytes.len()));
                let (batches, end) = lines.push(now);
                prop_assert!(end.is_none());
                found.extend(records(&batches).into_iter().filter_map(|record| record["seq"].as_u64()));
                last = batches.last().map_or(last, Batch::last_seq);
                bytes = later;
                if bytes.is_empty() { break }
            }
            prop_assert_eq!(found, (1..=20).collect::<Vec<u64>>());
            prop_assert_eq!(last, Some(20));
        }
    }

    #[test]
    fn a_line_without_end_and_a_line_that_is_not_json_end_the_stream() {
        let mut lines = Lines::default();
        assert!(lines.push(&vec![b'x'; LINE + 1]).1.is_some());
        let (batches, end) = Lines::default().push(b"{\"seq\":1}\nnonsense\n");
        assert_eq!((records(&batches).len(), end.is_some()), (1, true));
    }

    /// What is handed on unread must not break the stream of whoever reads it.
    #[test]
    fn what_a_reader_would_refuse_is_refused() {
        let deep = "[".repeat(200) + &"]".repeat(200);
        for bad in [
            "1e999",
            "{\"a\":1}{}",
            "\"\\ud800\"",
            "{1:2}",
            "[1,]",
            &deep,
        ] {
            assert!(serde_json::from_str::<Value>(bad).is_err(), "{bad}");
            assert!(serde_json::from_str::<Checked>(bad).is_err(), "{bad}");
        }
        assert!(serde_json::from_slice::<Checked>(b"\"\xff\"").is_err());
        for good in ["null", "[true,-1,2,0.5,\"x\\n\",{\"a\":{}}]"] {
            assert!(serde_json::from_str::<Checked>(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn batches_keep_order_and_size() {
        let line = |n: u64| format!("{}\n", json!({"seq": n, "x": "x".repeat(BATCH / 3 - 30)}));
        let text: String = (0..10).map(line).collect();
        let (batches, end) = Lines::default().push(text.as_bytes());
        assert!(end.is_none());
        let seqs = |batch: &Batch| records(std::slice::from_ref(batch)).len();
        assert_eq!(batches.iter().map(seqs).collect::<Vec<_>>(), [3, 3, 3, 1]);
        assert_eq!(
            batches.iter().map(Batch::last_seq).collect::<Vec<_>>(),
            [2, 5, 8, 9].map(Some)
        );
    }
}
