//! JSON-RPC requests and replies, with Bitcoin Core's reading of the three versions.
//!
//! Without a `jsonrpc` key a request is of version 1: errors change the HTTP status, and both `result` and `error` are
//! there. With `"2.0"` errors come with status 200, and a request without `id` is a notification that gets no reply.

use axum::http::StatusCode;
use netsplit_api::rpc::{RpcError, code};
use serde::{Serialize, Serializer, ser::SerializeMap as _};
use serde_json::Value;

use super::Answer;

/// Requests in one batch.
const MAX_BATCH: usize = 1000;

/// What the body of a request holds.
#[derive(Debug, PartialEq)]
pub(super) enum Envelope {
    Single(Request),
    Batch(Vec<Request>),
}

/// One request; what is wrong with it is known only when it is its turn.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Request {
    /// Absent in a notification.
    id: Option<Value>,
    version: Version,
    /// Method and parameters.
    pub(super) call: Result<(String, Value), RpcError>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    /// 1.0 and 1.1.
    One,
    Two,
}

/// The reply to one request.
#[derive(Debug)]
pub(super) struct Reply {
    id: Value,
    version: Version,
    answer: Answer,
}

impl Envelope {
    /// Reads a body.
    ///
    /// # Errors
    /// When it is no JSON or neither an object nor an array.
    pub(super) fn parse(body: &[u8]) -> Result<Self, RpcError> {
        let parse_error = |text: &str| RpcError::new(code::PARSE_ERROR, text);
        match serde_json::from_slice(body).map_err(|_| parse_error("Parse error"))? {
            Value::Array(requests) if requests.len() > MAX_BATCH => Err(RpcError::new(
                code::INVALID_REQUEST,
                "Too many requests in one batch",
            )),
            Value::Array(requests) => Ok(Self::Batch(
                requests.into_iter().map(Request::parse).collect(),
            )),
            request @ Value::Object(_) => Ok(Self::Single(Request::parse(request))),
            _ => Err(parse_error("Top-level object parse error")),
        }
    }
}

impl Request {
    fn parse(value: Value) -> Self {
        let invalid = |text: &str| Err(RpcError::new(code::INVALID_REQUEST, text));
        let Value::Object(mut request) = value else {
            let call = invalid("Invalid Request object");
            return Self {
                id: Some(Value::Null),
                version: Version::One,
                call,
            };
        };
        let id = request.remove("id");
        let (version, call) = match request.remove("jsonrpc") {
            Some(Value::String(text)) if text == "2.0" => (Version::Two, None),
            Some(Value::String(text)) if text == "1.0" || text == "1.1" => (Version::One, None),
            Some(Value::String(_)) => (
                Version::One,
                Some(invalid("JSON-RPC version not supported")),
            ),
            Some(Value::Null) | None => (Version::One, None),
            Some(_) => (
                Version::One,
                Some(invalid("jsonrpc field must be a string")),
            ),
        };
        let params = request.remove("params").unwrap_or(Value::Null);
        let call = call.unwrap_or_else(|| match request.remove("method") {
            Some(Value::String(method)) => Ok((method, params)),
            Some(Value::Null) | None => invalid("Missing method"),
            Some(_) => invalid("Method must be a string"),
        });
        Self { id, version, call }
    }

    /// The reply with this answer; none to a notification.
    pub(super) fn reply(self, answer: Answer) -> Option<Reply> {
        let id = match (self.id, self.version) {
            (Some(id), _) => id,
            (None, Version::One) => Value::Null,
            (None, Version::Two) => return None,
        };
        Some(Reply {
            id,
            version: self.version,
            answer,
        })
    }
}

impl Reply {
    /// The reply to a body that could not be read.
    pub(super) fn to_unreadable(error: RpcError) -> Self {
        Self {
            id: Value::Null,
            version: Version::One,
            answer: Err(error),
        }
    }

    /// The HTTP status when this is the only reply.
    pub(super) fn status(&self) -> StatusCode {
        match (&self.answer, self.version) {
            (Ok(_), _) | (Err(_), Version::Two) => StatusCode::OK,
            (Err(error), Version::One) => match error.code {
                code::INVALID_REQUEST => StatusCode::BAD_REQUEST,
                code::METHOD_NOT_FOUND => StatusCode::NOT_FOUND,
                _ => StatusCode::INTERNAL_SERVER_ERROR,
            },
        }
    }
}

