//! The client's side of tunnels: a local stream whose bytes travel in frames, never more than a window ahead.

use std::{collections::VecDeque, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf},
    sync::mpsc,
};

use super::client::{AgentClient, AgentError, Shared, done};
use crate::protocol::{RequestBody, TUNNEL_CHUNK, TUNNEL_CHUNKS};

/// What came out of a tunnel.
#[derive(Debug)]
pub(super) enum Piece {
    /// Bytes.
    Data(Vec<u8>),
    /// The node's side closed.
    End,
    /// Not base64: the tunnel is broken.
    Broken,
}

/// One piece off the wire.
pub(super) fn decode(data: &str) -> Piece {
    match BASE64.decode(data) {
        Ok(data) if data.is_empty() => Piece::End,
        Ok(data) => Piece::Data(data),
        Err(_) => Piece::Broken,
    }
}

/// Opens a tunnel and starts the task that carries its bytes.
pub(super) async fn open(
    client: &AgentClient,
    node: &str,
    port: u16,
) -> Result<DuplexStream, AgentError> {
    let shared = Arc::clone(&client.shared);
    let tunnel = shared.next();
    let pieces = shared.add_tunnel(tunnel);
    let guard = Guard { shared, tunnel };
    let request = RequestBody::OpenTunnel {
        tunnel,
        node: node.to_owned(),
        port,
    };
    done(client.request(request).await?)?;
    let (ours, theirs) = tokio::io::duplex(2 * TUNNEL_CHUNK);
    tokio::spawn(carry(guard, pieces, ours));
    Ok(theirs)
}

/// Forgets the tunnel whichever way its task ends.
struct Guard {
    shared: Arc<Shared>,
    tunnel: u64,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.shared.remove_tunnel(self.tunnel);
    }
}

/// Ends when both directions did, or at once when the local stream was dropped.
async fn carry(guard: Guard, pieces: mpsc::UnboundedReceiver<Piece>, stream: DuplexStream) {
    let (reader, writer) = tokio::io::split(stream);
    // An error of either direction ends both: what is left of the stream then reads as closed.
    let _ = tokio::try_join!(
        upload(&guard.shared, guard.tunnel, reader),
        download(&guard.shared, guard.tunnel, pieces, writer),
    );
    if let Ok(answer) = guard
        .shared
        .send(RequestBody::CloseTunnel {
            tunnel: guard.tunnel,
        })
        .await
    {
        // Only the sending matters; the agent may have forgotten the tunnel first.
        let _ = guard.shared.answer(answer).await;
    }
}

async fn upload(
    shared: &Shared,
    tunnel: u64,
    mut reader: ReadHalf<DuplexStream>,
) -> Result<(), AgentError> {
    let mut unanswered = VecDeque::with_capacity(TUNNEL_CHUNKS);
    let mut chunk = vec![0; TUNNEL_CHUNK];
    loop {
        // A dropped stream reads as closed as well.
        let length = reader.read(&mut chunk).await.unwrap_or(0);
        if unanswered.len() == TUNNEL_CHUNKS
            && let Some(first) = unanswered.pop_front()
        {
            done(shared.answer(first).await?)?;
        }
        let data = BASE64.encode(&chunk[..length]);
        unanswered.push_back(shared.send(RequestBody::Tunnel { tunnel, data }).await?);
        if length == 0 {
            break;
        }
    }
    for answer in unanswered {
        done(shared.answer(answer).await?)?;
    }
    Ok(())
}

async fn download(
    shared: &Shared,
    tunnel: u64,
    mut pieces: mpsc::UnboundedReceiver<Piece>,
    mut writer: WriteHalf<DuplexStream>,
) -> Result<(), AgentError> {
    let closed = |_| AgentError::Lost {
        reason: "the tunnel's stream was dropped".to_owned(),
    };
    while let Some(piece) = pieces.recv().await {
        match piece {
            Piece::Data(data) => {
                writer.write_all(&data).await.map_err(closed)?;
                let bytes = u64::try_from(data.len()).unwrap_or(u64::MAX);
                let credit = RequestBody::TunnelCredit { tunnel, bytes };
                // Nothing waits for the answer: what the credit allows is the answer.
                drop(shared.send(credit).await?);
            }
            Piece::End => {
                let _ = writer.shutdown().await;
                return Ok(());
            }
            Piece::Broken => break,
        }
    }
    Err(AgentError::Lost {
        reason: "the tunnel broke".to_owned(),
    })
}
