//! `netsplit schema`.

use super::{Context, topology};
use crate::{error::CommandError, exit};

/// Print the JSON Schema of topologies, for editors
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

pub(super) fn run(_: &Args, context: &Context) -> Result<u8, CommandError> {
    context.ui.data(&topology::schema())?;
    Ok(exit::PASSED)
}
