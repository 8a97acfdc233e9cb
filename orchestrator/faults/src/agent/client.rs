//! The other end of an agent's stream.
//!
//! [`AgentClient`] is cheap to clone and may be used by any number of tasks at once. What the agent sends without being
//! asked comes out of the receiver that [`AgentClient::new`] returns; bytes of tunnels do not, they have streams of their own.

use std::{
    collections::HashMap,
    fmt, io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, DuplexStream},
    sync::{mpsc, oneshot},
};

use super::client_tunnel::{self, Piece};
use crate::{
    codec,
    link::{Applied, Counters, LinkTable},
    protocol::{Configure, FailureKind, Health, Message, ReplyBody, Request, RequestBody},
};

/// Requests that wait for the stream to take them.
const OUTGOING: usize = 256;
/// Pushed messages that wait to be read; a reader further behind than that has stopped reading.
const PUSHES: usize = 65_536;

/// A request to the agent failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AgentError {
    /// The stream ended or broke: the agent, and with it every cut, has to be taken for gone.
    #[error("the agent is lost: {reason}")]
    Lost {
        /// What ended the stream.
        reason: String,
    },
    /// The agent answered that it could not be done.
    #[error("{reason}")]
    Failed {
        /// What kind of failure.
        kind: FailureKind,
        /// The whole chain of causes.
        reason: String,
    },
    /// The agent answered with something that is no answer to the request.
    #[error("the agent answered out of place: {0}")]
    Unexpected(String),
}

impl AgentError {
    /// Whether the agent has to be taken for gone.
    #[must_use]
    pub const fn is_lost(&self) -> bool {
        matches!(self, Self::Lost { .. })
    }
}

/// What a node answered to a JSON-RPC call.
#[derive(Clone, Debug, PartialEq)]
pub struct RpcAnswer {
    /// HTTP status.
    pub status: u16,
    /// The JSON-RPC document, with `result` and `error`.
    pub body: Value,
}

/// A connection to an agent. Ends when the last clone is dropped or the stream ends.
#[derive(Clone)]
pub struct AgentClient {
    pub(super) shared: Arc<Shared>,
}

/// What clones and tasks of one connection share.
pub(super) struct Shared {
    outgoing: mpsc::Sender<Vec<u8>>,
    next: AtomicU64,
    table: Mutex<Table>,
}

/// Who waits for what.
#[derive(Default)]
struct Table {
    pending: HashMap<u64, oneshot::Sender<ReplyBody>>,
    tunnels: HashMap<u64, mpsc::UnboundedSender<Piece>>,
    lost: Option<String>,
}

impl fmt::Debug for AgentClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AgentClient")
            .field("lost", &self.shared.table().lost)
            .finish()
    }
}

impl Shared {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lose(&self, reason: &str) {
        let mut table = self.table();
        table.lost.get_or_insert_with(|| reason.to_owned());
        table.pending.clear();
        table.tunnels.clear();
    }

    fn lost(&self) -> AgentError {
        let reason = self.table().lost.clone();
        AgentError::Lost {
            reason: reason.unwrap_or_else(|| "its stream ended".to_owned()),
        }
    }

    pub(super) fn next(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn add_tunnel(&self, tunnel: u64) -> mpsc::UnboundedReceiver<Piece> {
        // Bounded by the credit the agent was given: it sends no more than one window ahead.
        let (sender, receiver) = mpsc::unbounded_channel();
        self.table().tunnels.insert(tunnel, sender);
        receiver
    }

    pub(super) fn remove_tunnel(&self, tunnel: u64) {
        self.table().tunnels.remove(&tunnel);
    }

    /// Sends a request; the receiver yields the answer. Requests of one task reach the agent in the order of these calls.
    pub(super) async fn send(
        &self,
        body: RequestBody,
    ) -> Result<oneshot::Receiver<ReplyBody>, AgentError> {
        let id = self.next();
        let frame = codec::encode(&Request { id, body }).map_err(|error| AgentError::Failed {
            kind: FailureKind::BadRequest,
            reason: error.to_string(),
        })?;
        let (sender, receiver) = oneshot::channel();
        {
            let mut table = self.table();
            if table.lost.is_some() {
                drop(table);
                return Err(self.lost());
            }
            table.pending.insert(id, sender);
        }
        let waiting = Waiting { shared: self, id };
        self.outgoing.send(frame).await.map_err(|_| self.lost())?;
        std::mem::forget(waiting);
        Ok(receiver)
    }

    pub(super) async fn answer(
        &self,
        receiver: oneshot::Receiver<ReplyBody>,
    ) -> Result<ReplyBody, AgentError> {
        match receiver.await {
            Ok(ReplyBody::Failed { kind, reason }) => Err(AgentError::Failed { kind, reason }),
            Ok(body) => Ok(body),
            Err(_) => Err(self.lost()),
        }
    }
}

/// Forgets a request that was never sent.
struct Waiting<'a> {
    shared: &'a Shared,
    id: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.shared.table().pending.remove(&self.id);
    }
}

