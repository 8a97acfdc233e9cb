//! The DNS server's sockets: UDP, and TCP with RFC 1035 §4.2.2's length prefix.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, UdpSocket},
    sync::{Semaphore, mpsc, oneshot},
    time,
};

use super::answer::{Question, Received, Transport, receive};
use crate::wake::Wake;

/// Longest question read, over UDP as over TCP; a name and an OPT record are much shorter.
const MAX_QUESTION: usize = 1232;
/// Time for the next question on a TCP connection.
const TCP_IDLE: Duration = Duration::from_secs(2);
/// Questions answered on one TCP connection.
const TCP_QUESTIONS: usize = 32;
/// TCP connections at once; the next ones wait.
const TCP_CONNECTIONS: usize = 16;

/// Answers over UDP for as long as the node lives.
pub(crate) async fn serve_udp(socket: UdpSocket, wakes: mpsc::Sender<Wake>) {
    let mut packet = [0; MAX_QUESTION];
    loop {
        // An error here is an ICMP message about an earlier answer.
        let Ok((length, remote)) = socket.recv_from(&mut packet).await else {
            continue;
        };
        if let Some(reply) = respond(&packet[..length], remote, Transport::Udp, &wakes).await {
            // A lost answer is the asker's to ask for again.
            let _ = socket.try_send_to(&reply, remote);
        }
        if wakes.is_closed() {
            return;
        }
    }
}

/// Answers over TCP for as long as the node lives.
pub(crate) async fn serve_tcp(listener: TcpListener, wakes: mpsc::Sender<Wake>) {
    let slots = Arc::new(Semaphore::new(TCP_CONNECTIONS));
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
            return;
        };
        let Ok((stream, remote)) = listener.accept().await else {
            // Out of descriptors, or a connection that ended while it waited: neither lasts.
            time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let wakes = wakes.clone();
        tokio::spawn(async move {
            // The asker has gone or is too slow: nobody else is concerned.
            let _ = converse(stream, remote, &wakes).await;
            drop(slot);
        });
    }
}

async fn converse(
    mut stream: TcpStream,
    remote: SocketAddr,
    wakes: &mpsc::Sender<Wake>,
) -> io::Result<()> {
    for _ in 0..TCP_QUESTIONS {
        let question = time::timeout(TCP_IDLE, read_question(&mut stream)).await??;
        let Some(reply) = respond(&question, remote, Transport::Tcp, wakes).await else {
            return Ok(());
        };
        let length = u16::try_from(reply.len()).map_err(io::Error::other)?;
        let framed = [&length.to_be_bytes(), reply.as_slice()].concat();
        time::timeout(TCP_IDLE, stream.write_all(&framed)).await??;
    }
    Ok(())
}

async fn read_question(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let length = usize::from(stream.read_u16().await?);
    if length > MAX_QUESTION {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut question = vec![0; length];
    stream.read_exact(&mut question).await?;
    Ok(question)
}

/// The answer to one packet; every question makes the node curious about who asked.
async fn respond(
    packet: &[u8],
    remote: SocketAddr,
    transport: Transport,
    wakes: &mpsc::Sender<Wake>,
) -> Option<Vec<u8>> {
    match receive(packet, transport) {
        Received::Drop => None,
        Received::Reply(reply) => Some(reply),
        Received::Ask(question) => ask(*question, remote.ip(), wakes).await,
    }
}

async fn ask(question: Question, from: IpAddr, wakes: &mpsc::Sender<Wake>) -> Option<Vec<u8>> {
    let (reply, addresses) = oneshot::channel::<Vec<Ipv4Addr>>();
    wakes.send(Wake::DnsAsked { from, reply }).await.ok()?;
    question.answer(&addresses.await.ok()?)
}
