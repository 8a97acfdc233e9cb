//! HTTP: who may ask, where, and how much.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{DefaultBodyLimit, Query, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes as Chunk;
use netsplit_api::{
    event::INCARNATION_HEADER,
    rpc::{RpcError, code},
};
use serde::Deserialize;
use serde_json::Value;
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot, watch},
    time,
};

use super::{
    Answer, Call, Run, answer, connections,
    envelope::{Envelope, Reply, Request as RpcRequest},
    params::Params,
    table,
};
use crate::{events::Events, metrics, probes::Probes, wake::Wake};

/// Longest body read: a block of the largest weight in hex, and room.
const MAX_BODY: usize = 10 * 1024 * 1024;

/// A wrong password is answered this late, so that guessing takes long (as in Core).
const REFUSAL_DELAY: Duration = Duration::from_millis(250);

/// What the control API works with.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    /// Reaches the node's loop.
    pub(crate) wakes: mpsc::Sender<Wake>,
    pub(crate) probes: Probes,
    pub(crate) events: Events,
    /// What `Authorization` must say.
    pub(crate) credentials: Arc<Credentials>,
}

/// User name and password as HTTP sends them. Shows itself to nobody.
pub(crate) struct Credentials {
    expected: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials(..)")
    }
}

impl Credentials {
    pub(crate) fn new(user: &str, password: &str) -> Self {
        Self {
            expected: BASE64_STANDARD.encode(format!("{user}:{password}")),
        }
    }

    fn admit(&self, headers: &HeaderMap) -> bool {
        let given = headers
            .get(header::AUTHORIZATION)
            .map(HeaderValue::as_bytes);
        let given = given.and_then(|value| {
            let (scheme, rest) = value.split_at_checked(6)?;
            scheme.eq_ignore_ascii_case(b"basic ").then_some(rest)
        });
        given.is_some_and(|given| same(given.trim_ascii(), self.expected.as_bytes()))
    }
}

/// Whether both are equal, in a time that depends on their lengths only.
fn same(a: &[u8], b: &[u8]) -> bool {
    let difference = a
        .iter()
        .zip(b)
        .fold(0, |sum, (a, b)| std::hint::black_box(sum | (a ^ b)));
    a.len() == b.len() && difference == 0
}

/// Serves until `stop` turns true and what is under way is done.
pub(crate) async fn serve(listener: TcpListener, server: Server, stop: watch::Receiver<bool>) {
    connections::serve_patiently(listener, router(server), stop).await;
}

fn router(server: Server) -> Router {
    Router::new()
        .route("/", post(call).fallback(post_only))
        .route("/wallet/{name}", post(call).fallback(post_only))
        .route("/wallet/", post(call).fallback(post_only))
        .route("/events", get(events))
        .route("/metrics", get(scrape))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn_with_state(server.clone(), authenticate))
        .with_state(server)
}

async fn authenticate(State(server): State<Server>, request: Request, next: Next) -> Response {
    if server.credentials.admit(request.headers()) {
        // Told before the body is sent; one without a length is cut off when it gets too long.
        return match announced_length(request.headers()) {
            Some(length) if length > MAX_BODY => StatusCode::PAYLOAD_TOO_LARGE.into_response(),
            _ => next.run(request).await,
        };
    }
    time::sleep(REFUSAL_DELAY).await;
    let challenge = [(header::WWW_AUTHENTICATE, "Basic realm=\"jsonrpc\"")];
    (StatusCode::UNAUTHORIZED, challenge).into_response()
}

