//! Runs on the real engine. This program is packed into the images of the testnets it makes, as `netsplit` is: it is its
//! own agent, reaper and (much simplified) node. Without an engine every test fails.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

mod images;
mod node;
mod runs;

use std::{env, future::Future, panic, process::ExitCode};

type Test = (&'static str, fn());

const TESTS: [Test; 5] = [
    ("a_run_is_launched_driven_and_torn_down", || {
        block_on(runs::driven());
    }),
    ("a_detached_run_is_found_grows_and_is_removed", || {
        block_on(runs::detached());
    }),
    ("a_maker_killed_at_any_time_leaves_nothing", || {
        block_on(runs::killed());
    }),
    ("an_old_image_goes_and_the_current_one_stays", || {
        block_on(images::collected());
    }),
    ("the_doctor_finds_everything_working", || {
        block_on(runs::examined());
    }),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["agent"] => netsplit_faults::agent::serve().unwrap(),
        ["agent", "connect"] => netsplit_faults::agent::bridge().unwrap(),
        ["reaper"] => block_on(netsplit_runtime::docker::reaper::serve()).unwrap(),
        ["node"] => block_on(node::serve()),
        ["maker", run] => block_on(runs::make(run)),
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

/// As much of libtest's command line as cargo and nextest use.
fn harness(words: &[&str]) -> ExitCode {
    let ignored = words.contains(&"--ignored");
    if words.contains(&"--list") {
        for (name, _) in TESTS.iter().filter(|_| !ignored) {
            println!("{name}: test");
        }
        return ExitCode::SUCCESS;
    }
    let exact = words.contains(&"--exact");
    let filters: Vec<_> = words
        .iter()
        .filter(|word| !word.starts_with("--"))
        .collect();
    let wanted = |name: &str| {
        let hit = |filter: &&str| {
            if exact {
                name == *filter
            } else {
                name.contains(*filter)
            }
        };
        !ignored && (filters.is_empty() || filters.iter().any(|filter| hit(filter)))
    };
    let mut failed = false;
    for (name, test) in TESTS.iter().filter(|(name, _)| wanted(name)) {
        let passed = panic::catch_unwind(test).is_ok();
        println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
        failed |= !passed;
    }
    if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}
