//! Commands that are one step of a scenario, done by hand on a running testnet.

use netsplit_plan::plan::PlannedStep;
use netsplit_runtime::Testnet;
use serde_json::Value;

use super::{Context, interrupt, options::Format, session, topology};
use crate::{
    error::CommandError,
    event::RunReport,
    report::{self, Reporters, Terminal},
    run,
};

/// Carries out one step on the testnet called `name`, or on the only one.
///
/// # Errors
/// Usage, when the step makes no sense on that testnet; infrastructure, when there is no way to it.
pub(super) async fn one(
    context: &Context,
    name: Option<&str>,
    step: Value,
) -> Result<u8, CommandError> {
    let testnet = session::attach(context, name).await?;
    let steps = topology::made(&step, testnet.as_ref()).await?;
    Ok(drive(context, testnet, steps).await?.exit_code)
}

/// Carries out steps on a testnet and leaves it running.
///
/// # Errors
/// When stdout or the signal handlers fail; how the steps went is in the report.
pub(super) async fn drive(
    context: &Context,
    testnet: Box<dyn Testnet>,
    steps: Vec<PlannedStep>,
) -> Result<RunReport, CommandError> {
    let interrupts = interrupt::listen(Some(&context.ui))?;
    let command = as_typed();
    let limit = context.options.timeout;
    let reporters = Reporters::new().with(Terminal::by_hand(context.ui.clone()));
    let report = report::observe(reporters, |sink| {
        Box::pin(run::drive(
            testnet, steps, limit, &command, sink, interrupts,
        ))
    })
    .await;
    if context.options.format == Format::Json {
        context.ui.data(&report::json_line(&report))?;
    }
    report::failure_by_hand(&context.ui, &report);
    Ok(report)
}

/// The command line as a shell reads it back.
fn as_typed() -> String {
    let words = std::env::args().skip(1).map(|word| topology::quoted(&word));
    std::iter::once("netsplit".to_owned())
        .chain(words)
        .collect::<Vec<_>>()
        .join(" ")
}
