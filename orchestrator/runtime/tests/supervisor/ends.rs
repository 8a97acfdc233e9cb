//! How runs end, in order and otherwise.

use std::{
    net::Shutdown,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::json;

use crate::client::Run;

fn signal(pid: u32, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(pid).unwrap()), signal).unwrap();
}

/// A moment, on a machine that does other things too.
const SOON: Duration = Duration::from_secs(5);

pub(crate) fn maker() {
    let mut run = Run::with_nodes(20);
    // Guard, supervisor, nodes.
    assert_eq!(run.processes().len(), 22);
    run.session.hang_up(Shutdown::Write);
    let (code, took) = run.wait();
    assert_eq!(code, Some(0));
    assert!(took < SOON, "{took:?}");
    run.assert_nothing_left();
}

pub(crate) fn killed() {
    let mut run = Run::with_nodes(20);
    run.session.done(&json!({ "type": "detach" }));
    signal(run.supervisor(), Signal::SIGKILL);
    let (code, took) = run.wait();
    assert_eq!(code, Some(137));
    assert!(took < SOON, "{took:?}");
    run.assert_nothing_left();
}

pub(crate) fn detached() {
    let mut run = Run::with_nodes(3);
    assert_eq!(run.session.status()["lease"], "owned");
    run.session.done(&json!({ "type": "detach" }));
    run.session.hang_up(Shutdown::Both);
    let mut visitor = run.visit("supervisor");
    let status = visitor.status();
    assert_eq!(status["lease"], "detached");
    assert_eq!(
        (&status["run"], &status["name"]),
        (&json!("test-1"), &json!("test"))
    );
    assert_eq!(run.reach("full-0", 1), "ok");
    let mut other = run.visit("supervisor");
    other.act("full-1", "kill");
    drop(other);
    visitor.done(&json!({ "type": "shutdown" }));
    visitor.ended();
    let (code, took) = run.wait();
    assert_eq!(code, Some(0));
    assert!(took < SOON, "{took:?}");
    run.assert_nothing_left();
}

pub(crate) fn unguarded() {
    let mut run = Run::with_nodes(3);
    let supervisor = run.supervisor();
    signal(run.guard.id(), Signal::SIGKILL);
    run.wait();
    assert_eq!(run.reach("full-0", 1), "ok");
    // As a service manager or a user would end it.
    signal(supervisor, Signal::SIGTERM);
    run.session.ended();
    // Nobody here is its parent, who would be told when the process itself has gone.
    let end = Instant::now() + SOON;
    while !run.processes().is_empty() && Instant::now() < end {
        std::thread::yield_now();
    }
    run.assert_nothing_left();
}
