//! `netsplit plan`.

use std::path::PathBuf;

use netsplit_plan::plan::Plan;

use super::{
    Context,
    options::{Format, Seed},
    topology,
};
use crate::{
    error::CommandError,
    exit,
    report::lines::count,
    ui::table::{Align, Table},
};

/// Show what a run would do, every name and random choice resolved; starts nothing
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Topology file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    seed: Seed,
}

pub(super) fn run(args: &Args, context: &Context) -> Result<u8, CommandError> {
    let source = topology::load(&args.file, args.seed.seed, topology::LOOKED, context)?;
    match context.options.format {
        Format::Json => context.ui.json(&source.plan)?,
        Format::Table => context.ui.data(&render(&source.plan))?,
    }
    Ok(exit::PASSED)
}

fn render(plan: &Plan) -> String {
    let mut text = format!(
        "{}, seed {}: {}, {}\n",
        plan.name,
        plan.seed,
        count(plan.nodes.len(), "node"),
        count(plan.steps.len(), "step")
    );
    if !plan.description.is_empty() {
        text.extend([plan.description.as_str(), "\n"]);
    }
    let chain = &plan.chain;
    text.extend([
        "\n",
        &format!(
            "one block in {} on average, {} before it is ready\n\n",
            interval(chain.block_interval_ms),
            count(
                usize::try_from(chain.premine).unwrap_or(usize::MAX),
                "block"
            )
        ),
    ]);
    text.push_str(&nodes(plan).render());
    if !plan.steps.is_empty() {
        text.push('\n');
    }
    for step in &plan.steps {
        text.extend(["\n", &format!("{:>4}  {}", step.index, step.text)]);
    }
    text
}

fn nodes(plan: &Plan) -> Table {
    let mut table = Table::new(&[
        ("NODE", Align::Left),
        ("ROLES", Align::Left),
        ("ZONE", Align::Left),
        ("SHARE", Align::Right),
        ("PEERS", Align::Left),
        ("JOINS", Align::Left),
    ]);
    for node in &plan.nodes {
        let roles: Vec<&str> = node.roles.iter().map(|role| role.as_str()).collect();
        let share = node
            .share
            .map_or("-".to_owned(), |share| format!("{:.1}%", share * 100.0));
        table.row([
            node.name.to_string(),
            roles.join(","),
            node.zone.clone().unwrap_or_else(|| "-".to_owned()),
            share,
            format!("{}..{}", node.peers.min, node.peers.max),
            if node.joins {
                "later".to_owned()
            } else {
                String::new()
            },
        ]);
    }
    table
}

/// Milliseconds in the largest unit that needs no fraction.
fn interval(ms: u64) -> String {
    match ms {
        ms if ms > 0 && ms.is_multiple_of(60_000) => format!("{} min", ms / 60_000),
        ms if ms > 0 && ms.is_multiple_of(1_000) => format!("{} s", ms / 1_000),
        ms => format!("{ms} ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_told_in_their_own_unit() {
        assert_eq!(interval(1_000), "1 s");
        assert_eq!(interval(600_000), "10 min");
        assert_eq!(interval(1_500), "1500 ms");
        assert_eq!(interval(0), "0 ms");
    }
}
