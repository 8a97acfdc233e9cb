//! One client: which door it came to, what it asks, and what it is told.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use netsplit_faults::codec;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{Notify, mpsc},
};

use super::{Supervisor, chain};
use crate::{
    RuntimeError,
    namespaces::protocol::{Door, Message, ReplyBody, Request, RequestBody},
};

/// Frames that may wait for a client to read; one that lets more gather is let go.
const FRAMES: usize = 8192;

/// Who a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Client {
    /// The one that made the run, on its own stream.
    Maker,
    /// One that came to the socket.
    Visitor,
}

/// What is to be written to one client. Clones write to the same one.
#[derive(Clone)]
pub(super) struct Outbox {
    frames: mpsc::Sender<Frame>,
    full: Arc<Notify>,
}

enum Frame {
    Bytes(Vec<u8>),
    /// Nothing follows.
    Last,
}

impl Outbox {
    /// Tells a client something it did not ask for; false when there will be nobody to read it.
    pub(super) fn push(&self, message: &Message) -> bool {
        let Ok(frame) = codec::encode(message) else {
            return false;
        };
        match self.frames.try_send(Frame::Bytes(frame)) {
            Ok(()) => true,
            Err(_) => {
                self.full.notify_one();
                false
            }
        }
    }

    async fn reply(&self, id: u64, body: ReplyBody) {
        // No reply is nearly as long as a frame may be.
        if let Ok(frame) = codec::encode(&Message::Reply { id, body }) {
            // The client is gone when this fails.
            let _ = self.frames.send(Frame::Bytes(frame)).await;
        }
    }
}

/// Serves one client until its stream ends, or it asked for the end and was told of it.
///
/// # Errors
/// When the stream broke, or the client sent what is no request.
pub(super) async fn serve(
    supervisor: Arc<Supervisor>,
    stream: UnixStream,
    client: Client,
) -> io::Result<()> {
    let (mut reader, writer) = stream.into_split();
    match codec::read(&mut reader).await? {
        Some(Door::Agent) => supervisor.agent.attend(reader, writer).await,
        Some(Door::Supervisor) => talk(supervisor, reader, writer, client).await,
        None => Ok(()),
    }
}

async fn talk(
    supervisor: Arc<Supervisor>,
    reader: OwnedReadHalf,
    writer: OwnedWriteHalf,
    client: Client,
) -> io::Result<()> {
    let (frames, queue) = mpsc::channel(FRAMES);
    let outbox = Outbox {
        frames,
        full: Arc::default(),
    };
    let mut writing = tokio::spawn(write(queue, writer));
    let session = Session {
        supervisor: Arc::clone(&supervisor),
        outbox: outbox.clone(),
        client,
        over: AtomicBool::new(false),
    };
    let ended = tokio::select! {
        ended = session.receive(reader) => ended,
        written = &mut writing => written.map_err(io::Error::other)?,
        () = outbox.full.notified() => Err(io::Error::other("it does not read what it is told")),
    };
    if session.over.into_inner() {
        let _ = outbox.frames.send(Frame::Last).await;
        let _ = writing.await;
        supervisor.over.notify_one();
    } else {
        writing.abort();
    }
    ended
}

async fn write(
    mut queue: mpsc::Receiver<Frame>,
    mut writer: impl AsyncWrite + Unpin,
) -> io::Result<()> {
    while let Some(Frame::Bytes(frame)) = queue.recv().await {
        writer.write_all(&frame).await?;
    }
    writer.shutdown().await
}

struct Session {
    supervisor: Arc<Supervisor>,
    outbox: Outbox,
    client: Client,
    /// The run is over, by this client's wish.
    over: AtomicBool,
}

impl Session {
    async fn receive(&self, mut reader: impl AsyncRead + Unpin) -> io::Result<()> {
        while let Some(Request { id, body }) = codec::read(&mut reader).await? {
            if let RequestBody::Shutdown = body {
                // Not part of this session: it goes on whether or not the client stays for it.
                let supervisor = Arc::clone(&self.supervisor);
                self.over.store(true, Ordering::Relaxed);
                let done = tokio::spawn(async move { supervisor.wind_up().await }).await;
                let body = done_or(done.map_err(io::Error::other)?);
                self.outbox.reply(id, body).await;
                return Ok(());
            }
            self.answer(id, body).await;
        }
        Ok(())
    }

    /// Answers at once, or as soon as it is done. What was begun is brought to its end even if the client goes away.
    async fn answer(&self, id: u64, body: RequestBody) {
        let outbox = self.outbox.clone();
        let supervisor = Arc::clone(&self.supervisor);
        match body {
            RequestBody::Launch(specs) => {
                tokio::spawn(async move {
                    let done = match supervisor.nodes() {
                        Ok(nodes) => nodes.launch(specs, &outbox).await,
                        Err(error) => Err(error),
                    };
                    outbox.reply(id, done_or(done)).await;
                });
            }
            RequestBody::Act { node, verb } => {
                tokio::spawn(async move {
                    let done = match supervisor.nodes() {
                        Ok(nodes) => nodes.act(&node, verb).await,
                        Err(error) => Err(error),
                    };
                    outbox.reply(id, done_or(done)).await;
                });
            }
            other => {
                let body = self.at_once(other);
                let body = body.unwrap_or_else(|error| refusal(&error));
                outbox.reply(id, body).await;
            }
        }
    }

    fn at_once(&self, body: RequestBody) -> Result<ReplyBody, RuntimeError> {
        let supervisor = &self.supervisor;
        match body {
            RequestBody::Begin(begin) if self.client == Client::Maker => {
                let notes = supervisor.begin(begin)?;
                Ok(ReplyBody::Begun { notes })
            }
            RequestBody::Begin(_) => Err(RuntimeError::new("a run is begun by its maker only")),
            RequestBody::Status => Ok(ReplyBody::Status(supervisor.status()?)),
            RequestBody::Watch => {
                supervisor.nodes()?.watch(self.outbox.clone());
                Ok(ReplyBody::Done)
            }
            RequestBody::Detach => {
                supervisor.detach();
                Ok(ReplyBody::Done)
            }
            RequestBody::Launch(_) | RequestBody::Act { .. } | RequestBody::Shutdown => {
                unreachable!("answered when they are done")
            }
        }
    }
}

fn done_or(done: Result<(), RuntimeError>) -> ReplyBody {
    done.map_or_else(|error| refusal(&error), |()| ReplyBody::Done)
}

/// The answer to what could not be done.
pub(super) fn refusal(error: &RuntimeError) -> ReplyBody {
    ReplyBody::Failed {
        reason: chain(error),
        hints: error.hints.clone(),
    }
}
