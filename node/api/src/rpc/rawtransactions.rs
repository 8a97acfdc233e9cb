//! Results of the methods that Core's help lists under "Rawtransactions".

use serde::{Deserialize, Serialize};

/// A decoded transaction: result of `getrawtransaction` with verbosity 1, part of that of `getblock` with verbosity 2.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Transaction {
    /// Whether the block that was asked for is in the active chain; absent if none was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_active_chain: Option<bool>,
    /// Transaction id.
    pub txid: String,
    /// Hash with witnesses.
    pub hash: String,
    /// Version.
    pub version: i32,
    /// Serialised size.
    pub size: u64,
    /// Virtual size.
    pub vsize: u64,
    /// Weight.
    pub weight: u64,
    /// Lock time.
    pub locktime: u32,
    /// Inputs.
    pub vin: Vec<Input>,
    /// Outputs.
    pub vout: Vec<Output>,
    /// Serialised.
    pub hex: String,
    /// The block it is in; absent in the mempool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blockhash: Option<String>,
    /// Depth of that block; 0 beside the active chain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmations: Option<u32>,
    /// Time of that block.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<u32>,
    /// Time of that block.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocktime: Option<u32>,
}

/// An input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    /// Script of a coinbase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coinbase: Option<String>,
    /// Transaction that is spent; absent for a coinbase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub txid: Option<String>,
    /// Which of its outputs; absent for a coinbase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vout: Option<u32>,
    /// Script; absent for a coinbase.
    #[serde(default, rename = "scriptSig", skip_serializing_if = "Option::is_none")]
    pub script_sig: Option<ScriptSig>,
    /// Witness, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub txinwitness: Option<Vec<String>>,
    /// Sequence number.
    pub sequence: u32,
}

/// An input's script.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScriptSig {
    /// In words.
    pub asm: String,
    /// Serialised.
    pub hex: String,
}

/// An output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Output {
    /// Amount.
    pub value: f64,
    /// Which one, from 0.
    pub n: u32,
    /// Who may spend it.
    #[serde(rename = "scriptPubKey")]
    pub script_pubkey: ScriptPubKey,
}

/// An output's script.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScriptPubKey {
    /// In words.
    pub asm: String,
    /// Serialised.
    pub hex: String,
    /// Address, if there is one for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Kind in Core's words, e.g. `witness_v0_keyhash`.
    #[serde(rename = "type")]
    pub kind: String,
}
