//! A testnet that is only told of.
#![allow(
    dead_code,
    clippy::expect_used,
    reason = "each test takes what it needs"
)]

use std::collections::BTreeMap;

use netsplit_api::event::{BlockSource, Event, EventRecord};
use netsplit_plan::{
    assertion::{Assertion, Judgement},
    judge::{Mode, Since},
    observe::{At, Observations},
    plan::{NodeName, Plan},
    problem::Source,
    topology::{self, Options},
};

const TOPOLOGY: &str = "
name: told
chain: { premine: 101 }
nodes:
  seed:   { role: dns-seed }
  miner:  { role: miner, count: 2 }
  full:   { role: full, count: 2 }
  wallet: { role: wallet }
";

pub(crate) fn name(text: &str) -> NodeName {
    NodeName(text.to_owned())
}

pub(crate) fn names(texts: &[&str]) -> Vec<NodeName> {
    texts.iter().map(|text| name(text)).collect()
}

/// A hash that shows its name.
pub(crate) fn hash(block: &str) -> String {
    format!("{block:0>64}")
}

#[derive(Clone)]
pub(crate) struct World {
    pub(crate) seen: Observations,
    plan: Plan,
    seq: BTreeMap<NodeName, u64>,
    incarnation: BTreeMap<NodeName, u64>,
    tips: BTreeMap<NodeName, String>,
    parents: BTreeMap<String, (String, u32)>,
}

impl World {
    pub(crate) fn new() -> Self {
        let plan = topology::load(&Source::new("told", TOPOLOGY), &Options::default())
            .expect("the topology is sound");
        Self {
            seen: Observations::new(&plan),
            plan,
            seq: BTreeMap::new(),
            incarnation: BTreeMap::new(),
            tips: BTreeMap::new(),
            parents: BTreeMap::from([("tip".to_owned(), ("below".to_owned(), 101))]),
        }
    }

    pub(crate) fn names(&self) -> Vec<NodeName> {
        self.plan
            .nodes
            .iter()
            .map(|node| node.name.clone())
            .collect()
    }

    pub(crate) fn chain_names(&self) -> Vec<NodeName> {
        self.names()
            .into_iter()
            .filter(|node| node.0 != "seed")
            .collect()
    }

    pub(crate) fn judge(&self, assertion: &Assertion, at: u64, mode: Mode) -> Judgement {
        assertion.judge(&self.seen, &Since { at: At(at), mode })
    }

    pub(crate) fn tell(&mut self, node: &NodeName, at: u64, event: Event) {
        let record = self.record(node, at, event);
        let incarnation = self.incarnation.get(node).copied().unwrap_or(1);
        self.seen.node_event(node, incarnation, &record);
    }

    pub(crate) fn record(&mut self, node: &NodeName, at: u64, event: Event) -> EventRecord {
        let seq = self.seq.entry(node.clone()).or_default();
        *seq += 1;
        EventRecord {
            seq: *seq,
            time_ns: at,
            event,
        }
    }

    pub(crate) fn skip_events(&mut self, node: &str, count: u64) {
        *self.seq.entry(name(node)).or_default() += count;
    }

    pub(crate) fn start_all(&mut self, at: u64) {
        for node in self.chain_names() {
            self.tips.insert(node.clone(), "tip".to_owned());
            let started = Event::NodeStarted {
                incarnation: 1,
                tip: hash("tip"),
                height: 101,
            };
            self.tell(&node, at, started);
        }
    }

    pub(crate) fn restart(&mut self, node: &str, tip: &str, height: u32, at: u64) {
        let node = name(node);
        self.seq.insert(node.clone(), 0);
        let incarnation = self.incarnation.entry(node.clone()).or_insert(1);
        *incarnation += 1;
        let incarnation = *incarnation;
        self.tips.insert(node.clone(), tip.to_owned());
        self.tell(
            &node,
            at,
            Event::NodeStarted {
                incarnation,
                tip: hash(tip),
                height,
            },
        );
    }

    pub(crate) fn mine(&mut self, node: &str, block: &str, at: u64) {
        let parent = self.tips.get(&name(node)).cloned().unwrap_or_default();
        self.mine_on(node, block, &parent, at);
    }

    pub(crate) fn mine_on(&mut self, node: &str, block: &str, parent: &str, at: u64) {
        let height = self.parents.get(parent).map_or(0, |(_, height)| height + 1);
        self.parents
            .insert(block.to_owned(), (parent.to_owned(), height));
        self.accept(&name(node), block, BlockSource::Mined, at);
    }

    pub(crate) fn relay(&mut self, nodes: &[&str], block: &str, at: u64) {
        for node in nodes {
            self.accept(&name(node), block, BlockSource::Peer(1), at);
        }
    }

    pub(crate) fn relay_all(&mut self, block: &str, at: u64) {
        for node in self.chain_names() {
            if self.tips.get(&node).is_none_or(|tip| tip != block) {
                self.accept(&node, block, BlockSource::Peer(1), at);
            }
        }
    }

    fn accept(&mut self, node: &NodeName, block: &str, source: BlockSource, at: u64) {
        let (parent, height) = self.parents.get(block).cloned().expect("a mined block");
        let accepted = Event::BlockAccepted {
            hash: hash(block),
            previous: hash(&parent),
            height,
            source,
            transactions: 1,
            size: 300,
        };
        self.tell(node, at, accepted);
        let previous = self
            .tips
            .insert(node.clone(), block.to_owned())
            .unwrap_or_default();
        let changed = Event::TipChanged {
            hash: hash(block),
            height,
            previous: hash(&previous),
        };
        self.tell(node, at, changed);
    }

    pub(crate) fn connect(&mut self, node: &str, peer: u64) {
        let connected = Event::PeerConnected {
            peer,
            address: "10.0.0.9:18444".to_owned(),
            inbound: false,
            version: 70016,
            user_agent: "/x/".to_owned(),
            height: 101,
        };
        self.tell(&name(node), 12, connected);
    }

    pub(crate) fn disconnect(&mut self, node: &str, peer: u64) {
        let address = "10.0.0.9:18444".to_owned();
        let gone = Event::PeerDisconnected {
            peer,
            address,
            reason: "idle".to_owned(),
        };
        self.tell(&name(node), 13, gone);
    }
}
