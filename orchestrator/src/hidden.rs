//! Subcommands that are not for users: this file makes its own node, agent, reaper and supervisor of the one executable.

use std::{ffi::OsString, path::Path};

use crate::{
    error::{CommandError, ErrorKind},
    exit,
    ui::{ColorChoice, Ui},
};

/// Becomes an agent, a bridge to one, a reaper, a supervisor or a node if these arguments, without the program's name, say
/// so, and returns what to exit with at its end; `None` says that they are a user's. Nothing is read or started before it
/// is clear: the agent first gives up what it inherited, the supervisor needs to have one thread.
#[must_use]
pub fn main(arguments: &[OsString]) -> Option<u8> {
    let words: Vec<&str> = arguments
        .iter()
        .map(|word| word.to_str().unwrap_or_default())
        .collect();
    let ended = match words.as_slice() {
        ["agent"] => netsplit_faults::agent::serve().map_err(CommandError::infrastructure),
        ["agent", "connect"] => {
            netsplit_faults::agent::bridge().map_err(CommandError::infrastructure)
        }
        ["reaper"] => reaper(),
        ["supervisor", _] => return Some(supervisor(Path::new(&arguments[1]))),
        ["node"] => netsplit_node::settings::load(None)
            .and_then(netsplit_node::run)
            .map_err(CommandError::infrastructure),
        _ => return None,
    };
    Some(exit_code(ended.map(|()| exit::PASSED)))
}

fn exit_code(ended: Result<u8, CommandError>) -> u8 {
    ended.unwrap_or_else(|error| {
        Ui::new(false, ColorChoice::Never).error(&error);
        error.kind().exit_code()
    })
}

/// Returns in two processes; both began with one thread.
fn supervisor(directory: &Path) -> u8 {
    exit_code(
        netsplit_runtime::namespaces::supervisor::serve(directory).map_err(CommandError::from),
    )
}

fn reaper() -> Result<(), CommandError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| {
            let what = "failed to start the event loop";
            CommandError::caused(ErrorKind::Infrastructure, what, error)
        })?;
    let result = runtime.block_on(Box::pin(netsplit_runtime::docker::reaper::serve()));
    // A read of standard input may still be pending; it must not hold the process up.
    runtime.shutdown_background();
    Ok(result?)
}
