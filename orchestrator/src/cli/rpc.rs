//! `netsplit rpc`.

use netsplit_plan::plan::NodeName;
use netsplit_runtime::{NodeState, Testnet};
use serde_json::Value;

use super::{
    Context,
    options::{Format, Target},
    session,
};
use crate::{error::CommandError, exit};

/// How long a node may take to answer.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

/// Call a node's JSON-RPC with Bitcoin Core's method names; prints the result as `bitcoin-cli` does
///
/// Arguments that are JSON are sent as such, all others as strings: `5` is a number, `'"5"'` a string. A result that is
/// a string is printed as it is, all others as JSON; with `--format json` all are JSON. `help` lists the methods.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// A node
    #[arg(value_name = "NODE")]
    node: String,
    /// Method, e.g. `getblockchaininfo`
    #[arg(value_name = "METHOD")]
    method: String,
    /// Its arguments, in order
    #[arg(value_name = "ARG", allow_negative_numbers = true)]
    arguments: Vec<String>,
    #[command(flatten)]
    target: Target,
}

const EXAMPLES: &str = "\
Examples:
  netsplit rpc full-1 getblockchaininfo
  netsplit rpc full-1 getblockhash 101";

pub(super) async fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    let testnet = session::attach(context, args.target.name.as_deref()).await?;
    call(testnet.as_ref(), args, context).await
}

pub(super) async fn call(
    testnet: &dyn Testnet,
    args: Args,
    context: &Context,
) -> Result<u8, CommandError> {
    let node = session::node(testnet, &args.node)?;
    let params: Vec<Value> = args
        .arguments
        .iter()
        .map(|argument| parameter(argument))
        .collect();
    let limit = context.options.timeout.unwrap_or(PATIENCE);
    let calling = async {
        must_run(testnet, [&node]).await?;
        Ok(testnet.rpc(&node, &args.method, params.into()).await?)
    };
    let result = session::within(limit, &format!("`{node}` did not answer"), calling).await?;
    match (&result, context.options.format) {
        (Value::String(text), Format::Table) => context.ui.data(text)?,
        (Value::Null, Format::Table) => {}
        _ => context.ui.json(&result)?,
    }
    Ok(exit::PASSED)
}

/// Tells at once, and not when a call has timed out, that a node cannot answer.
///
/// # Errors
/// Infrastructure, naming the state of the first node that does not run.
pub(super) async fn must_run(
    testnet: &dyn Testnet,
    nodes: impl IntoIterator<Item = &NodeName>,
) -> Result<(), CommandError> {
    let states = testnet.states().await?;
    for node in nodes {
        let (state, hint) = match states.get(node) {
            Some(NodeState::Exited) => ("has exited", format!("`netsplit start {node}` starts it")),
            Some(NodeState::Paused) => (
                "is paused",
                format!("`netsplit resume {node}` lets it go on"),
            ),
            Some(NodeState::Planned) => (
                "has not joined yet",
                "a `join` step lets it join".to_owned(),
            ),
            Some(NodeState::Running) | None => continue,
        };
        let error = format!("`{node}` {state} and cannot answer");
        return Err(CommandError::infrastructure(error).hint(hint));
    }
    Ok(())
}

fn parameter(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_is_sent_as_json_and_the_rest_as_strings() {
        assert_eq!(parameter("5"), json!(5));
        assert_eq!(parameter("\"5\""), json!("5"));
        assert_eq!(parameter("true"), json!(true));
        assert_eq!(parameter("[1, {\"a\": 2}]"), json!([1, { "a": 2 }]));
        assert_eq!(parameter("bcrt1qxyz"), json!("bcrt1qxyz"));
        let hash = "0f9188f13cb7b2c71f2a335e3a4fc328bf5beb436012afca590b1a11466e2206";
        assert_eq!(parameter(hash), json!(hash));
    }
}
