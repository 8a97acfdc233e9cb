//! Finding the testnet that a command is about.

use std::{future::Future, time::Duration};

use netsplit_plan::plan::NodeName;
use netsplit_runtime::{RunSummary, Runtime, Testnet};

use super::{Context, runtimes};
use crate::{
    error::{CommandError, ErrorKind},
    run::state::RunnerState,
};

/// How long a command about a running testnet may take to connect to it.
const CONNECT: Duration = Duration::from_secs(20);

/// The running testnet called `name`, or the only one.
///
/// # Errors
/// Usage, when there is none, more than one, or none of that name.
pub(super) async fn find(
    runtime: &dyn Runtime,
    name: Option<&str>,
) -> Result<RunSummary, CommandError> {
    choose(runtime.list().await?, name)
}

/// The one that is meant. Without a name, a testnet that a command holds, as `test` does, stands back behind one that was
/// left running.
fn choose(runs: Vec<RunSummary>, name: Option<&str>) -> Result<RunSummary, CommandError> {
    let living: Vec<RunSummary> = runs.into_iter().filter(|run| run.state != "dead").collect();
    let running = || format!("running: {}", handles(&living).join(", "));
    let Some(name) = name else {
        let mut detached = living.iter().filter(|run| run.state == "detached");
        return match (living.as_slice(), detached.next(), detached.next()) {
            ([], ..) => Err(CommandError::usage("no testnet is running").hint(
                "`netsplit up FILE` starts one; `netsplit init` writes a topology to begin with",
            )),
            ([one], ..) | (_, Some(one), None) => Ok(one.clone()),
            _ => Err(CommandError::usage("more than one testnet is running")
                .hint(format!(
                    "choose one with `--name`, e.g. `-n {}`",
                    handle(&living[0], &living)
                ))
                .hint(running())),
        };
    };
    let mut found = living
        .iter()
        .filter(|run| run.name == name || run.run.0 == name);
    match (found.next(), found.next()) {
        (Some(run), None) => Ok(run.clone()),
        (None, _) if living.is_empty() => Err(CommandError::usage(format!(
            "no testnet `{name}` is running, nor any other"
        ))),
        (None, _) => {
            Err(CommandError::usage(format!("no testnet `{name}` is running")).hint(running()))
        }
        (Some(_), Some(_)) => Err(CommandError::usage(format!(
            "more than one testnet is called `{name}`"
        ))
        .hint(format!(
            "choose one with its run id, e.g. `-n {}`",
            living
                .iter()
                .find(|run| run.name == name)
                .map_or("", |run| run.run.0.as_str())
        ))
        .hint(running())),
    }
}

/// What a testnet is chosen by: its name, or its run id where others have the same name.
fn handle<'a>(run: &'a RunSummary, all: &[RunSummary]) -> &'a str {
    if all.iter().filter(|other| other.name == run.name).count() > 1 {
        &run.run.0
    } else {
        &run.name
    }
}

fn handles(runs: &[RunSummary]) -> Vec<String> {
    runs.iter()
        .map(|run| format!("`{}` ({})", handle(run, runs), run.state))
        .collect()
}

/// Connects to the running testnet called `name`, or to the only one.
///
/// # Errors
/// When there is no such testnet, or its agent does not answer in time.
pub(super) async fn attach(
    context: &Context,
    name: Option<&str>,
) -> Result<Box<dyn Testnet>, CommandError> {
    let limit = context.options.timeout.unwrap_or(CONNECT);
    let connecting = async {
        let runtime = runtimes::running(context).await?;
        let run = find(runtime.as_ref(), name).await?;
        Ok(runtime.attach(&run.run).await?)
    };
    within(limit, "the testnet did not answer", connecting).await
}

/// What the runner keeps with the testnet's agent.
///
/// # Errors
/// When the agent is gone, or what it keeps is not ours.
pub(super) async fn state(testnet: &dyn Testnet) -> Result<RunnerState, CommandError> {
    RunnerState::from_value(testnet.get_state().await?).map_err(|error| {
        let what = "failed to read what the agent keeps of the testnet";
        CommandError::caused(ErrorKind::Infrastructure, what, error)
            .hint("it was started by another version of netsplit; `netsplit down` removes it")
    })
}

