//! What a run will do, fully resolved: every name, every random choice.

use std::{collections::BTreeSet, fmt};

use netsplit_api::config::{
    Behaviour, ChainNetwork, Discovery, Durability, PeerLimits, Relay, Role, Sync, Timers,
};
use serde::{Deserialize, Serialize};

use crate::assertion::Assertion;

/// A node's name, e.g. `full-1`: lower-case letters, digits and dashes, at most 63 of them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeName(pub String);

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl AsRef<str> for NodeName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

/// What a run will do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The topology's name.
    pub name: String,
    /// One sentence for people.
    pub description: String,
    /// The root of every random choice.
    pub seed: u64,
    /// The chain.
    pub chain: PlannedChain,
    /// All nodes in the order they are started, joiners last.
    pub nodes: Vec<PlannedNode>,
    /// The scenario.
    pub steps: Vec<PlannedStep>,
    /// Bound on the whole run, in milliseconds.
    pub timeout_ms: Option<u64>,
}

/// The chain's rules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedChain {
    /// Which network's parameters apply.
    pub network: ChainNetwork,
    /// Mean time between blocks over all miners, in milliseconds.
    pub block_interval_ms: u64,
    /// Blocks that exist before the testnet is ready.
    pub premine: u32,
    /// Output scripts in hex that the premined blocks pay in turn; empty only when `premine` is 0.
    pub payees: Vec<String>,
}

/// One node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlannedNode {
    /// Its name.
    pub name: NodeName,
    /// The group it came from.
    pub group: String,
    /// Its place in the run's subnet: the address is the subnet's first plus this. Begins at 2; 1 is the gateway.
    pub host: u32,
    /// What it does.
    pub roles: BTreeSet<Role>,
    /// Its zone, if it has one.
    pub zone: Option<String>,
    /// Misbehaviour on purpose.
    pub behaviour: Behaviour,
    /// 32 bytes of hex: the root of its own random choices and keys.
    pub seed: String,
    /// How it finds peers.
    pub discovery: Vec<Discovery>,
    /// How it spreads blocks.
    pub relay: Relay,
    /// How it catches up.
    pub sync: Sync,
    /// How many peers it keeps.
    pub peers: PeerLimits,
    /// Timeouts and intervals.
    pub timers: Timers,
    /// What its store survives.
    pub durability: Durability,
    /// Share of the planned hash power, if it mines.
    pub share: Option<f64>,
    /// Whether it is started by a `join` step rather than at the beginning.
    pub joins: bool,
}

/// One step of the scenario.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlannedStep {
    /// Its place, from 1.
    pub index: usize,
    /// The step in one line, as a user would write it.
    pub text: String,
    /// What is done.
    pub action: Action,
}

/// What a step does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Waits.
    Sleep {
        /// How long.
        ms: u64,
    },
    /// Waits until a fault that ends itself is over.
    Over {
        /// The fault.
        id: String,
    },
    /// `wait` with an assertion: the run cannot go on before it holds.
    Wait(Check),
    /// `assert`.
    Assert(Check),
    /// `partition`.
    Partition(Partition),
    /// `heal` of one fault, or of all.
    Heal {
        /// `None`: all.
        id: Option<String>,
    },
    /// `kill`, `stop`, `start`, `restart`, `pause`, `resume`.
    Nodes {
        /// What is done to them.
        verb: NodeVerb,
        /// To whom.
        nodes: Vec<NodeName>,
    },
    /// `churn`.
    Churn(Churn),
    /// `join`: start nodes that were planned to come later.
    Join {
        /// Which.
        nodes: Vec<NodeName>,
    },
    /// `mine`.
    Mine {
        /// Who.
        node: NodeName,
        /// How many.
        blocks: u32,
    },
    /// `send`.
    Send {
        /// Name for later reference.
        id: Option<String>,
        /// Payer.
        from: NodeName,
        /// Payee.
        to: NodeName,
        /// Satoshis.
        amount: u64,
        /// Satoshis per virtual byte.
        fee_rate: Option<u64>,
    },
}

/// An assertion and when it must hold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// What.
    pub assertion: Assertion,
    /// When.
    pub hold: Hold,
}

/// When an assertion must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hold {
    /// At once.
    Now,
    /// At some time before this has passed.
    Within {
        /// How long.
        ms: u64,
    },
    /// At all times while this passes.
    For {
        /// How long.
        ms: u64,
    },
}

/// A cut.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partition {
    /// Unique in the scenario while in force.
    pub id: String,
    /// Groups that are cut from each other; `rest` is resolved, over all planned nodes.
    pub groups: Vec<Vec<NodeName>>,
    /// Only packets from the first group to the second are dropped.
    pub one_way: bool,
    /// The cut heals itself after this many milliseconds.
    pub for_ms: Option<u64>,
}

/// What is done to a node's process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeVerb {
    /// `SIGKILL`.
    Kill,
    /// Orderly end.
    Stop,
    /// Start again with the same data and address.
    Start,
    /// Stop and start.
    Restart,
    /// Freeze.
    Pause,
    /// Thaw.
    Resume,
}

/// Nodes that leave and come back, at times chosen when the plan was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Churn {
    /// Unique in the scenario.
    pub id: String,
    /// What happens, in order of time.
    pub events: Vec<ChurnEvent>,
    /// When it is over, in milliseconds from the step's start; everyone is back by then.
    pub for_ms: u64,
}

/// One departure or return.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChurnEvent {
    /// Milliseconds from the step's start.
    pub at_ms: u64,
    /// Who.
    pub node: NodeName,
    /// `Kill` or `Start`.
    pub verb: NodeVerb,
}
