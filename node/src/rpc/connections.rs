//! The control API's connections: how many there may be, and how long a request may take to say what it wants.
//!
//! Knows nothing of paths and passwords: whoever has none is bounded here all the same.

use std::{
    collections::HashMap,
    net::IpAddr,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time,
};

/// Connections at once; more are closed as soon as they are accepted.
const MAX_CONNECTIONS: usize = 128;
/// Connections of one host at once, so that none can lock the others out.
const MAX_OF_HOST: usize = 32;
/// Time for a request's head, counted from the end of the one before. Not a round number: a client that calls every so
/// many seconds should not meet the end of its connection.
const HEAD_TIMEOUT: Duration = Duration::from_millis(17_300);
/// Bytes of a connection that are held at most, its request's head included.
const MAX_BUFFER: usize = 64 * 1024;

/// Serves until `stop` turns true and what is under way is done.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    head_timeout: Duration,
    stop: watch::Receiver<bool>,
) {
    let seats = Seats::default();
    let mut tasks = JoinSet::new();
    let stopped = stop.clone();
    let mut stopping = pin!(is_true(stop));
    loop {
        let accepted = tokio::select! {
            () = &mut stopping => break,
            Some(_) = tasks.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, remote)) => {
                if let Some(seat) = seats.take(remote.ip()) {
                    let (router, stopped) = (router.clone(), stopped.clone());
                    tasks.spawn(converse(stream, router, head_timeout, stopped, seat));
                }
            }
            Err(error) => {
                // Out of descriptors, or a connection that ended while it waited: neither lasts.
                tracing::warn!(%error, "failed to accept a connection to the control API");
                time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    drop(listener);
    while tasks.join_next().await.is_some() {}
}

/// Serves with the usual patience.
pub(super) async fn serve_patiently(
    listener: TcpListener,
    router: Router,
    stop: watch::Receiver<bool>,
) {
    serve(listener, router, HEAD_TIMEOUT, stop).await;
}

async fn converse(
    stream: TcpStream,
    router: Router,
    head_timeout: Duration,
    stop: watch::Receiver<bool>,
    seat: Seat,
) {
    // Fails only when the connection has ended already.
    let _ = stream.set_nodelay(true);
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(head_timeout)
            .max_buf_size(MAX_BUFFER)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
    );
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = is_true(stop) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection to the control API failed");
    }
    drop(seat);
}

async fn is_true(mut stop: watch::Receiver<bool>) {
    // An error means that the node is gone, which also is a reason to stop.
    let _ = stop.wait_for(|stop| *stop).await;
}

type Taken = Arc<Mutex<HashMap<IpAddr, usize>>>;

/// Who is connected how often.
#[derive(Debug, Default)]
struct Seats {
    taken: Taken,
}

/// Room for one connection, until it is dropped.
#[derive(Debug)]
struct Seat {
    host: IpAddr,
    taken: Taken,
}

impl Seats {
    /// Room for a connection of `host`, if there is any.
    fn take(&self, host: IpAddr) -> Option<Seat> {
        let mut taken = lock(&self.taken);
        let own = taken.get(&host).copied().unwrap_or(0);
        if own >= MAX_OF_HOST || taken.values().sum::<usize>() >= MAX_CONNECTIONS {
            return None;
        }
        taken.insert(host, own + 1);
        Some(Seat {
            host,
            taken: Arc::clone(&self.taken),
        })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = lock(&self.taken);
        if let Some(own) = taken.get_mut(&self.host) {
            *own -= 1;
            if *own == 0 {
                taken.remove(&self.host);
            }
        }
    }
}

fn lock(taken: &Taken) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
    taken.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::net::SocketAddr;

    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    fn host(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    /// A server with little patience, and what stops it.
    async fn server() -> (SocketAddr, watch::Sender<bool>, tokio::task::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/", get(async || "hello"));
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(serve(listener, router, Duration::from_millis(50), stopped));
        (address, stop, task)
    }

    async fn rest(stream: &mut TcpStream) -> String {
        let mut text = String::new();
        let read = stream.read_to_string(&mut text);
        time::timeout(Duration::from_secs(10), read)
            .await
            .expect("the server hangs up")
            .unwrap();
        text
    }

    #[test]
    fn one_host_cannot_take_the_room_of_others_and_what_is_left_is_free_again() {
        let seats = Seats::default();
        let mut first: Vec<Seat> = std::iter::from_fn(|| seats.take(host(1))).collect();
        assert_eq!(first.len(), MAX_OF_HOST);
        let second: Vec<Seat> = std::iter::from_fn(|| seats.take(host(2))).collect();
        assert_eq!(second.len(), MAX_OF_HOST);
        first.pop();
        assert!(seats.take(host(1)).is_some());
        let others =
            (3..50).flat_map(|n| seats.take(host(n)).into_iter().chain(seats.take(host(n))));
        let others: Vec<Seat> = others.collect();
        assert_eq!(first.len() + second.len() + others.len(), MAX_CONNECTIONS);
        assert!(seats.take(host(99)).is_none());
        drop((first, second, others));
        assert!(lock(&seats.taken).is_empty());
    }

    #[tokio::test]
    async fn one_who_does_not_finish_his_request_is_hung_up_on() {
        let (address, _stop, _task) = server().await;
        for start in ["", "GET / HTTP/1.1\r\nhost: x\r\nx: "] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(start.as_bytes()).await.unwrap();
            let answer = rest(&mut stream).await;
            assert!(!answer.contains("200"), "{answer}");
        }
        let mut stream = TcpStream::connect(address).await.unwrap();
        let whole = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";
        stream.write_all(whole).await.unwrap();
        let answer = rest(&mut stream).await;
        assert!(
            answer.starts_with("HTTP/1.1 200") && answer.ends_with("hello"),
            "{answer}"
        );
    }

    #[tokio::test]
    async fn those_beyond_the_limit_are_hung_up_on() {
        let (address, _stop, _task) = server().await;
        let mut held = Vec::new();
        for _ in 0..=MAX_OF_HOST {
            held.push(TcpStream::connect(address).await.unwrap());
        }
        let last = held.last_mut().unwrap();
        assert_eq!(rest(last).await, "");
    }

    #[tokio::test]
    async fn it_stops_although_somebody_is_connected() {
        let (address, stop, task) = server().await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream
            .write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            .await
            .unwrap();
        let mut first = [0; 12];
        stream.read_exact(&mut first).await.unwrap();
        stop.send_replace(true);
        time::timeout(Duration::from_secs(10), task)
            .await
            .unwrap()
            .unwrap();
    }
}
