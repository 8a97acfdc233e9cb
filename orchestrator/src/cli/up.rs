//! `netsplit up`.

use std::path::PathBuf;

use super::{
    Context, interrupt,
    options::{Format, Seed},
    runtimes, topology,
};
use crate::{
    error::CommandError,
    event::Verdict,
    report::{self, Reporters, RunDirectory, Terminal},
    run,
};

/// Start a testnet, wait until it is ready, and leave it running
///
/// The scenario of the file, if it has one, is not run. Until the testnet is ready it lives and dies with this
/// command; from then on it runs until `netsplit down`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Topology file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// What to call the testnet, in place of the topology's own name
    #[arg(long, short, value_name = "NAME", value_parser = parse_name)]
    name: Option<String>,
    #[command(flatten)]
    seed: Seed,
}

/// A testnet's name, which becomes part of container names and of a directory's: the rule for names in a topology.
fn parse_name(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if (1..=63).contains(&text.len()) && text.chars().all(fits) && !text.starts_with('-') {
        return Ok(text.to_owned());
    }
    Err("names are lower-case letters, digits and dashes, at most 63, beginning with a letter or digit".to_owned())
}

pub(super) async fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    let source = topology::load(&args.file, args.seed.seed, topology::STARTED, context)?;
    let name = args.name.unwrap_or_else(|| source.plan.name.clone());
    let runtime = runtimes::launching(context).await?;
    let interrupts = interrupt::listen(Some(&context.ui))?;
    super::gc::quietly(runtime.as_ref(), context).await;
    let taken = runtime
        .list()
        .await?
        .into_iter()
        .any(|run| run.state != "dead" && run.name == name);
    if taken {
        return Err(
            CommandError::usage(format!("a testnet called `{name}` is running already")).hint(
                format!(
                    "`netsplit down {name}` removes it; `--name` calls this one something else"
                ),
            ),
        );
    }

    let run = topology::run_id(&name)?;
    let directory = RunDirectory::create(&run, &source.text, &source.plan_json())?;
    let options = run::Options {
        run,
        name: name.clone(),
        directory: directory.path().to_owned(),
        node_binary: context.options.node_binary.clone(),
        keep: true,
        timeout: context.options.timeout,
        command: source.command("up", &context.options),
    };
    let reporters = Reporters::new()
        .with(Terminal::new(context.ui.clone()))
        .with(directory.recorder(context.ui.clone()));
    let report = report::observe(reporters, |sink| {
        Box::pin(run::bring_up(
            runtime.as_ref(),
            &source.plan,
            &options,
            sink,
            interrupts,
        ))
    })
    .await;
    match context.options.format {
        Format::Json => context.ui.data(&report::json_line(&report))?,
        Format::Table if report.verdict == Verdict::Passed => {
            context.ui.status(
                "Up",
                &format!(
                    "`{name}`; `netsplit status {name}` shows it, `netsplit down {name}` removes it"
                ),
            );
        }
        Format::Table => {}
    }
    report::failure(&context.ui, &report);
    Ok(report.exit_code)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `../x` once made a directory beside the state directory.
    #[test]
    fn names_lead_nowhere_else() {
        assert_eq!(parse_name("my-net-2"), Ok("my-net-2".to_owned()));
        for wrong in ["", "../x", "Bad Name", "-x", "a/b", ".", &"a".repeat(64)] {
            assert!(parse_name(wrong).is_err(), "{wrong}");
        }
    }
}
