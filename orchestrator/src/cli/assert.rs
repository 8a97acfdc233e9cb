//! `netsplit assert` and `netsplit wait`.

use netsplit_plan::topology::Typed;

use super::{Context, options::Target, session, steps, topology};
use crate::error::CommandError;

pub(super) const ASSERT: &str = "\
Judge an assertion about a running testnet

The assertion is written as in a topology: `converged`, or with arguments `'{converged: {min_height: 105}}'`. \
Without `--within` and `--for` it must hold at once. Exit code 1 says that it does not hold.";

pub(super) const WAIT: &str = "\
Wait until an assertion holds of a running testnet

The assertion is written as in a topology: `converged`, or with arguments `'{converged: {min_height: 105}}'`. \
A duration alone, e.g. `10s`, just waits. Exit code 1 says that it did not come true in time: `--within`, by default 30 s.";

/// Which of the two commands it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// Judges.
    Assert,
    /// Waits.
    Wait,
}

/// Arguments of both commands.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// What is to hold, in YAML on one line
    #[arg(value_name = "ASSERTION")]
    assertion: String,
    /// It must hold at some time before this has passed, e.g. `30s` or `auto`
    #[arg(long, value_name = "DURATION")]
    within: Option<String>,
    /// It must hold at all times while this passes, e.g. `5s`
    #[arg(long = "for", value_name = "DURATION", conflicts_with = "within")]
    duration: Option<String>,
    #[command(flatten)]
    target: Target,
}

pub(super) async fn run(word: Word, args: Args, context: &Context) -> Result<u8, CommandError> {
    let testnet = session::attach(context, args.target.name.as_deref()).await?;
    let steps = topology::typed(&typed(word, &args), testnet.as_ref(), context).await?;
    Ok(steps::drive(context, testnet, steps).await?.exit_code)
}

/// How long `wait` waits unless told otherwise.
const PATIENCE: &str = "30s";

fn typed(word: Word, args: &Args) -> Typed<'_> {
    let (step, patience) = match word {
        Word::Assert => ("assert", None),
        Word::Wait => ("wait", Some(PATIENCE)),
    };
    let within = args.within.as_deref().map(|time| ("within", time));
    let for_ = args.duration.as_deref().map(|time| ("for", time));
    Typed {
        step,
        text: &args.assertion,
        limit: within.or(for_),
        patience,
    }
}
