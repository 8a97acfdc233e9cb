//! A process of another program run, held so that its number cannot come to mean another one.

use std::{
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

use tokio::io::unix::AsyncFd;

use super::readable::watched;
use crate::owner::{Life, Owner};

/// A process that is not our child.
#[derive(Debug)]
pub(super) struct Process(AsyncFd<OwnedFd>);

impl Process {
    /// Takes hold of a process; `None` if it is gone, or cannot be seen from here.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(super) fn hold(owner: &Owner) -> io::Result<Option<Self>> {
        if owner.life() != Life::Alive {
            return Ok(None);
        }
        let pid = libc::pid_t::try_from(owner.pid).map_err(io::Error::other)?;
        let fd = match pidfd_open(pid) {
            Ok(fd) => fd,
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => return Ok(None),
            Err(error) => return Err(error),
        };
        // Only now is it certain whom the number meant when it was taken hold of.
        if owner.life() != Life::Alive {
            return Ok(None);
        }
        Ok(Some(Self(watched(fd)?)))
    }

    /// Kills it. That it is gone already is no failure.
    ///
    /// # Errors
    /// When that is not allowed.
    pub(super) fn kill(&self) -> io::Result<()> {
        match pidfd_kill(self.0.get_ref()) {
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            other => other,
        }
    }

    /// Returns when it has ended.
    pub(super) async fn ended(&self) {
        // A process cannot become one that has not ended; an error here is one of the event loop's shutdown.
        if let Err(error) = self.0.readable().await {
            tracing::debug!(%error, "cannot wait for a process");
        }
    }
}

#[expect(unsafe_code, reason = "the system call has no safe wrapper in nix")]
fn pidfd_open(pid: libc::pid_t) -> io::Result<OwnedFd> {
    // SAFETY: takes two integers and returns a new descriptor or an error.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: the kernel has just returned it, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[expect(unsafe_code, reason = "the system call has no safe wrapper in nix")]
fn pidfd_kill(fd: &OwnedFd) -> io::Result<()> {
    let information = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: a null pointer asks for the information that kill(2) would give; the rest are integers.
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            fd.as_raw_fd(),
            libc::SIGKILL,
            information,
            0,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::{os::unix::process::ExitStatusExt, process::Command};

    use super::*;

    #[tokio::test]
    async fn a_process_is_killed_and_waited_for() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let owner = Owner::of(child.id()).unwrap();
        let process = Process::hold(&owner).unwrap().unwrap();
        process.kill().unwrap();
        process.ended().await;
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGKILL));
        process.kill().unwrap();
        assert!(Process::hold(&owner).unwrap().is_none());
    }

    #[tokio::test]
    async fn a_number_that_means_another_process_by_now_is_left_alone() {
        let own = Owner::current().unwrap();
        let other = Owner {
            start: own.start + 1,
            ..own
        };
        assert!(Process::hold(&other).unwrap().is_none());
    }
}
