//! `netsplit completions`.

use clap_complete::Shell;

use super::{Context, definition};
use crate::{error::CommandError, exit};

/// Print a completion script for a shell
///
/// For example: `netsplit completions bash > /etc/bash_completion.d/netsplit`
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Which shell
    #[arg(value_enum, value_name = "SHELL")]
    shell: Shell,
}

pub(super) fn run(args: &Args, context: &Context) -> Result<u8, CommandError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut definition(), "netsplit", &mut script);
    context.ui.data(&String::from_utf8_lossy(&script))?;
    Ok(exit::PASSED)
}
