//! `netsplit ls`.

use std::time::{SystemTime, UNIX_EPOCH};

use netsplit_runtime::RunSummary;

use super::{Context, options::Format, runtimes};
use crate::{
    error::CommandError,
    exit,
    ui::table::{Align, Table},
};

/// List testnets, dead ones included
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

pub(super) async fn run(_: Args, context: &Context) -> Result<u8, CommandError> {
    let runs = runtimes::running(context).await?.list().await?;
    match context.options.format {
        Format::Json => context.ui.json(&runs)?,
        Format::Table if runs.is_empty() => context.ui.status("None", "no testnet is running"),
        Format::Table => {
            let now = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |now| now.as_secs());
            context.ui.data(&render(&runs, now))?;
        }
    }
    Ok(exit::PASSED)
}

fn render(runs: &[RunSummary], now: u64) -> String {
    let mut table = Table::new(&[
        ("NAME", Align::Left),
        ("RUNTIME", Align::Left),
        ("STATE", Align::Left),
        ("NODES", Align::Right),
        ("AGE", Align::Right),
        ("RUN", Align::Left),
    ]);
    for RunSummary {
        run,
        name,
        runtime,
        state,
        nodes,
        started,
    } in runs
    {
        let age = age(now.saturating_sub(*started));
        table.row([
            name.clone(),
            runtime.clone(),
            state.clone(),
            nodes.to_string(),
            age,
            run.to_string(),
        ]);
    }
    table.render()
}

fn age(seconds: u64) -> String {
    match seconds {
        0..=59 => format!("{seconds}s"),
        60..=3_599 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}m", seconds / 3_600, seconds % 3_600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use netsplit_runtime::RunId;

    use super::*;

    #[test]
    fn testnets_are_listed_with_their_age() {
        let run = |name: &str, state: &str, started| RunSummary {
            run: RunId(format!("{name}-7f3a9c21")),
            name: name.to_owned(),
            runtime: "docker".to_owned(),
            state: state.to_owned(),
            nodes: 9,
            started,
        };
        let runs = [
            run("partition", "detached", 999_000),
            run("churn", "dead", 1_000_000 - 7_384),
        ];
        insta::assert_snapshot!(render(&runs, 1_000_000), @r"
        NAME       RUNTIME  STATE     NODES     AGE  RUN
        partition  docker   detached      9  16m40s  partition-7f3a9c21
        churn      docker   dead          9   2h03m  churn-7f3a9c21
        ");
    }
}
