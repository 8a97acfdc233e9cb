//! Connections over loopback, driven as the node's loop drives them.

#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;

const SECOND: Duration = Duration::from_secs(1);

struct Side {
    network: Network,
    inbox: mpsc::Receiver<Wake>,
}

impl Side {
    fn new(address: &str) -> Self {
        let (wakes, inbox) = mpsc::channel(4);
        let network = Network::new(address.parse().unwrap(), SECOND, SECOND, wakes);
        Self { network, inbox }
    }

    async fn wake(&mut self) -> Wake {
        time::timeout(10 * SECOND, self.inbox.recv())
            .await
            .expect("nothing happened")
            .unwrap()
    }

    /// Bytes that arrive until the connection ends, and why it ends.
    async fn read_to_end(&mut self, conn: ConnId) -> (Vec<u8>, String) {
        let mut all = Vec::new();
        loop {
            match self.wake().await {
                Wake::Input(Input::Received { bytes, .. }) => all.extend(bytes),
                Wake::Input(Input::Closed {
                    conn: closed,
                    reason,
                }) if closed == conn => {
                    return (all, reason);
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

/// Two sides with one connection, and its number on either side.
async fn connected(network: u8) -> (Side, ConnId, Side, ConnId) {
    let (own, other) = (format!("127.79.{network}.1"), format!("127.79.{network}.2"));
    let (mut dialler, mut listener) = (Side::new(&own), Side::new(&other));
    let socket = socket::listen(format!("{other}:0").parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(accept(socket, listener.network.wakes.clone()));
    dialler.network.dial(ConnId(1), address);
    let Wake::Dialled { conn, result } = dialler.wake().await else {
        panic!("no dial")
    };
    assert!(matches!(
        dialler.network.dialled(conn, result),
        Some(Input::Connected { .. })
    ));
    let Wake::Accepted { stream, remote } = listener.wake().await else {
        panic!("no connection")
    };
    assert_eq!(remote.ip().to_string(), own);
    let Some(Input::Accepted { conn: accepted, .. }) = listener.network.accepted(stream, remote)
    else {
        panic!("refused");
    };
    (dialler, conn, listener, accepted)
}

#[tokio::test]
async fn what_was_sent_before_hanging_up_arrives() {
    let (mut a, to_b, mut b, to_a) = connected(0).await;
    assert_ne!(to_a.0 & ACCEPTED, 0);
    let chunk: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    for _ in 0..10 {
        assert!(a.network.send(to_b, chunk.clone()).is_none());
    }
    a.network.hang_up(to_b);
    assert!(!a.network.is_open(to_b));
    let (received, reason) = b.read_to_end(to_a).await;
    assert!(
        received == chunk.repeat(10),
        "{} bytes arrived",
        received.len()
    );
    assert_eq!(reason, "closed by the peer");
    assert!(b.network.closed(to_a) && !b.network.closed(to_a));
    assert!(
        a.inbox.try_recv().is_err(),
        "who hangs up is not told that it did"
    );
}

#[tokio::test]
async fn a_peer_that_does_not_read_is_hung_up_on() {
    let (mut a, to_b, _b, _) = connected(1).await;
    let mut queued = 0;
    let closed = loop {
        queued += 1_000_000;
        assert!(queued < 3 * outbox::MAX_QUEUED, "any amount is queued");
        if let Some(input) = a.network.send(to_b, vec![0; 1_000_000]) {
            break input;
        }
        tokio::task::yield_now().await;
    };
    assert!(matches!(closed, Input::Closed { conn, .. } if conn == to_b));
    assert!(!a.network.is_open(to_b));
}

#[tokio::test]
async fn dials_that_fail_have_a_reason_and_dials_given_up_have_none() {
    let mut side = Side::new("127.79.2.1");
    let nobody = "127.79.2.2:9".parse().unwrap();
    side.network.dial(ConnId(1), nobody);
    let Wake::Dialled { conn, result } = side.wake().await else {
        panic!("no dial")
    };
    let Some(Input::DialFailed { reason, .. }) = side.network.dialled(conn, result) else {
        panic!("connected");
    };
    assert_eq!(reason, "refused");

    side.network.dial(ConnId(2), nobody);
    let Wake::Dialled { conn, result } = side.wake().await else {
        panic!("no dial")
    };
    side.network.hang_up(conn);
    assert!(side.network.dialled(conn, result).is_none());
}
