//! Whether this machine has room for so many nodes: limits that otherwise show as failures in the middle of a launch.

use std::{fs, io, path::Path};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::limits;

/// Files of the supervisor for each node: its network namespace, its event stream, and calls at the same time.
const FILES_PER_NODE: u64 = 6;
/// Files of the supervisor whatever it does.
const FILES: u64 = 64;
/// Tasks (processes and threads) of a node: its own and those that wait for its disk.
const TASKS_PER_NODE: u64 = 3;

/// A limit of this machine: what it is called, what it allows, and what raises it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bound {
    name: &'static str,
    allows: u64,
    per_node: u64,
    base: u64,
    remedy: &'static str,
}

impl Bound {
    /// How many nodes it has room for.
    const fn nodes(&self) -> u64 {
        self.allows.saturating_sub(self.base) / self.per_node
    }
}

/// Allows this process, and those it will start, as many open files and processes as they may have.
pub(super) fn raise() -> io::Result<()> {
    for resource in [Resource::RLIMIT_NOFILE, Resource::RLIMIT_NPROC] {
        let (_, hard) = getrlimit(resource)?;
        setrlimit(resource, hard, hard)?;
    }
    Ok(())
}

/// The limits in force for a supervisor started by this process. In a user namespace of one's own some no longer show.
pub(crate) fn bounds() -> Vec<Bound> {
    let limit = |resource| getrlimit(resource).map_or(u64::MAX, |(_, hard)| hard);
    let mut bounds = vec![
        Bound {
            name: "open files (`ulimit -Hn`)",
            allows: limit(Resource::RLIMIT_NOFILE),
            per_node: FILES_PER_NODE,
            base: FILES,
            remedy: "raise `nofile` in /etc/security/limits.conf, or `LimitNOFILE=` of the service",
        },
        Bound {
            name: "processes of this user (`ulimit -Hu`)",
            // Root of the machine is not bound.
            allows: if nix::unistd::geteuid().is_root() {
                u64::MAX
            } else {
                limit(Resource::RLIMIT_NPROC)
            },
            per_node: TASKS_PER_NODE,
            base: 0,
            remedy: "raise `nproc` in /etc/security/limits.conf, or `LimitNPROC=` of the service",
        },
    ];
    bounds.extend(machine_bounds(Path::new("/proc/sys")));
    bounds.extend(limits::own().and_then(|group| group_bound(&group)));
    bounds
}

/// The tightest limit of a control group and those above it.
fn group_bound(group: &Path) -> Option<Bound> {
    let allows = group.ancestors().filter_map(|group| {
        let text = fs::read_to_string(group.join("pids.max")).ok()?;
        text.trim().parse().ok()
    });
    Some(Bound {
        name: "processes of this control group (`pids.max`)",
        allows: allows.min()?,
        per_node: TASKS_PER_NODE,
        base: 0,
        remedy: "raise `TasksMax=` of the slice or service this runs in",
    })
}

/// The limits of the whole machine.
fn machine_bounds(proc_sys: &Path) -> Vec<Bound> {
    let settings = [
        (
            "kernel/pid_max",
            "`kernel.pid_max`",
            TASKS_PER_NODE,
            "sysctl -w kernel.pid_max=4194304",
        ),
        (
            "kernel/threads-max",
            "`kernel.threads-max`",
            TASKS_PER_NODE,
            "sysctl -w kernel.threads-max=1000000",
        ),
        (
            "user/max_net_namespaces",
            "`user.max_net_namespaces`",
            1,
            "sysctl -w user.max_net_namespaces=100000",
        ),
        (
            "user/max_pid_namespaces",
            "`user.max_pid_namespaces`",
            1,
            "sysctl -w user.max_pid_namespaces=100000",
        ),
        (
            "user/max_uts_namespaces",
            "`user.max_uts_namespaces`",
            1,
            "sysctl -w user.max_uts_namespaces=100000",
        ),
    ];
    let bound = |(file, name, per_node, remedy): (&str, _, _, _)| {
        let text = fs::read_to_string(proc_sys.join(file)).ok()?;
        Some(Bound {
            name,
            allows: text.trim().parse().ok()?,
            per_node,
            base: 0,
            remedy,
        })
    };
    settings.into_iter().filter_map(bound).collect()
}

/// What keeps so many nodes from running, and what would help.
pub(crate) fn too_tight(bounds: &[Bound], nodes: usize) -> Option<(String, String)> {
    let nodes = u64::try_from(nodes).unwrap_or(u64::MAX);
    let bound = bounds.iter().find(|bound| bound.nodes() < nodes)?;
    let Bound {
        name,
        allows,
        remedy,
        ..
    } = bound;
    let room = bound.nodes();
    let reason = format!("{name} = {allows} has room for {room} nodes, not for {nodes}");
    Some((reason, (*remedy).to_owned()))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn the_first_limit_without_room_is_named_with_its_figure() {
        let tree = tempfile::tempdir().unwrap();
        fs::create_dir(tree.path().join("kernel")).unwrap();
        fs::write(tree.path().join("kernel/pid_max"), "3000\n").unwrap();
        let bounds = machine_bounds(tree.path());
        assert_eq!(too_tight(&bounds, 1000), None);
        let (reason, remedy) = too_tight(&bounds, 1001).unwrap();
        assert_eq!(
            reason,
            "`kernel.pid_max` = 3000 has room for 1000 nodes, not for 1001"
        );
        assert!(remedy.starts_with("sysctl -w kernel.pid_max="));
    }

    #[test]
    fn a_group_is_bound_by_those_above_it() {
        let tree = tempfile::tempdir().unwrap();
        let inner = tree.path().join("user.slice/a.scope");
        fs::create_dir_all(&inner).unwrap();
        assert_eq!(group_bound(&inner), None);
        fs::write(inner.join("pids.max"), "max\n").unwrap();
        fs::write(tree.path().join("user.slice/pids.max"), "300\n").unwrap();
        let bounds = [group_bound(&inner).unwrap()];
        assert_eq!(too_tight(&bounds, 100), None);
        let (reason, _) = too_tight(&bounds, 101).unwrap();
        assert!(reason.contains("`pids.max`) = 300"), "{reason}");
    }

    #[test]
    fn files_are_counted_after_those_that_are_needed_anyway() {
        let files = Bound {
            name: "files",
            allows: 1024,
            per_node: FILES_PER_NODE,
            base: FILES,
            remedy: "",
        };
        assert_eq!(files.nodes(), 160);
        assert!(too_tight(&[files], 161).is_some());
    }

    #[test]
    fn this_machine_has_bounds() {
        let bounds = bounds();
        assert!(bounds.len() > 2, "{bounds:?}");
        assert!(too_tight(&bounds, usize::MAX).is_some());
    }
}
