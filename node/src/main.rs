//! `netsplit-node`: one node as a process of its own.

use std::{error::Error, path::PathBuf, process::ExitCode};

use clap::Parser;
use netsplit_node::{NodeExit, run, settings};

/// Runs one node of a netsplit testnet until SIGTERM or its `stop` method.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Read the configuration (JSON) from this file, not from the environment variable NETSPLIT_NODE_CONFIG.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match settings::load(arguments.config.as_deref()).and_then(run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

#[expect(clippy::print_stderr, reason = "the process's last word")]
fn fail(error: &NodeExit) -> ExitCode {
    eprintln!("error: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        eprintln!("caused by: {error}");
        cause = error.source();
    }
    ExitCode::FAILURE
}
