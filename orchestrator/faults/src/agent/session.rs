//! One client of the agent: reads its requests, answers them, and ends with its stream.
//!
//! Everything a session holds is bounded: requests at work, frames waiting to be written, tunnels. A client that does not
//! read is not read from either; others never notice.

use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, BufWriter},
    sync::{Semaphore, mpsc},
    task::{AbortHandle, JoinSet},
};

use super::{
    follow::{self, Sink},
    server::{Agent, failed},
    tunnel::Tunnel,
};
use crate::{
    codec,
    protocol::{FailureKind, Message, ReplyBody, Request, RequestBody},
};

/// Frames that wait to be written.
const FRAMES: usize = 64;
/// Calls at work at one time.
const CALLS: usize = 4096;
/// Tunnels open at one time.
const TUNNELS: usize = 256;

struct Session {
    agent: Arc<Agent>,
    frames: mpsc::Sender<Vec<u8>>,
    calls: Arc<Semaphore>,
    tunnels: Mutex<HashMap<u64, Slot>>,
}

/// A tunnel that is being opened, or is open.
enum Slot {
    Opening,
    Open(Tunnel, AbortHandle),
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Self::Open(_, work) = self {
            work.abort();
        }
    }
}

/// Serves one client until its stream ends, in either direction.
///
/// # Errors
/// When the stream broke, or the client sent what is no request.
pub(super) async fn serve(
    agent: Arc<Agent>,
    reader: impl AsyncRead + Send + Unpin,
    writer: impl AsyncWrite + Send + Unpin,
) -> io::Result<()> {
    let (frames, queue) = mpsc::channel(FRAMES);
    let session = Arc::new(Session {
        agent,
        frames,
        calls: Arc::new(Semaphore::new(CALLS)),
        tunnels: Mutex::default(),
    });
    // Whatever is at work for this client ends with it.
    let mut work = JoinSet::new();
    tokio::select! {
        result = session.receive(reader, &mut work) => result,
        result = write(queue, writer) => result,
    }
}

async fn write(
    mut queue: mpsc::Receiver<Vec<u8>>,
    writer: impl AsyncWrite + Send + Unpin,
) -> io::Result<()> {
    // A thousand nodes have a thousand small things to tell at once.
    let mut writer = BufWriter::with_capacity(64 * 1024, writer);
    while let Some(frame) = queue.recv().await {
        writer.write_all(&frame).await?;
        if queue.is_empty() {
            writer.flush().await?;
        }
    }
    Ok(())
}

impl Session {
    async fn receive(
        self: &Arc<Self>,
        reader: impl AsyncRead + Send + Unpin,
        work: &mut JoinSet<()>,
    ) -> io::Result<()> {
        let mut reader = BufReader::with_capacity(64 * 1024, reader);
        let mut following = false;
        while let Some(Request { id, body }) = codec::read(&mut reader).await? {
            while work.try_join_next().is_some() {}
            match body {
                RequestBody::Rpc {
                    node,
                    method,
                    params,
                    timeout_ms,
                } => {
                    let session = Arc::clone(self);
                    let permit = Arc::clone(&self.calls).acquire_owned().await;
                    work.spawn(async move {
                        let _permit = permit;
                        let body = session.agent.rpc(&node, &method, params, timeout_ms).await;
                        session.reply(id, body).await;
                    });
                }
                RequestBody::Follow => {
                    if !std::mem::replace(&mut following, true) {
                        work.spawn(follow::all(self.agent.directory(), self.sink()));
                    }
                    self.reply(id, ReplyBody::Done).await;
                }
                RequestBody::OpenTunnel { tunnel, node, port } => {
                    let opened = self.reserve(tunnel);
                    if let Err(reason) = opened {
                        self.reply(id, failed(FailureKind::BadRequest, reason.to_owned()))
                            .await;
                        continue;
                    }
                    let session = Arc::clone(self);
                    work.spawn(async move { session.open_tunnel(id, tunnel, &node, port).await });
                }
                RequestBody::Tunnel { tunnel, data } => self.upload(id, tunnel, &data, work).await,
                RequestBody::TunnelCredit { tunnel, bytes } => {
                    if let Some(Slot::Open(tunnel, _)) = self.tunnels().get(&tunnel) {
                        tunnel.grant(bytes);
                    }
                    self.reply(id, ReplyBody::Done).await;
                }
                RequestBody::CloseTunnel { tunnel } => {
                    self.tunnels().remove(&tunnel);
                    self.reply(id, ReplyBody::Done).await;
                }
                other => self.reply(id, self.agent.answer(other)).await,
            }
        }
        Ok(())
    }

