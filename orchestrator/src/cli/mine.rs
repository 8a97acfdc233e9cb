//! `netsplit mine`.

use serde_json::json;

use super::{Context, options::Target, steps};
use crate::error::CommandError;

/// Let a node mine blocks at once
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A node
    #[arg(value_name = "NODE")]
    node: String,
    /// How many blocks
    #[arg(value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    blocks: u32,
    #[command(flatten)]
    target: Target,
}

pub(super) async fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    let step = json!({ "mine": { "node": args.node, "blocks": args.blocks } });
    steps::one(context, args.target.name.as_deref(), step).await
}