impl AgentClient {
    /// Takes over a stream. The receiver yields what the agent sends unasked ([`Message::Events`],
    /// [`Message::EventsEnded`]) and ends with the stream; it must be read once [`AgentClient::follow`] was called. Must be
    /// called in a tokio runtime.
    pub fn new(
        reader: impl AsyncRead + Send + Unpin + 'static,
        writer: impl AsyncWrite + Send + Unpin + 'static,
    ) -> (Self, mpsc::Receiver<Message>) {
        let (outgoing, frames) = mpsc::channel(OUTGOING);
        let (pushes, pushed) = mpsc::channel(PUSHES);
        let shared = Arc::new(Shared {
            outgoing,
            next: AtomicU64::new(1),
            table: Mutex::default(),
        });
        let (stop, stopped) = oneshot::channel();
        tokio::spawn(write(frames, writer, stop));
        let weak = Arc::downgrade(&shared);
        tokio::spawn(async move {
            let mut reader = BufReader::with_capacity(64 * 1024, reader);
            let receive = async {
                loop {
                    let message = match codec::read::<Message>(&mut reader).await {
                        Ok(Some(message)) => message,
                        Ok(None) => break "its stream ended".to_owned(),
                        Err(error) => break format!("its stream broke: {error}"),
                    };
                    let Some(shared) = weak.upgrade() else {
                        break "not needed".to_owned();
                    };
                    if let Err(reason) = deliver(&shared, message, &pushes) {
                        break reason.to_owned();
                    }
                }
            };
            let reason = tokio::select! {
                reason = receive => reason,
                reason = stopped => reason.unwrap_or_else(|_| "its stream was closed".to_owned()),
            };
            if let Some(shared) = weak.upgrade() {
                shared.lose(&reason);
            }
        });
        (Self { shared }, pushed)
    }

    /// Sends one request and waits for its answer.
    ///
    /// # Errors
    /// [`AgentError::Lost`] when the stream ends first, [`AgentError::Failed`] when the agent says so.
    pub async fn request(&self, body: RequestBody) -> Result<ReplyBody, AgentError> {
        let receiver = self.shared.send(body).await?;
        self.shared.answer(receiver).await
    }

    /// Tells the agent which network and nodes it serves; a second call replaces the list of nodes.
    ///
    /// # Errors
    /// As [`AgentClient::request`]; `Kernel` names what the kernel lacks and what would provide it.
    pub async fn configure(&self, configure: Configure) -> Result<(), AgentError> {
        done(self.request(RequestBody::Configure(configure)).await?)
    }

    /// Brings all links into the state of `table`.
    ///
    /// # Errors
    /// As [`AgentClient::request`]; on `Kernel` nothing has changed.
    pub async fn apply(&self, table: LinkTable) -> Result<Applied, AgentError> {
        match self.request(RequestBody::Apply(table)).await? {
            ReplyBody::Applied(applied) => Ok(applied),
            other => Err(unexpected(&other)),
        }
    }

    /// Packets dropped so far by each cut in force.
    ///
    /// # Errors
    /// As [`AgentClient::request`].
    pub async fn counters(&self) -> Result<Counters, AgentError> {
        match self.request(RequestBody::Counters).await? {
            ReplyBody::Counters(counters) => Ok(counters),
            other => Err(unexpected(&other)),
        }
    }

    /// Undoes everything and checks that nothing of the run is left in the kernel.
    ///
    /// # Errors
    /// As [`AgentClient::request`].
    pub async fn clear(&self) -> Result<(), AgentError> {
        done(self.request(RequestBody::Clear).await?)
    }

