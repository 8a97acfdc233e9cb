//! Frames on a byte stream: a big-endian `u32` length, then that many bytes of JSON.

use std::io;

use serde::{Serialize, de::DeserializeOwned};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::protocol::MAX_FRAME;

/// Memory taken on the word of a length field alone; the rest is only taken as bytes arrive.
const TRUSTED: usize = 64 * 1024;

/// One message as a frame, ready to be written.
///
/// # Errors
/// `InvalidData` when it is longer than [`MAX_FRAME`].
pub fn encode<T: Serialize>(message: &T) -> io::Result<Vec<u8>> {
    let mut frame = vec![0; 4];
    serde_json::to_writer(&mut frame, message)?;
    with_length(frame)
}

/// [`Message::Events`](crate::protocol::Message::Events) as a frame, of records that are JSON already, separated by commas.
///
/// # Errors
/// As [`encode`].
pub(crate) fn events(node: &str, incarnation: u64, records: &[u8]) -> io::Result<Vec<u8>> {
    let mut frame = vec![0; 4];
    frame.extend(br#"{"type":"events","body":{"node":"#);
    serde_json::to_writer(&mut frame, node)?;
    frame.extend(format!(r#","incarnation":{incarnation},"records":["#).into_bytes());
    frame.extend_from_slice(records);
    frame.extend(b"]}}");
    with_length(frame)
}

/// Fills in the length, for which room was left.
fn with_length(mut frame: Vec<u8>) -> io::Result<Vec<u8>> {
    let length = u32::try_from(frame.len() - 4)
        .ok()
        .filter(|length| *length <= MAX_FRAME);
    let length = length.ok_or_else(|| invalid("frame too long"))?;
    frame[..4].copy_from_slice(&length.to_be_bytes());
    Ok(frame)
}

/// The next message; `None` when the stream ended between two frames.
///
/// # Errors
/// `UnexpectedEof` inside a frame, `InvalidData` for a frame that is too long or not what was expected.
pub async fn read<T: DeserializeOwned>(
    reader: &mut (impl AsyncRead + Unpin),
) -> io::Result<Option<T>> {
    let mut length = [0; 4];
    if reader.read(&mut length[..1]).await? == 0 {
        return Ok(None);
    }
    reader.read_exact(&mut length[1..]).await?;
    let length = u32::from_be_bytes(length);
    if length > MAX_FRAME {
        return Err(invalid("frame too long"));
    }
    let expected = usize::try_from(length).map_err(|_| invalid("frame too long"))?;
    let mut frame = Vec::with_capacity(expected.min(TRUSTED));
    reader.take(length.into()).read_to_end(&mut frame).await?;
    if frame.len() < expected {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Some(serde_json::from_slice(&frame)?))
}

fn invalid(reason: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::protocol::{Message, ReplyBody, Request, RequestBody};

    fn decode<T: DeserializeOwned>(mut bytes: &[u8]) -> io::Result<Option<T>> {
        tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap()
            .block_on(read(&mut bytes))
    }

    #[test]
    fn any_state_document_survives() {
        for state in [
            Value::Null,
            json!(1),
            json!([1, 2]),
            json!({"type": "x", "body": null}),
        ] {
            let request = Request {
                id: 7,
                body: RequestBody::PutState(state.clone()),
            };
            let read: Request = decode(&encode(&request).unwrap()).unwrap().unwrap();
            assert!(matches!(read.body, RequestBody::PutState(got) if got == state));
            let reply = Message::Reply {
                id: 7,
                body: ReplyBody::State(state.clone()),
            };
            let read: Message = decode(&encode(&reply).unwrap()).unwrap().unwrap();
            assert!(
                matches!(read, Message::Reply { id: 7, body: ReplyBody::State(got) } if got == state)
            );
        }
    }

    #[test]
    fn events_are_written_as_any_message() {
        let records = vec![json!({"seq": 1}), json!({"seq": 2, "x": "é"})];
        let text = format!("{},{}", records[0], records[1]);
        let message = Message::Events {
            node: "full-\"1".to_owned(),
            incarnation: 7,
            records,
        };
        let written = events("full-\"1", 7, text.as_bytes()).unwrap();
        assert_eq!(written, encode(&message).unwrap());
    }

    #[test]
    fn the_end_between_frames_is_no_error_and_within_one_is() {
        let frame = encode(&json!({"a": 1})).unwrap();
        assert!(decode::<Value>(&[]).unwrap().is_none());
        for cut in 1..frame.len() {
            let error = decode::<Value>(&frame[..cut]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "cut at {cut}");
        }
    }

    #[test]
    fn an_oversized_frame_is_refused_before_it_is_read() {
        let error = decode::<Value>(&(MAX_FRAME + 1).to_be_bytes()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = decode::<Request>(&bytes);
        }
    }
}
