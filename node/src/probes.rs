//! Reachability probes: what arrives from whom, seen from the inside.
//!
//! The probe port is open only while a round is, so that it says nothing about the node at other times.
//! A datagram is `nsprobe`, the round's 16 digits and a big-endian `u32` that counts up; over TCP a sender says the same
//! without the counter and waits until the receiver, having counted it, hangs up.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::future::{join, join_all};
use netsplit_api::{
    probe::{
        ProbeListen, ProbeListening, ProbeReceived, ProbeReport, ProbeSend, ProbeSender, ProbeSent,
        ProbeTarget, TcpOutcome,
    },
    rpc::{RpcError, code},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, UdpSocket},
    time::{self, Instant},
};

use crate::net::{describe, socket};

const MAGIC: &[u8] = b"nsprobe";
const ID_LENGTH: usize = 16;
const GREETING_LENGTH: usize = MAGIC.len() + ID_LENGTH;
/// Longest datagram read; ours are shorter.
const MAX_DATAGRAM: usize = 64;
/// Longest time a round stays open.
const MAX_WINDOW: Duration = Duration::from_secs(60);
/// Time between two datagrams to one target.
const SPACING: Duration = Duration::from_millis(10);
/// Most datagrams to one target.
const MAX_DATAGRAMS: u32 = 100;
/// Most targets of one call.
const MAX_TARGETS: usize = 4096;
/// Rounds whose counts are kept, open or closed.
const MAX_ROUNDS: usize = 64;
/// Senders counted in one round; nobody has more neighbours.
const MAX_SENDERS: usize = 4096;
/// Time for a connected sender to say which round it belongs to.
const GREETING_TIMEOUT: Duration = Duration::from_secs(2);

/// Sends and counts probes.
#[derive(Clone, Debug)]
pub(crate) struct Probes {
    address: IpAddr,
    port: u16,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// In the order they began.
    rounds: Vec<Round>,
    /// While the port is open: a second handle of its UDP socket, to take what has arrived but waits to be read.
    arrived: Option<std::net::UdpSocket>,
}

#[derive(Debug)]
struct Round {
    id: String,
    until: Instant,
    heard: BTreeMap<IpAddr, Heard>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Heard {
    datagrams: u32,
    connections: u32,
}

impl State {
    fn closes(&self) -> Option<Instant> {
        self.rounds
            .iter()
            .map(|round| round.until)
            .max()
            .filter(|until| *until > Instant::now())
    }

    /// Counts the datagrams that wait in the socket.
    fn drain(&mut self) {
        let Some(socket) = self.arrived.take() else {
            return;
        };
        let mut datagram = [0; MAX_DATAGRAM];
        while let Ok((length, from)) = socket.recv_from(&mut datagram) {
            self.count(&datagram[..length], from.ip(), |heard| heard.datagrams += 1);
        }
        self.arrived = Some(socket);
    }

    fn count(&mut self, greeting: &[u8], from: IpAddr, add: impl FnOnce(&mut Heard)) {
        let now = Instant::now();
        let Some(id) = greeting
            .strip_prefix(MAGIC)
            .and_then(|rest| rest.get(..ID_LENGTH))
        else {
            return;
        };
        let open = |round: &&mut Round| round.id.as_bytes() == id && round.until > now;
        let Some(round) = self.rounds.iter_mut().find(open) else {
            return;
        };
        if round.heard.len() < MAX_SENDERS || round.heard.contains_key(&from) {
            add(round.heard.entry(from).or_default());
        }
    }
}

impl Probes {
    /// Probes of the node at `address` over `port`.
    pub(crate) fn new(address: IpAddr, port: u16) -> Self {
        Self {
            address,
            port,
            state: Arc::default(),
        }
    }

