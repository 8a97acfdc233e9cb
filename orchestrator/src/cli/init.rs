//! `netsplit init`.

use std::{fs::OpenOptions, io::Write, path::PathBuf};

use super::Context;
use crate::{
    error::{CommandError, ErrorKind},
    exit,
};

/// Write a topology to begin with
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where to; `-` is stdout
    #[arg(value_name = "FILE", default_value = "netsplit.yaml")]
    file: PathBuf,
    /// Replace the file if it is there
    #[arg(long)]
    force: bool,
}

/// What a new user begins with.
pub(super) const STARTER: &str = include_str!("starter.yaml");

pub(super) fn run(args: &Args, context: &Context) -> Result<u8, CommandError> {
    if args.file.as_os_str() == "-" {
        context.ui.data(STARTER)?;
        return Ok(exit::PASSED);
    }
    let path = args.file.display();
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .create_new(!args.force)
        .truncate(args.force)
        .open(&args.file);
    file.and_then(|mut file| file.write_all(STARTER.as_bytes()))
        .map_err(|error| {
            if error.kind() == std::io::ErrorKind::AlreadyExists {
                return CommandError::usage(format!("`{path}` is there already"))
                    .hint("`--force` replaces it");
            }
            CommandError::caused(ErrorKind::Usage, format!("failed to write `{path}`"), error)
        })?;
    context.ui.status(
        "Wrote",
        &format!("`{path}`; `netsplit test {path}` runs it"),
    );
    Ok(exit::PASSED)
}
