//! What wakes the node's loop.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use netsplit_core::io::{ConnId, Input};
use tokio::{net::TcpStream, sync::oneshot};

use crate::rpc::Call;

/// Something a task has for the node.
#[derive(Debug)]
pub(crate) enum Wake {
    /// An input as it is.
    Input(Input),
    /// A dial is over.
    Dialled {
        /// The connection that was dialled.
        conn: ConnId,
        /// The connection, or why there is none.
        result: Result<TcpStream, String>,
    },
    /// Somebody dialled us.
    Accepted {
        /// The connection.
        stream: TcpStream,
        /// Where it comes from.
        remote: SocketAddr,
    },
    /// Somebody asked the DNS server.
    DnsAsked {
        /// Who.
        from: IpAddr,
        /// Takes the addresses to answer with.
        reply: oneshot::Sender<Vec<Ipv4Addr>>,
    },
    /// The control API wants something.
    Call(Call),
}