    /// Opens the port for a round.
    ///
    /// # Errors
    /// When the parameters make no sense or the port cannot be opened.
    pub(crate) fn listen(&self, request: &ProbeListen) -> Result<ProbeListening, RpcError> {
        check_id(&request.id)?;
        let window = Duration::from_millis(request.for_ms);
        if window > MAX_WINDOW {
            return Err(invalid("for_ms is at most 60000"));
        }
        let until = Instant::now() + window;
        let mut state = self.state();
        if state.arrived.is_none() {
            let (udp, tcp, arrived) = self.open().map_err(|error| {
                RpcError::new(
                    code::MISC_ERROR,
                    format!("cannot open the probe port: {error}"),
                )
            })?;
            tokio::spawn(receive(udp, tcp, Arc::clone(&self.state)));
            state.arrived = Some(arrived);
        }
        match state.rounds.iter_mut().find(|round| round.id == request.id) {
            Some(round) => round.until = until,
            None => {
                let id = request.id.clone();
                state.rounds.push(Round {
                    id,
                    until,
                    heard: BTreeMap::new(),
                });
            }
        }
        if state.rounds.len() > MAX_ROUNDS {
            state.rounds.remove(0);
        }
        Ok(ProbeListening {
            addresses: own_addresses(self.address),
        })
    }

    fn open(&self) -> io::Result<(UdpSocket, TcpListener, std::net::UdpSocket)> {
        let address = SocketAddr::new(crate::listen_address(self.address), self.port);
        let udp = std::net::UdpSocket::bind(address)?;
        udp.set_nonblocking(true)?;
        let arrived = udp.try_clone()?;
        Ok((UdpSocket::from_std(udp)?, socket::listen(address)?, arrived))
    }

    /// Who was heard in a round.
    ///
    /// # Errors
    /// When there is no such round.
    pub(crate) fn report(&self, request: &ProbeReport) -> Result<ProbeReceived, RpcError> {
        let mut state = self.state();
        state.drain();
        let round = state.rounds.iter().find(|round| round.id == request.id);
        let round = round.ok_or_else(|| invalid("no such probe round"))?;
        let sender = |(address, heard): (&IpAddr, &Heard)| ProbeSender {
            address: *address,
            datagrams: heard.datagrams,
            connections: heard.connections,
        };
        Ok(ProbeReceived {
            senders: round.heard.iter().map(sender).collect(),
        })
    }

    /// Probes all targets at once.
    ///
    /// # Errors
    /// When the parameters make no sense.
    pub(crate) async fn send(&self, request: &ProbeSend) -> Result<ProbeSent, RpcError> {
        check_id(&request.id)?;
        if request.datagrams > MAX_DATAGRAMS || request.targets.len() > MAX_TARGETS {
            return Err(invalid("too many datagrams or targets"));
        }
        let timeout = Duration::from_millis(request.timeout_ms).min(MAX_WINDOW);
        let probe = async |target: IpAddr| {
            let datagrams = self.send_datagrams(&request.id, target, request.datagrams);
            let ((datagrams_sent, datagram_errors), tcp) =
                join(datagrams, self.try_tcp(&request.id, target, timeout)).await;
            ProbeTarget {
                address: target,
                datagrams_sent,
                datagram_errors,
                tcp,
            }
        };
        let targets = join_all(request.targets.iter().map(|target| probe(*target))).await;
        Ok(ProbeSent { targets })
    }

    async fn send_datagrams(&self, id: &str, target: IpAddr, count: u32) -> (u32, Vec<String>) {
        let mut errors = Vec::new();
        let mut sent = 0;
        let socket = match self.datagram_socket(target).await {
            Ok(socket) => socket,
            Err(error) => return (0, vec![describe(&error)]),
        };
        for number in 0..count {
            if number > 0 {
                time::sleep(SPACING).await;
            }
            let datagram = [&greeting(id)[..], &number.to_be_bytes()].concat();
            match socket.send(&datagram).await {
                Ok(_) => sent += 1,
                Err(error) => errors.push(describe(&error)),
            }
        }
        (sent, errors)
    }

    /// Connected, so that the kernel hands us what ICMP says about it.
    async fn datagram_socket(&self, target: IpAddr) -> io::Result<UdpSocket> {
        let socket = UdpSocket::bind((crate::source_address(self.address, target), 0)).await?;
        socket.connect((target, self.port)).await?;
        Ok(socket)
    }

