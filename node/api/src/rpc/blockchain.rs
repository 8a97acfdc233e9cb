//! Results of the methods that Core's help lists under "Blockchain".

use serde::{Deserialize, Serialize};

use super::rawtransactions::{ScriptPubKey, Transaction};

/// Result of `getblockchaininfo`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BlockchainInfo {
    /// Name of the network, e.g. `regtest`.
    pub chain: String,
    /// Height of the active tip.
    pub blocks: u32,
    /// Height of the best header.
    pub headers: u32,
    /// Active tip.
    pub bestblockhash: String,
    /// Compact target of the tip.
    pub bits: String,
    /// Target of the tip.
    pub target: String,
    /// Difficulty of the tip.
    pub difficulty: f64,
    /// Time of the tip.
    pub time: u32,
    /// Median time of the tip and the ten blocks before it.
    pub mediantime: u32,
    /// Blocks divided by headers: 1 when nothing is missing.
    pub verificationprogress: f64,
    /// Whether blocks of the best header chain are missing.
    pub initialblockdownload: bool,
    /// Expected hashes in the active chain.
    pub chainwork: String,
    /// Bytes of the store on disk.
    pub size_on_disk: u64,
    /// Whether old blocks are deleted: never.
    pub pruned: bool,
    /// What Core would warn of: nothing.
    pub warnings: Vec<String>,
}

/// A block's header and place: result of `getblockheader`, part of that of `getblock`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BlockHeader {
    /// Block hash.
    pub hash: String,
    /// 1 for the active tip, -1 for a block beside the active chain.
    pub confirmations: i64,
    /// Height.
    pub height: u32,
    /// Version.
    pub version: i32,
    /// Version in hex.
    #[serde(rename = "versionHex")]
    pub version_hex: String,
    /// Merkle root of the transactions.
    pub merkleroot: String,
    /// Time.
    pub time: u32,
    /// Median time of the block and the ten before it.
    pub mediantime: u32,
    /// Nonce.
    pub nonce: u32,
    /// Compact target.
    pub bits: String,
    /// Target.
    pub target: String,
    /// Difficulty.
    pub difficulty: f64,
    /// Expected hashes up to and with the block.
    pub chainwork: String,
    /// Number of transactions; 0 when only the header is known.
    #[serde(rename = "nTx")]
    pub n_tx: u32,
    /// The block before; absent for the genesis block.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previousblockhash: Option<String>,
    /// The next block of the active chain; absent at the tip and beside the active chain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nextblockhash: Option<String>,
}

/// Result of `getblock` with verbosity 1 or 2.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Block {
    /// Block hash.
    pub hash: String,
    /// 1 for the active tip, -1 for a block beside the active chain.
    pub confirmations: i64,
    /// Serialised size in bytes.
    pub size: u64,
    /// Size without witnesses.
    pub strippedsize: u64,
    /// Weight (BIP 141).
    pub weight: u64,
    /// Height.
    pub height: u32,
    /// Version.
    pub version: i32,
    /// Version in hex.
    #[serde(rename = "versionHex")]
    pub version_hex: String,
    /// Merkle root of the transactions.
    pub merkleroot: String,
    /// Transactions.
    pub tx: BlockTransactions,
    /// Time.
    pub time: u32,
    /// Median time of the block and the ten before it.
    pub mediantime: u32,
    /// Nonce.
    pub nonce: u32,
    /// Compact target.
    pub bits: String,
    /// Target.
    pub target: String,
    /// Difficulty.
    pub difficulty: f64,
    /// Expected hashes up to and with the block.
    pub chainwork: String,
    /// Number of transactions.
    #[serde(rename = "nTx")]
    pub n_tx: u32,
    /// The block before; absent for the genesis block.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previousblockhash: Option<String>,
    /// The next block of the active chain; absent at the tip and beside the active chain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nextblockhash: Option<String>,
}

