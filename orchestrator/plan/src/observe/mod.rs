//! What was seen of a testnet so far: a fold of the nodes' events, of what steps did to nodes, and of answers to queries.
//!
//! Nothing here judges; see [`crate::judge`].

mod blocks;
mod node;
mod query;

use std::collections::{BTreeMap, BTreeSet};

use netsplit_api::event::{Event, EventRecord};
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::{
    blocks::{BlockId, Blocks, Gap, Tip},
    node::{Held, Lifecycle, NodeView},
    query::{Answer, Query, Reached},
};
use crate::plan::{NodeName, Plan};

/// A point on the runtime's clock, in nanoseconds; the same clock that stamps the nodes' events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct At(pub u64);

/// A cut that was shown to be real.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CutFact {
    /// Its groups.
    pub groups: Vec<Vec<NodeName>>,
    /// Whether only packets from the first group to the second are dropped.
    pub one_way: bool,
    /// When it was verified.
    pub verified: At,
    /// When its heal was verified.
    pub healed: Option<At>,
}

/// A transaction that a step sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentFact {
    /// The step's id.
    pub id: Option<String>,
    /// The transaction.
    pub txid: String,
    /// When.
    pub at: At,
}

/// Everything that was seen so far.
#[derive(Clone, Debug)]
pub struct Observations {
    nodes: BTreeMap<NodeName, NodeView>,
    blocks: Blocks,
    cuts: BTreeMap<String, CutFact>,
    last_heal: Option<At>,
    sent: Vec<SentFact>,
    answers: BTreeMap<Query, Answer>,
    transactions: BTreeMap<BlockId, BTreeSet<String>>,
    premine: u32,
}

impl Observations {
    /// Nothing has been seen: nodes that do not join later run, joiners are planned.
    #[must_use]
    pub fn new(plan: &Plan) -> Self {
        let nodes = plan
            .nodes
            .iter()
            .map(|node| (node.name.clone(), NodeView::new(node)))
            .collect();
        Self {
            nodes,
            blocks: Blocks::default(),
            cuts: BTreeMap::new(),
            last_heal: None,
            sent: Vec::new(),
            answers: BTreeMap::new(),
            transactions: BTreeMap::new(),
            premine: plan.chain.premine,
        }
    }

    /// A node's event arrived. Events seen before are ignored, gaps are noticed, unknown nodes are ignored.
    pub fn node_event(&mut self, node: &NodeName, incarnation: u64, record: &EventRecord) {
        let Some(view) = self.nodes.get_mut(node) else {
            return;
        };
        if !view.receive(incarnation, record, &self.blocks) {
            return;
        }
        let at = At(record.time_ns);
        match &record.event {
            Event::BlockAccepted {
                hash,
                previous,
                height,
                ..
            } => {
                let tip = Tip {
                    hash: self.blocks.id(hash),
                    height: *height,
                };
                let previous = self.blocks.id(previous);
                self.blocks.accepted(&tip, previous, at);
            }
            Event::NodeStarted { tip, height, .. } => {
                self.blocks.seen(
                    &Tip {
                        hash: self.blocks.id(tip),
                        height: *height,
                    },
                    None,
                );
            }
            _ => {}
        }
    }

    /// A step, or the engine, says what became of a node's process.
    pub fn node_lifecycle(&mut self, node: &NodeName, lifecycle: Lifecycle, at: At) {
        if let Some(view) = self.nodes.get_mut(node) {
            view.set_lifecycle(lifecycle, at);
        }
    }

    /// Events of a node were lost: what it is doing is unknown until it is asked or speaks again.
    pub fn events_lost(&mut self, node: &NodeName) {
        if let Some(view) = self.nodes.get_mut(node) {
            view.lose();
        }
    }

    /// A cut was shown to be real.
    pub fn cut_verified(&mut self, id: &str, groups: &[Vec<NodeName>], one_way: bool, at: At) {
        let fact = CutFact {
            groups: groups.to_vec(),
            one_way,
            verified: at,
            healed: None,
        };
        self.cuts.insert(id.to_owned(), fact);
    }

