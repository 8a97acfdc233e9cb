//! How nodes show from the inside that a link is cut or whole.
//!
//! One round: `x_probe_listen` on every receiver, `x_probe_send` on every sender, `x_probe_report` on every receiver.
//! What counts is what *arrived*: a sender cannot tell silence from loss. All three take one object as their only
//! (named) parameters.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// Parameters of `x_probe_listen`: opens [`crate::config::PROBE_PORT`] for UDP and TCP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeListen {
    /// 16 lower-case hex digits that tell this round from others; datagrams with another id are not counted.
    pub id: String,
    /// The port closes by itself after this many milliseconds (at most 60,000).
    pub for_ms: u64,
}

/// Result of `x_probe_listen`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeListening {
    /// Every address of the node that others could reach it at, loopback left out: the configured one first. More than one
    /// means that a second network may lead around a cut, so probes go to all of them.
    pub addresses: Vec<IpAddr>,
}

/// Parameters of `x_probe_send`: datagrams and one TCP connection attempt to every target, all at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeSend {
    /// The round.
    pub id: String,
    /// Addresses to probe.
    pub targets: Vec<IpAddr>,
    /// Datagrams to each target, sent 10 ms apart.
    pub datagrams: u32,
    /// A TCP attempt that has not connected by then timed out, in milliseconds.
    pub timeout_ms: u64,
}

/// Result of `x_probe_send`, one entry per target in the order asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeSent {
    /// What happened at the sender.
    pub targets: Vec<ProbeTarget>,
}

/// What the sender saw of one target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeTarget {
    /// The target.
    pub address: IpAddr,
    /// Datagrams the kernel took without an error.
    pub datagrams_sent: u32,
    /// Errors the kernel returned for datagrams; empty for a silent cut.
    pub datagram_errors: Vec<String>,
    /// What became of the TCP attempt.
    pub tcp: TcpOutcome,
}

/// What became of a TCP connection attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TcpOutcome {
    /// Connected.
    Connected,
    /// No answer of any kind.
    TimedOut,
    /// Reset by the other side.
    Refused,
    /// Another error, by its text.
    Failed(String),
}

/// Parameters of `x_probe_report`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeReport {
    /// The round.
    pub id: String,
}

/// Result of `x_probe_report`: senders that were heard, and nobody else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeReceived {
    /// Who was heard.
    pub senders: Vec<ProbeSender>,
}

/// What the receiver heard of one sender.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeSender {
    /// The sender's *configured* address, which every datagram carries and every connection says first: packets that came by
    /// another network are counted for the node that sent them.
    pub address: IpAddr,
    /// Datagrams of this round that arrived.
    pub datagrams: u32,
    /// TCP connections that were accepted.
    pub connections: u32,
}

/// Result of `x_sockets`: the node's TCP connections with other nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sockets {
    /// One entry per connection, handshaken or not.
    pub sockets: Vec<SocketInfo>,
}

/// What the kernel says of one TCP connection (`TCP_INFO`, tcp(7)).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SocketInfo {
    /// Number of the connection.
    pub peer: u64,
    /// Own `ip:port`.
    pub local: String,
    /// The other side's `ip:port`.
    pub remote: String,
    /// TCP state, e.g. `established`.
    pub state: String,
    /// Consecutive unanswered retransmissions.
    pub retransmits: u32,
    /// Retransmission timeout in microseconds.
    pub rto_us: u32,
    /// Segments sent and not acknowledged.
    pub unacked: u32,
    /// Bytes received since the connection began.
    pub bytes_received: u64,
    /// Bytes acknowledged by the other side since the connection began.
    pub bytes_acked: u64,
    /// Milliseconds since data last arrived.
    pub last_data_received_ms: u32,
    /// Milliseconds since any acknowledgement last arrived.
    pub last_ack_received_ms: u32,
    /// Error pending on the socket, if any (`SO_ERROR` is not consumed).
    pub error: Option<String>,
}
