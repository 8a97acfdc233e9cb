//! `netsplit validate`.

use std::path::{Path, PathBuf};

use netsplit_plan::problem::Problems;
use serde_json::{Value, json};

use super::{
    Context,
    options::Format,
    topology::{self, Source},
};
use crate::{error::CommandError, exit, report::lines::count};

/// Check topologies and report every problem; starts nothing
///
/// With `--format json`: a list of `{file, valid, name, nodes, steps}`, or `{file, valid, problems}` with the `line`,
/// `column`, `message`, `label` and `help` of each.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Topology files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// What became of one file.
enum Found {
    Valid(Box<Source>),
    Wrong(Problems),
    Unreadable(CommandError),
}

pub(super) fn run(args: &Args, context: &Context) -> Result<u8, CommandError> {
    let found: Vec<(&Path, Found)> = args
        .files
        .iter()
        .map(|path| (path.as_path(), look(path, context)))
        .collect();
    if context.options.format == Format::Json {
        let entries: Vec<Value> = found
            .iter()
            .map(|(path, found)| entry(path, found))
            .collect();
        context.ui.json(&entries)?;
    } else {
        found
            .iter()
            .for_each(|(path, found)| tell(path, found, context));
    }
    let valid = found
        .iter()
        .all(|(_, found)| matches!(found, Found::Valid(_)));
    Ok(if valid { exit::PASSED } else { exit::USAGE })
}

fn look(path: &Path, context: &Context) -> Found {
    let text = match topology::read(path) {
        Ok(text) => text,
        Err(error) => return Found::Unreadable(error),
    };
    match topology::plan(path, text, None, context) {
        Ok(source) => Found::Valid(Box::new(source)),
        Err(problems) => Found::Wrong(problems),
    }
}

fn tell(path: &Path, found: &Found, context: &Context) {
    match found {
        Found::Valid(source) => {
            let text = format!(
                "`{}`: {}, {}",
                path.display(),
                count(source.plan.nodes.len(), "node"),
                count(source.plan.steps.len(), "step")
            );
            context.ui.status("Valid", &text);
            for remark in netsplit_plan::planner::remarks(&source.plan) {
                context
                    .ui
                    .warning(&format!("`{}`: {remark}", path.display()));
            }
        }
        Found::Wrong(problems) => {
            let error =
                topology::refused(std::slice::from_ref(problems), topology::LOOKED, context);
            context.ui.error(&error);
        }
        Found::Unreadable(error) => context.ui.error(error),
    }
}

fn entry(path: &Path, found: &Found) -> Value {
    let file = path.display().to_string();
    match found {
        Found::Valid(source) => json!({
            "file": file, "valid": true,
            "name": source.plan.name,
            "nodes": source.plan.nodes.len(),
            "steps": source.plan.steps.len(),
        }),
        Found::Wrong(problems) => {
            json!({ "file": file, "valid": false, "problems": problems.list() })
        }
        Found::Unreadable(error) => {
            let message = std::iter::once(error.message()).chain(error.causes());
            let message = message.collect::<Vec<_>>().join(": ");
            json!({ "file": file, "valid": false, "problems": [{ "file": file, "message": message }] })
        }
    }
}
