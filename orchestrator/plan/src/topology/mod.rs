//! Topology files: from text to a plan, or to everything that is wrong with the text.
//!
//! Reading has three stages, each in its own files: the text becomes a tree in which everything knows its place (`yaml`,
//! `tree`); the tree is checked against the schema of the types it is to fill (`shape`, `schema`); what fits fills the types
//! (`words`, `steps`, `scalars`), and [`crate::planner`] makes a plan of them. The first stage stops at its first problem, the
//! others report all of theirs together.

mod not_built;
mod overrides;
pub(crate) mod scalars;
mod schema;
mod shape;
pub(crate) mod steps;
pub(crate) mod tree;
mod typed;
pub(crate) mod words;
mod yaml;

use serde::Deserialize;

pub(crate) use self::shape::Damage;
pub use self::{
    schema::{schema, schema_text},
    typed::Typed,
};
use crate::{
    plan::{Plan, PlannedStep},
    planner::{self, Situation},
    problem::{Collector, Fault, Problems, Source, Span},
};

/// What the command line changes about a topology.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Replaces the file's seed.
    pub seed: Option<u64>,
    /// `key=value` settings, applied in order before anything is checked.
    pub set: Vec<String>,
}

/// Reads, checks and plans a topology.
///
/// # Errors
/// With everything that is wrong with it.
pub fn load(source: &Source, options: &Options) -> Result<Plan, Problems> {
    let mut problems = Collector::new();
    let number = problems.add_source(source.clone());
    let plan = try_load(&source.text, number, options, &mut problems);
    problems.finish(plan)
}

fn try_load(
    text: &str,
    number: usize,
    options: &Options,
    problems: &mut Collector,
) -> Option<Plan> {
    let mut tree = yaml::read(text, number, problems)?;
    overrides::apply(&mut tree, &options.set, problems);
    let schema = schema();
    let (fitting, damage) = shape::Walker::new(&schema, problems).topology(&tree);
    let fitting = fitting?;
    let mut topology: words::Topology = fill(&fitting, problems)?;
    if let Some(seed) = options.seed {
        topology.seed = seed;
    }
    planner::plan(&topology, &tree, damage, problems)
}

/// A list of steps on its own.
#[derive(Deserialize)]
#[serde(transparent)]
struct Steps(Vec<Option<steps::Step>>);

/// Reads, checks and plans steps for a testnet that runs, e.g. `[{ heal: cut }]`.
///
/// # Errors
/// With everything that is wrong with them.
pub fn load_steps(
    source: &Source,
    plan: &Plan,
    situation: &Situation,
) -> Result<Vec<PlannedStep>, Problems> {
    let mut problems = Collector::new();
    let number = problems.add_source(source.clone());
    let steps = yaml::read(&source.text, number, &mut problems)
        .filter(|tree| is_list(tree, &mut problems))
        .and_then(|tree| plan_list(&tree, plan, situation, &mut problems));
    problems.finish(steps)
}

/// Checks and plans an assertion that was typed for a testnet that runs.
///
/// # Errors
/// With everything that is wrong with it.
pub fn load_typed(
    typed: &Typed<'_>,
    plan: &Plan,
    situation: &Situation,
) -> Result<Vec<PlannedStep>, Problems> {
    let mut problems = Collector::new();
    let steps = typed
        .tree(&mut problems)
        .and_then(|tree| plan_list(&tree, plan, situation, &mut problems));
    problems.finish(steps)
}

/// Says what is wanted where somebody gives something else than a list.
fn is_list(tree: &tree::Tree, problems: &mut Collector) -> bool {
    let tree::Kind::Map(_) = &tree.kind else {
        return true;
    };
    let is_topology = ["nodes", "scenario"]
        .iter()
        .any(|key| tree.get(key).is_some());
    let (message, help) = if is_topology {
        (
            "this is a topology, and a list of steps is wanted",
            "give the steps alone, as they stand under `scenario:`; `netsplit test` runs a topology",
        )
    } else {
        (
            "a list of steps is wanted, not a mapping",
            "begin each step with `- `, e.g. `- heal: cut`",
        )
    };
    let start = Span {
        len: 0,
        ..tree.span
    };
    problems.report(start, Fault::new(message).help(help));
    false
}

fn plan_list(
    tree: &tree::Tree,
    plan: &Plan,
    situation: &Situation,
    problems: &mut Collector,
) -> Option<Vec<PlannedStep>> {
    let schema = schema();
    let rule = schema::steps_schema(&schema);
    let whole = serde_json::json!({ "$defs": schema.get("$defs"), "items": rule.get("items") });
    let list = serde_json::json!({ "type": "array", "items": rule.get("items") });
    let fitting = shape::Walker::new(&whole, problems).walk(&list, "Topology", tree)?;
    let damage = shape::damaged_steps(Some(tree), Some(&fitting));
    let steps: Steps = fill(&fitting, problems)?;
    planner::plan_steps(&steps.0, tree, plan, situation, damage, problems)
}

/// Fills a type from what fits the schema. A refusal here means that schema and types disagree: it is reported all the same.
fn fill<T: serde::de::DeserializeOwned>(tree: &tree::Tree, problems: &mut Collector) -> Option<T> {
    match yaml::fill(tree) {
        Ok(value) => Some(value),
        Err(reason) => {
            if problems.is_empty() {
                problems.report(tree.span, Fault::new(reason));
            }
            None
        }
    }
}
