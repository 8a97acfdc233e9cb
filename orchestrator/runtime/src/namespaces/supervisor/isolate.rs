//! Into namespaces of one's own: no right of the machine is needed, and none over it is left.
//!
//! The process becomes root of a new user namespace and forks. The child is the first process of a pid namespace, in network,
//! uts and ipc namespaces of its own; the parent stays in the machine's, as the [`guard`](super::guard).

use std::{
    fs,
    io::{self, ErrorKind, Read as _, Write as _},
    path::Path,
};

use nix::{
    sched::{CloneFlags, unshare},
    sys::wait::{WaitStatus, waitpid},
    unistd::{ForkResult, Pid, fork, getegid, geteuid},
};

use crate::RuntimeError;

/// Where the machine tells its settings.
pub(crate) const PROC_SYS: &str = "/proc/sys";

/// On which side of the fork a process is.
pub(super) enum Side {
    /// The parent of the process with this id.
    Guard(Pid),
    /// The first process of the pid namespace.
    Supervisor,
}

/// What the kernel was asked for when it refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A user namespace.
    User,
    /// To say who its users are.
    Map,
    /// The other namespaces.
    Others,
    /// To change settings of a new network namespace.
    Settings,
}

impl Step {
    const fn operation(self) -> &'static str {
        match self {
            Self::User => "failed to make a user namespace",
            Self::Map => "failed to become root of a user namespace",
            Self::Others => "failed to make network and pid namespaces",
            Self::Settings => "failed to set up a network namespace",
        }
    }
}

/// Enters the namespaces and forks. Must be called while the process has one thread.
///
/// # Errors
/// What was refused, with the settings that refuse it and what would help. On this side of the fork nothing is left.
#[expect(unsafe_code, reason = "fork")]
pub(super) fn enter() -> Result<Side, RuntimeError> {
    become_root()?;
    unshare(CloneFlags::CLONE_NEWPID).map_err(refused(Step::Others))?;
    // SAFETY: the process has one thread, so whatever the child calls is in a state that it knows.
    match unsafe { fork() }.map_err(refused(Step::Others))? {
        ForkResult::Parent { child } => Ok(Side::Guard(child)),
        ForkResult::Child => Ok(Side::Supervisor),
    }
}

/// The child's share of the namespaces: the parent keeps none of them alive. There is no mount namespace: nothing is
/// mounted, and a copy of the machine's mounts would only keep disks from being taken away.
///
/// # Errors
/// As of [`enter`].
pub(super) fn enter_rest() -> Result<(), RuntimeError> {
    let rest = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWUTS | CloneFlags::CLONE_NEWIPC;
    unshare(rest).map_err(refused(Step::Others))
}

/// Becomes root of a new user namespace. Who already is root does without one if need be.
fn become_root() -> Result<(), RuntimeError> {
    let mapped = if geteuid().is_root() {
        match unshare_as_root() {
            Some(mapped) => mapped,
            // The other namespaces will be refused as well if this root has no rights.
            None => return Ok(()),
        }
    } else {
        unshare(CloneFlags::CLONE_NEWUSER).map_err(refused(Step::User))?;
        map_to_root()
    };
    mapped.map_err(refused(Step::Map))
}

/// Makes the user the root of the user namespace the process is in; other users do not exist there.
fn map_to_root() -> io::Result<()> {
    // Without this nobody but root may map groups; see user_namespaces(7).
    tell("/proc/self/setgroups", "deny")?;
    tell("/proc/self/uid_map", &format!("0 {} 1", geteuid()))?;
    tell("/proc/self/gid_map", &format!("0 {} 1", getegid()))
}

