//! Running something inside another network namespace.
//!
//! A socket keeps the namespace it was opened in, so it is enough to open it there. That happens on a thread of its own that
//! ends afterwards: a thread that went back to a pool would carry the namespace into unrelated work.

use std::{io, os::fd::AsFd, thread};

use nix::sched::{CloneFlags, setns, unshare};

/// Runs `work` on a thread inside the network namespace that `namespace` is open on, and waits for it.
///
/// # Errors
/// When the namespace cannot be entered: that needs `CAP_SYS_ADMIN` in it and in one's own user namespace.
///
/// # Panics
/// When `work` does.
pub fn inside<T: Send>(
    namespace: impl AsFd + Send,
    work: impl FnOnce() -> T + Send,
) -> io::Result<T> {
    on_thread(move || {
        setns(namespace, CloneFlags::CLONE_NEWNET)?;
        Ok(work())
    })
}

/// Runs `work` on a thread inside a new network namespace, which ends with the last thing that keeps it.
///
/// # Errors
/// When no namespace can be made: that needs `CAP_SYS_ADMIN`.
///
/// # Panics
/// When `work` does.
pub fn inside_new<T: Send>(work: impl FnOnce() -> T + Send) -> io::Result<T> {
    on_thread(move || {
        unshare(CloneFlags::CLONE_NEWNET)?;
        Ok(work())
    })
}

fn on_thread<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    thread::scope(|scope| match scope.spawn(work).join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}
