//! Bounds on the memory and processor time of single nodes, by cgroup v2 where the machine lets us.
//!
//! A run's groups stand beside the group its supervisor was started in, one directory per node in one for the run. Moving a
//! process needs the right to write to the group above both, which systemd gives to users for what runs in their own
//! session manager, and a machine with cgroup v1 to nobody: then limits are left out, with a note.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use nix::unistd::Pid;

use crate::namespaces::protocol::Limits;

/// What limits need.
const CONTROLLERS: [&str; 2] = ["cpu", "memory"];
/// Microseconds over which processor time is measured.
const PERIOD: f64 = 100_000.0;

/// Where a run's groups are to be. Nothing exists before the first limit is set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Groups {
    directory: PathBuf,
}

impl Groups {
    /// Looks for a place for a run's groups beside the calling process's own.
    ///
    /// # Errors
    /// Why limits cannot be set here, for people.
    pub(super) fn find(name: &str) -> Result<Self, String> {
        let own = own().ok_or("there is no cgroup v2")?;
        Self::below(own.parent().unwrap_or(&own), name)
    }

    /// A place for a run's groups in `parent`.
    fn below(parent: &Path, name: &str) -> Result<Self, String> {
        let file = parent.join("cgroup.subtree_control");
        let handed_down = fs::read_to_string(&file).unwrap_or_default();
        let has = |controller: &&str| {
            handed_down
                .split_whitespace()
                .any(|word| word == *controller)
        };
        if let Some(missing) = CONTROLLERS.iter().find(|controller| !has(controller)) {
            let parent = parent.display();
            return Err(format!(
                "cgroup v2 does not hand down `{missing}` in {parent}"
            ));
        }
        match nix::unistd::access(&parent.join("cgroup.procs"), nix::unistd::AccessFlags::W_OK) {
            Ok(()) => Ok(Self {
                directory: parent.join(name),
            }),
            Err(error) => Err(format!("{} is not ours to use: {error}", parent.display())),
        }
    }

    /// Puts a node's process into a group with these limits.
    ///
    /// # Errors
    /// When the kernel refuses, e.g. because the directory is not delegated to this user.
    pub(super) fn confine(&self, node: &str, pid: Pid, limits: &Limits) -> io::Result<()> {
        if *limits == Limits::default() {
            return Ok(());
        }
        let group = self.directory.join(node);
        if !group.is_dir() {
            fs::create_dir_all(&group)?;
            let controllers = CONTROLLERS
                .map(|controller| format!("+{controller}"))
                .join(" ");
            fs::write(self.directory.join("cgroup.subtree_control"), controllers)?;
        }
        let memory = limits
            .memory
            .map_or("max".to_owned(), |bytes| bytes.to_string());
        fs::write(group.join("memory.max"), memory)?;
        let quota = limits
            .cpus
            .map_or("max".to_owned(), |cpus| format!("{:.0}", cpus * PERIOD));
        fs::write(group.join("cpu.max"), format!("{quota} {PERIOD:.0}"))?;
        fs::write(group.join("cgroup.procs"), pid.to_string())
    }

    /// Removes the run's groups; their processes must be gone.
    ///
    /// # Errors
    /// When something is left.
    pub(super) fn remove(&self) -> io::Result<()> {
        // Files of these directories are not removed, they go with them.
        let groups = match fs::read_dir(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            groups => groups?,
        };
        for group in groups {
            let group = group?;
            if group.file_type()?.is_dir() {
                fs::remove_dir(group.path())?;
            }
        }
        fs::remove_dir(&self.directory)
    }
}

/// The directory of the cgroup v2 that this process is in.
pub(super) fn own() -> Option<PathBuf> {
    let read = |path| fs::read_to_string(path).ok();
    own_group(&read("/proc/self/mountinfo")?, &read("/proc/self/cgroup")?)
}

/// The directory of the cgroup v2 that a process is in, by its `mountinfo` and `cgroup` files (proc(5), cgroups(7)).
fn own_group(mounts: &str, groups: &str) -> Option<PathBuf> {
    let own = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    mounts.lines().find_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(3);
        let (root, place) = (fields.next()?, fields.next()?);
        let below = Path::new(own).strip_prefix(root).ok()?;
        kind.starts_with("cgroup2 ")
            .then(|| Path::new(place).join(below))
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    const MOUNTS: &str = "\
        25 1 0:22 / /proc rw - proc proc rw\n\
        30 1 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";

    /// A directory that looks like a group that hands these controllers down.
    fn parent(controllers: &str) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("cgroup.subtree_control"), controllers).unwrap();
        fs::write(directory.path().join("cgroup.procs"), "").unwrap();
        directory
    }

    #[test]
    fn the_own_group_is_found_where_it_is_mounted() {
        let found = own_group(MOUNTS, "1:name=systemd:/x\n0::/user.slice/a.scope\n");
        assert_eq!(found, Some("/sys/fs/cgroup/user.slice/a.scope".into()));
        let inside = MOUNTS.replace(" / /sys/fs", " /docker/c1 /sys/fs");
        assert_eq!(
            own_group(&inside, "0::/docker/c1/x\n"),
            Some("/sys/fs/cgroup/x".into())
        );
        assert_eq!(
            own_group("25 1 0:22 / /proc rw - proc proc rw\n", "0::/\n"),
            None
        );
        assert_eq!(own_group(MOUNTS, "4:memory:/x\n"), None);
    }

    #[test]
    fn what_is_not_handed_down_is_named() {
        let parent = parent("cpu pids");
        let note = Groups::below(parent.path(), "run").unwrap_err();
        assert!(note.contains("`memory`"), "{note}");
    }

    #[test]
    fn a_node_with_limits_is_confined_to_them() {
        let parent = parent("cpuset cpu io memory pids");
        let groups = Groups::below(parent.path(), "run").unwrap();
        let read = |file: &str| fs::read_to_string(parent.path().join("run").join(file)).unwrap();
        let limits = Limits {
            memory: Some(64 << 20),
            cpus: Some(0.5),
        };
        groups.confine("full-1", Pid::from_raw(7), &limits).unwrap();
        assert_eq!(read("cgroup.subtree_control"), "+cpu +memory");
        assert_eq!(read("full-1/memory.max"), "67108864");
        assert_eq!(read("full-1/cpu.max"), "50000 100000");
        assert_eq!(read("full-1/cgroup.procs"), "7");
        let limits = Limits {
            memory: None,
            cpus: Some(2.0),
        };
        groups.confine("full-2", Pid::from_raw(8), &limits).unwrap();
        assert_eq!(read("full-2/memory.max"), "max");
        assert_eq!(read("full-2/cpu.max"), "200000 100000");
    }

    #[test]
    fn without_limits_there_are_no_groups_and_nothing_to_remove() {
        let parent = parent("cpu memory");
        let groups = Groups::below(parent.path(), "run").unwrap();
        groups
            .confine("full-1", Pid::from_raw(7), &Limits::default())
            .unwrap();
        assert!(!parent.path().join("run").exists());
        groups.remove().unwrap();
    }

    #[test]
    fn groups_are_removed_from_the_leaves_up() {
        let parent = parent("cpu memory");
        let groups = Groups::below(parent.path(), "run").unwrap();
        // As the kernel shows them once they are empty: directories that can be removed whatever files they show.
        fs::create_dir_all(parent.path().join("run/full-1")).unwrap();
        groups.remove().unwrap();
        assert!(!parent.path().join("run").exists());
    }
}