/// `work`, or the kind [`ErrorKind::TimedOut`] when it takes longer than `limit`.
///
/// # Errors
/// Those of `work`, and the time-out.
pub(super) async fn within<T>(
    limit: Duration,
    what: &str,
    work: impl Future<Output = Result<T, CommandError>>,
) -> Result<T, CommandError> {
    match tokio::time::timeout(limit, Box::pin(work)).await {
        Ok(result) => result,
        Err(_) => Err(CommandError::new(
            ErrorKind::TimedOut,
            format!("{what} within {:.1} s", limit.as_secs_f64()),
        )),
    }
}

/// The planned node of this name.
///
/// # Errors
/// Usage, naming what there is, when there is none.
pub(super) fn node(testnet: &dyn Testnet, name: &str) -> Result<NodeName, CommandError> {
    let plan = &testnet.info().plan;
    if let Some(node) = plan.nodes.iter().find(|node| node.name.0 == name) {
        return Ok(node.name.clone());
    }
    let names: Vec<&str> = plan.nodes.iter().map(|node| node.name.0.as_str()).collect();
    Err(
        CommandError::usage(format!("the testnet has no node `{name}`"))
            .hint(format!("nodes: {}", names.join(", "))),
    )
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use netsplit_runtime::RunId;

    use super::*;

    fn run(name: &str, id: &str, state: &str) -> RunSummary {
        RunSummary {
            run: RunId(id.into()),
            name: name.into(),
            runtime: "docker".into(),
            state: state.into(),
            nodes: 4,
            started: 0,
        }
    }

    #[test]
    fn a_name_may_be_left_out_when_one_testnet_runs() {
        let one = vec![run("a", "a-1", "detached"), run("b", "b-1", "dead")];
        assert_eq!(choose(one, None).unwrap().run.0, "a-1");
    }

    #[test]
    fn a_testnet_is_found_by_name_and_by_run_id() {
        let two = vec![run("a", "a-1", "detached"), run("b", "b-1", "detached")];
        assert_eq!(choose(two.clone(), Some("b")).unwrap().run.0, "b-1");
        assert_eq!(choose(two.clone(), Some("a-1")).unwrap().name, "a");
        let error = choose(two.clone(), None).unwrap_err();
        assert_eq!(error.message(), "more than one testnet is running");
        assert_eq!(
            error.hints(),
            [
                "choose one with `--name`, e.g. `-n a`",
                "running: `a` (detached), `b` (detached)"
            ]
        );
        assert_eq!(
            choose(two, Some("c")).unwrap_err().message(),
            "no testnet `c` is running"
        );
    }

    /// A `test` in another terminal once made every command ask for a name.
    #[test]
    fn a_testnet_that_a_command_holds_makes_no_name_needed() {
        let left = run("a", "a-1", "detached");
        let held = [run("b", "b-1", "owned"), run("c", "c-1", "starting")];
        let all = [&held[..], std::slice::from_ref(&left)].concat();
        assert_eq!(choose(all, None).unwrap().run.0, "a-1");
        let one = choose(held[..1].to_vec(), None).unwrap();
        assert_eq!(one.run.0, "b-1", "the only one of any kind");
        assert!(choose(held.to_vec(), None).is_err());
    }

    #[test]
    fn testnets_of_one_name_are_told_apart_by_run_id() {
        let two = vec![run("a", "a-1", "detached"), run("a", "a-2", "detached")];
        let running = "running: `a-1` (detached), `a-2` (detached)";
        let hints = [
            (None, "choose one with `--name`, e.g. `-n a-1`"),
            (Some("a"), "choose one with its run id, e.g. `-n a-1`"),
        ];
        for (name, hint) in hints {
            let error = choose(two.clone(), name).unwrap_err();
            assert_eq!(error.hints(), [hint, running]);
        }
    }

    #[test]
    fn without_a_testnet_the_hint_says_how_to_start_one() {
        let error = choose(Vec::new(), None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage);
        assert!(error.hints()[0].contains("netsplit up"));
    }
}
