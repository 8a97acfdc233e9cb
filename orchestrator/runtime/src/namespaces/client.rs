//! The other end of a session with a run's supervisor.

use std::{
    collections::HashMap,
    fmt,
    fs::File,
    io,
    os::fd::AsRawFd,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use netsplit_faults::codec;
use netsplit_plan::plan::{NodeName, NodeVerb};
use tokio::{
    io::{AsyncWriteExt, BufReader},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{mpsc, oneshot},
};

use super::protocol::{
    Begin, Door, Message, NodeSpec, ReplyBody, Request, RequestBody, SOCKET, Status,
};
use crate::RuntimeError;

/// A request to a supervisor failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Failure {
    /// The stream ended or broke.
    #[error("the run's supervisor is lost: {0}")]
    Lost(String),
    /// The supervisor answered that it could not be done.
    #[error("{reason}")]
    Refused {
        /// The whole chain of causes.
        reason: String,
        /// What would help.
        hints: Vec<String>,
    },
}

impl Failure {
    /// This failure as the cause of another.
    pub(super) fn during(self, operation: impl fmt::Display) -> RuntimeError {
        let hints = match &self {
            Self::Lost(_) => Vec::new(),
            Self::Refused { hints, .. } => hints.clone(),
        };
        let error = RuntimeError::with_source(operation.to_string(), self);
        hints.into_iter().fold(error, RuntimeError::hint)
    }
}

/// Opens a session with the supervisor of the run in this directory.
///
/// # Errors
/// When nobody listens there.
pub(super) async fn connect(directory: &Path, door: Door) -> io::Result<UnixStream> {
    // A socket's path may have some hundred bytes; one that begins at an open directory is short wherever that is.
    let directory = File::open(directory)?;
    let path = format!("/proc/self/fd/{}/{SOCKET}", directory.as_raw_fd());
    let mut stream = UnixStream::connect(path).await?;
    stream.write_all(&codec::encode(&door)?).await?;
    Ok(stream)
}

/// A session. Clones are the same; it ends when the last one is dropped.
#[derive(Clone, Debug)]
pub(super) struct Client {
    outgoing: mpsc::UnboundedSender<Vec<u8>>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    next: AtomicU64,
    table: Mutex<Table>,
}

/// Who waits for what.
#[derive(Debug, Default)]
struct Table {
    pending: HashMap<u64, oneshot::Sender<ReplyBody>>,
    lost: Option<String>,
}

impl Shared {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lose(&self, reason: String) {
        let mut table = self.table();
        table.lost.get_or_insert(reason);
        table.pending.clear();
    }

    fn lost(&self) -> Failure {
        let reason = self.table().lost.clone();
        Failure::Lost(reason.unwrap_or_else(|| "its stream ended".to_owned()))
    }
}

