//! What every runtime promises, asked of each of them. This program is its own agent, reaper, supervisor and (much
//! simplified) node, as `netsplit` is: it is packed into the images of the testnets it makes. Without a Docker engine the
//! tests `docker::…` fail. What root can do without an engine an ordinary user must be able to do: root runs that twice.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

mod bench;
mod ends;
mod faults;
mod life;
mod logs;
mod measure;
mod namespaces;
mod node;

use std::{
    env, fs,
    future::Future,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    panic,
    path::Path,
    pin::Pin,
    process::{Command, ExitCode},
};

use bench::{Bench, Kind};

type Test = (&'static str, fn(Bench) -> Pin<Box<dyn Future<Output = ()>>>);

/// A test by its name and the function that is it.
macro_rules! tests {
    ($($name:ident: $test:path,)*) => {
        [$((stringify!($name), |bench| Box::pin($test(bench)))),*]
    };
}

/// Of every runtime.
const PROMISES: [Test; 11] = tests! {
    a_run_is_launched_driven_and_torn_down: life::driven,
    a_detached_run_is_found_grows_and_is_removed: life::detached,
    an_owned_run_cannot_be_left_alone: life::owned,
    what_a_check_tries_leaves_nothing: life::checked,
    the_doctor_finds_everything_working: life::examined,
    a_cut_is_silent_one_way_and_heals: faults::cut,
    a_node_that_dies_at_start_tells_why: logs::broken,
    a_log_is_followed_until_its_node_ends: logs::followed,
    a_launch_that_fails_leaves_nothing: ends::failed,
    a_launch_given_up_at_any_time_leaves_nothing: ends::given_up,
    a_maker_killed_at_any_time_leaves_nothing: ends::killed,
};

/// Of processes in namespaces alone.
const NAMESPACES: [Test; 5] = tests! {
    runs_with_the_same_addresses_do_not_meet: namespaces::side_by_side,
    a_directory_may_have_a_long_name: namespaces::far_down,
    a_killed_supervisor_is_told_of_and_leaves_nothing: namespaces::killed,
    a_supervisor_that_hangs_is_removed: namespaces::hung,
    what_nobody_cleaned_up_is_collected: namespaces::collected,
};

/// Prefix of the namespaces' tests when [`NOBODY`] runs them, and who that is.
const AS_NOBODY: &str = "namespaces_as_nobody::";
const NOBODY: u32 = 65534;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["supervisor", directory] => {
            let ended = netsplit_runtime::namespaces::supervisor::serve(Path::new(directory));
            return ExitCode::from(ended.unwrap_or(3));
        }
        ["agent"] => netsplit_faults::agent::serve().unwrap(),
        ["agent", "connect"] => netsplit_faults::agent::bridge().unwrap(),
        ["reaper"] => block_on(netsplit_runtime::docker::reaper::serve()).unwrap(),
        ["node"] => return block_on(node::serve()),
        ["measure", kind, count] => block_on(async {
            let bench = Bench::open(Kind::named(kind)).await;
            measure::measure(bench, count.parse().unwrap()).await;
        }),
        ["maker", kind, home, run] => block_on(ends::make(kind, home, run)),
        _ => return harness(&words),
    }
    ExitCode::SUCCESS
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

/// All tests by the name of the runtime and their own; for root, those of an ordinary user as well.
fn names() -> Vec<String> {
    let named = |prefix: &str, tests: &[Test]| -> Vec<String> {
        let names = tests.iter().map(|(name, _)| format!("{prefix}{name}"));
        names.collect()
    };
    let mut names = named("docker::", &PROMISES);
    let mut prefixes = vec!["namespaces::"];
    if nix::unistd::geteuid().is_root() {
        prefixes.push(AS_NOBODY);
    }
    for prefix in prefixes {
        names.extend(named(prefix, &PROMISES));
        names.extend(named(prefix, &NAMESPACES));
    }
    names
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
        let name = format!("namespaces::{name}");
        other.args([&name, "--exact"]).uid(NOBODY).gid(NOBODY);
        // Of root's own.
        other.env_remove("HOME").env_remove("TMPDIR");
        return other.status().unwrap().success();
    }
    let (runtime, name) = name.split_once("::").unwrap();
    let kind = Kind::named(runtime);
    let tests = PROMISES.iter().chain(&NAMESPACES);
    let (_, test) = tests.into_iter().find(|(found, _)| *found == name).unwrap();
    panic::catch_unwind(|| block_on(async { test(Bench::open(kind).await).await })).is_ok()
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
