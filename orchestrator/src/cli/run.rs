//! `netsplit run`.

use std::path::PathBuf;

use super::{Context, options::Target, session, steps, topology};
use crate::error::CommandError;

/// Carry out the steps of a file on a running testnet
///
/// The file is a list of steps, as under `scenario:` in a topology. The testnet is left running, with the faults that
/// are still in force.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// File with a list of steps; `-` is stdin
    #[arg(value_name = "STEPS")]
    file: PathBuf,
    #[command(flatten)]
    target: Target,
}

pub(super) async fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    let text = topology::read(&args.file)?;
    let testnet = session::attach(context, args.target.name.as_deref()).await?;
    let name = args.file.display().to_string();
    let steps = topology::steps(&name, &text, testnet.as_ref(), context).await?;
    if steps.is_empty() {
        context
            .ui
            .warning(&format!("`{name}` has no steps: there is nothing to do"));
    }
    Ok(steps::drive(context, testnet, steps).await?.exit_code)
}
