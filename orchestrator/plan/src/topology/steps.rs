//! The words of a scenario: steps and assertions.
//!
//! Doc comments here are the descriptions in the JSON Schema.

use std::{borrow::Cow, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer,
    de::{
        IntoDeserializer as _, MapAccess, SeqAccess, Visitor,
        value::{MapAccessDeserializer, SeqAccessDeserializer},
    },
};

use super::{
    scalars::{Coins, Duration, FeeRate, Fraction, LeaveRate, Selector, Within, Word},
    words::OneOrMany,
};

/// One step: a mapping with one key.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Step {
    /// Waits for a time, for an assertion, or for a fault to be over.
    Wait(WaitFor),
    /// Judges an assertion.
    Assert(Box<CheckWords>),
    /// Cuts the network apart.
    Partition(PartitionWords),
    /// Ends a cut by its id, or `all`.
    Heal(Word),
    /// Kills the processes of nodes at once (`SIGKILL`).
    Kill(Targets),
    /// Stops nodes in an orderly way.
    Stop(Targets),
    /// Starts nodes again that were killed or stopped, with their data.
    Start(Targets),
    /// Stops nodes and starts them again.
    Restart(Targets),
    /// Freezes nodes.
    Pause(Targets),
    /// Thaws frozen nodes.
    Resume(Targets),
    /// Nodes leave and come back at random.
    Churn(ChurnWords),
    /// Starts nodes that were not there at the beginning.
    Join(JoinWords),
    /// Creates blocks at once.
    Mine(MineWords),
    /// Pays from a wallet.
    Send(SendWords),
}

/// What is waited for.
#[derive(Clone, Debug)]
pub(crate) enum WaitFor {
    Time(Duration),
    Check(Box<CheckWords>),
}

impl<'de> Deserialize<'de> for WaitFor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct WaitVisitor;
        impl<'de> Visitor<'de> for WaitVisitor {
            type Value = WaitFor;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration or an assertion")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<WaitFor, E> {
                Duration::deserialize(text.into_deserializer()).map(WaitFor::Time)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<WaitFor, A::Error> {
                let check = CheckWords::deserialize(MapAccessDeserializer::new(map))?;
                Ok(WaitFor::Check(Box::new(check)))
            }
        }
        deserializer.deserialize_any(WaitVisitor)
    }
}

impl JsonSchema for WaitFor {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "WaitFor".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let time = generator.subschema_for::<Duration>();
        let check = generator.subschema_for::<CheckWords>();
        json_schema!({ "anyOf": [time, check] })
    }
}

/// One assertion, and when it must hold: with `within` eventually, with `for` throughout, with neither at once.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Check")]
pub(crate) struct CheckWords {
    /// At one instant all nodes have one active tip.
    pub(crate) converged: Option<ConvergedWords>,
    /// Each side of a cut has blocks of its own.
    pub(crate) diverged: Option<DivergedWords>,
    /// Every node is at least this high.
    pub(crate) height: Option<HeightWords>,
    /// Every node has so many handshaken peers.
    pub(crate) peers: Option<PeersWords>,
    /// Probes arrive, or none does.
    pub(crate) reachable: Option<ReachableWords>,
    /// A transaction is in the active chain of every node.
    pub(crate) confirmed: Option<ConfirmedWords>,
    /// What a wallet can spend.
    pub(crate) balance: Option<BalanceWords>,
    /// The coins in every node's UTXO set are the subsidies of its chain.
    pub(crate) supply: Option<SupplyWords>,
    /// In `wait` only: the fault with this id, which ends itself, is over.
    pub(crate) over: Option<Word>,
    /// It must come true within this.
    pub(crate) within: Option<Within>,
    /// It must hold throughout this.
    #[serde(rename = "for")]
    pub(crate) for_: Option<Duration>,
}

