//! What is refused, and how it is said.

use std::{
    env, fs,
    os::unix::{fs::PermissionsExt as _, net::UnixStream, process::CommandExt as _},
    process::{Command, ExitCode},
};

use nix::{
    sched::{CloneFlags, unshare},
    unistd::{getegid, geteuid},
};
use serde_json::json;

use crate::client::{Run, Session};

pub(crate) fn undone() {
    let mut run = Run::with_nodes(2);
    // A log that cannot be written keeps the last node from being started when all others have been.
    let log = run.path().join("nodes/full-49/log");
    fs::create_dir_all(&log).unwrap();
    let request = run.launching(10..50);
    let reason = run.session.fails(&request);
    assert!(reason.contains("failed to start `full-49`"), "{reason}");
    assert_eq!(run.session.status()["nodes"].as_object().unwrap().len(), 2);
    let left = fs::read_dir(run.path().join("nodes")).unwrap().flatten();
    let mut left: Vec<_> = left.map(|entry| entry.file_name()).collect();
    left.sort();
    assert_eq!(left, ["full-0", "full-1"]);
    // Guard, supervisor and two nodes.
    assert_eq!(run.processes().len(), 4);
    assert_eq!(run.reach("full-0", 20), "silent");
    // What was in the way is gone: names, addresses and devices are free again.
    run.launch(10..50);
    assert_eq!(run.reach("full-0", 49), "ok");
}

pub(crate) fn nonsense() {
    let mut run = Run::start("supervisor");
    let request = run.launching(0..1);
    let reason = run.session.fails(&request);
    assert!(reason.contains("the run has not begun"), "{reason}");
    let beginning = run.beginning();
    run.session.ask(&beginning);
    let reason = run.session.fails(&beginning);
    assert!(reason.contains("has begun already"), "{reason}");
    let reason = run.visit("supervisor").fails(&beginning);
    assert!(reason.contains("by its maker only"), "{reason}");
    run.session.done(&request);
    for (name, address, expected) in [
        ("full-0", "10.248.0.9", "there is a node `full-0` already"),
        (
            "other",
            "10.248.0.2",
            "there is a node at 10.248.0.2 already",
        ),
        ("other", "10.249.0.2", "10.249.0.2 is not in 10.248.0.0/16"),
        ("other", "10.248.0.1", "10.248.0.1 is the router's own"),
        ("../other", "10.248.0.9", "`../other` is no name of a node"),
    ] {
        let mut wrong = request.clone();
        wrong["body"][0]["name"] = json!(name);
        wrong["body"][0]["address"] = json!(address);
        let reason = run.session.fails(&wrong);
        assert!(reason.contains(expected), "{reason}");
    }
    let reason = run.session.fails(&crate::client::act("nobody", "kill"));
    assert!(reason.contains("no node is named `nobody`"), "{reason}");
    let health = run.visit("agent").ask(&json!({ "type": "health" }));
    assert_eq!(health["type"], "health", "{health}");
}

/// Where there may be no user namespaces. Root of such a place can do without.
pub(crate) fn cramped() {
    let mut run = Run::start("cramped");
    let beginning = run.beginning();
    if geteuid().is_root() {
        run.session.ask(&beginning);
        run.launch(0..2);
        assert_eq!(run.reach("full-0", 1), "ok");
    } else {
        let reason = run.session.fails(&beginning);
        assert!(
            reason.contains("failed to make a user namespace"),
            "{reason}"
        );
        assert!(
            reason.contains("`user.max_user_namespaces` allows 0"),
            "{reason}"
        );
        let (code, _) = run.wait();
        assert_eq!(code, Some(3));
    }
}

/// Becomes a supervisor in a user namespace that allows no further ones.
pub(crate) fn cramp(directory: &str) {
    let (user, group) = (geteuid(), getegid());
    unshare(CloneFlags::CLONE_NEWUSER).unwrap();
    fs::write("/proc/sys/user/max_user_namespaces", "0").unwrap();
    fs::write("/proc/self/setgroups", "deny").unwrap();
    fs::write("/proc/self/uid_map", format!("{user} {user} 1")).unwrap();
    fs::write("/proc/self/gid_map", format!("{group} {group} 1")).unwrap();
    let mut supervisor = Command::new(env::current_exe().unwrap());
    panic!("{}", supervisor.args(["supervisor", directory]).exec());
}

pub(crate) fn private() {
    let run = Run::with_nodes(1);
    let socket = run.path().join("supervisor.sock");
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&socket) & 0o077, 0);
    assert_eq!(mode(&run.path().join("nodes")), 0o700);
    assert_eq!(mode(&run.path().join("nodes/full-0/log")), 0o600);
    if geteuid().is_root() {
        // Even where the directory lets others through.
        fs::set_permissions(run.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let mut other = Command::new(env::current_exe().unwrap());
        other.arg("visit").arg(&socket).uid(12345).gid(12345);
        assert!(!other.status().unwrap().success());
    }
    run.visit("supervisor").status();
}

/// Succeeds if the socket can be opened.
pub(crate) fn visit(socket: &str) -> ExitCode {
    match UnixStream::connect(socket) {
        Ok(stream) => {
            Session::open(stream, "supervisor").status();
            ExitCode::SUCCESS
        }
        Err(_) => ExitCode::FAILURE,
    }
}
