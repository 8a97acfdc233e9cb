//! What a run's supervisor is asked and what it answers.
//!
//! A session begins with one [`Door`]: behind [`Door::Agent`] the run's agent talks as `netsplit_faults::protocol` says;
//! behind [`Door::Supervisor`] the frames are [`Request`]s and [`Message`]s. Both use `netsplit_faults::codec`. Requests are
//! answered in any order; a long one (`launch`) does not hold up the others.

use std::{collections::BTreeMap, net::Ipv4Addr, path::PathBuf};

use netsplit_plan::plan::{NodeName, NodeVerb};
use serde::{Deserialize, Serialize};

use crate::{NodeState, RunId};

/// Name of the supervisor's socket in a run's directory.
pub(crate) const SOCKET: &str = "supervisor.sock";
/// Name of the directory of all nodes' directories in a run's directory; each holds `data/` and `log`.
pub(crate) const NODES: &str = "nodes";
/// Name of a node's log in its directory: what its process wrote to standard output and standard error.
pub(crate) const LOG: &str = "log";
/// What the supervisor itself logs, in a run's directory.
pub(crate) const SUPERVISOR_LOG: &str = "supervisor.log";

/// Whom a session is for; the first frame of every session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Door {
    /// The supervisor: processes and the run's life.
    Supervisor,
    /// The agent: links, calls to nodes, events.
    Agent,
}

/// One request.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Request {
    /// Chosen by the client, named again in the reply.
    pub(crate) id: u64,
    /// What is asked.
    pub(crate) body: RequestBody,
}

/// What is asked of the supervisor.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "type", content = "body", rename_all = "snake_case")]
pub(crate) enum RequestBody {
    /// Make the routing namespace; the first request there is, and only on the maker's own stream (standard input).
    Begin(Begin),
    /// Make namespaces, links and processes for these nodes, or none of them. Used for the first nodes and for joiners;
    /// [`Message::Progress`] follows it on this session.
    Launch(Vec<NodeSpec>),
    /// Do something to one node's process; answered when it is done, as `Testnet::node` says.
    Act {
        /// To whom.
        node: NodeName,
        /// What.
        verb: NodeVerb,
    },
    /// Where every node's process is.
    Status,
    /// From now on push every [`Message::Exited`] to this session.
    Watch,
    /// The run no longer depends on the stream of its maker.
    Detach,
    /// Kill every node and end; the stream ends when everything is gone but the guard.
    Shutdown,
}

/// What the supervisor needs to know of the run as a whole.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Begin {
    /// Identity.
    pub(crate) run: RunId,
    /// Name people call it by.
    pub(crate) name: String,
    /// When the launch began, in seconds since the epoch.
    pub(crate) started: u64,
    /// First address and prefix length of the range nodes are in; the first address after it is the router's own.
    pub(crate) subnet: (Ipv4Addr, u8),
    /// The program a node is, and what precedes nothing else: its arguments.
    pub(crate) program: (PathBuf, Vec<String>),
}

/// One node to be made.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct NodeSpec {
    /// Its name, also its host name.
    pub(crate) name: NodeName,
    /// Its address.
    pub(crate) address: Ipv4Addr,
    /// Its environment, complete.
    pub(crate) environment: Vec<(String, String)>,
    /// What it may use at most.
    pub(crate) limits: Limits,
}

/// Bounds on one node's process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Limits {
    /// Bytes of memory.
    pub(crate) memory: Option<u64>,
    /// Processors' worth of time, e.g. 0.5.
    pub(crate) cpus: Option<f64>,
}

/// Anything the supervisor sends.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "type", content = "body", rename_all = "snake_case")]
pub(crate) enum Message {
    /// The answer to a request.
    Reply {
        /// The request's id.
        id: u64,
        /// The answer.
        body: ReplyBody,
    },
    /// How far a `launch` is.
    Progress {
        /// `network` or `start`.
        phase: Phase,
        /// Nodes done so far.
        done: usize,
        /// Nodes in all.
        total: usize,
    },
    /// A node's process ended, for whatever reason.
    Exited {
        /// Which.
        node: NodeName,
        /// Exit code; 128 + n for signal n.
        code: i32,
        /// Whether somebody asked for it (`kill`, `stop`, `restart`).
        asked: bool,
    },
}

/// Phases of a launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Phase {
    /// Namespaces and links.
    Network,
    /// Processes.
    Start,
}

/// The answer to a request.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "type", content = "body", rename_all = "snake_case")]
pub(crate) enum ReplyBody {
    /// Done.
    Done,
    /// The routing namespace is there; what could not be had but is not needed (resource limits …) is noted.
    Begun {
        /// For people.
        notes: Vec<String>,
    },
    /// How the run is.
    Status(Status),
    /// It could not be done.
    Failed {
        /// What was attempted, and the whole chain of causes.
        reason: String,
        /// What would help.
        hints: Vec<String>,
    },
}

/// How the run is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Status {
    /// Identity.
    pub(crate) run: RunId,
    /// Name people call it by.
    pub(crate) name: String,
    /// When it was started, in seconds since the epoch.
    pub(crate) started: u64,
    /// Whom its life depends on.
    pub(crate) lease: Lease,
    /// Every node that was ever launched.
    pub(crate) nodes: BTreeMap<NodeName, NodeStatus>,
}

/// Whom a run's life depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Lease {
    /// The stream of its maker.
    Owned,
    /// Nobody: it runs until it is taken down.
    Detached,
}

/// Where a node's process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NodeStatus {
    /// Its state.
    pub(crate) state: NodeState,
    /// Its process, as seen from inside the supervisor's pid namespace; none once it ended.
    pub(crate) pid: Option<i32>,
    /// Which start of it, from 1.
    pub(crate) incarnation: u64,
    /// What it ended with, if it did.
    pub(crate) code: Option<i32>,
}
