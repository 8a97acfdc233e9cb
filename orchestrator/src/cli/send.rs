//! `netsplit send`.

use netsplit_plan::plan::NodeName;
use netsplit_runtime::Testnet;
use serde_json::json;

use super::{
    Context,
    options::{Format, Target},
    session, steps, topology,
};
use crate::{error::CommandError, exit, run::state::SentTransaction};

/// Let a wallet send coins to a node or an address; prints the transaction's id
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Node that pays
    #[arg(value_name = "WALLET")]
    from: String,
    /// A node with a wallet, or an address
    #[arg(value_name = "ADDRESS")]
    to: String,
    /// How much, in coins, e.g. `0.5`
    #[arg(value_name = "AMOUNT", value_parser = parse_amount)]
    amount: f64,
    #[command(flatten)]
    target: Target,
}

/// 21 million coins, the most there can ever be.
const MAX_COINS: f64 = 21_000_000.0;

fn parse_amount(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(amount) if amount > 0.0 && amount <= MAX_COINS => Ok(amount),
        _ => Err("expected a number of coins above 0, e.g. `0.5`".to_owned()),
    }
}

pub(super) async fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    let testnet = session::attach(context, args.target.name.as_deref()).await?;
    if session::node(testnet.as_ref(), &args.to).is_ok() {
        let step = json!([{ "send": { "from": args.from, "to": args.to, "amount": args.amount } }]);
        let steps =
            topology::steps("command line", &step.to_string(), testnet.as_ref(), context).await?;
        let report = steps::drive(context, testnet, steps).await?;
        let txid = report
            .steps
            .first()
            .and_then(|step| step.evidence["txid"].as_str());
        if let (Some(txid), Format::Table) = (txid, context.options.format) {
            context.ui.data(txid)?;
        }
        return Ok(report.exit_code);
    }
    let from = session::node(testnet.as_ref(), &args.from)?;
    let txid = testnet
        .rpc(&from, "sendtoaddress", json!([args.to, args.amount]))
        .await?;
    let txid = txid.as_str().ok_or_else(|| {
        CommandError::infrastructure(format!("`{from}` did not answer with a transaction id"))
    })?;
    remember(testnet.as_ref(), &args, from, txid).await?;
    context.ui.data(txid)?;
    Ok(exit::PASSED)
}

/// Lets later assertions speak of the transaction as the last one.
async fn remember(
    testnet: &dyn Testnet,
    args: &Args,
    from: NodeName,
    txid: &str,
) -> Result<(), CommandError> {
    let mut state = session::state(testnet).await?;
    state.sent.push(SentTransaction {
        id: None,
        txid: txid.to_owned(),
        from,
        to: NodeName(args.to.clone()),
        amount: satoshis(args.amount),
        at: testnet.now(),
    });
    Ok(testnet.put_state(state.to_value()).await?)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "amounts are positive and at most 21 million coins"
)]
fn satoshis(coins: f64) -> u64 {
    (coins * 1e8).round() as u64
}
