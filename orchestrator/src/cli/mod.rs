//! What a user types: one file per command, whose doc comments are the help texts.
//!
//! - [`options`]: flags that every command takes.
//! - [`runtimes`]: where testnets are made and looked for. [`session`]: finding the one that a command is about.
//! - [`steps`]: commands that are one step of a scenario, done by hand.
//! - [`interrupt`]: signals, as values.

pub mod options;

mod assert;
mod churn;
mod completions;
mod doctor;
mod down;
mod events;
mod forward;
mod gc;
mod heal;
mod init;
mod interrupt;
mod logs;
mod ls;
mod mine;
mod nodes;
mod partition;
mod plan;
mod rpc;
mod run;
mod runtimes;
mod schema;
mod send;
mod session;
mod status;
mod steps;
mod test;
mod topology;
mod up;
mod validate;

#[cfg(test)]
mod by_hand_tests;

use std::ffi::OsString;

use clap::{
    Arg, ArgAction, CommandFactory, FromArgMatches, Parser, Subcommand, builder::BoolishValueParser,
};

use self::options::Options;
use crate::{
    error::{CommandError, ErrorKind},
    exit,
    ui::Ui,
};

/// Start a blockchain testnet with one command, cut it apart, heal it, prove that it came back together
///
/// Nodes are real: they speak Bitcoin's peer-to-peer protocol over real networks. Faults are real: every cut is read
/// back from the kernel and probed, and one that cannot be shown to bite makes a run inconclusive, never passed.
///
/// Data goes to stdout, everything else to stderr. Every flag may also be given in the environment: `--node-binary`
/// as `NETSPLIT_NODE_BINARY`.
#[derive(Debug, Parser)]
#[command(name = "netsplit", version, propagate_version = false, after_long_help = EXIT_CODES)]
#[command(
    disable_help_subcommand = true,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub struct Cli {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "\
Exit codes:
    0  passed
    1  an assertion failed or did not come true in time, or a node answered with an error
    2  wrong usage or an invalid topology; nothing was started
    3  infrastructure: the engine, an image, a missing capability, a node that does not answer
    4  inconclusive: a fault could not be shown to be real
    5  passed, but something could not be removed
  124  the whole run took longer than its timeout
  130  interrupted";

#[derive(Debug, Subcommand)]
enum Command {
    Test(test::Args),
    Up(up::Args),
    Status(status::Args),
    Ls(ls::Args),
    Logs(logs::Args),
    Events(events::Args),
    Partition(partition::Args),
    Heal(heal::Args),
    #[command(about = "Kill nodes with SIGKILL", long_about = nodes::KILL)]
    Kill(nodes::Args),
    #[command(about = "Freeze nodes: their processes stop running but keep their connections")]
    Pause(nodes::Args),
    #[command(about = "Thaw nodes that were frozen with `netsplit pause`")]
    Resume(nodes::Args),
    #[command(about = "Stop nodes in an orderly way; returns when their processes are gone")]
    Stop(nodes::Args),
    #[command(
        about = "Start stopped or killed nodes with their old data; returns when they are ready"
    )]
    Start(nodes::Args),
    #[command(about = "Stop nodes and start them again with their data and addresses")]
    Restart(nodes::Args),
    Churn(churn::Args),
    Mine(mine::Args),
    Send(send::Args),
    #[command(about = "Judge an assertion about a running testnet", long_about = assert::ASSERT)]
    Assert(assert::Args),
    #[command(about = "Wait until an assertion holds of a running testnet", long_about = assert::WAIT)]
    Wait(assert::Args),
    Run(run::Args),
    Rpc(rpc::Args),
    Forward(forward::Args),
    Down(down::Args),
    Gc(gc::Args),
    Init(init::Args),
    Validate(validate::Args),
    Plan(plan::Args),
    Schema(schema::Args),
    Doctor(doctor::Args),
    Completions(completions::Args),
}

/// What every command is given.
pub(crate) struct Context {
    pub(crate) options: Options,
    pub(crate) ui: Ui,
}

/// The command line's definition, every flag with its environment variable.
#[must_use]
pub fn definition() -> clap::Command {
    with_short_pages(with_environment(Cli::command()))
}

/// What every command takes is explained once, by the whole program's help; a command's own page only names it.
fn with_short_pages(command: clap::Command) -> clap::Command {
    let common: Vec<Arg> = command
        .get_arguments()
        .filter(|arg| arg.is_global_set())
        .map(|arg| arg.clone().hide_long_help(true))
        .collect();
    let names: Vec<String> = common
        .iter()
        .filter_map(|arg| Some(format!("--{}", arg.get_long()?)))
        .collect();
    let note = format!(
        "Common options (`netsplit --help` explains them):\n  {}",
        names.join(", ")
    );
    command.mut_subcommands(|sub| {
        let page = match sub.get_after_help() {
            Some(own) => format!("{own}\n\n{note}"),
            None => note.clone(),
        };
        // An argument that a subcommand has already is not given to it again.
        sub.args(common.clone()).after_long_help(page)
    })
}

