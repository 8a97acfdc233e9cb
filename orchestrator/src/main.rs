//! The `netsplit` executable: the command line, and in the same file its own node, agent and reaper.

use std::{ffi::OsString, process::ExitCode};

use netsplit::{cli, hidden};

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    // Privileged and packed processes begin before any configuration is read.
    let code = match hidden::main(arguments.get(1..).unwrap_or_default()) {
        Some(code) => code,
        None => cli::main(arguments),
    };
    ExitCode::from(code)
}