    async fn try_tcp(&self, id: &str, target: IpAddr, timeout: Duration) -> TcpOutcome {
        let remote = SocketAddr::new(target, self.port);
        let deadline = Instant::now() + timeout;
        let source = crate::source_address(self.address, target);
        let mut stream = match time::timeout_at(deadline, socket::connect(source, remote)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return outcome(&error),
            Err(_) => return TcpOutcome::TimedOut,
        };
        // From here on it is connected, whether or not the other side hears which round this is.
        let introduce = async {
            stream.write_all(&greeting(id)).await?;
            stream.read(&mut [0]).await
        };
        let _ = time::timeout_at(deadline, introduce).await;
        TcpOutcome::Connected
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn greeting(id: &str) -> Vec<u8> {
    [MAGIC, id.as_bytes()].concat()
}

fn outcome(error: &io::Error) -> TcpOutcome {
    match error.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => TcpOutcome::Refused,
        io::ErrorKind::TimedOut => TcpOutcome::TimedOut,
        _ => TcpOutcome::Failed(describe(error)),
    }
}

/// Counts what arrives until no round is open any more.
async fn receive(udp: UdpSocket, tcp: TcpListener, state: Arc<Mutex<State>>) {
    loop {
        let closes = {
            let mut state = lock(&state);
            let Some(closes) = state.closes() else {
                state.arrived = None;
                return;
            };
            closes
        };
        tokio::select! {
            readable = udp.readable() => if readable.is_ok() {
                let mut datagram = [0; MAX_DATAGRAM];
                while let Ok((length, from)) = udp.try_recv_from(&mut datagram) {
                    let add = |heard: &mut Heard| heard.datagrams += 1;
                    lock(&state).count(&datagram[..length], from.ip(), add);
                }
            },
            accepted = tcp.accept() => if let Ok((stream, from)) = accepted {
                tokio::spawn(greet(stream, from.ip(), Arc::clone(&state)));
            },
            () = time::sleep_until(closes) => {}
        }
    }
}

/// Hears which round a connection belongs to, counts it, and hangs up.
async fn greet(mut stream: TcpStream, from: IpAddr, state: Arc<Mutex<State>>) {
    let mut greeting = [0; GREETING_LENGTH];
    let read = time::timeout(GREETING_TIMEOUT, stream.read_exact(&mut greeting)).await;
    if let Ok(Ok(_)) = read {
        lock(&state).count(&greeting, from, |heard| heard.connections += 1);
    }
}

/// All addresses of this network namespace but loopback, `configured` first.
fn own_addresses(configured: IpAddr) -> Vec<IpAddr> {
    let mut addresses = vec![configured];
    for interface in nix::ifaddrs::getifaddrs().into_iter().flatten() {
        let Some(storage) = interface.address else {
            continue;
        };
        let address = storage
            .as_sockaddr_in()
            .map(|v4| IpAddr::V4(v4.ip()))
            .or_else(|| storage.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())));
        let Some(address) = address else { continue };
        if !address.is_loopback() && !is_link_local(address) && !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    addresses
}

/// Reached only with the name of an interface, which a probe's target does not carry.
fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

fn check_id(id: &str) -> Result<(), RpcError> {
    let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if id.len() == ID_LENGTH && id.bytes().all(digit) {
        Ok(())
    } else {
        Err(invalid("id must be 16 lower-case hex digits"))
    }
}

fn invalid(message: &str) -> RpcError {
    RpcError::new(code::INVALID_PARAMETER, message)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    const ID: &str = "00112233aabbccdd";
    const OTHER_ID: &str = "ffffffffffffffff";

    fn listen(id: &str, for_ms: u64) -> ProbeListen {
        ProbeListen {
            id: id.to_owned(),
            for_ms,
        }
    }

    fn send(id: &str, targets: &[&Probes], timeout_ms: u64) -> ProbeSend {
        let targets = targets.iter().map(|probes| probes.address).collect();
        ProbeSend {
            id: id.to_owned(),
            targets,
            datagrams: 3,
            timeout_ms,
        }
    }

    /// Nodes on loopback addresses of their own, so that they share one port.
    fn nodes<const N: usize>(network: u8, port: u16) -> [Probes; N] {
        let address = |n: usize| format!("127.78.{network}.{}", n + 1).parse().unwrap();
        std::array::from_fn(|n| Probes::new(address(n), port))
    }

    #[tokio::test]
    async fn receivers_count_what_arrives_in_their_round() {
        let [a, b, c] = nodes(0, 18470);
        b.listen(&listen(ID, 5_000)).unwrap();
        c.listen(&listen(OTHER_ID, 5_000)).unwrap();
        let sent = a.send(&send(ID, &[&b, &c], 500)).await.unwrap();
        assert_eq!(sent.targets.len(), 2);
        for target in &sent.targets {
            assert_eq!(
                (target.datagrams_sent, &target.tcp),
                (3, &TcpOutcome::Connected)
            );
            assert!(target.datagram_errors.is_empty());
        }
        let report = b.report(&ProbeReport { id: ID.to_owned() }).unwrap();
        let heard = ProbeSender {
            address: a.address,
            datagrams: 3,
            connections: 1,
        };
        assert_eq!(report.senders, [heard]);
        let other = c
            .report(&ProbeReport {
                id: OTHER_ID.to_owned(),
            })
            .unwrap();
        assert!(other.senders.is_empty());
        assert!(c.report(&ProbeReport { id: ID.to_owned() }).is_err());
    }

    #[tokio::test]
    async fn the_port_is_open_during_the_window_only() {
        let [a, b] = nodes(1, 18471);
        let closed = a.send(&send(ID, &[&b], 500)).await.unwrap();
        assert_eq!(closed.targets[0].tcp, TcpOutcome::Refused);
        b.listen(&listen(ID, 30)).unwrap();
        while b.state().arrived.is_some() {
            time::sleep(Duration::from_millis(5)).await;
        }
        let closed = a.send(&send(ID, &[&b], 500)).await.unwrap();
        assert_eq!(closed.targets[0].tcp, TcpOutcome::Refused);
        assert!(closed.targets[0].datagrams_sent < 3);
        assert_eq!(
            closed.targets[0]
                .datagram_errors
                .first()
                .map(String::as_str),
            Some("refused")
        );
        b.listen(&listen(ID, 5_000)).unwrap();
        let open = a.send(&send(ID, &[&b], 500)).await.unwrap();
        assert_eq!(open.targets[0].tcp, TcpOutcome::Connected);
    }

    #[tokio::test]
    async fn hundreds_of_pairs_are_quick() {
        let nodes: [Probes; 22] = nodes(2, 18472);
        for node in &nodes {
            node.listen(&listen(ID, 5_000)).unwrap();
        }
        let began = Instant::now();
        let all: Vec<&Probes> = nodes.iter().collect();
        let request = send(ID, &all, 1_000);
        let sent = join_all(nodes.iter().map(|node| node.send(&request))).await;
        assert!(sent.into_iter().all(|sent| {
            sent.unwrap()
                .targets
                .iter()
                .all(|target| target.tcp == TcpOutcome::Connected)
        }));
        assert!(
            began.elapsed() < Duration::from_millis(900),
            "{:?}",
            began.elapsed()
        );
        for node in &nodes {
            let senders = node
                .report(&ProbeReport { id: ID.to_owned() })
                .unwrap()
                .senders;
            assert_eq!(senders.len(), nodes.len());
            assert!(
                senders
                    .iter()
                    .all(|s| (s.datagrams, s.connections) == (3, 1))
            );
        }
    }

    #[tokio::test]
    async fn nonsense_is_refused() {
        let [a] = nodes(3, 18473);
        for id in ["", "0011", "00112233AABBCCDD", "00112233aabbccdg"] {
            assert_eq!(
                a.listen(&listen(id, 10)).unwrap_err().code,
                code::INVALID_PARAMETER
            );
        }
        assert!(a.listen(&listen(ID, 60_001)).is_err());
        let many = ProbeSend {
            datagrams: 101,
            ..send(ID, &[], 10)
        };
        assert!(a.send(&many).await.is_err());
    }

    #[test]
    fn the_configured_address_comes_first_and_once() {
        let address: IpAddr = "10.9.8.7".parse().unwrap();
        let addresses = own_addresses(address);
        assert_eq!(addresses[0], address);
        assert_eq!(addresses.iter().filter(|a| **a == address).count(), 1);
        assert!(addresses.iter().all(|a| !a.is_loopback()));
    }
}
