//! Who made a run, and whether that process is still there.
//!
//! A pid means something only on one boot of one machine and inside one pid namespace, and pids are used again: so an
//! owner is its pid, the pid's start time, the boot's id and the namespace's, and is dead only when all of that can be
//! judged from here.

use std::{fs, io, path::Path};

use serde::{Deserialize, Serialize};

/// The process that made a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Process id.
    pub pid: u32,
    /// When it started, in clock ticks since boot (field 22 of proc(5)'s `stat`).
    pub start: u64,
    /// The machine's boot id.
    pub boot_id: String,
    /// Its pid namespace, e.g. `pid:[4026531836]`.
    pub pid_ns: String,
}

/// Whether a process lives, as far as can be told from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// It runs.
    Alive,
    /// It is gone.
    Dead,
    /// It was started on another boot, another machine, or in another pid namespace.
    Unknown,
}

impl Owner {
    /// This process.
    ///
    /// # Errors
    /// When /proc cannot be read.
    pub fn current() -> io::Result<Self> {
        let stat = fs::read_to_string("/proc/self/stat")?;
        let (_, start) = parse_stat(&stat).ok_or_else(|| io::Error::other("bad stat"))?;
        Ok(Self {
            pid: std::process::id(),
            start,
            boot_id: fs::read_to_string("/proc/sys/kernel/random/boot_id")?
                .trim()
                .to_owned(),
            pid_ns: fs::read_link("/proc/self/ns/pid")?
                .to_string_lossy()
                .into_owned(),
        })
    }

    /// The process that is seen from here under this number.
    ///
    /// # Errors
    /// `NotFound` when there is none, and when /proc cannot be read.
    pub fn of(pid: u32) -> io::Result<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let (_, start) = parse_stat(&stat).ok_or_else(|| io::Error::other("bad stat"))?;
        Ok(Self {
            pid,
            start,
            ..Self::current()?
        })
    }

    /// Whether it lives, as seen from this process.
    #[must_use]
    pub fn life(&self) -> Life {
        match Self::current() {
            Ok(here) => self.life_beside(&here, Path::new("/proc")),
            Err(_) => Life::Unknown,
        }
    }

    fn life_beside(&self, here: &Self, proc: &Path) -> Life {
        if self.boot_id != here.boot_id || self.pid_ns != here.pid_ns {
            return Life::Unknown;
        }
        match fs::read_to_string(proc.join(self.pid.to_string()).join("stat")) {
            Ok(stat) => match parse_stat(&stat) {
                Some((state, start)) if start == self.start && !matches!(state, 'Z' | 'X') => {
                    Life::Alive
                }
                Some(_) => Life::Dead,
                None => Life::Unknown,
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Life::Dead,
            Err(_) => Life::Unknown,
        }
    }
}

/// State and start time. The command's name in parentheses may itself contain anything.
fn parse_stat(stat: &str) -> Option<(char, u64)> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    // Field 22 of the line; the state is field 3.
    Some((state, fields.nth(18)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn this_process_is_alive() {
        assert_eq!(Owner::current().unwrap().life(), Life::Alive);
    }

    #[test]
    fn a_pid_used_again_is_another_process() {
        let own = Owner::current().unwrap();
        assert_eq!(
            Owner {
                start: own.start + 1,
                ..own
            }
            .life(),
            Life::Dead
        );
    }

    #[test]
    fn a_process_that_ended_is_dead() {
        let mut child = std::process::Command::new("/proc/self/exe")
            .arg("--list")
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let owner = Owner::of(child.id()).unwrap();
        child.wait().unwrap();
        assert_eq!(owner.life(), Life::Dead);
    }

    #[test]
    fn another_boot_or_namespace_cannot_be_judged() {
        let own = Owner::current().unwrap();
        assert_eq!(
            Owner {
                boot_id: "other".into(),
                ..own.clone()
            }
            .life(),
            Life::Unknown
        );
        assert_eq!(
            Owner {
                pid_ns: "pid:[1]".into(),
                pid: 1,
                ..own
            }
            .life(),
            Life::Unknown
        );
    }

    #[test]
    fn names_with_parentheses_do_not_confuse() {
        let stat = "7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20";
        assert_eq!(parse_stat(stat), Some(('S', 4711)));
    }
}
