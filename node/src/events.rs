//! The last events, numbered, for any number of readers at their own pace.
//!
//! A reader that falls behind the ring is told how many it lost; it never holds the node up.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use netsplit_api::event::{Event, EventRecord};
use tokio::sync::watch;

/// Most events kept.
const MAX_RECORDS: usize = 4096;
/// Most bytes kept, as they go over the wire.
const MAX_BYTES: usize = 1024 * 1024;

/// A bounded ring of events that can be read by many.
#[derive(Clone, Debug)]
pub(crate) struct Events {
    incarnation: u64,
    ring: Arc<Mutex<Ring>>,
    /// The last number given; changes wake readers.
    last: Arc<watch::Sender<u64>>,
}

#[derive(Debug, Default)]
struct Ring {
    /// Lines of JSON with their line feed.
    lines: VecDeque<Box<str>>,
    bytes: usize,
    /// Number of the last line.
    last: u64,
    /// Whether there will be no more.
    closed: bool,
}

impl Ring {
    /// Number of the oldest line still kept, or of the next one if there is none.
    fn oldest(&self) -> u64 {
        self.last + 1 - self.lines.len() as u64
    }
}

impl Events {
    /// An empty ring of the start of the node that is named `incarnation`.
    pub(crate) fn new(incarnation: u64) -> Self {
        let (last, _) = watch::channel(0);
        Self {
            incarnation,
            ring: Arc::default(),
            last: Arc::new(last),
        }
    }

    /// Number of this start of the node.
    pub(crate) fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// Adds an event that happened at `time_ns`; the oldest ones make room.
    pub(crate) fn push(&self, time_ns: u64, event: Event) {
        let mut ring = self.lock();
        let seq = ring.last + 1;
        let line = line(&EventRecord {
            seq,
            time_ns,
            event,
        });
        ring.last = seq;
        ring.bytes += line.len();
        ring.lines.push_back(line.into());
        while ring.lines.len() > MAX_RECORDS || ring.bytes > MAX_BYTES {
            let Some(oldest) = ring.lines.pop_front() else {
                break;
            };
            ring.bytes -= oldest.len();
        }
        drop(ring);
        self.last.send_replace(seq);
    }

