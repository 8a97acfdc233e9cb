//! `netsplit down`.

use netsplit_runtime::{RunSummary, Runtime, Teardown};
use serde_json::json;
use tokio::sync::mpsc;

use super::{
    Context,
    options::{Format, Named},
    runtimes, session,
};
use crate::{error::CommandError, exit, report::lines::count};

/// Remove a testnet with everything that belongs to it
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    testnet: Named,
    /// Remove all testnets
    #[arg(long, conflicts_with_all = ["testnet", "name"])]
    all: bool,
}

pub(super) async fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    let runtime = runtimes::running(context).await?;
    let runs = if args.all {
        runtime.list().await?
    } else {
        vec![session::find(runtime.as_ref(), args.testnet.name()).await?]
    };
    let mut removed = Vec::new();
    for run in runs {
        let teardown = remove(runtime.as_ref(), &run, context).await?;
        removed.push((run, teardown));
    }
    super::gc::quietly(runtime.as_ref(), context).await;
    report(&removed, context)
}

async fn remove(
    runtime: &dyn Runtime,
    run: &RunSummary,
    context: &Context,
) -> Result<Teardown, CommandError> {
    // Nobody watches: removing takes about a second.
    let (progress, _) = mpsc::unbounded_channel();
    let teardown = runtime.remove(&run.run, progress).await?;
    let text = format!("`{}` ({})", run.name, count(teardown.removed, "thing"));
    context.ui.status("Removed", &text);
    Ok(teardown)
}

fn report(removed: &[(RunSummary, Teardown)], context: &Context) -> Result<u8, CommandError> {
    if context.options.format == Format::Json {
        let entries: Vec<_> = removed
            .iter()
            .map(|(run, teardown)| {
                json!({ "name": run.name, "run_id": run.run, "removed": teardown.removed, "left": teardown.left })
            })
            .collect();
        context.ui.json(&entries)?;
    } else if removed.is_empty() {
        context.ui.status("None", "no testnet is running");
    }
    let left: Vec<&String> = removed
        .iter()
        .flat_map(|(_, teardown)| &teardown.left)
        .collect();
    for left in &left {
        context.ui.warning(&format!("left behind: {left}"));
    }
    if left.is_empty() {
        return Ok(exit::PASSED);
    }
    context.ui.hint("`netsplit gc` tries again");
    Ok(exit::LEFT_BEHIND)
}
