//! `netsplit kill`, `pause`, `resume`, `stop`, `start`, `restart`.

use netsplit_plan::plan::NodeVerb;
use serde_json::json;

use super::{Context, options::Target, steps};
use crate::error::CommandError;

pub(super) const KILL: &str = "\
Kill nodes with SIGKILL; returns when their processes are gone

Data and address are kept: `netsplit start` brings a node back with what it had.";

/// Arguments of the commands that do something to nodes' processes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Nodes, groups, `role:x`, `zone:x` or `all`
    #[arg(required = true, value_name = "NODE")]
    nodes: Vec<String>,
    #[command(flatten)]
    target: Target,
}

pub(super) async fn run(verb: NodeVerb, args: Args, context: &Context) -> Result<u8, CommandError> {
    let mut step = serde_json::Map::new();
    step.insert(word(verb).to_owned(), json!(args.nodes));
    steps::one(context, args.target.name.as_deref(), step.into()).await
}

const fn word(verb: NodeVerb) -> &'static str {
    match verb {
        NodeVerb::Kill => "kill",
        NodeVerb::Stop => "stop",
        NodeVerb::Start => "start",
        NodeVerb::Restart => "restart",
        NodeVerb::Pause => "pause",
        NodeVerb::Resume => "resume",
    }
}
