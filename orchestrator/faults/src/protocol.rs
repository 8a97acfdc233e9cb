//! What the agent is asked and what it answers.
//!
//! Both directions of a stream carry frames: a big-endian `u32` length, then that many bytes of JSON, one [`Request`] or
//! one [`Message`]. Requests may be answered out of order. The agent refuses frames above [`MAX_FRAME`].

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::link::{Applied, Counters, LinkTable};

/// Longest frame, in bytes.
pub const MAX_FRAME: u32 = 64 * 1024 * 1024;

/// Most bytes in one piece of a tunnel.
pub const TUNNEL_CHUNK: usize = 32 * 1024;

/// Most pieces of a tunnel a client may have sent without an answer.
pub const TUNNEL_CHUNKS: usize = 8;

/// Bytes the agent may send into a tunnel before the client granted more with [`RequestBody::TunnelCredit`].
pub const TUNNEL_WINDOW: u64 = 256 * 1024;

/// Where the agent listens for later clients, inside its own container.
pub const SOCKET: &str = "/run/netsplit/agent.sock";

/// Environment variable that makes the agent end with its first client when it is `1`.
pub const OWNED_ENV: &str = "NETSPLIT_AGENT_OWNED";

/// One request to the agent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Request {
    /// Chosen by the client, named again in the reply.
    pub id: u64,
    /// What is asked.
    pub body: RequestBody,
}

/// What is asked of the agent.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "type", content = "body", rename_all = "snake_case")]
pub enum RequestBody {
    /// Which network and nodes the agent serves; the first request it ever gets. Later ones replace the list of nodes.
    Configure(Configure),
    /// Bring all links into this state.
    Apply(LinkTable),
    /// Read the kernel's counters.
    Counters,
    /// Undo everything and check that nothing of ours is left in the kernel.
    Clear,
    /// Call a node's JSON-RPC.
    Rpc {
        /// The node's name.
        node: String,
        /// The method.
        method: String,
        /// Its parameters, an array or an object.
        params: Value,
        /// Given up after this many milliseconds.
        timeout_ms: u64,
    },
    /// From now on push every event of every node to this client, beginning with the oldest that is kept.
    Follow,
    /// Keep a document; replaces the one kept before.
    PutState(Value),
    /// The document last kept, or null.
    GetState,
    /// Open a TCP connection to a port of a node.
    OpenTunnel {
        /// Chosen by the client, unique among its tunnels.
        tunnel: u64,
        /// The node's name.
        node: String,
        /// TCP port.
        port: u16,
    },
    /// Bytes for a tunnel, answered once the node's side took them: a client has at most [`TUNNEL_CHUNKS`] unanswered.
    Tunnel {
        /// Which.
        tunnel: u64,
        /// Base64 of at most [`TUNNEL_CHUNK`] bytes; empty closes this direction.
        data: String,
    },
    /// The client consumed this many bytes of a tunnel: as many more may be sent to it.
    TunnelCredit {
        /// Which.
        tunnel: u64,
        /// How many.
        bytes: u64,
    },
    /// Close both directions of a tunnel and forget it.
    CloseTunnel {
        /// Which.
        tunnel: u64,
    },
    /// How the agent itself is: answered with [`ReplyBody::Health`].
    Health,
}

/// Whom the agent serves.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Configure {
    /// The run's id; the kernel table carries it in its name.
    pub run: String,
    /// The bridge device of the run's network, to which every socket towards nodes is bound; none where the agent is in a
    /// network namespace that leads nowhere else.
    #[serde(default)]
    pub device: Option<String>,
    /// First address and prefix length of the run's network; nodes outside are refused.
    pub subnet: (IpAddr, u8),
    /// User name of the nodes' control API.
    pub rpc_user: String,
    /// Password of the nodes' control API.
    pub rpc_password: Secret,
    /// TCP port of the nodes' control API.
    pub rpc_port: u16,
    /// UDP and TCP port of the probes, counted apart from the protocol.
    pub probe_port: u16,
    /// The nodes.
    pub nodes: Vec<AgentNode>,
}

/// A string that does not show itself in debug output.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// A node as the agent sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentNode {
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: IpAddr,
}

/// Anything the agent sends.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "type", content = "body", rename_all = "snake_case")]
pub enum Message {
    /// The answer to a request.
    Reply {
        /// The request's id.
        id: u64,
        /// The answer.
        body: ReplyBody,
    },
    /// Lines of a node's event stream.
    Events {
        /// The node's name.
        node: String,
        /// The node's incarnation.
        incarnation: u64,
        /// Event records as the node wrote them.
        records: Vec<Value>,
    },
    /// A node's event stream ended; the agent keeps trying to open it again.
    EventsEnded {
        /// The node's name.
        node: String,
        /// Why.
        reason: String,
    },
    /// Bytes from a tunnel.
    Tunnel {
        /// Which.
        tunnel: u64,
        /// Base64; empty when the other side closed.
        data: String,
    },
}

/// The answer to a request.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "type", content = "body", rename_all = "snake_case")]
pub enum ReplyBody {
    /// Done.
    Done,
    /// What became of a link table.
    Applied(Applied),
    /// Packets dropped.
    Counters(Counters),
    /// A node answered: HTTP status and JSON-RPC document.
    Rpc {
        /// HTTP status.
        status: u16,
        /// The document.
        body: Value,
    },
    /// The document kept.
    State(Value),
    /// How the agent is.
    Health(Health),
    /// It could not be done.
    Failed {
        /// What kind of failure.
        kind: FailureKind,
        /// The whole chain of causes.
        reason: String,
    },
}

/// How the agent is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Run it was configured for, if it was.
    pub run: Option<String>,
    /// Version of the link table in force.
    pub version: u64,
    /// Whether the kernel table is owned by the agent's socket and so dies with it.
    pub owned: bool,
}

/// Kinds of failure a client may have to tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The request makes no sense or names something unknown.
    BadRequest,
    /// The kernel refused.
    Kernel,
    /// The node could not be reached, or not in time.
    Unreachable,
    /// The agent has not been configured.
    NotConfigured,
}
