//! `netsplit send`.

use netsplit_plan::{amount::Amount, plan::NodeName};
use netsplit_runtime::Testnet;
use serde_json::json;

use super::{
    Context,
    options::{Format, Target},
    rpc, session, steps, topology,
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
    /// How much: `0.5` or `0.5BTC` in coins, `50000sat` in satoshis
    #[arg(value_name = "AMOUNT", value_parser = parse_amount)]
    amount: Amount,
    #[command(flatten)]
    target: Target,
}

fn parse_amount(text: &str) -> Result<Amount, String> {
    match text.parse::<Amount>() {
        Ok(amount) if amount.sats() > 0 => Ok(amount),
        Ok(_) => Err("nothing would be sent".to_owned()),
        Err(error) => Err(format!("{error}; {}", error.help())),
    }
}

pub(super) async fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    let testnet = session::attach(context, args.target.name.as_deref()).await?;
    pay(testnet, &args, context).await
}

pub(super) async fn pay(
    testnet: Box<dyn Testnet>,
    args: &Args,
    context: &Context,
) -> Result<u8, CommandError> {
    let from = session::node(testnet.as_ref(), &args.from)?;
    if let Ok(to) = session::node(testnet.as_ref(), &args.to) {
        rpc::must_run(testnet.as_ref(), [&from, &to]).await?;
        return to_node(testnet, args, context).await;
    }
    rpc::must_run(testnet.as_ref(), [&from]).await?;
    to_address(testnet.as_ref(), args, from, context).await
}

async fn to_node(
    testnet: Box<dyn Testnet>,
    args: &Args,
    context: &Context,
) -> Result<u8, CommandError> {
    let amount = args.amount.to_string();
    let step = json!([{ "send": { "from": args.from, "to": args.to, "amount": amount } }]);
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
    Ok(report.exit_code)
}

async fn to_address(
    testnet: &dyn Testnet,
    args: &Args,
    from: NodeName,
    context: &Context,
) -> Result<u8, CommandError> {
    #[expect(
        clippy::cast_precision_loss,
        reason = "all amounts that can be paid are below 2^53 satoshis"
    )]
    let coins = args.amount.sats() as f64 / 1e8;
    let txid = testnet
        .rpc(&from, "sendtoaddress", json!([args.to, coins]))
        .await?;
    let txid = txid.as_str().ok_or_else(|| {
        CommandError::infrastructure(format!("`{from}` did not answer with a transaction id"))
    })?;
    remember(testnet, args, from, txid).await?;
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
        amount: args.amount.sats(),
        at: testnet.now(),
    });
    Ok(testnet.put_state(state.to_value()).await?)
}
