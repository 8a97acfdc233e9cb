//! Makes the process small before it does anything: it has the right to change the host's firewall.

use std::{env, ffi::OsString, fs, io, os::fd::RawFd};

use nix::{
    errno::Errno,
    sys::{
        prctl,
        resource::{Resource, setrlimit},
        stat::{Mode, umask},
    },
    unistd::close,
};

use crate::protocol::OWNED_ENV;

/// What the environment said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Settings {
    /// End with the first client.
    pub(super) owned: bool,
    /// A way to break cuts on purpose.
    #[cfg(feature = "sabotage")]
    pub(super) sabotage: Option<super::sabotage::Sabotage>,
}

/// Closes what was inherited, forgets the environment, forbids core dumps and new privileges. Must be the first thing the
/// process does: while it has one thread and no files of its own.
pub(super) fn sanitise() -> io::Result<Settings> {
    let settings = Settings {
        owned: env::var_os(OWNED_ENV).is_some_and(|value| value == "1"),
        #[cfg(feature = "sabotage")]
        sabotage: super::sabotage::Sabotage::from_environment(),
    };
    close_inherited()?;
    clear_environment();
    umask(Mode::S_IRWXG | Mode::S_IRWXO);
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    prctl::set_dumpable(false)?;
    prctl::set_no_new_privs()?;
    Ok(settings)
}

/// Closes every descriptor above the three standard ones.
fn close_inherited() -> io::Result<()> {
    let mut open: Vec<RawFd> = Vec::new();
    for entry in fs::read_dir("/proc/self/fd")? {
        open.extend(
            entry?
                .file_name()
                .to_str()
                .and_then(|name| name.parse::<RawFd>().ok()),
        );
    }
    for descriptor in open.into_iter().filter(|descriptor| *descriptor > 2) {
        match close(descriptor) {
            // The listing's own.
            Ok(()) | Err(Errno::EBADF) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[expect(
    unsafe_code,
    reason = "the standard library calls changing the environment unsafe"
)]
fn clear_environment() {
    let names: Vec<OsString> = env::vars_os().map(|(name, _)| name).collect();
    for name in names {
        // SAFETY: the process has one thread: this runs before the runtime is built, and nothing else was started.
        unsafe { env::remove_var(name) };
    }
}
