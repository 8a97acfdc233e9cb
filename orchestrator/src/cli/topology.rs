//! Reading topologies, lists of steps and assertions; what is wrong with them is shown whole.

use std::{
    collections::BTreeMap,
    fs,
    io::Read,
    path::{Path, PathBuf},
};

use netsplit_plan::{
    cuts::ActiveCuts,
    observe::Lifecycle,
    plan::{NodeName, Partition, Plan, PlannedStep},
    planner::Situation,
    problem::{Look, Problems, Source as Text},
    topology,
};
use netsplit_runtime::{NodeState, RunId, Testnet};

use super::{Context, options::Options, session};
use crate::{
    error::{CommandError, ErrorKind},
    report::lines::count,
    run::state::RunnerState,
};

/// A topology that was read, checked and planned.
#[derive(Debug)]
pub(super) struct Source {
    /// Where it was read from.
    pub(super) path: PathBuf,
    /// As it was read.
    pub(super) text: String,
    /// What it comes to.
    pub(super) plan: Plan,
}

impl Source {
    /// The plan as it is kept in the run's directory.
    pub(super) fn plan_json(&self) -> String {
        let text = serde_json::to_string_pretty(&self.plan)
            .expect("a plan has string keys and no failing serialisers");
        text + "\n"
    }

    /// The command that does the same again.
    pub(super) fn command(&self, verb: &str, options: &Options) -> String {
        let mut words = vec![
            "netsplit".to_owned(),
            verb.to_owned(),
            quoted(&self.path.display().to_string()),
        ];
        words.extend(["--seed".to_owned(), self.plan.seed.to_string()]);
        for setting in &options.set {
            words.extend(["--set".to_owned(), quoted(setting)]);
        }
        words.join(" ")
    }
}

/// Reads, checks and plans a topology.
///
/// # Errors
/// Usage, with everything that is wrong with it.
pub(super) fn load(
    path: &Path,
    seed: Option<u64>,
    context: &Context,
) -> Result<Source, CommandError> {
    let text = read(path)?;
    plan(path, text, seed, context).map_err(|problems| refused(&[problems], STARTED, context))
}

/// Reads, checks and plans several topologies; the problems of all of them are told at once.
///
/// # Errors
/// Usage, with everything that is wrong with any of them.
pub(super) fn load_all(
    paths: &[PathBuf],
    seed: Option<u64>,
    context: &Context,
) -> Result<Vec<Source>, CommandError> {
    let texts = paths
        .iter()
        .map(|path| read(path))
        .collect::<Result<Vec<_>, _>>()?;
    let (mut sources, mut refusals) = (Vec::new(), Vec::new());
    for (path, text) in paths.iter().zip(texts) {
        match plan(path, text, seed, context) {
            Ok(source) => sources.push(source),
            Err(problems) => refusals.push(problems),
        }
    }
    if refusals.is_empty() {
        Ok(sources)
    } else {
        Err(refused(&refusals, STARTED, context))
    }
}

fn plan(
    path: &Path,
    text: String,
    seed: Option<u64>,
    context: &Context,
) -> Result<Source, Problems> {
    let source = Text::new(path.display().to_string(), text);
    let options = topology::Options {
        seed,
        set: context.options.set.clone(),
    };
    let plan = topology::load(&source, &options)?;
    Ok(Source {
        path: path.to_owned(),
        text: source.text,
        plan,
    })
}

/// Everything that is wrong, whole.
fn refused(refusals: &[Problems], outcome: &str, context: &Context) -> CommandError {
    let look = if context.ui.err_colour() {
        Look::Colour
    } else {
        Look::Plain
    };
    let rendered: String = refusals
        .iter()
        .map(|problems| problems.render(look))
        .collect();
    let number = refusals.iter().map(|problems| problems.list().len()).sum();
    CommandError::usage(format!("{}; {outcome}", count(number, "problem"))).with_rendered(rendered)
}

/// Reads, checks and plans steps for a testnet as it now is. `name` is what the text is called in diagnostics.
///
/// # Errors
/// Usage, with everything that is wrong with them; infrastructure, when the testnet cannot be asked.
pub(super) async fn steps(
    name: &str,
    text: &str,
    testnet: &dyn Testnet,
    context: &Context,
) -> Result<Vec<PlannedStep>, CommandError> {
    let (state, states) = tokio::join!(session::state(testnet), testnet.states());
    let situation = situation(&state?, states?);
    topology::load_steps(&Text::new(name, text), &testnet.info().plan, &situation)
        .map_err(|problems| refused(&[problems], "nothing was done", context))
}

fn situation(state: &RunnerState, states: BTreeMap<NodeName, NodeState>) -> Situation {
    let lifecycle = |(node, is): (NodeName, NodeState)| {
        let lifecycle = match is {
            NodeState::Planned => Lifecycle::Planned,
            NodeState::Running => Lifecycle::Running,
            NodeState::Paused => Lifecycle::Paused,
            NodeState::Exited if state.down.contains_key(&node) => Lifecycle::Stopped,
            NodeState::Exited => Lifecycle::Died,
        };
        (node, lifecycle)
    };
    let mut cuts = ActiveCuts::default();
    for fault in &state.faults {
        let cut = Partition {
            id: fault.id.clone(),
            groups: fault.groups.clone(),
            one_way: fault.one_way,
            for_ms: None,
        };
        // Two faults of one id would be one too many for the runner, which keeps them apart.
        let _ = cuts.insert(cut);
    }
    Situation {
        nodes: states.into_iter().map(lifecycle).collect(),
        cuts,
        churns: state
            .down
            .values()
            .filter(|churn| !churn.is_empty())
            .cloned()
            .collect(),
        past_cuts: state
            .cuts
            .iter()
            .map(|cut| (cut.id.clone(), cut.groups.clone()))
            .collect(),
        sent: state.sent.iter().map(|sent| sent.id.clone()).collect(),
    }
}

/// The JSON Schema of topologies.
pub(super) fn schema() -> String {
    topology::schema_text()
}

const STARTED: &str = "nothing was started";

/// A word as a shell reads it back.
pub(super) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// A file's text; `-` is stdin.
///
/// # Errors
/// Usage, when it cannot be read.
pub(super) fn read(path: &Path) -> Result<String, CommandError> {
    let text = if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        fs::read_to_string(path)
    };
    text.map_err(|error| {
        let what = format!("failed to read `{}`", path.display());
        CommandError::caused(ErrorKind::Usage, what, error)
    })
}

/// Random identity of a run of the testnet called `name`.
///
/// # Errors
/// When the system gives no random numbers.
pub(super) fn run_id(name: &str) -> Result<RunId, CommandError> {
    let random = getrandom::u32().map_err(|error| {
        CommandError::caused(
            ErrorKind::Infrastructure,
            "failed to get random numbers",
            error,
        )
    })?;
    Ok(RunId(format!("{name}-{random:08x}")))
}