fn with_environment(command: clap::Command) -> clap::Command {
    command
        .mut_args(|arg| {
            let Some(long) = arg.get_long().map(ToOwned::to_owned) else {
                return arg;
            };
            if matches!(
                arg.get_action(),
                ArgAction::Help | ArgAction::HelpShort | ArgAction::Version
            ) {
                return arg;
            }
            let variable = format!("NETSPLIT_{}", long.replace('-', "_").to_uppercase());
            let flag = matches!(arg.get_action(), ArgAction::SetTrue);
            let arg = arg.env(variable).hide_env(true);
            if flag {
                arg.value_parser(BoolishValueParser::new())
            } else {
                arg
            }
        })
        .mut_subcommands(with_environment)
}

/// Does what the arguments say and returns what the process is to exit with.
#[must_use]
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let parsed = definition()
        .try_get_matches_from(arguments)
        .and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version come as errors, too. A failure to print has nowhere to be told.
            let _ = error.print();
            return u8::try_from(error.exit_code()).unwrap_or(exit::USAGE);
        }
    };
    let ui = Ui::new(cli.options.quiet, cli.options.color);
    start_tracing();
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            let error = CommandError::caused(
                ErrorKind::Infrastructure,
                "failed to start the event loop",
                error,
            );
            ui.error(&error);
            return error.kind().exit_code();
        }
    };
    let context = Context {
        options: cli.options,
        ui,
    };
    let code = match runtime.block_on(Box::pin(dispatch(cli.command, &context))) {
        Ok(code) => code,
        Err(error) => {
            if error.kind() != ErrorKind::Pipe {
                context.ui.error(&error);
            }
            error.kind().exit_code()
        }
    };
    // A thread that waits for a terminal's or pipe's next byte must not keep the process.
    runtime.shutdown_background();
    code
}

/// `NETSPLIT_LOG=debug` shows what goes on inside; without it nothing is logged.
fn start_tracing() {
    let Ok(filter) = std::env::var("NETSPLIT_LOG") else {
        return;
    };
    let filter = tracing_subscriber::EnvFilter::new(filter);
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .try_init();
}

async fn dispatch(command: Command, context: &Context) -> Result<u8, CommandError> {
    use netsplit_plan::plan::NodeVerb;
    match command {
        Command::Test(args) => test::run(args, context).await,
        Command::Up(args) => up::run(args, context).await,
        Command::Status(args) => status::run(args, context).await,
        Command::Ls(args) => ls::run(args, context).await,
        Command::Logs(args) => logs::run(args, context).await,
        Command::Events(args) => events::run(args, context).await,
        Command::Partition(args) => partition::run(args, context).await,
        Command::Heal(args) => heal::run(args, context).await,
        Command::Kill(args) => nodes::run(NodeVerb::Kill, args, context).await,
        Command::Pause(args) => nodes::run(NodeVerb::Pause, args, context).await,
        Command::Resume(args) => nodes::run(NodeVerb::Resume, args, context).await,
        Command::Stop(args) => nodes::run(NodeVerb::Stop, args, context).await,
        Command::Start(args) => nodes::run(NodeVerb::Start, args, context).await,
        Command::Restart(args) => nodes::run(NodeVerb::Restart, args, context).await,
        Command::Churn(args) => churn::run(args, context).await,
        Command::Mine(args) => mine::run(args, context).await,
        Command::Send(args) => send::run(args, context).await,
        Command::Assert(args) => assert::run(assert::Word::Assert, args, context).await,
        Command::Wait(args) => assert::run(assert::Word::Wait, args, context).await,
        Command::Run(args) => run::run(args, context).await,
        Command::Rpc(args) => rpc::run(args, context).await,
        Command::Forward(args) => forward::run(args, context).await,
        Command::Down(args) => down::run(args, context).await,
        Command::Gc(args) => gc::run(args, context).await,
        Command::Init(args) => init::run(&args, context),
        Command::Validate(args) => validate::run(&args, context),
        Command::Plan(args) => plan::run(&args, context),
        Command::Schema(args) => schema::run(&args, context),
        Command::Doctor(args) => doctor::run(args, context).await,
        Command::Completions(args) => completions::run(&args, context),
    }
}
