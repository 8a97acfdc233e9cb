//! Questions that events do not answer.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::At;
use crate::plan::NodeName;

/// Something to be asked of the testnet before an assertion can be judged.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Query {
    /// A node's JSON-RPC. The answer is the call's result.
    Rpc {
        /// Who is asked.
        node: NodeName,
        /// The method.
        method: String,
        /// Its parameters: the text of a JSON array.
        params: String,
    },
    /// Probes from every node of `from` to every node of `to`, itself excepted. The answer is a JSON array of [`Reached`].
    Reach {
        /// Senders.
        from: Vec<NodeName>,
        /// Receivers.
        to: Vec<NodeName>,
    },
}

impl Query {
    /// A call of a node's JSON-RPC.
    #[must_use]
    pub fn rpc(node: &NodeName, method: &str, params: &Value) -> Self {
        Self::Rpc {
            node: node.clone(),
            method: method.to_owned(),
            params: params.to_string(),
        }
    }

    pub(crate) fn status(node: &NodeName) -> Self {
        Self::rpc(node, "x_status", &json!([]))
    }

    /// The parameters of [`Query::Rpc`] as JSON; `Null` for others.
    #[must_use]
    pub fn params(&self) -> Value {
        match self {
            Self::Rpc { params, .. } => serde_json::from_str(params).unwrap_or(Value::Null),
            Self::Reach { .. } => Value::Null,
        }
    }
}

/// One ordered pair of a reach matrix.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reached {
    /// Sender.
    pub from: NodeName,
    /// Receiver.
    pub to: NodeName,
    /// Whether the receiver heard the sender.
    pub reached: bool,
}

/// What a query brought.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// When it came.
    pub at: At,
    /// The result, or why there is none.
    pub result: Result<Value, String>,
}
