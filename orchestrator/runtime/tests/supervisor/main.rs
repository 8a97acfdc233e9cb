//! The supervisor of a run, driven over its protocol. This program is its own supervisor and (much simplified) node, as
//! `netsplit` is. What root can do an ordinary user must be able to do: root runs everything twice.
//!
//! `measure COUNT` (not a test) says what a launch and an end of so many nodes cost.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "tests"
)]

mod client;
mod ends;
mod measure;
mod node;
mod refusals;
mod verbs;

use std::{
    env, fs,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    panic,
    path::Path,
    process::{Command, ExitCode},
};

type Test = (&'static str, fn());

const TESTS: [Test; 16] = [
    ("a_hundred_nodes_reach_each_other", verbs::hundred),
    (
        "killed_nodes_are_silent_and_come_back_as_they_were",
        verbs::killed,
    ),
    ("nodes_that_end_by_themselves_are_told_of", verbs::ended),
    ("stopped_nodes_end_in_order", verbs::stopped),
    ("paused_nodes_stand_still", verbs::paused),
    ("nodes_join_later", verbs::joined),
    ("broadcasts_reach_every_living_node", verbs::heard),
    ("nodes_have_no_privileges", verbs::powerless),
    ("a_launch_that_fails_leaves_nothing", refusals::undone),
    ("what_makes_no_sense_is_refused", refusals::nonsense),
    (
        "refused_namespaces_are_named_to_the_maker",
        refusals::cramped,
    ),
    ("nobody_else_opens_the_socket", refusals::private),
    ("a_run_ends_with_its_makers_stream", ends::maker),
    ("a_killed_supervisor_leaves_nothing", ends::killed),
    ("a_detached_run_lives_until_it_is_shut_down", ends::detached),
    (
        "a_supervisor_needs_no_guard_to_end_in_order",
        ends::unguarded,
    ),
];

/// Prefix of tests that run as [`NOBODY`], and who that is.
const AS_NOBODY: &str = "as_nobody::";
const NOBODY: u32 = 65534;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["supervisor", directory] => {
            let ended = netsplit_runtime::namespaces::supervisor::serve(Path::new(directory));
            return ExitCode::from(ended.unwrap_or(3));
        }
        ["node"] => return ExitCode::from(node::serve()),
        ["cramped", directory] => refusals::cramp(directory),
        ["visit", socket] => return refusals::visit(socket),
        ["measure", count] => measure::measure(count.parse().unwrap()),
        _ => return harness(&words),
    }
    ExitCode::SUCCESS
}

/// All tests by name; for root, those of an ordinary user as well.
fn names() -> Vec<String> {
    let own = TESTS.iter().map(|(name, _)| (*name).to_owned());
    let root = nix::unistd::geteuid().is_root();
    let nobody = TESTS.iter().filter(|_| root);
    let nobody = nobody.map(|(name, _)| format!("{AS_NOBODY}{name}"));
    own.chain(nobody).collect()
}

/// Runs a test; false if it failed.
fn run(name: &str) -> bool {
    if let Some(name) = name.strip_prefix(AS_NOBODY) {
        // A copy that everybody may run: the build directory may be closed to others.
        let open = tempfile::tempdir().unwrap();
        fs::set_permissions(open.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let program = open.path().join("test");
        fs::copy(env::current_exe().unwrap(), &program).unwrap();
        let mut other = Command::new(program);
        other.args([name, "--exact"]).uid(NOBODY).gid(NOBODY);
        return other.status().unwrap().success();
    }
    let (_, test) = TESTS.iter().find(|(found, _)| *found == name).unwrap();
    panic::catch_unwind(test).is_ok()
}

/// As much of libtest's command line as cargo and nextest use.
fn harness(words: &[&str]) -> ExitCode {
    let ignored = words.contains(&"--ignored");
    if words.contains(&"--list") {
        for name in names().iter().filter(|_| !ignored) {
            println!("{name}: test");
        }
        return ExitCode::SUCCESS;
    }
    let exact = words.contains(&"--exact");
    let filters = words.iter().filter(|word| !word.starts_with("--"));
    let filters: Vec<_> = filters.collect();
    let hit = |name: &str, filter: &str| {
        if exact {
            name == filter
        } else {
            name.contains(filter)
        }
    };
    let wanted = |name: &String| {
        !ignored && (filters.is_empty() || filters.iter().any(|filter| hit(name, filter)))
    };
    let mut failed = false;
    for name in names().into_iter().filter(wanted) {
        let passed = run(&name);
        println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
        failed |= !passed;
    }
    if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}