    /// A heal was shown to be complete.
    pub fn heal_verified(&mut self, id: &str, at: At) {
        self.last_heal = Some(self.last_heal.map_or(at, |last| last.max(at)));
        if let Some(cut) = self.cuts.get_mut(id) {
            cut.healed = Some(at);
        }
    }

    /// A step sent a transaction.
    pub fn sent(&mut self, id: Option<&str>, txid: &str, at: At) {
        self.sent.push(SentFact {
            id: id.map(str::to_owned),
            txid: txid.to_owned(),
            at,
        });
    }

    /// A query was answered at `at`, or could not be, with the reason.
    pub fn answer(&mut self, query: Query, result: Result<Value, String>, at: At) {
        self.learn(&query, &result, at);
        self.answers.insert(query, Answer { at, result });
    }

    fn learn(&mut self, query: &Query, result: &Result<Value, String>, at: At) {
        let (Query::Rpc { node, method, .. }, Ok(value)) = (query, result) else {
            return;
        };
        let text = |key: &str| value.get(key).and_then(Value::as_str).map(BlockId::from);
        let height = value
            .get("height")
            .and_then(Value::as_u64)
            .and_then(|h| h.try_into().ok());
        match (method.as_str(), height) {
            ("x_status", Some(height)) => {
                let Some(hash) = text("tip") else { return };
                let tip = Tip { hash, height };
                self.blocks.seen(&tip, None);
                if let Some(view) = self.nodes.get_mut(node) {
                    view.told_tip(tip, at);
                }
            }
            ("getblockheader" | "getblock", Some(height)) => {
                let Some(hash) = text("hash") else { return };
                if let Some(all) = value.get("tx").and_then(Value::as_array) {
                    let txids = all
                        .iter()
                        .filter_map(Value::as_str)
                        .map(str::to_owned)
                        .collect();
                    self.transactions.insert(hash.clone(), txids);
                }
                self.blocks
                    .seen(&Tip { hash, height }, text("previousblockhash"));
            }
            _ => {}
        }
    }

    /// What is known of a node; `None` if it was never planned.
    #[must_use]
    pub fn node(&self, node: &NodeName) -> Option<&NodeView> {
        self.nodes.get(node)
    }

    /// All planned nodes.
    pub fn nodes(&self) -> impl Iterator<Item = (&NodeName, &NodeView)> {
        self.nodes.iter()
    }

    /// Known blocks.
    #[must_use]
    pub const fn blocks(&self) -> &Blocks {
        &self.blocks
    }

    /// The last cut with this id that was verified.
    #[must_use]
    pub fn cut(&self, id: &str) -> Option<&CutFact> {
        self.cuts.get(id)
    }

    /// When the last heal was verified.
    #[must_use]
    pub const fn last_heal(&self) -> Option<At> {
        self.last_heal
    }

    /// Transactions that steps sent, oldest first.
    #[must_use]
    pub fn transactions(&self) -> &[SentFact] {
        &self.sent
    }

    /// Ids of a block's transactions, if any node was asked for it: they are the same everywhere.
    #[must_use]
    pub fn contents(&self, block: &BlockId) -> Option<&BTreeSet<String>> {
        self.transactions.get(block)
    }

    /// The last answer to a query.
    #[must_use]
    pub fn answered(&self, query: &Query) -> Option<&Answer> {
        self.answers.get(query)
    }

    /// The last answer to a query, if it is not older than `since`.
    #[must_use]
    pub fn answered_since(&self, query: &Query, since: At) -> Option<&Result<Value, String>> {
        self.answers
            .get(query)
            .filter(|answer| answer.at >= since)
            .map(|answer| &answer.result)
    }

    /// Height of the blocks that existed before anything ran.
    #[must_use]
    pub const fn premine(&self) -> u32 {
        self.premine
    }
}