/// At one instant all nodes have one active tip.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Converged")]
pub(crate) struct ConvergedWords {
    /// Who; default: every running node with a chain.
    pub(crate) nodes: Option<OneOrMany<Selector>>,
    /// Blocks a node may be behind.
    #[serde(default)]
    pub(crate) lag: u32,
    /// The tip is at least this high.
    pub(crate) min_height: Option<u32>,
    /// So many blocks of that chain were first accepted after the last heal, else after the step began.
    pub(crate) fresh_blocks: Option<u32>,
}

/// Above the common ancestor each side of a cut has blocks of its own, accepted after the cut was verified.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Diverged")]
pub(crate) struct DivergedWords {
    /// Id of the cut.
    pub(crate) between: Word,
    /// Who; default: every running node with a chain that the cut names.
    pub(crate) nodes: Option<OneOrMany<Selector>>,
    /// How many blocks each side has at least.
    #[serde(default = "one")]
    #[schemars(range(min = 1))]
    pub(crate) min_blocks: u32,
}

const fn one() -> u32 {
    1
}

/// Every node is at least this high.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Height")]
pub(crate) struct HeightWords {
    /// Who; default: every running node with a chain.
    pub(crate) nodes: Option<OneOrMany<Selector>>,
    /// How high.
    pub(crate) at_least: u32,
}

/// Every node has so many handshaken peers.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Peers")]
pub(crate) struct PeersWords {
    /// Who; default: every running node with a chain.
    pub(crate) nodes: Option<OneOrMany<Selector>>,
    /// Fewest and most, both included.
    pub(crate) between: (u32, u32),
}

/// Probes from every node of `from` reach every node of `to`, or none does.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Reachable")]
pub(crate) struct ReachableWords {
    /// Senders.
    pub(crate) from: OneOrMany<Selector>,
    /// Receivers.
    pub(crate) to: OneOrMany<Selector>,
    /// Whether probes are to arrive.
    #[serde(default = "yes")]
    pub(crate) expect: bool,
}

const fn yes() -> bool {
    true
}

/// A transaction is in the active chain of every node.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Confirmed")]
pub(crate) struct ConfirmedWords {
    /// Who; default: every running node with a chain.
    pub(crate) nodes: Option<OneOrMany<Selector>>,
    /// The id of a `send` step, or `last`.
    #[serde(default = "last")]
    pub(crate) tx: Word,
    /// With at least this many confirmations.
    #[serde(default = "one")]
    #[schemars(range(min = 1))]
    pub(crate) depth: u32,
}

fn last() -> Word {
    Word("last".to_owned())
}

/// What a wallet can spend.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Balance")]
pub(crate) struct BalanceWords {
    /// Who; default: every node with the role `wallet`.
    pub(crate) nodes: Option<OneOrMany<Selector>>,
    /// At least this.
    pub(crate) at_least: Option<Coins>,
    /// At most this.
    pub(crate) at_most: Option<Coins>,
}

/// The coins in every node's UTXO set are the subsidies of its chain.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Supply")]
pub(crate) struct SupplyWords {
    /// Who; default: every running node that keeps coins.
    pub(crate) nodes: Option<OneOrMany<Selector>>,
}

/// Cuts the network apart.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Partition")]
pub(crate) struct PartitionWords {
    /// Name of the cut; default: `partition-1`, `partition-2` … in the order of the steps.
    pub(crate) id: Option<Word>,
    /// Groups that are cut from each other: lists of selectors, or `rest` for all nodes named in no other group.
    #[schemars(length(min = 1))]
    pub(crate) groups: Option<Vec<OneOrMany<Selector>>>,
    /// Instead of `groups`: a shape.
    pub(crate) shape: Option<Shape>,
    /// Whom the shape is about; default: all.
    pub(crate) of: Option<OneOrMany<Selector>>,
    /// Only packets from the first group to the second are dropped.
    #[serde(default)]
    pub(crate) one_way: bool,
    /// What becomes of packets.
    #[serde(default)]
    #[expect(dead_code, reason = "one choice so far")]
    pub(crate) mode: CutMode,
    /// The cut heals itself after this.
    #[serde(rename = "for")]
    pub(crate) for_: Option<Duration>,
}

