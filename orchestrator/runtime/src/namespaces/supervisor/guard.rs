//! The process that outlives the supervisor by a moment: it waits for its end, however it comes, and removes what the kernel
//! does not: the nodes' directories, the socket, groups.
//!
//! It keeps no namespace and no stream alive.

use std::{
    fs::{self, OpenOptions},
    io,
    path::{Path, PathBuf},
    thread,
};

use nix::{
    errno::Errno,
    sys::{
        signal::{SigHandler, Signal, signal},
        wait::{WaitStatus, waitpid},
    },
    unistd::{Pid, dup2_stdin},
};

use super::limits::Groups;
use crate::{
    RuntimeError,
    namespaces::protocol::{NODES, SOCKET},
};

/// Directories removed at a time.
const AT_A_TIME: usize = 8;

/// Waits for the supervisor and cleans up behind it; answers what it ended with, 128 + n for signal n.
///
/// # Errors
/// When something could not be removed.
pub(super) fn watch(child: Pid, groups: Option<&Groups>) -> Result<u8, RuntimeError> {
    let failed = |operation: &str| {
        let operation = format!("failed to {operation}");
        move |error: io::Error| RuntimeError::with_source(operation, error)
    };
    stay_out_of_the_way().map_err(failed("become the guard of a testnet"))?;
    let code = wait(child).map_err(failed("wait for the supervisor"))?;
    // With its first process the kernel has ended all processes of the pid namespace before it tells us.
    clean_up(groups).map_err(failed("remove the nodes' directories"))?;
    Ok(code)
}

/// Lets go of the maker's stream, and leaves it to the supervisor to be told to end.
fn stay_out_of_the_way() -> io::Result<()> {
    dup2_stdin(OpenOptions::new().read(true).open("/dev/null")?)?;
    for ignored in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        ignore(ignored)?;
    }
    Ok(())
}

#[expect(unsafe_code, reason = "signal(2)")]
fn ignore(ignored: Signal) -> io::Result<()> {
    // SAFETY: no handler is installed, so nothing runs at a signal.
    unsafe { signal(ignored, SigHandler::SigIgn) }?;
    Ok(())
}

fn wait(child: Pid) -> io::Result<u8> {
    loop {
        match waitpid(child, None) {
            Ok(WaitStatus::Exited(_, code)) => return Ok(u8::try_from(code).unwrap_or(u8::MAX)),
            Ok(WaitStatus::Signaled(_, signal, _)) => {
                return Ok(u8::try_from(128 + signal as i32).unwrap_or(u8::MAX));
            }
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Removes what a supervisor leaves in the current directory, the run's. What is not there is no failure.
///
/// # Errors
/// The first thing that could not be removed; the others were tried.
pub(super) fn clean_up(groups: Option<&Groups>) -> io::Result<()> {
    let removed = [
        fs::remove_file(SOCKET),
        remove_nodes(Path::new(NODES)),
        groups.map_or(Ok(()), Groups::remove),
    ];
    removed.into_iter().find(is_failure).unwrap_or(Ok(()))
}

/// Removes the nodes' directories, some at a time: what takes long is to wait for the disk.
fn remove_nodes(nodes: &Path) -> io::Result<()> {
    let directories = fs::read_dir(nodes)?.map(|entry| Ok(entry?.path()));
    let directories = directories.collect::<io::Result<Vec<PathBuf>>>()?;
    let share = directories.len().div_ceil(AT_A_TIME).max(1);
    let remove = |share: &[PathBuf]| {
        for directory in share {
            // What resists is met again, and told of, below.
            let _ = fs::remove_dir_all(directory);
        }
    };
    thread::scope(|scope| {
        for share in directories.chunks(share) {
            // The guard gets no threads: its children would belong to a pid namespace that is gone.
            let _ = thread::Builder::new().spawn_scoped(scope, move || remove(share));
        }
    });
    fs::remove_dir_all(nodes)
}

fn is_failure(result: &io::Result<()>) -> bool {
    matches!(result, Err(error) if error.kind() != io::ErrorKind::NotFound)
}