/// Makes a user namespace in which all users are who they are, so that root reads what it could read before. Such a map can
/// only be written from outside, with root's rights there: by a child that stays. `None` if there can be no such namespace.
#[expect(unsafe_code, reason = "fork")]
fn unshare_as_root() -> Option<io::Result<()>> {
    let (mut unshared, mut tell_unshared) = io::pipe().ok()?;
    // SAFETY: the process has one thread, so whatever the child calls is in a state that it knows.
    match unsafe { fork() }.ok()? {
        ForkResult::Child => {
            drop(tell_unshared);
            let there = unshared.read_exact(&mut [0]).is_ok();
            let mapped = there && map_identity(Pid::parent()).is_ok();
            // SAFETY: the process ends, without running what the parent registered for its own end.
            unsafe { libc::_exit(i32::from(!mapped)) }
        }
        ForkResult::Parent { child } => {
            drop(unshared);
            let made = unshare(CloneFlags::CLONE_NEWUSER).is_ok();
            if made {
                // The child ends with a failure if it does not hear it.
                let _ = tell_unshared.write_all(&[1]);
            }
            drop(tell_unshared);
            let mapped = matches!(waitpid(child, None), Ok(WaitStatus::Exited(_, 0)));
            // Without the rights for all users it is as for anybody else.
            made.then(|| if mapped { Ok(()) } else { map_to_root() })
        }
    }
}

fn map_identity(process: Pid) -> io::Result<()> {
    for kind in ["uid_map", "gid_map"] {
        let own = fs::read_to_string(format!("/proc/self/{kind}"))?;
        tell(&format!("/proc/{process}/{kind}"), &identity(&own))?;
    }
    Ok(())
}

fn tell(file: &str, text: &str) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).open(file)?;
    file.write_all(text.as_bytes())
}

/// A map that leaves every user or group what it is, given the map of this namespace.
fn identity(map: &str) -> String {
    let lines = map.lines().filter_map(|line| {
        let mut fields = line.split_whitespace();
        let (inside, _, count) = (fields.next()?, fields.next()?, fields.next()?);
        Some(format!("{inside} {inside} {count}\n"))
    });
    lines.collect()
}

fn refused<E: Into<io::Error>>(step: Step) -> impl FnOnce(E) -> RuntimeError {
    move |error| diagnose(Path::new(PROC_SYS), step, error.into())
}

/// Says why the kernel refused a step, as far as the machine's settings (below `proc_sys`) tell, and what would help.
pub(crate) fn diagnose(proc_sys: &Path, step: Step, error: io::Error) -> RuntimeError {
    let mut hints: Vec<String> = SWITCHES
        .iter()
        .filter(|switch| setting(proc_sys, switch.name) == Some(switch.refuses))
        .map(Switch::hint)
        .collect();
    // ENOSPC, for disks and namespaces alike.
    let none_left = error.kind() == ErrorKind::StorageFull;
    hints.extend(NAMESPACES.iter().filter_map(|name| {
        let allowed = setting(proc_sys, name)?;
        let name = name.replace('/', ".");
        let tight = allowed == 0 || none_left && allowed < PLENTY;
        tight.then(|| {
            format!("`{name}` allows {allowed}; `sudo sysctl -w {name}={PLENTY}` allows more")
        })
    }));
    if hints.is_empty() {
        hints.extend(guess(step, &error).map(str::to_owned));
    }
    RuntimeError {
        hints,
        ..RuntimeError::with_source(step.operation(), error)
    }
}

/// A setting of the machine that refuses what is needed here.
struct Switch {
    name: &'static str,
    refuses: u64,
    means: &'static str,
    remedy: &'static str,
}

impl Switch {
    fn hint(&self) -> String {
        let name = self.name.replace('/', ".");
        let Self {
            refuses,
            means,
            remedy,
            ..
        } = self;
        let allows = 1 - refuses;
        format!("`{name}` is {refuses}: {means}; `sudo sysctl -w {name}={allows}` {remedy}")
    }
}

const SWITCHES: [Switch; 2] = [
    Switch {
        name: "kernel/unprivileged_userns_clone",
        refuses: 0,
        means: "only root may make user namespaces",
        remedy: "allows everybody to",
    },
    // Ubuntu since 23.10: the namespace can be made, its root has no rights in it.
    Switch {
        name: "kernel/apparmor_restrict_unprivileged_userns",
        refuses: 1,
        means: "AppArmor takes away all rights in user namespaces",
        remedy: "or an AppArmor profile with `userns,` for this program leaves them",
    },
];

/// How many namespaces a user may have.
const NAMESPACES: [&str; 5] = [
    "user/max_user_namespaces",
    "user/max_net_namespaces",
    "user/max_pid_namespaces",
    "user/max_uts_namespaces",
    "user/max_ipc_namespaces",
];
/// Enough of them for any testnet.
const PLENTY: u64 = 100_000;

