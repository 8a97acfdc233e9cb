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
use serde_json::{Value, json};

use super::{
    Context,
    options::{Options, RuntimeChoice},
    session,
};
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
        if options.runtime != RuntimeChoice::Auto {
            words.extend(["--runtime".to_owned(), options.runtime.to_string()]);
        }
        for setting in &options.set {
            words.extend(["--set".to_owned(), quoted(setting)]);
        }
        words.join(" ")
    }
}

/// Reads, checks and plans a topology. `outcome` is what a refusal comes to, as one of the words below.
///
/// # Errors
/// Usage, with everything that is wrong with it.
pub(super) fn load(
    path: &Path,
    seed: Option<u64>,
    outcome: &str,
    context: &Context,
) -> Result<Source, CommandError> {
    let text = read(path)?;
    plan(path, text, seed, context).map_err(|problems| refused(&[problems], outcome, context))
}

/// Reads, checks and plans several topologies; the problems of all of them are told at once.
///
/// # Errors
/// Usage, with everything that is wrong with any of them.
pub(super) fn load_all(
    paths: &[PathBuf],
    seed: Option<u64>,
    outcome: &str,
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
        Err(refused(&refusals, outcome, context))
    }
}

pub(super) fn plan(
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
pub(super) fn refused(refusals: &[Problems], outcome: &str, context: &Context) -> CommandError {
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
    let number = count(number, "problem");
    let message = if outcome.is_empty() {
        number
    } else {
        format!("{number}; {outcome}")
    };
    CommandError::usage(message).with_rendered(rendered)
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
    let situation = look(testnet).await?;
    topology::load_steps(&Text::new(name, text), &testnet.info().plan, &situation)
        .map_err(|problems| refused(&[problems], UNDONE, context))
}

/// The same for an assertion that was typed.
///
/// # Errors
/// As of [`steps`].
pub(super) async fn typed(
    typed: &topology::Typed<'_>,
    testnet: &dyn Testnet,
    context: &Context,
) -> Result<Vec<PlannedStep>, CommandError> {
    let situation = look(testnet).await?;
    topology::load_typed(typed, &testnet.info().plan, &situation)
        .map_err(|problems| refused(&[problems], UNDONE, context))
}

/// The same for one step that was put together of arguments: nobody has seen its text, so that none is shown.
///
/// # Errors
/// As of [`steps`].
pub(super) async fn made(
    step: &Value,
    testnet: &dyn Testnet,
) -> Result<Vec<PlannedStep>, CommandError> {
    let situation = look(testnet).await?;
    let text = json!([step]).to_string();
    topology::load_steps(&Text::new("", text), &testnet.info().plan, &situation)
        .map_err(|problems| refused_words(&problems))
}

/// What is wrong with arguments: the first problem is the error, the others stand below it.
fn refused_words(problems: &Problems) -> CommandError {
    let mut list = problems.list().iter();
    let first = list.next().map_or("", |problem| problem.message.as_str());
    let help = problems.list().iter().filter_map(|p| p.help.clone());
    let others = list.map(|problem| format!("also: {}", problem.message));
    help.chain(others)
        .fold(CommandError::usage(first), CommandError::hint)
}

/// How a testnet is now, as far as it matters to what can be done.
async fn look(testnet: &dyn Testnet) -> Result<Situation, CommandError> {
    let (state, states) = tokio::join!(session::state(testnet), testnet.states());
    Ok(situation(&state?, states?))
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

/// A refusal of what was to be started.
pub(super) const STARTED: &str = "nothing was started";
/// A refusal of what was only looked at.
pub(super) const LOOKED: &str = "";
/// A refusal of what was to be done to a testnet.
const UNDONE: &str = "nothing was done";

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