/// A block's transactions, as the verbosity asks for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum BlockTransactions {
    /// Verbosity 1.
    Ids(Vec<String>),
    /// Verbosity 2.
    Full(Vec<Transaction>),
}

/// An entry of `getchaintips`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainTip {
    /// Height.
    pub height: u32,
    /// Block hash.
    pub hash: String,
    /// Blocks between it and the active chain; 0 for the active tip.
    pub branchlen: u32,
    /// `active`, `valid-fork`, `valid-headers`, `headers-only` or `invalid`.
    pub status: String,
}

/// Result of `getmempoolinfo`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MempoolInfo {
    /// Whether the pool is loaded: always.
    pub loaded: bool,
    /// Number of transactions.
    pub size: u64,
    /// Sum of their virtual sizes.
    pub bytes: u64,
    /// Memory they take, roughly, in bytes.
    pub usage: u64,
    /// Sum of their fees.
    pub total_fee: f64,
    /// Most bytes the pool may take.
    pub maxmempool: u64,
    /// Lowest fee rate that enters, in bitcoins per 1000 virtual bytes.
    pub mempoolminfee: f64,
    /// Lowest fee rate that is relayed, in the same unit.
    pub minrelaytxfee: f64,
    /// By how much a replacement must pay more, in the same unit.
    pub incrementalrelayfee: f64,
    /// Own transactions that nobody has asked for yet.
    pub unbroadcastcount: u64,
    /// Whether transactions may be replaced without having said so.
    pub fullrbf: bool,
}

/// An entry of `getrawmempool true`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MempoolEntry {
    /// Virtual size.
    pub vsize: u64,
    /// Weight.
    pub weight: u64,
    /// When it entered.
    pub time: u64,
    /// Height of the active tip.
    pub height: u32,
    /// Transactions in the pool that depend on it, itself included.
    pub descendantcount: u64,
    /// Their virtual size.
    pub descendantsize: u64,
    /// Transactions in the pool it depends on, itself included.
    pub ancestorcount: u64,
    /// Their virtual size.
    pub ancestorsize: u64,
    /// Hash with witnesses.
    pub wtxid: String,
    /// Fees.
    pub fees: MempoolFees,
    /// Transactions in the pool it spends from.
    pub depends: Vec<String>,
    /// Transactions in the pool that spend from it.
    pub spentby: Vec<String>,
    /// Whether it says that it may be replaced (BIP 125).
    #[serde(rename = "bip125-replaceable")]
    pub bip125_replaceable: bool,
    /// Whether nobody has asked for it yet.
    pub unbroadcast: bool,
}

/// Fees of a transaction in the mempool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MempoolFees {
    /// Its own.
    pub base: f64,
    /// The same: there is no `prioritisetransaction`.
    pub modified: f64,
    /// With those of its ancestors.
    pub ancestor: f64,
    /// With those of its descendants.
    pub descendant: f64,
}

/// Result of `gettxout`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TxOut {
    /// Active tip.
    pub bestblock: String,
    /// 0 for an output of a transaction in the mempool.
    pub confirmations: u32,
    /// Amount.
    pub value: f64,
    /// Who may spend it.
    #[serde(rename = "scriptPubKey")]
    pub script_pubkey: ScriptPubKey,
    /// Whether a coinbase created it.
    pub coinbase: bool,
}

/// Result of `gettxoutsetinfo`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TxOutSetInfo {
    /// Height of the active tip.
    pub height: u32,
    /// Active tip.
    pub bestblock: String,
    /// Unspent outputs.
    pub txouts: u64,
    /// Core's measure of size that does not depend on the store.
    pub bogosize: u64,
    /// Hash of the whole set; absent with `hash_type` `none`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash_serialized_3: Option<String>,
    /// Sum of all unspent outputs.
    pub total_amount: f64,
    /// Transactions with unspent outputs.
    pub transactions: u64,
    /// Bytes of the store on disk.
    pub disk_size: u64,
}
