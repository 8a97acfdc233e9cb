//! `netsplit logs`.

use tokio::sync::mpsc;

use super::{
    Context, interrupt,
    options::{Target, number},
    session,
};
use crate::{error::CommandError, exit};

/// Print what a node logged
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A node
    #[arg(value_name = "NODE")]
    node: String,
    /// Go on with new lines until the node is gone, or until Ctrl-C (exit code 130)
    #[arg(long, short)]
    follow: bool,
    /// How many of the last lines to print
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = number(0..=usize::MAX))]
    lines: usize,
    #[command(flatten)]
    target: Target,
}

/// Lines that may wait to be printed.
const QUEUE: usize = 1_000;

pub(super) async fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    let testnet = session::attach(context, args.target.name.as_deref()).await?;
    let node = session::node(testnet.as_ref(), &args.node)?;
    for line in testnet.logs(&node, args.lines).await? {
        context.ui.data(&line)?;
    }
    if !args.follow {
        return Ok(exit::PASSED);
    }
    let mut interrupts = interrupt::listen(None)?;
    let (sender, mut lines) = mpsc::channel::<String>(QUEUE);
    let printing = async {
        while let Some(line) = lines.recv().await {
            context.ui.data(&line)?;
        }
        Ok::<(), CommandError>(())
    };
    tokio::select! {
        done = async { tokio::try_join!(async { Ok(testnet.follow_logs(&node, sender).await?) }, printing) } => {
            done?;
            Ok(exit::PASSED)
        }
        () = interrupt::interrupted(&mut interrupts) => Ok(exit::INTERRUPTED),
    }
}
