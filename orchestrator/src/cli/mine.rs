//! `netsplit mine`.

use netsplit_runtime::Testnet;
use serde_json::{Value, json};

use super::{
    Context,
    options::{Format, Target, number},
    session, steps, topology,
};
use crate::error::CommandError;

/// Let a node mine blocks at once; prints their hashes
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A node
    #[arg(value_name = "NODE")]
    node: String,
    /// How many blocks
    #[arg(value_name = "N", default_value_t = 1, value_parser = number(1..=10_000_u32))]
    blocks: u32,
    #[command(flatten)]
    target: Target,
}

pub(super) async fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    let testnet = session::attach(context, args.target.name.as_deref()).await?;
    mine(testnet, &args, context).await
}

pub(super) async fn mine(
    testnet: Box<dyn Testnet>,
    args: &Args,
    context: &Context,
) -> Result<u8, CommandError> {
    let step = json!({ "mine": { "node": args.node, "blocks": args.blocks } });
    let steps = topology::made(&step, testnet.as_ref()).await?;
    let report = steps::drive(context, testnet, steps).await?;
    if context.options.format == Format::Table {
        let hashes = report.steps.first().map(|step| &step.evidence["hashes"]);
        for hash in hashes.and_then(Value::as_array).into_iter().flatten() {
            context.ui.data(hash.as_str().unwrap_or_default())?;
        }
    }
    Ok(report.exit_code)
}
