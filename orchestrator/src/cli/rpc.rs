//! `netsplit rpc`.

use serde_json::Value;

use super::{Context, options::Target, session};
use crate::{error::CommandError, exit};

/// How long a node may take to answer.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

/// Call a node's JSON-RPC with Bitcoin Core's method names; prints the result as JSON
///
/// Arguments that are JSON are sent as such, all others as strings: `5` is a number, `'"5"'` a string.
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
    let node = session::node(testnet.as_ref(), &args.node)?;
    let params: Vec<Value> = args
        .arguments
        .iter()
        .map(|argument| parameter(argument))
        .collect();
    let limit = context.options.timeout.unwrap_or(PATIENCE);
    let calling = async { Ok(testnet.rpc(&node, &args.method, params.into()).await?) };
    let result = session::within(limit, &format!("`{node}` did not answer"), calling).await?;
    context.ui.json(&result)?;
    Ok(exit::PASSED)
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
