//! What can be asserted of a testnet. Node lists are resolved; an empty one means the default of design §7.

use serde::{Deserialize, Serialize};

use crate::plan::NodeName;

/// Something that holds of a testnet or not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Assertion {
    /// At one instant all nodes have one active tip.
    Converged {
        /// Who; `None`: every running node with a chain.
        nodes: Option<Vec<NodeName>>,
        /// Blocks a node may be behind.
        lag: u32,
        /// The tip is at least this high.
        min_height: Option<u32>,
        /// Blocks of that chain first accepted after the last heal was verified, else after the step began.
        fresh_blocks: Option<u32>,
    },
    /// Above the common ancestor each side of a cut has blocks of its own, accepted after the cut was verified.
    Diverged {
        /// Id of the cut.
        between: String,
        /// Who; `None`: every running node with a chain that the cut names.
        nodes: Option<Vec<NodeName>>,
        /// How many blocks each side has at least.
        min_blocks: u32,
    },
    /// Every node is at least this high.
    Height {
        /// Who.
        nodes: Option<Vec<NodeName>>,
        /// How high.
        at_least: u32,
    },
    /// Every node has between so many and so many handshaken peers.
    Peers {
        /// Who.
        nodes: Option<Vec<NodeName>>,
        /// Fewest and most, both included.
        between: (u32, u32),
    },
    /// Probes from every node of `from` reach every node of `to`, or none does.
    Reachable {
        /// Senders.
        from: Vec<NodeName>,
        /// Receivers.
        to: Vec<NodeName>,
        /// Whether they are to arrive.
        expect: bool,
    },
    /// A transaction is in the active chain of every node.
    Confirmed {
        /// Who.
        nodes: Option<Vec<NodeName>>,
        /// Which.
        tx: TxRef,
        /// With at least this many confirmations.
        depth: u32,
    },
    /// A wallet's spendable balance, in satoshis.
    Balance {
        /// Whose.
        nodes: Vec<NodeName>,
        /// At least.
        at_least: Option<u64>,
        /// At most.
        at_most: Option<u64>,
    },
    /// The coins in every node's UTXO set are the subsidies of its chain.
    Supply {
        /// Who.
        nodes: Option<Vec<NodeName>>,
    },
}

/// A transaction that a step sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TxRef {
    /// The last one.
    Last,
    /// The one of the `send` step with this id.
    Step(String),
}

/// How an assertion stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Judgement {
    /// It holds.
    Holds {
        /// By what, in one line.
        witness: String,
    },
    /// It does not hold yet.
    NotYet {
        /// How far it is, in one line.
        status: String,
    },
    /// It can no longer hold, or must hold at all times and did not.
    Violated {
        /// By what, in one line.
        witness: String,
    },
    /// What was seen is not enough to tell, e.g. events were lost.
    Inconclusive {
        /// Why.
        reason: String,
    },
}
