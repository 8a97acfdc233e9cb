//! `netsplit heal`.

use serde_json::json;

use super::{Context, options::Target, steps};
use crate::error::CommandError;

/// End a fault, and show that everything it cut is back
///
/// Each fault removes only itself: a pair that another fault cuts, too, stays cut.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Which fault; all when left out
    #[arg(value_name = "ID", default_value = "all", hide_default_value = true)]
    id: String,
    #[command(flatten)]
    target: Target,
}

pub(super) async fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    steps::one(
        context,
        args.target.name.as_deref(),
        json!({ "heal": args.id }),
    )
    .await
}