fn announced_length(headers: &HeaderMap) -> Option<usize> {
    headers
        .get(header::CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}

async fn post_only() -> Response {
    let text = "JSONRPC server handles only POST requests";
    (StatusCode::METHOD_NOT_ALLOWED, text).into_response()
}

async fn call(State(server): State<Server>, body: Bytes) -> Response {
    match Envelope::parse(&body) {
        Err(error) => single(&Reply::to_unreadable(error)),
        Ok(Envelope::Single(request)) => match run(&server, request).await {
            Some(reply) => single(&reply),
            None => StatusCode::NO_CONTENT.into_response(),
        },
        Ok(Envelope::Batch(requests)) => {
            let only_notifications = !requests.is_empty();
            let mut replies = Vec::new();
            for request in requests {
                replies.extend(run(&server, request).await);
            }
            if replies.is_empty() && only_notifications {
                return StatusCode::NO_CONTENT.into_response();
            }
            json(StatusCode::OK, &replies)
        }
    }
}

fn single(reply: &Reply) -> Response {
    json(reply.status(), reply)
}

fn json(status: StatusCode, value: &impl serde::Serialize) -> Response {
    match serde_json::to_string(value) {
        Ok(text) => {
            let kind = [(header::CONTENT_TYPE, "application/json")];
            (status, kind, text + "\n").into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn run(server: &Server, request: RpcRequest) -> Option<Reply> {
    let answer = match request.call.clone() {
        Ok((method, params)) => dispatch(server, &method, params).await,
        Err(error) => Err(error),
    };
    request.reply(answer)
}

async fn dispatch(server: &Server, name: &str, params: Value) -> Answer {
    let Some(method) = table::find(name) else {
        return Err(RpcError::new(code::METHOD_NOT_FOUND, "Method not found"));
    };
    let params = Params::bind(method, params)?;
    if let Run::Probe(probe) = &method.run {
        return probe.run(&server.probes, &params).await;
    }
    let (reply, answered) = oneshot::channel();
    let stopping = || RpcError::new(code::MISC_ERROR, "The node is stopping");
    let call = Wake::Call(Call {
        method,
        params,
        reply,
    });
    server.wakes.send(call).await.map_err(|_| stopping())?;
    answered.await.unwrap_or_else(|_| Err(stopping()))
}

#[derive(Debug, Deserialize)]
struct From {
    incarnation: Option<u64>,
    #[serde(default)]
    after: u64,
}

async fn events(State(server): State<Server>, Query(from): Query<From>) -> Response {
    let reader = server.events.reader(from.incarnation, from.after);
    let lines = futures_util::stream::unfold(reader, |mut reader| async {
        let lines = reader.next().await?;
        Some((Ok::<_, Infallible>(Chunk::from(lines)), reader))
    });
    let incarnation = server.events.incarnation();
    let headers = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/x-ndjson"),
        ),
        (
            HeaderName::from_static(INCARNATION_HEADER),
            HeaderValue::from(incarnation),
        ),
    ];
    (headers, Body::from_stream(lines)).into_response()
}

async fn scrape(State(server): State<Server>) -> Response {
    let status = match dispatch(&server, "x_status", Value::Null).await {
        Ok(status) => status,
        Err(error) => {
            return (StatusCode::SERVICE_UNAVAILABLE, error.message).into_response();
        }
    };
    match serde_json::from_str(status.get()) {
        Ok(status) => {
            let kind = [(header::CONTENT_TYPE, metrics::CONTENT_TYPE)];
            (kind, metrics::encode(&status, server.events.last())).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// What `stop` answers.
pub(crate) fn stopping() -> Answer {
    answer(&"netsplit node stopping")
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn admit(value: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        Credentials::new("user", "secret").admit(&headers)
    }

    #[test]
    fn only_the_right_credentials_are_admitted() {
        let good = BASE64_STANDARD.encode("user:secret");
        assert!(admit(&format!("Basic {good}")));
        assert!(admit(&format!("basic {good} ")));
        for other in [
            "user:secre",
            "user:secret2",
            "user:Secret",
            "other:secret",
            ":",
            "",
        ] {
            assert!(
                !admit(&format!("Basic {}", BASE64_STANDARD.encode(other))),
                "{other}"
            );
        }
        assert!(!admit(&format!("Bearer {good}")));
        assert!(!admit("Basic"));
        assert!(!admit(""));
        assert!(!Credentials::new("user", "secret").admit(&HeaderMap::new()));
        assert_eq!(
            format!("{:?}", Credentials::new("user", "secret")),
            "Credentials(..)"
        );
    }
}