fn setting(proc_sys: &Path, name: &str) -> Option<u64> {
    let text = fs::read_to_string(proc_sys.join(name)).ok()?;
    text.trim().parse().ok()
}

/// What it usually is when no setting tells.
fn guess(step: Step, error: &io::Error) -> Option<&'static str> {
    match (step, error.kind()) {
        (Step::User, ErrorKind::InvalidInput | ErrorKind::Unsupported) => {
            Some("this kernel is built without user namespaces")
        }
        (Step::Settings, ErrorKind::ReadOnlyFilesystem) => Some(
            "/proc/sys is read-only, as in most containers: \
             start the container with `--security-opt systempaths=unconfined`",
        ),
        (_, ErrorKind::PermissionDenied) => Some(
            "this looks like a container whose seccomp or AppArmor profile refuses namespaces: start it with \
             `--security-opt seccomp=unconfined --security-opt apparmor=unconfined --security-opt systempaths=unconfined`",
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use nix::errno::Errno;

    use super::*;

    /// A tree of settings as below /proc/sys.
    fn machine(settings: &[(&str, &str)]) -> tempfile::TempDir {
        let tree = tempfile::tempdir().unwrap();
        for (name, value) in settings {
            let file = tree.path().join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, format!("{value}\n")).unwrap();
        }
        tree
    }

    fn hints(settings: &[(&str, &str)], step: Step, errno: Errno) -> Vec<String> {
        diagnose(machine(settings).path(), step, errno.into()).hints
    }

    #[test]
    fn debians_switch_is_named_with_its_remedy() {
        let settings = [("kernel/unprivileged_userns_clone", "0")];
        let hints = hints(&settings, Step::User, Errno::EPERM);
        assert_eq!(hints.len(), 1, "{hints:?}");
        assert!(hints[0].contains("sysctl -w kernel.unprivileged_userns_clone=1"));
    }

    #[test]
    fn ubuntus_switch_is_named_with_its_remedy() {
        let settings = [
            ("kernel/unprivileged_userns_clone", "1"),
            ("kernel/apparmor_restrict_unprivileged_userns", "1"),
            ("user/max_user_namespaces", "63432"),
        ];
        for (step, errno) in [(Step::Map, Errno::EACCES), (Step::Others, Errno::EPERM)] {
            let hints = hints(&settings, step, errno);
            assert_eq!(hints.len(), 1, "{hints:?}");
            assert!(hints[0].contains("sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"));
        }
    }

    #[test]
    fn limits_of_namespaces_are_named_when_they_are_none_or_reached() {
        let none = [("user/max_user_namespaces", "0")];
        let none = hints(&none, Step::User, Errno::ENOSPC);
        assert!(
            none[0].contains("`user.max_user_namespaces` allows 0"),
            "{none:?}"
        );
        let few = [
            ("user/max_user_namespaces", "63432"),
            ("user/max_net_namespaces", "63432"),
        ];
        assert_eq!(hints(&few, Step::Others, Errno::ENOSPC).len(), 2);
        let reached = hints(&few, Step::Others, Errno::EPERM);
        assert!(reached[0].contains("container"), "{reached:?}");
    }

    #[test]
    fn where_no_setting_tells_the_usual_cause_is_named() {
        let container = hints(&[], Step::User, Errno::EPERM);
        assert!(container[0].contains("seccomp=unconfined"), "{container:?}");
        let kernel = hints(&[], Step::User, Errno::EINVAL);
        assert!(kernel[0].contains("built without"), "{kernel:?}");
        let read_only = hints(&[], Step::Settings, Errno::EROFS);
        assert!(read_only[0].contains("systempaths"), "{read_only:?}");
        assert!(hints(&[], Step::Map, Errno::EINVAL).is_empty());
        // Whoever says which setting it was leaves the kernel's number behind.
        let said = io::Error::new(io::Error::from(Errno::EROFS).kind(), "failed to set x");
        let said = diagnose(machine(&[]).path(), Step::Settings, said).hints;
        assert_eq!(said, read_only);
    }

    #[test]
    fn an_identity_maps_what_there_is() {
        assert_eq!(
            identity("         0          0 4294967295\n"),
            "0 0 4294967295\n"
        );
        assert_eq!(
            identity("0 100000 65536\n70000 5 1\n"),
            "0 0 65536\n70000 70000 1\n"
        );
    }
}
