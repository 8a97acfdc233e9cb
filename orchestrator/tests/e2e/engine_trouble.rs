//! Engines that cannot be used, and parts of a run that die under it: exit 3, the cause, a hint, nothing left.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    os::unix::{
        fs::PermissionsExt,
        net::{UnixListener, UnixStream},
        process::CommandExt,
    },
    path::Path,
    process::Command,
    time::Duration,
};

use crate::netsplit::{
    CUT, Ended, Netsplit, assert_nothing_left, docker, eventually, read_json, run_id,
};

/// An engine that says which API it speaks, and nothing else.
fn engine_of(api: &'static str, socket: &Path) {
    let listener = UnixListener::bind(socket).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            answer(&stream.unwrap(), api);
        }
    });
}

/// Answers the first request of a connection. A client that hangs up is its own affair.
fn answer(stream: &UnixStream, api: &str) {
    let mut lines = BufReader::new(stream).lines();
    while lines
        .next()
        .is_some_and(|line| line.is_ok_and(|line| !line.is_empty()))
    {}
    let body =
        format!(r#"{{"Version":"1.12.6","ApiVersion":"{api}","Os":"linux","Arch":"amd64"}}"#);
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let _ = { stream }.write_all((head + &body).as_bytes());
}

fn on(socket: &Path, netsplit: &Netsplit) -> Ended {
    let file = netsplit.topology("cut", CUT);
    let mut command = netsplit.command(&["test", &file, "--runtime", "docker"]);
    command.env("DOCKER_HOST", format!("unix://{}", socket.display()));
    ended(&mut command)
}

fn ended(command: &mut Command) -> Ended {
    let output = command.output().unwrap();
    Ended {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

#[track_caller]
fn assert_told(ended: &Ended, cause: &str) {
    assert!(ended.stderr.contains(cause), "{}", ended.stderr);
    assert!(ended.stderr.contains("hint: "), "{}", ended.stderr);
}

#[test]
fn an_engine_too_old_is_named_with_what_is_needed() {
    let netsplit = Netsplit::new();
    let socket = netsplit.home.path().join("old.sock");
    engine_of("1.24", &socket);
    let ended = on(&socket, &netsplit).expect(3);
    assert_told(&ended, "too old: it speaks API 1.24");
}

/// Root may open every socket, so it becomes nobody for this.
#[test]
fn a_socket_that_may_not_be_opened_is_named_with_the_group_to_join() {
    let netsplit = Netsplit::new();
    let home = netsplit.home.path();
    let open = fs::Permissions::from_mode(0o777);
    fs::set_permissions(home, open).unwrap();
    let program = home.join("netsplit");
    fs::copy(env!("CARGO_BIN_EXE_netsplit"), &program).unwrap();
    let socket = home.join("closed.sock");
    let _listener = UnixListener::bind(&socket).unwrap();
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o0)).unwrap();
    let file = netsplit.topology("cut", CUT);
    let mut command = Command::new(&program);
    command
        .args(["test", &file, "--runtime", "docker"])
        .env("XDG_STATE_HOME", home)
        .env("DOCKER_HOST", format!("unix://{}", socket.display()));
    if nix::unistd::geteuid().is_root() {
        command.uid(65534).gid(65534);
    }
    let ended = ended(&mut command).expect(3);
    assert_told(&ended, "may not open the engine's socket");
    assert!(ended.stderr.contains("usermod"), "{}", ended.stderr);
}

/// Starts a testnet, kills one of its containers once it is ready, and gives how the run ended.
fn killed(part: &str) -> Ended {
    let netsplit = Netsplit::new();
    let file = netsplit.topology(
        "long",
        &CUT.replace("name: cut", "name: trouble")
            .replace("  - partition:", "  - wait: 60s\n  - partition:"),
    );
    let json = netsplit.home.path().join("verdict.json");
    let mut running = netsplit.spawn(&["test", &file, "--json", json.to_str().unwrap()]);
    let mut screen = BufReader::new(running.child.stderr.take().unwrap());
    let mut seen = String::new();
    let run = eventually("the testnet is ready", Duration::from_secs(120), || {
        let mut line = String::new();
        screen.read_line(&mut line).unwrap();
        seen.push_str(&line);
        let run = seen.split_once("trouble-")?.1.get(..8)?.to_owned();
        line.contains("Ready").then(|| format!("trouble-{run}"))
    });
    docker(&["kill", &format!("netsplit-{run}{part}")]);
    screen.read_to_string(&mut seen).unwrap();
    let ended = running.wait();
    let ended = Ended {
        stderr: seen,
        ..ended
    };
    let verdict = read_json(&json, &ended);
    assert_eq!(run_id(&verdict), run);
    assert_eq!(verdict["verdict"], "error", "{verdict}");
    assert_eq!(verdict["teardown"]["ok"], true, "{verdict}");
    assert_nothing_left(&run);
    ended.expect(3)
}

#[test]
fn a_node_that_dies_later_ends_the_run_with_its_last_lines() {
    let ended = killed("-full-2");
    assert_told(&ended, "`full-2` ended by itself with exit code 137");
    assert!(ended.stderr.contains("hint: full-2: "), "{}", ended.stderr);
}

#[test]
fn an_agent_that_dies_ends_the_run() {
    assert_told(&killed(".agent"), "the agent was lost");
}

#[test]
fn a_reaper_that_dies_ends_the_run() {
    assert_told(&killed(".reaper"), "the reaper was lost");
}