impl Client {
    /// Takes over a stream behind whose door the supervisor is. The receiver yields what is sent unasked and ends with the
    /// stream.
    pub(super) fn new(stream: UnixStream) -> (Self, mpsc::UnboundedReceiver<Message>) {
        let (reader, writer) = stream.into_split();
        let (outgoing, frames) = mpsc::unbounded_channel();
        // Of these there are no more than processes that end and nodes that are launched.
        let (pushes, pushed) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared::default());
        tokio::spawn(write(frames, writer));
        tokio::spawn(read(reader, Arc::clone(&shared), pushes));
        (Self { outgoing, shared }, pushed)
    }

    async fn request(&self, body: RequestBody) -> Result<ReplyBody, Failure> {
        let id = self.shared.next.fetch_add(1, Ordering::Relaxed);
        let frame = codec::encode(&Request { id, body }).map_err(|error| Failure::Refused {
            reason: error.to_string(),
            hints: Vec::new(),
        })?;
        let (sender, receiver) = oneshot::channel();
        {
            let mut table = self.shared.table();
            if table.lost.is_some() {
                drop(table);
                return Err(self.shared.lost());
            }
            table.pending.insert(id, sender);
        }
        // If the stream is lost meanwhile, the receiver says so.
        let _ = self.outgoing.send(frame);
        match receiver.await {
            Ok(ReplyBody::Failed { reason, hints }) => Err(Failure::Refused { reason, hints }),
            Ok(body) => Ok(body),
            Err(_) => Err(self.shared.lost()),
        }
    }

    async fn done(&self, body: RequestBody) -> Result<(), Failure> {
        match self.request(body).await? {
            ReplyBody::Done => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// Begins the run; returns notes for people.
    pub(super) async fn begin(&self, begin: Begin) -> Result<Vec<String>, Failure> {
        match self.request(RequestBody::Begin(begin)).await? {
            ReplyBody::Begun { notes } => Ok(notes),
            other => Err(unexpected(&other)),
        }
    }

    /// Makes these nodes or none.
    pub(super) async fn launch(&self, nodes: Vec<NodeSpec>) -> Result<(), Failure> {
        self.done(RequestBody::Launch(nodes)).await
    }

    /// Does something to a node's process.
    pub(super) async fn act(&self, node: &NodeName, verb: NodeVerb) -> Result<(), Failure> {
        let node = node.clone();
        self.done(RequestBody::Act { node, verb }).await
    }

    /// How the run is.
    pub(super) async fn status(&self) -> Result<Status, Failure> {
        match self.request(RequestBody::Status).await? {
            ReplyBody::Status(status) => Ok(status),
            other => Err(unexpected(&other)),
        }
    }

    /// From now on the receiver yields every end of a node's process.
    pub(super) async fn watch(&self) -> Result<(), Failure> {
        self.done(RequestBody::Watch).await
    }

    /// Lets the run live on without its maker.
    pub(super) async fn detach(&self) -> Result<(), Failure> {
        self.done(RequestBody::Detach).await
    }

    /// Ends the run; returns when the supervisor is gone.
    pub(super) async fn shutdown(
        &self,
        mut pushed: mpsc::UnboundedReceiver<Message>,
    ) -> Result<(), Failure> {
        match self.done(RequestBody::Shutdown).await {
            // It may be gone before its answer arrives.
            Ok(()) | Err(Failure::Lost(_)) => {}
            Err(refused) => return Err(refused),
        }
        while pushed.recv().await.is_some() {}
        Ok(())
    }
}

fn unexpected(reply: &ReplyBody) -> Failure {
    let reply: String = format!("{reply:?}").chars().take(200).collect();
    Failure::Refused {
        reason: format!("the supervisor answered out of place: {reply}"),
        hints: Vec::new(),
    }
}

/// Reads until the stream ends. Ends itself when nobody is interested in what comes, be it answers or pushes.
async fn read(reader: OwnedReadHalf, shared: Arc<Shared>, pushes: mpsc::UnboundedSender<Message>) {
    let mut reader = BufReader::new(reader);
    let reason = loop {
        match codec::read::<Message>(&mut reader).await {
            Ok(Some(Message::Reply { id, body })) => {
                let waiting = shared.table().pending.remove(&id);
                if let Some(waiting) = waiting {
                    // An asker that gave up no longer listens.
                    let _ = waiting.send(body);
                }
            }
            // Who does not want pushes has dropped the receiver.
            Ok(Some(push)) => drop(pushes.send(push)),
            Ok(None) => break "its stream ended".to_owned(),
            Err(error) => break format!("its stream broke: {error}"),
        }
    };
    shared.lose(reason);
}

/// Writes until the last clone of the client is gone, and then tells the supervisor by ending the stream.
async fn write(mut frames: mpsc::UnboundedReceiver<Vec<u8>>, mut writer: OwnedWriteHalf) {
    while let Some(frame) = frames.recv().await {
        if writer.write_all(&frame).await.is_err() {
            // The reader sees the end too, and tells everyone.
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use tokio::io::AsyncReadExt;

    use super::*;

    async fn next(stream: &mut UnixStream) -> Request {
        codec::read(stream).await.unwrap().unwrap()
    }

    async fn reply(stream: &mut UnixStream, id: u64, body: ReplyBody) {
        let frame = codec::encode(&Message::Reply { id, body }).unwrap();
        stream.write_all(&frame).await.unwrap();
    }

    #[tokio::test]
    async fn answers_find_their_askers_in_whatever_order_they_come() {
        let (near, mut far) = UnixStream::pair().unwrap();
        let (client, _pushed) = Client::new(near);
        let (watched, detached, ()) = tokio::join!(client.watch(), client.detach(), async {
            let first = next(&mut far).await;
            let second = next(&mut far).await;
            assert!(matches!(first.body, RequestBody::Watch));
            let failed = ReplyBody::Failed {
                reason: "no".into(),
                hints: vec!["yes".into()],
            };
            reply(&mut far, second.id, failed).await;
            reply(&mut far, first.id, ReplyBody::Done).await;
        });
        assert_eq!(watched, Ok(()));
        let error = detached.unwrap_err().during("failed to let go");
        assert_eq!(
            (error.hints, error.operation.as_str()),
            (vec!["yes".into()], "failed to let go")
        );
    }

    #[tokio::test]
    async fn the_end_of_the_stream_is_the_answer_to_everything() {
        let (near, mut far) = UnixStream::pair().unwrap();
        let (client, mut pushed) = Client::new(near);
        let (watched, ()) = tokio::join!(client.watch(), async {
            next(&mut far).await;
            drop(far);
        });
        assert!(matches!(watched, Err(Failure::Lost(_))));
        assert!(pushed.recv().await.is_none());
        assert!(matches!(client.status().await, Err(Failure::Lost(_))));
    }

    #[tokio::test]
    async fn the_last_clone_ends_the_session() {
        let (near, mut far) = UnixStream::pair().unwrap();
        let (client, pushed) = Client::new(near);
        drop((client.clone(), client, pushed));
        assert_eq!(far.read(&mut [0; 1]).await.unwrap(), 0);
    }
}
