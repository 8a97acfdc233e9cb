//! What is done to nodes.

use std::fs;

use serde_json::json;

use crate::client::{Run, act, address, name};

pub(crate) fn hundred() {
    let mut run = Run::with_nodes(100);
    let nodes = &run.session.status()["nodes"];
    let running = nodes.as_object().unwrap().values();
    assert_eq!(
        running.filter(|node| node["state"] == "running").count(),
        100
    );
    let last = loop {
        let told = run.session.told("progress");
        if told["phase"] == "start" && told["done"] == told["total"] {
            break told;
        }
    };
    assert_eq!(last["total"], 100);
    for from in (0..100).step_by(11) {
        for to in (0..100).step_by(3) {
            assert_eq!(run.reach(&name(from), to), "ok", "from {from} to {to}");
        }
    }
    let log = fs::read_to_string(run.path().join("nodes/full-7/log")).unwrap();
    assert_eq!(log, format!("{} is up\n", address(7)));
}

pub(crate) fn killed() {
    let mut run = Run::with_nodes(3);
    run.session.done(&json!({ "type": "watch" }));
    assert_eq!(run.tell("full-1", "write remember me"), "ok");
    assert_eq!(run.reach("full-0", 1), "ok");
    run.session.act("full-1", "kill");
    let exited = run.session.told("exited");
    assert_eq!(
        exited,
        json!({ "node": "full-1", "code": 137, "asked": true })
    );
    let status = &run.session.status()["nodes"]["full-1"];
    assert_eq!(status["state"], "exited");
    assert_eq!(
        (&status["code"], &status["pid"]),
        (&json!(137), &json!(null))
    );
    assert_eq!(run.reach("full-0", 1), "silent");
    // An address nobody ever had is as silent.
    assert_eq!(run.reach("full-0", 500), "silent");
    // Once more changes nothing.
    run.session.act("full-1", "kill");
    run.session.act("full-1", "start");
    assert_eq!(run.tell("full-1", "read"), "remember me");
    assert_eq!(run.reach("full-0", 1), "ok");
    assert_eq!(run.reach("full-1", 2), "ok");
    assert_eq!(run.session.status()["nodes"]["full-1"]["incarnation"], 2);
}

pub(crate) fn ended() {
    let mut run = Run::with_nodes(2);
    let mut visitor = run.visit("supervisor");
    visitor.done(&json!({ "type": "watch" }));
    let data = run.data("full-1");
    let own = std::os::unix::net::UnixDatagram::unbound().unwrap();
    own.send_to(b"exit 3", data.join("control")).unwrap();
    let exited = visitor.told("exited");
    assert_eq!(
        exited,
        json!({ "node": "full-1", "code": 3, "asked": false })
    );
    assert_eq!(run.reach("full-0", 1), "silent");
    assert_eq!(run.session.status()["nodes"]["full-1"]["code"], 3);
}

pub(crate) fn stopped() {
    let mut run = Run::with_nodes(2);
    run.session.done(&json!({ "type": "watch" }));
    run.session.act("full-1", "stop");
    let exited = run.session.told("exited");
    assert_eq!(
        exited,
        json!({ "node": "full-1", "code": 0, "asked": true })
    );
    assert!(run.data("full-1").join("stopped").exists());
    assert_eq!(run.reach("full-0", 1), "silent");
    run.session.act("full-1", "restart");
    run.tell("full-1", "pid");
    run.session.act("full-1", "restart");
    run.tell("full-1", "pid");
    assert_eq!(run.reach("full-0", 1), "ok");
    assert_eq!(run.session.status()["nodes"]["full-1"]["incarnation"], 3);
    // One that is frozen hears of it as well.
    fs::remove_file(run.data("full-1").join("stopped")).unwrap();
    run.session.act("full-1", "pause");
    run.session.act("full-1", "stop");
    assert!(run.data("full-1").join("stopped").exists());
}

pub(crate) fn paused() {
    let mut run = Run::with_nodes(2);
    assert_eq!(run.reach("full-0", 1), "ok");
    run.session.act("full-1", "pause");
    assert_eq!(run.session.status()["nodes"]["full-1"]["state"], "paused");
    assert_eq!(run.reach("full-0", 1), "silent");
    let reason = run.session.fails(&act("full-1", "pause"));
    assert!(reason.contains("it is paused"), "{reason}");
    run.session.act("full-1", "resume");
    assert_eq!(run.session.status()["nodes"]["full-1"]["state"], "running");
    assert_eq!(run.reach("full-0", 1), "ok");
    run.session.act("full-1", "pause");
    run.session.act("full-1", "kill");
    let reason = run.session.fails(&act("full-1", "resume"));
    assert!(reason.contains("it is not running"), "{reason}");
}

pub(crate) fn joined() {
    let mut run = Run::with_nodes(2);
    run.launch(40..42);
    assert_eq!(run.reach("full-0", 41), "ok");
    assert_eq!(run.reach("full-41", 1), "ok");
    assert_eq!(run.session.status()["nodes"].as_object().unwrap().len(), 4);
}

pub(crate) fn heard() {
    let mut run = Run::with_nodes(4);
    run.session.act("full-3", "kill");
    assert_eq!(run.tell("full-0", "shout one"), "ok");
    // The sender hears itself, as on any network.
    for node in ["full-0", "full-1", "full-2"] {
        assert_eq!(run.tell(node, "hear"), format!("{} one", address(0)));
    }
    for node in ["full-0", "full-1", "full-2"] {
        assert_eq!(run.tell(node, "hear"), "silent", "a second copy at {node}");
    }
    run.session.act("full-3", "start");
    assert_eq!(run.tell("full-3", "hear"), "silent");
    assert_eq!(run.tell("full-1", "shout two"), "ok");
    assert_eq!(run.tell("full-3", "hear"), format!("{} two", address(1)));
}

pub(crate) fn powerless() {
    let run = Run::with_nodes(2);
    assert_eq!(run.tell("full-1", "host"), "full-1\n");
    assert_eq!(run.tell("full-1", "dns"), "ok");
    let (supervisor, guard) = (run.supervisor(), run.guard.id());
    let mut seen = 0;
    for pid in run.processes() {
        if pid == supervisor || pid == guard {
            continue;
        }
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap().trim().to_owned()
        };
        for capabilities in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
            assert_eq!(field(capabilities), "0000000000000000", "{capabilities}");
        }
        assert_eq!(field("NoNewPrivs:"), "1");
        // Its id here, at the supervisor's, and in a namespace of its own.
        assert_eq!(field("NSpid:").split_whitespace().count(), 3);
        seen += 1;
    }
    assert_eq!(seen, 2);
}
