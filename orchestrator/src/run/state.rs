//! What the runner keeps with the agent, so that a later command can go on where an earlier one stopped.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use netsplit_faults::link::{Cut, Drop, LinkTable};
use netsplit_plan::plan::NodeName;
use netsplit_runtime::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::cuts::Cuts;

/// The runner's document. Fields are added, never renamed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunnerState {
    /// Version of the link table that was applied last.
    pub version: u64,
    /// Faults in force, oldest first.
    pub faults: Vec<ActiveFault>,
    /// Cuts that were verified, in force or over, oldest first: what `diverged` may ask about.
    pub cuts: Vec<PastCut>,
    /// Transactions that steps sent, oldest first.
    pub sent: Vec<SentTransaction>,
    /// Nodes that are not running because a step or a churn made it so, with who did: empty for a step.
    pub down: BTreeMap<NodeName, String>,
    /// Nodes that a step froze.
    pub paused: BTreeSet<NodeName>,
    /// When the last heal was verified.
    pub last_heal: Option<Timestamp>,
}

/// A cut in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActiveFault {
    /// Its id.
    pub id: String,
    /// `partition`.
    pub kind: String,
    /// Groups that are cut from each other.
    pub groups: Vec<Vec<NodeName>>,
    /// Only packets from the first group to the second are dropped.
    pub one_way: bool,
    /// When it was in force.
    pub since: Timestamp,
    /// Ordered pairs of nodes that it cuts.
    pub pairs: u64,
    /// Whether it was shown to be real.
    pub verified: bool,
}

/// A cut that was verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PastCut {
    /// Its id.
    pub id: String,
    /// Groups that were cut from each other.
    pub groups: Vec<Vec<NodeName>>,
    /// Only packets from the first group to the second were dropped.
    pub one_way: bool,
    /// When it was verified.
    pub at: Timestamp,
    /// When its end was verified, if it has ended.
    pub healed: Option<Timestamp>,
}

/// A transaction that a step sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentTransaction {
    /// Id of the step, if it has one.
    pub id: Option<String>,
    /// The transaction's id.
    pub txid: String,
    /// Payer.
    pub from: NodeName,
    /// Payee.
    pub to: NodeName,
    /// Satoshis.
    pub amount: u64,
    /// When.
    pub at: Timestamp,
}

impl ActiveFault {
    fn cut(&self, addresses: &BTreeMap<NodeName, IpAddr>) -> Cut {
        let side = |group: &[NodeName]| -> Vec<IpAddr> {
            group
                .iter()
                .filter_map(|node| addresses.get(node).copied())
                .collect()
        };
        let drops = directed(self.groups.len(), self.one_way)
            .map(|(from, to)| Drop {
                from: side(&self.groups[from]),
                to: side(&self.groups[to]),
            })
            .filter(|drop| !drop.from.is_empty() && !drop.to.is_empty())
            .collect();
        Cut {
            id: self.id.clone(),
            drops,
        }
    }
}

/// Ordered pairs of groups between which packets are dropped.
fn directed(groups: usize, one_way: bool) -> impl Iterator<Item = (usize, usize)> {
    (0..groups)
        .flat_map(move |from| (0..groups).map(move |to| (from, to)))
        .filter(move |(from, to)| {
            if one_way {
                (*from, *to) == (0, 1)
            } else {
                from != to
            }
        })
}

impl RunnerState {
    /// Reads the document; a testnet that has none yet has done nothing yet.
    ///
    /// # Errors
    /// When the document is not one of ours.
    pub fn from_value(value: Value) -> Result<Self, serde_json::Error> {
        if value.is_null() {
            Ok(Self::default())
        } else {
            serde_json::from_value(value)
        }
    }

    /// The document.
    #[must_use]
    pub fn to_value(&self) -> Value {
        serde_json::to_value(self).expect("keys are strings and nothing in it can fail")
    }

    /// The fault in force with this id.
    #[must_use]
    pub fn fault(&self, id: &str) -> Option<&ActiveFault> {
        self.faults.iter().find(|fault| fault.id == id)
    }

    /// The ordered pairs that any fault in force cuts.
    #[must_use]
    pub fn cuts(&self) -> Cuts {
        Cuts::of(&self.faults)
    }

    /// The whole link table these faults make, with this version.
    #[must_use]
    pub fn table(&self, version: u64, addresses: &BTreeMap<NodeName, IpAddr>) -> LinkTable {
        LinkTable {
            version,
            cuts: self
                .faults
                .iter()
                .map(|fault| fault.cut(addresses))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn names(list: &[&str]) -> Vec<NodeName> {
        list.iter()
            .map(|name| NodeName((*name).to_owned()))
            .collect()
    }

    fn fault(id: &str, groups: &[&[&str]], one_way: bool) -> ActiveFault {
        ActiveFault {
            id: id.to_owned(),
            kind: "partition".to_owned(),
            groups: groups.iter().map(|group| names(group)).collect(),
            one_way,
            since: Timestamp(1),
            pairs: 0,
            verified: true,
        }
    }

    #[test]
    fn the_table_keeps_every_fault_apart() {
        let addresses = names(&["a", "b", "c"])
            .into_iter()
            .zip(2u8..)
            .map(|(name, host)| (name, IpAddr::from([10, 0, 0, host])))
            .collect();
        let state = RunnerState {
            faults: vec![
                fault("x", &[&["a"], &["b"]], false),
                fault("y", &[&["a"], &["b", "c"]], true),
            ],
            ..RunnerState::default()
        };
        let table = state.table(7, &addresses);
        assert_eq!(table.version, 7);
        assert_eq!(table.cuts[0].drops.len(), 2);
        assert_eq!(table.cuts[1].drops.len(), 1);
        assert_eq!(table.cuts[1].drops[0].to.len(), 2);
        assert_eq!(state.cuts().count(), 3);
    }

    #[test]
    fn the_document_survives_the_agent_and_fields_from_the_future() {
        let state = RunnerState {
            faults: vec![fault("x", &[&["a"], &["b"]], false)],
            last_heal: Some(Timestamp(5)),
            ..RunnerState::default()
        };
        let mut value = state.to_value();
        value["new"] = 1.into();
        assert_eq!(RunnerState::from_value(value).unwrap(), state);
        assert_eq!(
            RunnerState::from_value(Value::Null).unwrap(),
            RunnerState::default()
        );
    }
}
