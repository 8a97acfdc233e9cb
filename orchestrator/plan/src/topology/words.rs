//! The words of a topology file: chain, defaults, groups of nodes. Steps are in [`super::steps`].
//!
//! Doc comments here are the descriptions in the JSON Schema.

use std::fmt;

use indexmap::IndexMap;
use netsplit_api::config::{Behaviour, ChainNetwork, Discovery, Durability, Relay, Role, Sync};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer,
    de::{IntoDeserializer as _, SeqAccess, Visitor, value::SeqAccessDeserializer},
};

use super::{
    scalars::{Duration, Word},
    steps::Step,
};

/// A testnet, what is done to it and what must hold of it.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Topology {
    /// Name of the topology; part of every run's id.
    pub(crate) name: Word,
    /// One sentence for people.
    #[serde(default)]
    pub(crate) description: String,
    /// The root of every random choice.
    #[serde(default)]
    pub(crate) seed: u64,
    /// The chain's rules.
    #[serde(default)]
    pub(crate) chain: Chain,
    /// What nodes are like unless they say otherwise.
    #[serde(default)]
    pub(crate) defaults: Defaults,
    /// Who dials whom.
    #[serde(default)]
    #[expect(dead_code, reason = "one choice so far")]
    pub(crate) overlay: Overlay,
    /// How addresses are given.
    #[serde(default)]
    #[expect(dead_code, reason = "one choice so far")]
    pub(crate) network: Network,
    /// Bound on the whole run.
    pub(crate) timeout: Option<Duration>,
    /// The nodes, by group.
    #[schemars(extend("minProperties" = 1))]
    pub(crate) nodes: IndexMap<String, Group>,
    /// What happens, in order.
    #[serde(default)]
    #[schemars(with = "Vec<Step>")]
    pub(crate) scenario: Vec<Option<Step>>,
}

/// The chain's rules.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Chain {
    /// Which Bitcoin network's parameters apply.
    #[serde(default)]
    pub(crate) network: ChainNetwork,
    /// How nodes agree on a chain.
    #[serde(default)]
    #[expect(dead_code, reason = "one choice so far")]
    pub(crate) consensus: Consensus,
    /// Mean time between blocks over all miners.
    #[serde(default = "one_second")]
    pub(crate) block_interval: Duration,
    /// Blocks that exist before the testnet is ready, paid in turn to wallets first, then miners.
    #[serde(default)]
    #[schemars(range(max = 100000))]
    pub(crate) premine: u32,
}

const fn one_second() -> Duration {
    Duration(1_000)
}

impl Default for Chain {
    fn default() -> Self {
        Self {
            network: ChainNetwork::default(),
            consensus: Consensus::default(),
            block_interval: one_second(),
            premine: 0,
        }
    }
}

/// How nodes agree on a chain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Consensus {
    /// Proof of work: the chain with most work wins.
    #[default]
    Pow,
}

/// Who dials whom.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Overlay {
    /// Nodes find each other by their own discovery.
    #[default]
    Discovered,
}

/// How addresses are given.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Network {
    /// Which addresses nodes have.
    #[serde(default)]
    #[expect(dead_code, reason = "one choice so far")]
    pub(crate) addresses: Addresses,
}

/// Which addresses nodes have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Addresses {
    /// One free private subnet per run.
    #[default]
    Private,
}

/// What nodes are like unless they say otherwise.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Defaults {
    /// How peers are found, in this order.
    #[schemars(length(min = 1))]
    pub(crate) discovery: Option<Vec<Discovery>>,
    /// How blocks and transactions are spread.
    pub(crate) relay: Option<Relay>,
    /// How a node that lags catches up.
    pub(crate) sync: Option<Sync>,
    /// A node dials while it has fewer peers than this.
    pub(crate) min_peers: Option<u16>,
    /// A node refuses peers above this.
    #[schemars(range(min = 1))]
    pub(crate) max_peers: Option<u16>,
    /// A node dials while it has dialled fewer peers than this.
    pub(crate) outbound: Option<u16>,
    /// What a committed write survives.
    pub(crate) durability: Option<Durability>,
}

/// A node, or several alike.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Group {
    /// What the nodes are for; `roles` for several.
    pub(crate) role: Option<Role>,
    /// What the nodes are for; instead of `role`.
    #[schemars(length(min = 1))]
    pub(crate) roles: Option<Vec<Role>>,
    /// How many nodes: named `group-1` to `group-N`. Without it there is one, named like its group. With 0 all join later.
    #[schemars(range(max = 10000))]
    pub(crate) count: Option<u32>,
    /// Where the nodes are; a list is gone through in turn and must divide or match the count.
    pub(crate) zone: Option<OneOrMany<Word>>,
    /// A miner's weight among all miners; a list is gone through in turn and must divide or match the count.
    pub(crate) hashrate: Option<OneOrMany<f64>>,
    /// How peers are found, in this order.
    #[schemars(length(min = 1))]
    pub(crate) discovery: Option<Vec<Discovery>>,
    /// How blocks and transactions are spread.
    pub(crate) relay: Option<Relay>,
    /// How a node that lags catches up.
    pub(crate) sync: Option<Sync>,
    /// A node dials while it has fewer peers than this.
    pub(crate) min_peers: Option<u16>,
    /// A node refuses peers above this.
    #[schemars(range(min = 1))]
    pub(crate) max_peers: Option<u16>,
    /// A node dials while it has dialled fewer peers than this.
    pub(crate) outbound: Option<u16>,
    /// Misbehaviour on purpose.
    #[serde(default)]
    pub(crate) behaviour: Behaviour,
    /// What a committed write survives.
    pub(crate) durability: Option<Durability>,
}

/// One value, or a list of them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct OneOrMany<T>(pub(crate) Vec<T>);

impl<T> OneOrMany<T> {
    /// The value for the node at `index`: the list is gone through in turn.
    pub(crate) fn cycle(&self, index: usize) -> Option<&T> {
        self.0.get(index.checked_rem(self.0.len())?)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OneOrManyVisitor(std::marker::PhantomData))
    }
}

struct OneOrManyVisitor<T>(std::marker::PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for OneOrManyVisitor<T> {
    type Value = OneOrMany<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value or a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(seq)).map(OneOrMany)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
        T::deserialize(text.into_deserializer()).map(|value| OneOrMany(vec![value]))
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Self::Value, E> {
        T::deserialize(number.into_deserializer()).map(|value| OneOrMany(vec![value]))
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Self::Value, E> {
        T::deserialize(number.into_deserializer()).map(|value| OneOrMany(vec![value]))
    }

    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Self::Value, E> {
        T::deserialize(number.into_deserializer()).map(|value| OneOrMany(vec![value]))
    }
}

impl<T: JsonSchema> JsonSchema for OneOrMany<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("OneOrMany_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<T>();
        json_schema!({ "anyOf": [one, { "type": "array", "items": one, "minItems": 1 }] })
    }
}
