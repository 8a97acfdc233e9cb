//! `netsplit assert` and `netsplit wait`.

use super::{Context, options::Target, session, steps, topology};
use crate::error::CommandError;

pub(super) const ASSERT: &str = "\
Judge an assertion about a running testnet

The assertion is written as in a topology: `converged`, or with arguments `'{converged: {min_height: 105}}'`. Without
`--within` and `--for` it must hold at once. Exit code 1 says that it does not hold.";

pub(super) const WAIT: &str = "\
Wait until an assertion holds of a running testnet

The assertion is written as in a topology: `converged`, or with arguments `'{converged: {min_height: 105}}'`. A
duration alone, e.g. `10s`, just waits. Exit code 1 says that it did not come true in time (`--within`, by default
30 s).";

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
    let text = step(word, &args);
    let testnet = session::attach(context, args.target.name.as_deref()).await?;
    let steps = topology::steps("command line", &text, testnet.as_ref(), context).await?;
    Ok(steps::drive(context, testnet, steps).await?.exit_code)
}

/// How long `wait` waits unless told otherwise.
const PATIENCE: &str = "30s";

/// The step as it would stand in a topology. Only the planner understands YAML: here it is just put together.
fn step(word: Word, args: &Args) -> String {
    let (key, patience) = match word {
        Word::Assert => ("assert", None),
        Word::Wait => ("wait", Some(PATIENCE)),
    };
    let assertion = match args.assertion.trim() {
        // A duration, as in `wait 10s`.
        text if text.starts_with(|c: char| c.is_ascii_digit()) => {
            return format!("[{{ {key}: {text} }}]");
        }
        text if text.starts_with('{') => text.to_owned(),
        text if text.contains(':') => format!("{{ {text} }}"),
        text => format!("{{ {text}: {{}} }}"),
    };
    let limit = match (&args.within, &args.duration) {
        (_, Some(duration)) => Some(("for", duration.as_str())),
        (Some(within), None) => Some(("within", within.as_str())),
        (None, None) => patience
            .filter(|_| !assertion.contains("within:"))
            .map(|time| ("within", time)),
    };
    match limit {
        // `<<` is YAML's merge key: what stands beside it wins over what it brings.
        Some((name, time)) => format!("[{{ {key}: {{ <<: {assertion}, {name}: {time} }} }}]"),
        None => format!("[{{ {key}: {assertion} }}]"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(assertion: &str, within: Option<&str>, duration: Option<&str>) -> Args {
        Args {
            assertion: assertion.to_owned(),
            within: within.map(ToOwned::to_owned),
            duration: duration.map(ToOwned::to_owned),
            target: Target { name: None },
        }
    }

    #[test]
    fn a_word_is_short_for_an_assertion_without_arguments() {
        let step = step(Word::Assert, &args("converged", None, None));
        assert_eq!(step, "[{ assert: { converged: {} } }]");
    }

    #[test]
    fn braces_around_the_whole_may_be_left_out() {
        let step = step(Word::Assert, &args("height: { at_least: 5 }", None, None));
        assert_eq!(step, "[{ assert: { height: { at_least: 5 } } }]");
    }

    #[test]
    fn wait_is_patient_unless_told_otherwise() {
        let text = "{converged: {min_height: 5}}";
        let with = |within, duration| step(Word::Wait, &args(text, within, duration));
        assert_eq!(
            with(None, None),
            "[{ wait: { <<: {converged: {min_height: 5}}, within: 30s } }]"
        );
        assert_eq!(
            with(Some("1m"), None),
            "[{ wait: { <<: {converged: {min_height: 5}}, within: 1m } }]"
        );
        assert_eq!(
            with(None, Some("5s")),
            "[{ wait: { <<: {converged: {min_height: 5}}, for: 5s } }]"
        );
        let own = step(Word::Wait, &args("{converged: {}, within: 9s}", None, None));
        assert_eq!(own, "[{ wait: {converged: {}, within: 9s} }]");
    }

    #[test]
    fn a_duration_just_waits() {
        assert_eq!(
            step(Word::Wait, &args("10s", None, None)),
            "[{ wait: 10s }]"
        );
    }
}