    /// No more events: readers end when they have read the rest.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.last.send_modify(|_| {});
    }

    /// Number of the last event.
    pub(crate) fn last(&self) -> u64 {
        self.lock().last
    }

    /// Reads from the event after `after` on, or from the next one if that has not happened; from the
    /// oldest one if `incarnation` is not this one.
    pub(crate) fn reader(&self, incarnation: Option<u64>, after: u64) -> Reader {
        let known = incarnation == Some(self.incarnation);
        Reader {
            // Nobody has read what has not happened.
            after: if known { after.min(self.last()) } else { 0 },
            ring: Arc::clone(&self.ring),
            last: self.last.subscribe(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        lock(&self.ring)
    }
}

fn lock(ring: &Mutex<Ring>) -> MutexGuard<'_, Ring> {
    ring.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One reader's place in the ring.
#[derive(Debug)]
pub(crate) struct Reader {
    ring: Arc<Mutex<Ring>>,
    after: u64,
    last: watch::Receiver<u64>,
}

/// Bytes handed to a reader at a time; one event may be longer.
const MAX_CHUNK: usize = 32 * 1024;

impl Reader {
    /// Waits for events and returns some, as lines. `None` when the node ends.
    pub(crate) async fn next(&mut self) -> Option<String> {
        loop {
            self.last.borrow_and_update();
            let lines = self.take();
            if !lines.is_empty() {
                return Some(lines);
            }
            if lock(&self.ring).closed {
                return None;
            }
            self.last.changed().await.ok()?;
        }
    }

    fn take(&mut self) -> String {
        let ring = lock(&self.ring);
        let mut lines = String::new();
        let oldest = ring.oldest();
        if self.after + 1 < oldest {
            let count = oldest - 1 - self.after;
            let lost = Event::EventsLost { count };
            let time_ns = crate::clock::epoch_nanoseconds();
            lines.push_str(&line(&EventRecord {
                seq: oldest - 1,
                time_ns,
                event: lost,
            }));
            self.after = oldest - 1;
        }
        let skip = usize::try_from(self.after + 1 - oldest).unwrap_or(usize::MAX);
        for line in ring.lines.iter().skip(skip) {
            if lines.len() + line.len() > MAX_CHUNK && !lines.is_empty() {
                break;
            }
            lines.push_str(line);
            self.after += 1;
        }
        lines
    }
}

fn line(record: &EventRecord) -> String {
    let mut line = serde_json::to_string(record).expect("events have string keys only");
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn event(number: u64) -> Event {
        Event::DnsNodeReached {
            address: number.to_string(),
        }
    }

    fn parse(lines: &str) -> Vec<EventRecord> {
        lines
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    async fn read(reader: &mut Reader, count: usize) -> Vec<EventRecord> {
        let mut records = Vec::new();
        while records.len() < count {
            records.extend(parse(&reader.next().await.unwrap()));
        }
        records
    }

    #[tokio::test]
    async fn a_reader_resumes_where_it_was() {
        let events = Events::new(7);
        for number in 1..=5 {
            events.push(number * 10, event(number));
        }
        let records = read(&mut events.reader(Some(7), 3), 2).await;
        assert_eq!(records.iter().map(|r| r.seq).collect::<Vec<_>>(), [4, 5]);
        assert_eq!(
            records[0],
            EventRecord {
                seq: 4,
                time_ns: 40,
                event: event(4)
            }
        );
    }

    #[tokio::test]
    async fn another_incarnation_starts_at_the_oldest() {
        let events = Events::new(7);
        events.push(1, event(1));
        for incarnation in [None, Some(6)] {
            assert_eq!(read(&mut events.reader(incarnation, 1), 1).await[0].seq, 1);
        }
    }

    #[tokio::test]
    async fn one_who_claims_to_have_read_the_future_reads_what_comes_next() {
        let events = Events::new(7);
        events.push(1, event(1));
        let mut reader = events.reader(Some(7), u64::MAX);
        events.push(2, event(2));
        assert_eq!(read(&mut reader, 1).await[0].seq, 2);
    }

    #[tokio::test]
    async fn what_fell_out_of_the_ring_is_counted() {
        let events = Events::new(7);
        let total = MAX_RECORDS as u64 + 10;
        for number in 1..=total {
            events.push(number, event(number));
        }
        let records = read(&mut events.reader(Some(7), 4), MAX_RECORDS + 1).await;
        assert_eq!(
            (records[0].seq, &records[0].event),
            (10, &Event::EventsLost { count: 6 })
        );
        assert_eq!(records[1].seq, 11);
        assert_eq!(records.last().unwrap().seq, total);
    }

    #[tokio::test]
    async fn the_end_comes_after_the_last_event() {
        let events = Events::new(7);
        let mut reader = events.reader(None, 0);
        events.push(1, event(1));
        events.close();
        assert_eq!(parse(&reader.next().await.unwrap()).len(), 1);
        assert_eq!(reader.next().await, None);
    }

    #[test]
    fn bytes_are_bounded() {
        let events = Events::new(7);
        for _ in 0..40 {
            events.push(
                1,
                Event::StoreFailed {
                    reason: "x".repeat(100_000),
                },
            );
        }
        assert!(events.lock().bytes <= MAX_BYTES);
        assert!(!events.lock().lines.is_empty());
    }

    #[tokio::test]
    async fn a_waiting_reader_is_woken() {
        let events = Events::new(7);
        let mut reader = events.reader(None, 0);
        let waiting = tokio::spawn(async move { reader.next().await });
        tokio::task::yield_now().await;
        events.push(1, event(1));
        assert_eq!(parse(&waiting.await.unwrap().unwrap())[0].event, event(1));
    }
}
