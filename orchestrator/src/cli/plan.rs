//! `netsplit plan`.

use std::path::PathBuf;

use netsplit_plan::plan::Plan;

use super::{Context, options::Format, topology};
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
    /// Root of every random choice, in place of the topology's own
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

pub(super) fn run(args: &Args, context: &Context) -> Result<u8, CommandError> {
    let source = topology::load(&args.file, args.seed, context)?;
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
            "one block in {} ms on average, {} blocks before it is ready\n\n",
            chain.block_interval_ms, chain.premine
        ),
    ]);
    text.push_str(&nodes(plan).render());
    if !plan.steps.is_empty() {
        text.push('\n');
    }
    for step in &plan.steps {
        text.extend(["\n", &format!("{:>4}  {}", step.index + 1, step.text)]);
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
