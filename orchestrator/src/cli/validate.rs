//! `netsplit validate`.

use std::path::PathBuf;

use super::{Context, topology};
use crate::{error::CommandError, exit, report::lines::count};

/// Check topologies and report every problem; starts nothing
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Topology files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

pub(super) fn run(args: &Args, context: &Context) -> Result<u8, CommandError> {
    for source in topology::load_all(&args.files, None, context)? {
        let (nodes, steps) = (source.plan.nodes.len(), source.plan.steps.len());
        let text = format!(
            "`{}`: {}, {}",
            source.path.display(),
            count(nodes, "node"),
            count(steps, "step")
        );
        context.ui.status("Valid", &text);
    }
    Ok(exit::PASSED)
}
