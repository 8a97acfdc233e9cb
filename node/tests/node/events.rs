//! The event stream: resume, restart, end.

use netsplit_api::{config::Role, event::Event};
use serde_json::json;

use crate::harness::{TestNode, config};

const PAYEE: &str = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080";

#[tokio::test]
async fn a_reader_resumes_and_a_restart_is_seen() {
    let directory = tempfile::tempdir().unwrap();
    let settings = config("a", "127.91.0.1", &[Role::Full], &directory);
    let node = TestNode::start(settings.clone()).await;
    let mut stream = node.client.events(None, 0).await;
    let first = stream.next().await.unwrap();
    assert_eq!(first.seq, 1);
    let incarnation = stream.incarnation;
    assert!(
        matches!(first.event, Event::NodeStarted { incarnation: i, height: 0, .. } if i == incarnation)
    );
    node.client
        .call("generatetoaddress", json!([3, PAYEE]))
        .await;
    let third = stream
        .until(|event| matches!(event, Event::TipChanged { height: 3, .. }))
        .await;
    drop(stream);

    let mut resumed = node.client.events(Some(incarnation), third.seq - 1).await;
    assert_eq!(resumed.next().await.unwrap(), third);
    node.stop().unwrap();
    assert_eq!(
        resumed.next().await,
        None,
        "an orderly end closes the stream"
    );

    let node = TestNode::start(settings).await;
    let mut stream = node.client.events(Some(incarnation), third.seq).await;
    assert_ne!(stream.incarnation, incarnation);
    let first = stream.next().await.unwrap();
    assert!(
        matches!(first.event, Event::NodeStarted { height: 3, .. }),
        "{first:?}"
    );
}

#[tokio::test]
async fn what_a_slow_reader_missed_is_counted() {
    let directory = tempfile::tempdir().unwrap();
    let node = TestNode::start(config("a", "127.91.1.1", &[Role::Full], &directory)).await;
    // Two events for each block: more than the ring holds.
    for _ in 0..3 {
        node.client
            .call("generatetoaddress", json!([800, PAYEE]))
            .await;
    }
    let mut stream = node.client.events(None, 0).await;
    let lost = stream.next().await.unwrap();
    let Event::EventsLost { count } = lost.event else {
        panic!("{lost:?}")
    };
    assert_eq!(lost.seq, count);
    assert_eq!(stream.next().await.unwrap().seq, count + 1);
}

#[tokio::test]
async fn event_times_ignore_the_clock_offset() {
    let directory = tempfile::tempdir().unwrap();
    let mut settings = config("a", "127.91.2.1", &[Role::Full], &directory);
    settings.clock_offset_ms = 3_600_000;
    let node = TestNode::start(settings).await;
    let host = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    let block = node
        .client
        .call("generatetoaddress", json!([1, PAYEE]))
        .await[0]
        .clone();
    let header = node.client.call("getblockheader", json!([block])).await;
    assert!(header["time"].as_u64().unwrap() >= host.as_secs() + 3_500);
    let event = node
        .client
        .wait_for(|event| matches!(event, Event::TipChanged { .. }))
        .await;
    assert!(
        event
            .time_ns
            .abs_diff(u64::try_from(host.as_nanos()).unwrap())
            < 60_000_000_000
    );
}
