//! The agent's side of tunnels: bytes between a client's frames and a TCP port of a node.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{Semaphore, mpsc, oneshot},
};

use crate::{
    codec,
    protocol::{Message, TUNNEL_CHUNK, TUNNEL_CHUNKS, TUNNEL_WINDOW},
};

/// Bytes on their way to a node, and who wants to know that they got there.
pub(super) type Upload = (Vec<u8>, oneshot::Sender<Result<(), String>>);

/// The near end of a tunnel.
pub(super) struct Tunnel {
    uploads: mpsc::Sender<Upload>,
    credit: Arc<Semaphore>,
}

impl Tunnel {
    /// The tunnel and its work, which ends when both directions have.
    pub(super) fn new(
        number: u64,
        stream: TcpStream,
        frames: mpsc::Sender<Vec<u8>>,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (uploads, queue) = mpsc::channel(TUNNEL_CHUNKS);
        let window = usize::try_from(TUNNEL_WINDOW).expect("a window fits the address space");
        let credit = Arc::new(Semaphore::new(window));
        let (reader, writer) = stream.into_split();
        let download = download(number, reader, frames, Arc::clone(&credit));
        let work = async move {
            tokio::join!(upload(queue, writer), download);
        };
        (Self { uploads, credit }, work)
    }

    /// Takes bytes for the node.
    ///
    /// # Errors
    /// When the client sent more than it may, or the tunnel is closed.
    pub(super) fn send(
        &self,
        data: &str,
    ) -> Result<oneshot::Receiver<Result<(), String>>, &'static str> {
        let bytes = BASE64.decode(data).map_err(|_| "not base64")?;
        if bytes.len() > TUNNEL_CHUNK {
            return Err("a piece of a tunnel is too long");
        }
        let (sender, receiver) = oneshot::channel();
        match self.uploads.try_send((bytes, sender)) {
            Ok(()) => Ok(receiver),
            Err(mpsc::error::TrySendError::Full(_)) => Err("too many pieces are unanswered"),
            Err(mpsc::error::TrySendError::Closed(_)) => Err("the tunnel is closed"),
        }
    }

    /// Allows as many more bytes to be sent to the client, never more than a window in all.
    pub(super) fn grant(&self, bytes: u64) {
        let window = usize::try_from(TUNNEL_WINDOW).expect("a window fits the address space");
        let room = window.saturating_sub(self.credit.available_permits());
        self.credit
            .add_permits(usize::try_from(bytes).unwrap_or(window).min(room));
    }
}

async fn upload(mut queue: mpsc::Receiver<Upload>, mut writer: OwnedWriteHalf) {
    while let Some((bytes, answer)) = queue.recv().await {
        let last = bytes.is_empty();
        let done = if last {
            writer.shutdown().await
        } else {
            writer.write_all(&bytes).await
        };
        let failed = done.is_err();
        // The session may be ending.
        let _ = answer.send(done.map_err(|error| error.to_string()));
        if last || failed {
            return;
        }
    }
}

async fn download(
    tunnel: u64,
    mut reader: OwnedReadHalf,
    frames: mpsc::Sender<Vec<u8>>,
    credit: Arc<Semaphore>,
) {
    let mut chunk = vec![0; TUNNEL_CHUNK];
    loop {
        let Ok(permit) = credit.acquire().await else {
            return;
        };
        permit.forget();
        let most = chunk.len().min(1 + credit.available_permits());
        // A reset reads as an end.
        let length = reader.read(&mut chunk[..most]).await.unwrap_or(0);
        // One was taken before, the rest is there: only this task takes.
        credit.forget_permits(length.saturating_sub(1));
        let message = Message::Tunnel {
            tunnel,
            data: BASE64.encode(&chunk[..length]),
        };
        let Ok(frame) = codec::encode(&message) else {
            return;
        };
        if frames.send(frame).await.is_err() || length == 0 {
            return;
        }
    }
}
