//! Connections with other nodes: dialling, accepting, reading, writing, hanging up.
//!
//! Decides nothing: whom to dial and whom to keep is the core's affair.

mod connection;
mod outbox;
pub(crate) mod socket;

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use netsplit_core::io::{ConnId, Input};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinHandle,
    time,
};

pub(crate) use self::connection::describe;
use self::outbox::Outbox;
use crate::wake::Wake;

/// Connections at once, handshaken or not; more are closed as soon as they are accepted.
const MAX_CONNECTIONS: usize = 256;

/// Connections that were accepted have this bit in their number.
const ACCEPTED: u64 = 1 << 63;

/// All connections of a node.
#[derive(Debug)]
pub(crate) struct Network {
    source: IpAddr,
    dial_timeout: Duration,
    idle: Duration,
    wakes: mpsc::Sender<Wake>,
    connections: HashMap<ConnId, Connection>,
    accepted: u64,
}

#[derive(Debug)]
enum Connection {
    Dialling(JoinHandle<()>),
    Open {
        stream: Arc<TcpStream>,
        outbox: Arc<Outbox>,
        task: JoinHandle<()>,
    },
}

impl Network {
    /// No connections yet. Dials come from `source`; what happens goes to `wakes`.
    pub(crate) fn new(
        source: IpAddr,
        dial_timeout: Duration,
        idle: Duration,
        wakes: mpsc::Sender<Wake>,
    ) -> Self {
        Self {
            source,
            dial_timeout,
            idle,
            wakes,
            connections: HashMap::new(),
            accepted: 0,
        }
    }

    /// Starts to dial; [`Wake::Dialled`] tells how it went.
    pub(crate) fn dial(&mut self, conn: ConnId, remote: SocketAddr) {
        let (source, timeout) = (self.source, self.dial_timeout);
        let wakes = self.wakes.clone();
        let task = tokio::spawn(async move {
            let result = match time::timeout(timeout, socket::connect(source, remote)).await {
                Ok(Ok(stream)) => Ok(stream),
                Ok(Err(error)) => Err(describe(&error)),
                Err(_) => Err("timed out".to_owned()),
            };
            // Fails only when the node is gone.
            let _ = wakes.send(Wake::Dialled { conn, result }).await;
        });
        self.connections.insert(conn, Connection::Dialling(task));
    }

    /// A dial is over. `None` if it had been given up.
    pub(crate) fn dialled(
        &mut self,
        conn: ConnId,
        result: Result<TcpStream, String>,
    ) -> Option<Input> {
        self.connections.remove(&conn)?;
        Some(
            match result.and_then(|stream| self.open(conn, stream).map_err(|e| describe(&e))) {
                Ok(()) => Input::Connected { conn },
                Err(reason) => Input::DialFailed { conn, reason },
            },
        )
    }

    /// Somebody dialled us. `None` if there are too many or it is already gone.
    pub(crate) fn accepted(&mut self, stream: TcpStream, remote: SocketAddr) -> Option<Input> {
        if self.connections.len() >= MAX_CONNECTIONS {
            return None;
        }
        let conn = ConnId(ACCEPTED | self.accepted);
        self.accepted += 1;
        self.open(conn, stream).ok()?;
        Some(Input::Accepted { conn, remote })
    }

    fn open(&mut self, conn: ConnId, stream: TcpStream) -> io::Result<()> {
        socket::set_timeouts(&stream, self.idle)?;
        let (stream, outbox) = (Arc::new(stream), Arc::new(Outbox::default()));
        let task = tokio::spawn(connection::serve(
            conn,
            Arc::clone(&stream),
            Arc::clone(&outbox),
            self.wakes.clone(),
        ));
        self.connections.insert(
            conn,
            Connection::Open {
                stream,
                outbox,
                task,
            },
        );
        Ok(())
    }

    /// Queues bytes. The connection is closed, and what the node is to be told returned, if too much is queued already.
    pub(crate) fn send(&mut self, conn: ConnId, bytes: Vec<u8>) -> Option<Input> {
        let Some(Connection::Open { outbox, .. }) = self.connections.get(&conn) else {
            return None;
        };
        if outbox.push(bytes) {
            return None;
        }
        self.abort(conn);
        Some(Input::Closed {
            conn,
            reason: "does not take what is sent".to_owned(),
        })
    }

    /// Closes a connection after what is queued, or gives up a dial.
    pub(crate) fn hang_up(&mut self, conn: ConnId) {
        match self.connections.remove(&conn) {
            Some(Connection::Dialling(task)) => task.abort(),
            Some(Connection::Open { outbox, task, .. }) => {
                outbox.close();
                connection::farewell(task);
            }
            None => {}
        }
    }

    fn abort(&mut self, conn: ConnId) {
        match self.connections.remove(&conn) {
            Some(Connection::Dialling(task) | Connection::Open { task, .. }) => task.abort(),
            None => {}
        }
    }

    /// Whether the node is still interested in a connection; what arrives on others is dropped.
    pub(crate) fn is_open(&self, conn: ConnId) -> bool {
        self.connections.contains_key(&conn)
    }

    /// The connection ended by itself; whether it was still open for the node.
    pub(crate) fn closed(&mut self, conn: ConnId) -> bool {
        self.connections.remove(&conn).is_some()
    }

    /// Open connections and their streams.
    pub(crate) fn streams(&self) -> impl Iterator<Item = (ConnId, &TcpStream)> {
        self.connections
            .iter()
            .filter_map(|(conn, connection)| match connection {
                Connection::Open { stream, .. } => Some((*conn, stream.as_ref())),
                Connection::Dialling(_) => None,
            })
    }

    /// The open connection `conn`.
    pub(crate) fn stream(&self, conn: ConnId) -> Option<&TcpStream> {
        match self.connections.get(&conn)? {
            Connection::Open { stream, .. } => Some(stream),
            Connection::Dialling(_) => None,
        }
    }
}

/// Accepts connections for as long as the node lives.
pub(crate) async fn accept(listener: TcpListener, wakes: mpsc::Sender<Wake>) {
    loop {
        match listener.accept().await {
            Ok((stream, remote)) => {
                if wakes.send(Wake::Accepted { stream, remote }).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                // Out of descriptors, or a connection that ended while it waited: neither lasts.
                tracing::warn!(%error, "failed to accept a connection");
                time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

#[cfg(test)]
mod tests;
