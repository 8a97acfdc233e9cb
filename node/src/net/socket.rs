//! Socket options, and what the kernel says of a connection.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    os::fd::{AsFd, AsRawFd as _},
    time::Duration,
};

use netsplit_api::probe::SocketInfo;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// Kernel buffers of one connection in bytes, each way (the kernel doubles it for its bookkeeping). A thousand nodes
/// with a dozen connections each share one kernel.
const KERNEL_BUFFER: usize = 128 * 1024;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 64;

fn tcp_socket(address: IpAddr) -> io::Result<Socket> {
    let domain = if address.is_ipv4() {
        Domain::IPV4
    } else {
        Domain::IPV6
    };
    let socket = Socket::new(
        domain,
        Type::STREAM.nonblocking().cloexec(),
        Some(Protocol::TCP),
    )?;
    socket.set_recv_buffer_size(KERNEL_BUFFER)?;
    socket.set_send_buffer_size(KERNEL_BUFFER)?;
    Ok(socket)
}

/// Listens at `address`.
///
/// # Errors
/// When the address is taken or is not ours.
pub(crate) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = tcp_socket(address.ip())?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Connects from `source` to `remote`.
///
/// # Errors
/// When the connection cannot be made.
pub(crate) async fn connect(source: IpAddr, remote: SocketAddr) -> io::Result<TcpStream> {
    let socket = tcp_socket(remote.ip())?;
    if source.is_ipv4() == remote.is_ipv4() {
        socket.bind(&SocketAddr::new(source, 0).into())?;
    }
    TcpSocket::from_std_stream(socket.into())
        .connect(remote)
        .await
}

/// Sends small messages at once, and ends the connection when sent data stay unacknowledged for `idle`.
///
/// # Errors
/// When the connection is already gone.
pub(crate) fn set_timeouts(stream: &TcpStream, idle: Duration) -> io::Result<()> {
    stream.set_nodelay(true)?;
    SockRef::from(stream).set_tcp_user_timeout(Some(idle))
}

/// What the kernel knows of the connection that getpeerinfo numbers `peer`.
pub(crate) fn describe(stream: &TcpStream, peer: u64) -> io::Result<SocketInfo> {
    let info = TcpInfo::of(stream)?;
    Ok(SocketInfo {
        peer,
        local: stream.local_addr()?.to_string(),
        remote: stream.peer_addr()?.to_string(),
        state: info.state().to_owned(),
        retransmits: u32::from(info.bytes[2]),
        rto_us: info.word(8),
        unacked: info.word(24),
        last_data_received_ms: info.word(52),
        last_ack_received_ms: info.word(56),
        bytes_acked: info.long(120),
        bytes_received: info.long(128),
        error: pending_error(stream)?,
    })
}

/// Whether an error waits on the socket. `SO_ERROR` would tell which, but take it away from whoever reads.
fn pending_error(stream: &TcpStream) -> io::Result<Option<String>> {
    let mut fds = [PollFd::new(stream.as_fd(), PollFlags::empty())];
    poll(&mut fds, PollTimeout::ZERO)?;
    let failed = fds[0]
        .revents()
        .is_some_and(|found| found.contains(PollFlags::POLLERR));
    Ok(failed.then(|| "an error is pending".to_owned()))
}

/// `struct tcp_info` of `linux/tcp.h` as the kernel wrote it; what an old kernel does not know is 0.
struct TcpInfo {
    bytes: [u8; Self::LENGTH],
}

impl TcpInfo {
    /// Up to and with `tcpi_bytes_received`.
    const LENGTH: usize = 136;

    #[expect(unsafe_code, reason = "neither nix nor socket2 wraps TCP_INFO")]
    fn of(stream: &TcpStream) -> io::Result<Self> {
        let mut info = Self {
            bytes: [0; Self::LENGTH],
        };
        let mut length = libc::socklen_t::try_from(Self::LENGTH).expect("136 fits");
        // SAFETY: the descriptor is open while `stream` is borrowed; the kernel writes at most `length` bytes to
        // `bytes`, which has that many, and the number written to `length`; any bytes are a valid `[u8; _]`.
        let outcome = unsafe {
            libc::getsockopt(
                stream.as_raw_fd(),
                libc::IPPROTO_TCP,
                libc::TCP_INFO,
                info.bytes.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        if outcome == 0 {
            Ok(info)
        } else {
            Err(io::Error::last_os_error())
        }
    }

    fn state(&self) -> &'static str {
        // Numbers of `enum` in `net/tcp_states.h`, from 1.
        const STATES: [&str; 12] = [
            "established",
            "syn-sent",
            "syn-recv",
            "fin-wait-1",
            "fin-wait-2",
            "time-wait",
            "close",
            "close-wait",
            "last-ack",
            "listen",
            "closing",
            "new-syn-recv",
        ];
        STATES
            .get(usize::from(self.bytes[0]).wrapping_sub(1))
            .unwrap_or(&"unknown")
    }

    fn word(&self, at: usize) -> u32 {
        self.bytes[at..]
            .first_chunk()
            .map_or(0, |bytes| u32::from_ne_bytes(*bytes))
    }

    fn long(&self, at: usize) -> u64 {
        self.bytes[at..]
            .first_chunk()
            .map_or(0, |bytes| u64::from_ne_bytes(*bytes))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn the_kernel_tells_what_went_over_a_connection() {
        let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let mut client = connect("127.0.0.9".parse().unwrap(), address)
            .await
            .unwrap();
        let (mut server, remote) = listener.accept().await.unwrap();
        assert_eq!(remote.ip().to_string(), "127.0.0.9");
        set_timeouts(&client, Duration::from_millis(3500)).unwrap();
        assert!(client.nodelay().unwrap());
        let set = SockRef::from(&client).tcp_user_timeout().unwrap();
        assert_eq!(set, Some(Duration::from_millis(3500)));

        client.write_all(&[1; 1000]).await.unwrap();
        let mut bytes = [0; 1000];
        server.read_exact(&mut bytes).await.unwrap();
        server.write_all(&[1; 10]).await.unwrap();
        client.read_exact(&mut bytes[..10]).await.unwrap();

        let info = describe(&client, 5).unwrap();
        assert_eq!(
            (info.peer, info.state.as_str(), info.error),
            (5, "established", None)
        );
        assert_eq!(info.remote, address.to_string());
        // The kernel counts the SYN as one acknowledged byte.
        assert!(
            (1000..=1001).contains(&info.bytes_acked),
            "{}",
            info.bytes_acked
        );
        assert_eq!(
            (info.bytes_received, info.unacked, info.retransmits),
            (10, 0, 0)
        );
        assert!(info.rto_us >= 1000, "{}", info.rto_us);
        drop(server);
        assert_eq!(client.read(&mut bytes).await.unwrap(), 0);
        assert_eq!(describe(&client, 5).unwrap().state, "close-wait");
    }
}
