//! Results of the methods that Core's help lists under "Wallet".

use serde::{Deserialize, Serialize};

/// Result of `getbalances`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Balances {
    /// Coins of the wallet's own keys.
    pub mine: Balance,
    /// As of which block.
    pub lastprocessedblock: LastProcessedBlock,
}

/// Coins by how far they can be relied upon.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Balance {
    /// Confirmed, or own change.
    pub trusted: f64,
    /// Sent by others and not confirmed yet.
    pub untrusted_pending: f64,
    /// Coinbases that are not spendable yet.
    pub immature: f64,
}

/// The block up to which a wallet knows the chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastProcessedBlock {
    /// Block hash.
    pub hash: String,
    /// Height.
    pub height: u32,
}

/// Result of `getwalletinfo`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WalletInfo {
    /// Always empty: there is one wallet.
    pub walletname: String,
    /// Core's number for wallets with descriptors.
    pub walletversion: u32,
    /// How keys are kept.
    pub format: String,
    /// Trusted coins.
    pub balance: f64,
    /// Pending coins.
    pub unconfirmed_balance: f64,
    /// Immature coins.
    pub immature_balance: f64,
    /// Transactions that concern the wallet.
    pub txcount: u64,
    /// Keys derived ahead: none are needed.
    pub keypoolsize: u64,
    /// Fee rate set by the user: none.
    pub paytxfee: f64,
    /// Whether it can sign.
    pub private_keys_enabled: bool,
    /// Whether addresses are never spent from twice.
    pub avoid_reuse: bool,
    /// Whether it is looking through old blocks: never.
    pub scanning: bool,
    /// Whether it is made of descriptors.
    pub descriptors: bool,
    /// Whether keys are in a device.
    pub external_signer: bool,
    /// Whether it has no keys.
    pub blank: bool,
    /// As of which block.
    pub lastprocessedblock: LastProcessedBlock,
}
