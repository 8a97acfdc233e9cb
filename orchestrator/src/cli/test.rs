//! `netsplit test`.

use std::path::PathBuf;

use super::{
    Context, interrupt,
    options::{Format, Seed},
    runtimes,
    topology::{self, Source},
};
use crate::{
    error::CommandError,
    event::RunReport,
    exit,
    report::{self, JsonFile, JunitFile, Reporters, RunDirectory, Summary, Terminal},
    run::{self, Interrupts},
};

/// Run scenarios from start to teardown; the exit code says how they went
///
/// Each file is one scenario on a testnet of its own, one after the other. All files are checked before anything is
/// started. Whatever happens, the testnet is removed at the end, unless `--keep` is given.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Topology files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    seed: Seed,
    /// Write a JUnit report to this file
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Write the verdict as JSON to this file, one line per topology; `-` is stdout
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Leave the testnet running at the end
    #[arg(long)]
    keep: bool,
}

pub(super) async fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    let sources = topology::load_all(&args.files, args.seed.seed, topology::STARTED, context)?;
    let runtime = runtimes::launching(context).await?;
    let interrupts = interrupt::listen(Some(&context.ui))?;
    super::gc::quietly(runtime.as_ref(), context).await;

    let mut junit = args.junit.clone().map(JunitFile::create).transpose()?;
    let mut json = args
        .json
        .clone()
        .map(|path| JsonFile::create(path, &context.ui))
        .transpose()?;
    let mut codes = Vec::new();
    for source in &sources {
        let report = one(source, &args, context, runtime.as_ref(), interrupts.clone()).await?;
        codes.push(report.exit_code);
        if let Some(junit) = &mut junit {
            junit.add(&report)?;
        }
        if let Some(json) = &mut json {
            json.add(&report)?;
        }
        if report.exit_code == exit::INTERRUPTED {
            break;
        }
    }
    if sources.len() > 1 && context.options.format == Format::Table && !context.ui.is_quiet() {
        context.ui.data(&report::tally(sources.len(), &codes))?;
    }
    Ok(exit::worst(codes))
}

async fn one(
    source: &Source,
    args: &Args,
    context: &Context,
    runtime: &dyn netsplit_runtime::Runtime,
    interrupts: Interrupts,
) -> Result<RunReport, CommandError> {
    let run = topology::run_id(&source.plan.name)?;
    let directory = RunDirectory::create(&run, &source.text, &source.plan_json())?;
    let options = run::Options {
        name: run.0.clone(),
        run,
        directory: directory.path().to_owned(),
        node_binary: context.options.node_binary.clone(),
        keep: args.keep,
        timeout: context.options.timeout,
        command: source.command("test", &context.options),
    };
    let reporters = Reporters::new()
        .with(Terminal::new(context.ui.clone()))
        .with(directory.recorder(context.ui.clone()));
    let report = report::observe(reporters, |sink| {
        Box::pin(run::run_test(
            runtime,
            &source.plan,
            &options,
            sink,
            interrupts,
        ))
    })
    .await;
    match context.options.format {
        Format::Json => context.ui.data(&report::json_line(&report))?,
        Format::Table => {
            let summary = Summary {
                report: &report,
                directory: directory.path(),
                kept: args.keep,
            };
            context
                .ui
                .data(&summary.render(context.ui.out_colour(), context.ui.is_quiet()))?;
        }
    }
    report::failure(&context.ui, &report);
    Ok(report)
}
