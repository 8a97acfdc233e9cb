//! One connection: bytes in, bytes out, until either side ends it.

use std::{io, net::Shutdown, sync::Arc, time::Duration};

use netsplit_core::io::{ConnId, Input};
use socket2::SockRef;
use tokio::{io::Interest, net::TcpStream, sync::mpsc};

use super::outbox::{Next, Outbox};
use crate::wake::Wake;

/// Time to send what is queued after the node has hung up.
const FAREWELL: Duration = Duration::from_secs(1);

/// First guess at how much arrives at once; an idle connection holds no buffer at all.
const MIN_READ: usize = 1024;
/// Most bytes read at once.
const MAX_READ: usize = 64 * 1024;

/// Runs a connection until its end and tells the node, unless the node itself hung up.
pub(super) async fn serve(
    conn: ConnId,
    stream: Arc<TcpStream>,
    outbox: Arc<Outbox>,
    wakes: mpsc::Sender<Wake>,
) {
    let reason = tokio::select! {
        reason = read(conn, &stream, &wakes) => reason,
        sent = write(&stream, &outbox) => match sent {
            Ok(()) => return,
            Err(error) => describe(&error),
        },
    };
    // Fails only when the node is gone.
    let _ = wakes
        .send(Wake::Input(Input::Closed { conn, reason }))
        .await;
}

/// Reads until the end; returns why it ended. Waits while the node is busy, and so lets the peer wait.
async fn read(conn: ConnId, stream: &TcpStream, wakes: &mpsc::Sender<Wake>) -> String {
    let mut expected = MIN_READ;
    loop {
        if let Err(error) = stream.readable().await {
            return describe(&error);
        }
        let mut bytes = Vec::with_capacity(expected);
        match stream.try_read_buf(&mut bytes) {
            Ok(0) => return "closed by the peer".to_owned(),
            Ok(count) => {
                if count < bytes.capacity() {
                    drained(stream);
                }
                expected = if count == expected {
                    expected * 2
                } else {
                    count.next_power_of_two()
                };
                expected = expected.clamp(MIN_READ, MAX_READ);
                if wakes
                    .send(Wake::Input(Input::Received { conn, bytes }))
                    .await
                    .is_err()
                {
                    return "the node is gone".to_owned();
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return describe(&error),
        }
    }
}

/// All that was there is read: the next read waits for more, and is not tried once in vain to find that out.
fn drained(stream: &TcpStream) {
    let nothing = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
    // Says what it was told to.
    let _ = stream.try_io(Interest::READABLE, nothing);
}

/// Writes until the node hangs up and everything is sent.
async fn write(stream: &TcpStream, outbox: &Outbox) -> io::Result<()> {
    loop {
        match outbox.next().await {
            Next::Send(bytes) => write_all(stream, &bytes).await?,
            Next::Close => {
                // Fails only when the connection has ended already.
                let _ = SockRef::from(stream).shutdown(Shutdown::Write);
                return Ok(());
            }
        }
    }
}

async fn write_all(stream: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        stream.writable().await?;
        match stream.try_write(bytes) {
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Ends a connection's task after it had time to send what is queued.
pub(super) fn farewell(task: tokio::task::JoinHandle<()>) {
    if task.is_finished() {
        return;
    }
    tokio::spawn(async move {
        let abort = task.abort_handle();
        if tokio::time::timeout(FAREWELL, task).await.is_err() {
            abort.abort();
        }
    });
}

/// An I/O error in words that are the same everywhere.
pub(crate) fn describe(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::TimedOut => "timed out".to_owned(),
        io::ErrorKind::ConnectionRefused => "refused".to_owned(),
        io::ErrorKind::ConnectionReset => "reset by the peer".to_owned(),
        io::ErrorKind::HostUnreachable => "host unreachable".to_owned(),
        io::ErrorKind::NetworkUnreachable => "network unreachable".to_owned(),
        _ => error.to_string(),
    }
}
