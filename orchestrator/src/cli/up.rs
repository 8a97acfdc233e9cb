//! `netsplit up`.

use std::path::PathBuf;

use super::{Context, interrupt, options::Format, session, topology};
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
    #[arg(long, short, value_name = "NAME")]
    name: Option<String>,
    /// Root of every random choice, in place of the topology's own
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

pub(super) async fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    let source = topology::load(&args.file, args.seed, context)?;
    let name = args.name.unwrap_or_else(|| source.plan.name.clone());
    let runtime = session::runtime(&context.options).await?;
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
                &format!("`{name}`; `netsplit status` shows it, `netsplit down` removes it"),
            );
        }
        Format::Table => {}
    }
    report::failure(&context.ui, &report);
    Ok(report.exit_code)
}
