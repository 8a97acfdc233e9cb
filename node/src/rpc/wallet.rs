//! Methods that Core's help lists under "Wallet". A node has one wallet or none.

use netsplit_api::rpc::{
    RpcError, code,
    wallet::{Balance, Balances, LastProcessedBlock, WalletInfo},
};
use netsplit_core::{
    io::{Command, Reply},
    wallet::Wallet,
};

use super::{Answer, Params, View, answer, encode::bitcoins, mining::script_of, unexpected};

/// Core's number of the format with descriptors (`walletutil.h`).
const WALLET_VERSION: u32 = 169_900;

fn wallet<'a>(view: &View<'a>) -> Result<&'a Wallet, RpcError> {
    view.node.wallet().ok_or_else(|| {
        let text = "No wallet is loaded: this node does not have the role `wallet` or `miner`.";
        RpcError::new(code::WALLET_NOT_FOUND, text)
    })
}

/// The node feeds its wallet with every block at once.
fn last_processed(view: &View<'_>) -> LastProcessedBlock {
    let tip = view.node.chain().tip();
    LastProcessedBlock {
        hash: tip.hash.to_string(),
        height: tip.height,
    }
}

pub(super) fn getnewaddress(view: &View<'_>, params: &Params) -> Result<Command, RpcError> {
    wallet(view)?;
    match params.text(1)? {
        None | Some("bech32") => Ok(Command::NewAddress),
        Some(other) => {
            let text = format!("Unknown address type '{other}': the wallet has `bech32` only");
            Err(RpcError::new(code::INVALID_ADDRESS_OR_KEY, text))
        }
    }
}

pub(super) fn new_address(reply: Reply) -> Answer {
    match reply {
        Reply::Address(address) => answer(&address.to_string()),
        other => Err(unexpected(&other)),
    }
}

pub(super) fn getbalance(view: &View<'_>, params: &Params) -> Answer {
    if !matches!(params.text(0)?, None | Some("*")) {
        let text = "dummy first argument must be excluded or set to \"*\".";
        return Err(RpcError::new(code::MISC_ERROR, text));
    }
    let balance = wallet(view)?.balance();
    match params.integer(1)?.unwrap_or(0) {
        ..=0 => answer(&bitcoins(balance.spendable())),
        1 => answer(&bitcoins(balance.confirmed)),
        _ => Err(RpcError::new(code::INVALID_PARAMETER, "minconf is 0 or 1")),
    }
}

pub(super) fn getbalances(view: &View<'_>, _: &Params) -> Answer {
    let balance = wallet(view)?.balance();
    let mine = Balance {
        trusted: bitcoins(balance.spendable()),
        untrusted_pending: bitcoins(balance.untrusted_pending),
        immature: bitcoins(balance.immature),
    };
    answer(&Balances {
        mine,
        lastprocessedblock: last_processed(view),
    })
}

pub(super) fn getwalletinfo(view: &View<'_>, _: &Params) -> Answer {
    let wallet = wallet(view)?;
    let balance = wallet.balance();
    answer(&WalletInfo {
        walletname: String::new(),
        walletversion: WALLET_VERSION,
        format: "redb".to_owned(),
        balance: bitcoins(balance.spendable()),
        unconfirmed_balance: bitcoins(balance.untrusted_pending),
        immature_balance: bitcoins(balance.immature),
        txcount: wallet.transactions().len() as u64,
        keypoolsize: 0,
        paytxfee: 0.0,
        private_keys_enabled: true,
        avoid_reuse: false,
        scanning: false,
        descriptors: true,
        external_signer: false,
        blank: false,
        lastprocessedblock: last_processed(view),
    })
}

pub(super) fn sendtoaddress(view: &View<'_>, params: &Params) -> Result<Command, RpcError> {
    wallet(view)?;
    let script = script_of(params.required_text(0)?)?;
    let amount = params.amount(1)?.unwrap_or_default();
    if amount == bitcoin::Amount::ZERO {
        return Err(RpcError::new(code::TYPE_ERROR, "Invalid amount for send"));
    }
    if params.flag(4)? == Some(true) {
        let text = "subtractfeefromamount is not supported";
        return Err(RpcError::new(code::INVALID_PARAMETER, text));
    }
    let fee_rate = params.count(9)?.map(u64::from);
    if fee_rate == Some(0) {
        let text = "Invalid fee_rate: at least 1 satoshi per virtual byte";
        return Err(RpcError::new(code::INVALID_PARAMETER, text));
    }
    Ok(Command::SendToAddress {
        script,
        amount,
        fee_rate,
    })
}

pub(super) fn sent(reply: Reply) -> Answer {
    match reply {
        Reply::Sent(txid) => answer(&txid),
        other => Err(unexpected(&other)),
    }
}