/// How a cut divides nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Shape {
    /// The first half of the nodes, in the plan's order, from the second.
    Halves,
    /// Each named node from every other node.
    Isolate,
}

/// What becomes of packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum CutMode {
    /// They vanish.
    #[default]
    Drop,
}

/// Whom a step is about: a selector, a list of them, or `{nodes: …}`.
#[derive(Clone, Debug)]
pub(crate) struct Targets {
    pub(crate) nodes: OneOrMany<Selector>,
    /// Whether the long form was used.
    pub(crate) long: bool,
}

/// The long form of [`Targets`].
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Nodes")]
pub(crate) struct NodesWords {
    /// Who.
    pub(crate) nodes: OneOrMany<Selector>,
}

impl<'de> Deserialize<'de> for Targets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TargetsVisitor;
        impl<'de> Visitor<'de> for TargetsVisitor {
            type Value = Targets;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("selectors")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Targets, E> {
                let nodes = OneOrMany::deserialize(text.into_deserializer())?;
                Ok(Targets { nodes, long: false })
            }

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Targets, A::Error> {
                let nodes = Vec::deserialize(SeqAccessDeserializer::new(seq))?;
                Ok(Targets {
                    nodes: OneOrMany(nodes),
                    long: false,
                })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Targets, A::Error> {
                let long = NodesWords::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Targets {
                    nodes: long.nodes,
                    long: true,
                })
            }
        }
        deserializer.deserialize_any(TargetsVisitor)
    }
}

impl JsonSchema for Targets {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Targets".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<Selector>();
        let long = generator.subschema_for::<NodesWords>();
        json_schema!({ "anyOf": [one, { "type": "array", "items": one, "minItems": 1 }, long] })
    }
}

/// Nodes are killed and come back after `down`: a fresh random `fraction` every `every`, or one by one at a `rate`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Churn")]
pub(crate) struct ChurnWords {
    /// Name of the fault; default: `churn-1`, `churn-2` … in the order of the steps.
    pub(crate) id: Option<Word>,
    /// Who may leave.
    pub(crate) nodes: OneOrMany<Selector>,
    /// Which part of them leaves each time; at least one does.
    pub(crate) fraction: Option<Fraction>,
    /// How often; default: once.
    pub(crate) every: Option<Duration>,
    /// Instead of `fraction`: which part of them leaves per unit of time, one by one; at least one does.
    pub(crate) rate: Option<LeaveRate>,
    /// How long each stays away.
    pub(crate) down: Duration,
    /// How long all of it lasts; by then everybody is back.
    #[serde(rename = "for")]
    pub(crate) for_: Duration,
}

/// Starts nodes that were not there at the beginning.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Join")]
pub(crate) struct JoinWords {
    /// The group that grows; it has a `count`, which may be 0.
    pub(crate) group: String,
    /// By how many nodes; they are named on from the group's last.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 10000))]
    pub(crate) count: u32,
}

/// Creates blocks at once.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Mine")]
pub(crate) struct MineWords {
    /// Who: one node that keeps a chain.
    pub(crate) node: Selector,
    /// How many.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 10000))]
    pub(crate) blocks: u32,
}

/// Pays from a wallet.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Send")]
pub(crate) struct SendWords {
    /// Name of the transaction for `confirmed`.
    pub(crate) id: Option<Word>,
    /// The payer: one node with the role `wallet`.
    pub(crate) from: Selector,
    /// The payee: one node with the role `wallet` or `miner`.
    pub(crate) to: Selector,
    /// How much.
    pub(crate) amount: Coins,
    /// The fee; default: the wallet decides.
    pub(crate) fee_rate: Option<FeeRate>,
}
