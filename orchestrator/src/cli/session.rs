//! Finding the runtime and the testnet that a command is about.

use std::{future::Future, time::Duration};

use netsplit_plan::plan::NodeName;
use netsplit_runtime::{RunSummary, Runtime, Testnet};

use super::{
    Context,
    options::{Options, RuntimeChoice},
};
use crate::{
    error::{CommandError, ErrorKind},
    run::state::RunnerState,
};

/// How long a command about a running testnet may take to connect to it.
const CONNECT: Duration = Duration::from_secs(20);

/// The runtime that `--runtime` names.
///
/// # Errors
/// When it is not built yet or its engine does not answer.
pub(super) async fn runtime(options: &Options) -> Result<Box<dyn Runtime>, CommandError> {
    match options.runtime {
        RuntimeChoice::Auto | RuntimeChoice::Docker => {
            let runtime = netsplit_runtime::docker::Docker::connect().await?;
            Ok(Box::new(runtime))
        }
        RuntimeChoice::Namespaces => Err(not_built("namespaces")),
        RuntimeChoice::Swarm => Err(not_built("swarm")),
        RuntimeChoice::Sim => Err(not_built("sim")),
    }
}

fn not_built(name: &str) -> CommandError {
    CommandError::usage(format!("the runtime `{name}` is not built yet"))
        .hint("use `--runtime docker`")
}

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

fn choose(runs: Vec<RunSummary>, name: Option<&str>) -> Result<RunSummary, CommandError> {
    let living: Vec<RunSummary> = runs.into_iter().filter(|run| run.state != "dead").collect();
    let names = || {
        let names: Vec<String> = living.iter().map(|run| format!("`{}`", run.name)).collect();
        format!("running: {}", names.join(", "))
    };
    let mut found = living
        .iter()
        .filter(|run| name.is_none_or(|name| run.name == name || run.run.0 == name));
    match (found.next(), found.next(), name) {
        (Some(run), None, _) => Ok(run.clone()),
        (None, _, None) => Err(CommandError::usage("no testnet is running").hint(
            "`netsplit up FILE` starts one; `netsplit init` writes a topology to begin with",
        )),
        (None, _, Some(name)) if living.is_empty() => Err(CommandError::usage(format!(
            "no testnet `{name}` is running, nor any other"
        ))),
        (None, _, Some(name)) => {
            Err(CommandError::usage(format!("no testnet `{name}` is running")).hint(names()))
        }
        (Some(_), Some(_), None) => {
            Err(CommandError::usage("more than one testnet is running").hint(names()))
        }
        (Some(_), Some(_), Some(name)) => Err(CommandError::usage(format!(
            "more than one testnet is called `{name}`"
        ))
        .hint("name it by its run id, as `netsplit ls` shows it")),
    }
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
        let runtime = runtime(&context.options).await?;
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
        let two = vec![run("a", "a-1", "detached"), run("b", "b-1", "owned")];
        assert_eq!(choose(two.clone(), Some("b")).unwrap().run.0, "b-1");
        assert_eq!(choose(two.clone(), Some("a-1")).unwrap().name, "a");
        let error = choose(two.clone(), None).unwrap_err();
        assert_eq!(error.message(), "more than one testnet is running");
        assert_eq!(error.hints(), ["running: `a`, `b`"]);
        assert_eq!(
            choose(two, Some("c")).unwrap_err().message(),
            "no testnet `c` is running"
        );
    }

    #[test]
    fn without_a_testnet_the_hint_says_how_to_start_one() {
        let error = choose(Vec::new(), None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage);
        assert!(error.hints()[0].contains("netsplit up"));
    }
}
