//! `netsplit-node`: one node as a process of its own.

use std::{env, error::Error, ffi::OsString, path::PathBuf, process::ExitCode};

use netsplit_node::{NodeExit, run, settings};

const HELP: &str = "\
Runs one node of a netsplit testnet until SIGTERM or its `stop` method

Usage: netsplit-node [--config FILE]

Options:
      --config FILE  Read the configuration (JSON) from this file, not from the environment variable NETSPLIT_NODE_CONFIG
  -h, --help         Print help
  -V, --version      Print version
";

/// What the arguments ask for.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Run(Option<PathBuf>),
    Help,
    Version,
}

/// `None` if the arguments make no sense. By hand: a library that does it better takes a fifth of a megabyte of each node.
fn asked(arguments: impl IntoIterator<Item = OsString>) -> Option<Asked> {
    let mut arguments = arguments.into_iter();
    let mut config = None;
    while let Some(argument) = arguments.next() {
        match argument.to_str()? {
            "-h" | "--help" => return Some(Asked::Help),
            "-V" | "--version" => return Some(Asked::Version),
            "--config" => config = Some(arguments.next()?.into()),
            other => config = Some(other.strip_prefix("--config=")?.into()),
        }
    }
    Some(Asked::Run(config))
}

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "it is asked for")]
fn main() -> ExitCode {
    match asked(env::args_os().skip(1)) {
        Some(Asked::Run(config)) => match settings::load(config.as_deref()).and_then(run) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&error),
        },
        Some(Asked::Help) => {
            print!("{HELP}");
            ExitCode::SUCCESS
        }
        Some(Asked::Version) => {
            println!("netsplit-node {}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
        None => {
            eprintln!("error: these arguments make no sense\n\n{HELP}");
            ExitCode::from(2)
        }
    }
}

#[expect(clippy::print_stderr, reason = "the process's last word")]
fn fail(error: &NodeExit) -> ExitCode {
    eprintln!("error: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        eprintln!("caused by: {error}");
        cause = error.source();
    }
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked_by(words: &[&str]) -> Option<Asked> {
        asked(words.iter().map(OsString::from))
    }

    #[test]
    fn arguments_are_few() {
        let file = |path: &str| Some(Asked::Run(Some(path.into())));
        assert_eq!(asked_by(&[]), Some(Asked::Run(None)));
        assert_eq!(asked_by(&["--config", "a b.json"]), file("a b.json"));
        assert_eq!(asked_by(&["--config=x"]), file("x"));
        assert_eq!(asked_by(&["--help"]), Some(Asked::Help));
        assert_eq!(asked_by(&["-V"]), Some(Asked::Version));
        for wrong in [&["--config"][..], &["x"], &["--confi=x"], &[""]] {
            assert_eq!(asked_by(wrong), None, "{wrong:?}");
        }
    }
}