impl Serialize for Reply {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match self.version {
            Version::One => {
                map.serialize_entry("result", &self.answer.as_ref().ok())?;
                map.serialize_entry("error", &self.answer.as_ref().err())?;
            }
            Version::Two => {
                map.serialize_entry("jsonrpc", "2.0")?;
                match &self.answer {
                    Ok(result) => map.serialize_entry("result", result)?,
                    Err(error) => map.serialize_entry("error", error)?,
                }
            }
        }
        map.serialize_entry("id", &self.id)?;
        map.end()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::{super::answer, *};

    fn single(body: &str) -> Request {
        match Envelope::parse(body.as_bytes()).unwrap() {
            Envelope::Single(request) => request,
            Envelope::Batch(_) => panic!("a batch"),
        }
    }

    fn reply(body: &str, answer: Answer) -> (u16, String) {
        let reply = single(body).reply(answer).unwrap();
        (
            reply.status().as_u16(),
            serde_json::to_string(&reply).unwrap(),
        )
    }

    #[test]
    fn version_one_has_both_keys_and_a_status() {
        let body = r#"{"method":"uptime","params":[],"id":"x"}"#;
        let (status, text) = reply(body, answer(&5));
        assert_eq!(
            (status, text.as_str()),
            (200, r#"{"result":5,"error":null,"id":"x"}"#)
        );
        let failed = |code| reply(body, Err(RpcError::new(code, "no")));
        let (status, text) = failed(code::MISC_ERROR);
        assert_eq!(status, 500);
        assert_eq!(
            text,
            r#"{"result":null,"error":{"code":-1,"message":"no"},"id":"x"}"#
        );
        assert_eq!(failed(code::METHOD_NOT_FOUND).0, 404);
        assert_eq!(failed(code::INVALID_REQUEST).0, 400);
    }

    #[test]
    fn version_two_has_one_key_and_no_status() {
        let body = r#"{"jsonrpc":"2.0","method":"uptime","id":7}"#;
        assert_eq!(
            reply(body, answer(&5)).1,
            r#"{"jsonrpc":"2.0","result":5,"id":7}"#
        );
        let (status, text) = reply(body, Err(RpcError::new(-32601, "no")));
        assert_eq!(status, 200);
        assert_eq!(
            text,
            r#"{"jsonrpc":"2.0","error":{"code":-32601,"message":"no"},"id":7}"#
        );
        let notification = single(r#"{"jsonrpc":"2.0","method":"uptime"}"#);
        assert!(notification.reply(answer(&5)).is_none());
        let null_id = single(r#"{"jsonrpc":"2.0","method":"uptime","id":null}"#);
        assert!(null_id.reply(answer(&5)).is_some());
        assert!(single(r#"{"method":"uptime"}"#).reply(answer(&5)).is_some());
    }

    #[test]
    fn requests_that_are_none_have_reasons() {
        let error = |body| single(body).call.unwrap_err().message;
        assert_eq!(error(r#"{"id":1}"#), "Missing method");
        assert_eq!(error(r#"{"method":1}"#), "Method must be a string");
        assert_eq!(
            error(r#"{"method":"a","jsonrpc":2}"#),
            "jsonrpc field must be a string"
        );
        assert_eq!(
            error(r#"{"method":"a","jsonrpc":"3"}"#),
            "JSON-RPC version not supported"
        );
        for body in ["", "{", "nonsense", "5", "\"text\"", "\u{0}"] {
            assert_eq!(
                Envelope::parse(body.as_bytes()).unwrap_err().code,
                code::PARSE_ERROR
            );
        }
        let deep = "[".repeat(100_000);
        assert_eq!(
            Envelope::parse(deep.as_bytes()).unwrap_err().code,
            code::PARSE_ERROR
        );
    }

    #[test]
    fn a_batch_is_a_list_whose_entries_fail_one_by_one() {
        let Ok(Envelope::Batch(requests)) = Envelope::parse(br#"[{"method":"a","id":1}, 5]"#)
        else {
            panic!("no batch");
        };
        assert_eq!(requests[0].call, Ok(("a".to_owned(), Value::Null)));
        assert_eq!(
            requests[1].call.as_ref().unwrap_err().code,
            code::INVALID_REQUEST
        );
        let long = format!("[{}]", vec!["1"; MAX_BATCH + 1].join(","));
        assert!(Envelope::parse(long.as_bytes()).is_err());
    }
}
