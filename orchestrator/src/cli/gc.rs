//! `netsplit gc`.

use netsplit_runtime::{RunId, Runtime, Teardown};
use serde_json::json;

use super::{Context, options::Format, runtimes};
use crate::{error::CommandError, exit, report::lines::count};

/// Remove what dead runs left; never touches a living testnet
///
/// `test`, `up` and `down` do the same by the way.
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

pub(super) async fn run(_: Args, context: &Context) -> Result<u8, CommandError> {
    let runtime = runtimes::running(context).await?;
    let removed = runtime.gc().await?;
    if context.options.format == Format::Json {
        let entries: Vec<_> = removed
            .iter()
            .map(|(run, teardown)| {
                json!({ "run_id": run, "removed": teardown.removed, "left": teardown.left })
            })
            .collect();
        context.ui.json(&entries)?;
    } else if removed.is_empty() {
        context.ui.status("Clean", "no dead run left anything");
    }
    let all_gone = tell(&removed, context);
    Ok(if all_gone {
        exit::PASSED
    } else {
        exit::LEFT_BEHIND
    })
}

/// Cleans up on the way to something else: a failure is a warning, finding nothing is no word.
pub(super) async fn quietly(runtime: &dyn Runtime, context: &Context) {
    match runtime.gc().await {
        Ok(removed) => {
            tell(&removed, context);
        }
        Err(error) => context
            .ui
            .warning(&format!("what dead runs left was not looked for: {error}")),
    }
}

/// Returns whether nothing is left.
fn tell(removed: &[(RunId, Teardown)], context: &Context) -> bool {
    for (run, teardown) in removed {
        let text = format!("what `{run}` left ({})", count(teardown.removed, "thing"));
        context.ui.status("Collected", &text);
        for left in &teardown.left {
            context.ui.warning(&format!("could not be removed: {left}"));
        }
    }
    removed.iter().all(|(_, teardown)| teardown.left.is_empty())
}