    /// Calls a node's JSON-RPC. A JSON-RPC error is an answer, not a failure.
    ///
    /// # Errors
    /// As [`AgentClient::request`]; `Unreachable` when the node did not answer within `timeout`.
    pub async fn rpc(
        &self,
        node: &str,
        method: &str,
        params: Value,
        timeout: Duration,
    ) -> Result<RpcAnswer, AgentError> {
        let request = RequestBody::Rpc {
            node: node.to_owned(),
            method: method.to_owned(),
            params,
            timeout_ms: u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX),
        };
        match self.request(request).await? {
            ReplyBody::Rpc { status, body } => Ok(RpcAnswer { status, body }),
            other => Err(unexpected(&other)),
        }
    }

    /// From now on every node's events come out of this connection's receiver.
    ///
    /// # Errors
    /// As [`AgentClient::request`].
    pub async fn follow(&self) -> Result<(), AgentError> {
        done(self.request(RequestBody::Follow).await?)
    }

    /// Keeps a document with the agent.
    ///
    /// # Errors
    /// As [`AgentClient::request`].
    pub async fn put_state(&self, state: Value) -> Result<(), AgentError> {
        done(self.request(RequestBody::PutState(state)).await?)
    }

    /// The document kept last; null if none.
    ///
    /// # Errors
    /// As [`AgentClient::request`].
    pub async fn get_state(&self) -> Result<Value, AgentError> {
        match self.request(RequestBody::GetState).await? {
            ReplyBody::State(state) => Ok(state),
            other => Err(unexpected(&other)),
        }
    }

    /// How the agent is.
    ///
    /// # Errors
    /// As [`AgentClient::request`].
    pub async fn health(&self) -> Result<Health, AgentError> {
        match self.request(RequestBody::Health).await? {
            ReplyBody::Health(health) => Ok(health),
            other => Err(unexpected(&other)),
        }
    }

    /// A stream to a TCP port of a node. Shutting down its write side closes that direction; dropping it closes both.
    ///
    /// # Errors
    /// As [`AgentClient::request`]; `Unreachable` when the port does not answer.
    pub async fn open_tunnel(&self, node: &str, port: u16) -> Result<DuplexStream, AgentError> {
        client_tunnel::open(self, node, port).await
    }
}

pub(super) fn done(reply: ReplyBody) -> Result<(), AgentError> {
    match reply {
        ReplyBody::Done => Ok(()),
        other => Err(unexpected(&other)),
    }
}

fn unexpected(reply: &ReplyBody) -> AgentError {
    AgentError::Unexpected(format!("{reply:?}").chars().take(200).collect())
}

/// Hands a message to whoever waits for it.
fn deliver(
    shared: &Shared,
    message: Message,
    pushes: &mpsc::Sender<Message>,
) -> Result<(), &'static str> {
    match message {
        Message::Reply { id, body } => {
            let waiting = shared.table().pending.remove(&id);
            if let Some(waiting) = waiting {
                // An asker that gave up no longer listens.
                let _ = waiting.send(body);
            }
        }
        Message::Tunnel { tunnel, data } => {
            if let Some(stream) = shared.table().tunnels.get(&tunnel) {
                // A stream that was dropped no longer listens; the agent is being told.
                let _ = stream.send(client_tunnel::decode(&data));
            }
        }
        push @ (Message::Events { .. } | Message::EventsEnded { .. }) => {
            // Waiting here would hold up answers, and losing events would be silent: so the connection ends.
            if let Err(mpsc::error::TrySendError::Full(_)) = pushes.try_send(push) {
                return Err("nobody reads the events it sends");
            }
        }
    }
    Ok(())
}

/// Writes frames, as many at once as there are.
async fn write(
    mut frames: mpsc::Receiver<Vec<u8>>,
    mut writer: impl AsyncWrite + Send + Unpin,
    stop: oneshot::Sender<String>,
) {
    while let Some(mut frame) = frames.recv().await {
        while let Ok(next) = frames.try_recv() {
            frame.extend_from_slice(&next);
        }
        if let Err(error) = write_all(&mut writer, &frame).await {
            // The reader's task may have ended already; it has then told everyone.
            let _ = stop.send(format!("its stream broke: {error}"));
            return;
        }
    }
    // The last clone is gone; the agent learns it from the end of the stream.
    let _ = writer.shutdown().await;
}

async fn write_all(writer: &mut (impl AsyncWrite + Unpin), frame: &[u8]) -> io::Result<()> {
    writer.write_all(frame).await?;
    writer.flush().await
}