    fn sink(&self) -> Sink {
        let agent = Arc::clone(&self.agent);
        Sink {
            frames: self.frames.clone(),
            node_back: Arc::new(move || agent.node_back()),
        }
    }

    /// An answer that is too long to send becomes a failure.
    async fn reply(&self, id: u64, body: ReplyBody) {
        let frame = codec::encode(&Message::Reply { id, body }).or_else(|error| {
            let body = failed(FailureKind::BadRequest, error.to_string());
            codec::encode(&Message::Reply { id, body })
        });
        if let Ok(frame) = frame {
            // The client is gone when this fails; the session is ending then.
            let _ = self.frames.send(frame).await;
        }
    }

    fn tunnels(&self) -> MutexGuard<'_, HashMap<u64, Slot>> {
        self.tunnels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reserve(&self, tunnel: u64) -> Result<(), &'static str> {
        let mut tunnels = self.tunnels();
        if tunnels.len() >= TUNNELS {
            return Err("too many tunnels are open");
        }
        if tunnels.contains_key(&tunnel) {
            return Err("the tunnel is open already");
        }
        tunnels.insert(tunnel, Slot::Opening);
        Ok(())
    }

    async fn open_tunnel(self: Arc<Self>, id: u64, number: u64, node: &str, port: u16) {
        let stream = match self.agent.node(node) {
            Ok((directory, node)) => directory
                .connect(&node, port)
                .await
                .map_err(|error| failed(FailureKind::Unreachable, error.to_string())),
            Err(failure) => Err(failure.into()),
        };
        let stream = match stream {
            Ok(stream) => stream,
            Err(failure) => {
                self.tunnels().remove(&number);
                return self.reply(id, failure).await;
            }
        };
        let (tunnel, work) = Tunnel::new(number, stream, self.frames.clone());
        // The client must know the tunnel is open before its first bytes arrive.
        self.reply(id, ReplyBody::Done).await;
        let work = tokio::spawn(work);
        let handle = work.abort_handle();
        let slot = Slot::Open(tunnel, handle);
        match self.tunnels().get_mut(&number) {
            Some(opening) => *opening = slot,
            // Closed in the meantime.
            None => drop(slot),
        }
        // Dropping the session's work ends this task, and with it the tunnel.
        let _end = AbortOnDrop(work.abort_handle());
        let _ = work.await;
    }

    async fn upload(self: &Arc<Self>, id: u64, number: u64, data: &str, work: &mut JoinSet<()>) {
        let taken = match self.tunnels().get(&number) {
            Some(Slot::Open(tunnel, _)) => tunnel.send(data),
            _ => Err("the tunnel is not open"),
        };
        let receiver = match taken {
            Ok(receiver) => receiver,
            Err(reason) => {
                return self
                    .reply(id, failed(FailureKind::BadRequest, reason.to_owned()))
                    .await;
            }
        };
        let session = Arc::clone(self);
        work.spawn(async move {
            let body = match receiver.await {
                Ok(Ok(())) => ReplyBody::Done,
                Ok(Err(reason)) => failed(FailureKind::Unreachable, reason),
                Err(_) => failed(FailureKind::Unreachable, "the tunnel is closed".to_owned()),
            };
            session.reply(id, body).await;
        });
    }
}

struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
