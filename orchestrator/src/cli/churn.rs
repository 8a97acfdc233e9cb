//! `netsplit churn`.

use serde_json::{Map, Value, json};

use super::{Context, options::Target, steps};
use crate::error::CommandError;

/// Let nodes leave and come back for a while
///
/// Again and again a seeded part of the nodes is killed and started again. Returns when the time is over and everyone
/// is back.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub(super) struct Args {
    /// Nodes, groups, `role:x`, `zone:x` or `all`
    #[arg(required = true, value_name = "NODE")]
    nodes: Vec<String>,
    /// What part of the nodes leaves each time: `0.25`, `25%` or `1/4`
    #[arg(
        long,
        value_name = "FRACTION",
        required_unless_present = "rate",
        conflicts_with = "rate"
    )]
    fraction: Option<String>,
    /// Time from one departure to the next, e.g. `5s`; they leave once when left out
    #[arg(long, value_name = "DURATION", conflicts_with = "rate")]
    every: Option<String>,
    /// In place of both: nodes that leave one by one, e.g. `1%/s`
    #[arg(long, value_name = "RATE")]
    rate: Option<String>,
    /// How long a node stays away, e.g. `3s`
    #[arg(long, value_name = "DURATION")]
    down: String,
    /// How long it goes on, e.g. `1m`
    #[arg(long = "for", value_name = "DURATION")]
    duration: String,
    /// What to call it
    #[arg(long, value_name = "ID", default_value = "churn")]
    id: String,
    #[command(flatten)]
    target: Target,
}

const EXAMPLE: &str =
    "Example:\n  netsplit churn role:full --fraction 0.33 --every 5s --down 3s --for 1m";

pub(super) async fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    steps::one(context, args.target.name.as_deref(), step(&args)).await
}

fn step(args: &Args) -> Value {
    let given = [
        ("id", Some(json!(args.id))),
        ("nodes", Some(json!(args.nodes))),
        ("fraction", args.fraction.as_ref().map(|part| json!(part))),
        ("every", args.every.as_ref().map(|every| json!(every))),
        ("rate", args.rate.as_ref().map(|rate| json!(rate))),
        ("down", Some(json!(args.down))),
        ("for", Some(json!(args.duration))),
    ];
    let arguments: Map<String, Value> = given
        .into_iter()
        .filter_map(|(key, value)| Some((key.to_owned(), value?)))
        .collect();
    json!({ "churn": arguments })
}
