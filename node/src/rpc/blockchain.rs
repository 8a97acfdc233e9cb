//! Methods that Core's help lists under "Blockchain".

use std::collections::BTreeMap;

use bitcoin::{BlockHash, OutPoint, Txid, consensus::encode::serialize_hex};
use netsplit_api::rpc::{
    RpcError,
    blockchain::{
        BlockTransactions, BlockchainInfo, ChainTip, MempoolEntry, MempoolFees, MempoolInfo, TxOut,
        TxOutSetInfo,
    },
    code,
};
use netsplit_core::{
    chain::{BlockStatus, HeaderInfo},
    mempool::{DEFAULT_CAPACITY, Entry, MIN_RELAY_FEE},
};

use super::{Answer, Params, View, answer, encode, store_error};
use crate::store;

/// Memory an entry of the mempool takes beside its transaction, roughly.
const ENTRY_OVERHEAD: u64 = 400;

fn not_found(text: &str) -> RpcError {
    RpcError::new(code::INVALID_ADDRESS_OR_KEY, text)
}

fn known_header(view: &View<'_>, hash: &BlockHash) -> Result<HeaderInfo, RpcError> {
    view.node
        .chain()
        .header(hash)
        .ok_or_else(|| not_found("Block not found"))
}

/// A stored block and its place in the tree.
pub(super) fn known_block(
    view: &View<'_>,
    hash: &BlockHash,
) -> Result<(HeaderInfo, bitcoin::Block), RpcError> {
    let info = known_header(view, hash)?;
    let block = view
        .node
        .chain()
        .block(view.node.db(), hash)
        .map_err(store_error)?;
    let block = block.ok_or_else(|| {
        RpcError::new(
            code::MISC_ERROR,
            "Block not available (not fully downloaded)",
        )
    })?;
    Ok((info, block))
}

pub(super) fn getblockchaininfo(view: &View<'_>, _: &Params) -> Answer {
    let chain = view.node.chain();
    let (tip, best) = (chain.tip(), chain.best_header());
    let header = known_header(view, &tip.hash)?.header;
    answer(&BlockchainInfo {
        chain: encode::NETWORK.to_core_arg().to_owned(),
        blocks: tip.height,
        headers: best.height,
        bestblockhash: tip.hash.to_string(),
        bits: format!("{:08x}", header.bits.to_consensus()),
        target: hex::encode(header.target().to_be_bytes()),
        difficulty: encode::difficulty(header.bits),
        time: header.time,
        mediantime: chain.median_time_past(&tip.hash).unwrap_or(header.time),
        verificationprogress: progress(tip.height, best.height),
        initialblockdownload: tip.height < best.height,
        chainwork: hex::encode(tip.work.to_be_bytes()),
        size_on_disk: store_size(view),
        pruned: false,
        warnings: Vec::new(),
    })
}

fn progress(blocks: u32, headers: u32) -> f64 {
    if blocks >= headers {
        1.0
    } else {
        f64::from(blocks + 1) / f64::from(headers + 1)
    }
}

/// Bytes of the store's file; holes that take no room on the disk are counted.
fn store_size(view: &View<'_>) -> u64 {
    let file = std::path::Path::new(&view.config.data_dir).join(store::FILE_NAME);
    std::fs::metadata(file).map_or(0, |metadata| metadata.len())
}

pub(super) fn getbestblockhash(view: &View<'_>, _: &Params) -> Answer {
    answer(&view.node.chain().tip().hash)
}

pub(super) fn getblockcount(view: &View<'_>, _: &Params) -> Answer {
    answer(&view.node.chain().tip().height)
}

pub(super) fn getblockhash(view: &View<'_>, params: &Params) -> Answer {
    let out_of_range = || RpcError::new(code::INVALID_PARAMETER, "Block height out of range");
    let height = params
        .integer(0)?
        .and_then(|height| u32::try_from(height).ok());
    let hash = height.and_then(|height| view.node.chain().hash_at(height));
    answer(&hash.ok_or_else(out_of_range)?)
}

pub(super) fn getblock(view: &View<'_>, params: &Params) -> Answer {
    let hash = params.block_hash(0)?;
    let verbosity = params.verbosity(1, 1)?;
    let (info, block) = known_block(view, &hash)?;
    if verbosity <= 0 {
        return answer(&serialize_hex(&block));
    }
    let transactions = if verbosity == 1 {
        let ids = block.txdata.iter().map(|tx| tx.compute_txid().to_string());
        BlockTransactions::Ids(ids.collect())
    } else {
        BlockTransactions::Full(block.txdata.iter().map(encode::transaction).collect())
    };
    answer(&encode::block(
        view.node.chain(),
        &info,
        &block,
        transactions,
    ))
}

pub(super) fn getblockheader(view: &View<'_>, params: &Params) -> Answer {
    let hash = params.block_hash(0)?;
    let info = known_header(view, &hash)?;
    if params.flag(1)? == Some(false) {
        return answer(&serialize_hex(&info.header));
    }
    let block = match info.status {
        BlockStatus::HeaderOnly => None,
        _ => view
            .node
            .chain()
            .block(view.node.db(), &hash)
            .map_err(store_error)?,
    };
    let transactions = block.map_or(0, |block| block.txdata.len());
    let transactions = u32::try_from(transactions).unwrap_or(u32::MAX);
    answer(&encode::header(view.node.chain(), &info, transactions))
}

pub(super) fn getchaintips(view: &View<'_>, _: &Params) -> Answer {
    let tip = |tip: netsplit_core::chain::ChainTip| ChainTip {
        height: tip.height,
        hash: tip.hash.to_string(),
        branchlen: tip.branch_length,
        status: tip.status.as_str().to_owned(),
    };
    answer(
        &view
            .node
            .chain()
            .tips()
            .into_iter()
            .map(tip)
            .collect::<Vec<_>>(),
    )
}

/// The lowest relayed fee rate, in bitcoins per 1000 virtual bytes.
pub(super) fn relay_fee() -> f64 {
    encode::bitcoins(bitcoin::Amount::from_sat(MIN_RELAY_FEE * 1000))
}

pub(super) fn getmempoolinfo(view: &View<'_>, _: &Params) -> Answer {
    let mempool = view.node.mempool();
    let size = mempool.len() as u64;
    answer(&MempoolInfo {
        loaded: true,
        size,
        bytes: mempool.iter().map(|(_, entry)| entry.vsize).sum(),
        usage: mempool.bytes() as u64 + size * ENTRY_OVERHEAD,
        total_fee: encode::bitcoins(mempool.iter().map(|(_, entry)| entry.fee).sum()),
        maxmempool: DEFAULT_CAPACITY as u64,
        mempoolminfee: relay_fee(),
        minrelaytxfee: relay_fee(),
        incrementalrelayfee: relay_fee(),
        unbroadcastcount: 0,
        fullrbf: false,
    })
}

pub(super) fn getrawmempool(view: &View<'_>, params: &Params) -> Answer {
    let mempool = view.node.mempool();
    if params.flag(0)? == Some(true) {
        let entry = |(txid, entry)| (ToString::to_string(txid), mempool_entry(view, txid, entry));
        return answer(&mempool.iter().map(entry).collect::<BTreeMap<_, _>>());
    }
    answer(
        &mempool
            .iter()
            .map(|(txid, _)| txid.to_string())
            .collect::<Vec<_>>(),
    )
}

pub(super) fn getmempoolentry(view: &View<'_>, params: &Params) -> Answer {
    let txid = params.txid(0)?;
    let entry = view.node.mempool().get(&txid);
    let entry = entry.ok_or_else(|| not_found("Transaction not in mempool"))?;
    answer(&mempool_entry(view, &txid, entry))
}

fn mempool_entry(view: &View<'_>, txid: &Txid, entry: &Entry) -> MempoolEntry {
    let mempool = view.node.mempool();
    let parents = entry
        .tx
        .input
        .iter()
        .map(|input| input.previous_output.txid);
    let mut depends: Vec<String> = parents
        .filter(|txid| mempool.contains(txid))
        .map(|txid| txid.to_string())
        .collect();
    depends.sort_unstable();
    depends.dedup();
    let outputs = u32::try_from(entry.tx.output.len()).unwrap_or(u32::MAX);
    let outpoints = (0..outputs).map(|vout| OutPoint { txid: *txid, vout });
    let mut spentby: Vec<String> = outpoints
        .filter_map(|outpoint| mempool.spender(&outpoint))
        .map(ToString::to_string)
        .collect();
    spentby.sort_unstable();
    spentby.dedup();
    MempoolEntry {
        vsize: entry.vsize,
        weight: entry.weight.to_wu(),
        time: u64::from(entry.time.seconds()),
        height: entry.height,
        descendantcount: entry.descendants.count as u64,
        descendantsize: entry.descendants.vsize,
        ancestorcount: entry.ancestors.count as u64,
        ancestorsize: entry.ancestors.vsize,
        wtxid: entry.wtxid.to_string(),
        fees: MempoolFees {
            base: encode::bitcoins(entry.fee),
            modified: encode::bitcoins(entry.fee),
            ancestor: encode::bitcoins(entry.ancestors.fee),
            descendant: encode::bitcoins(entry.descendants.fee),
        },
        depends,
        spentby,
        bip125_replaceable: entry.tx.is_explicitly_rbf(),
        unbroadcast: false,
    }
}

pub(super) fn gettxout(view: &View<'_>, params: &Params) -> Answer {
    let txid = params.txid(0)?;
    let vout = params.count(1)?.unwrap_or_default();
    let outpoint = OutPoint { txid, vout };
    let (chain, mempool) = (view.node.chain(), view.node.mempool());
    let tip = chain.tip();
    let found = |output: &bitcoin::TxOut, confirmations, coinbase| {
        answer(&TxOut {
            bestblock: tip.hash.to_string(),
            confirmations,
            value: encode::bitcoins(output.value),
            script_pubkey: encode::script_pubkey(&output.script_pubkey),
            coinbase,
        })
    };
    if params.flag(2)? != Some(false) {
        if mempool.spender(&outpoint).is_some() {
            return answer(&());
        }
        let output = mempool
            .get(&txid)
            .and_then(|entry| entry.tx.output.get(vout as usize));
        if let Some(output) = output {
            return found(output, 0, false);
        }
    }
    match chain.coin(view.node.db(), &outpoint).map_err(store_error)? {
        Some(coin) => found(&coin.output, tip.height + 1 - coin.height, coin.coinbase),
        None => answer(&()),
    }
}

pub(super) fn gettxoutsetinfo(view: &View<'_>, params: &Params) -> Answer {
    let with_hash = match params.text(0)?.unwrap_or("hash_serialized_3") {
        "hash_serialized_3" => true,
        "none" => false,
        other => {
            let text = format!("'{other}' is not a valid hash_type");
            return Err(RpcError::new(code::INVALID_PARAMETER, text));
        }
    };
    let chain = view.node.chain();
    let tip = chain.tip();
    let stats = chain.coin_stats(view.node.db()).map_err(store_error)?;
    answer(&TxOutSetInfo {
        height: tip.height,
        bestblock: tip.hash.to_string(),
        txouts: stats.txouts,
        bogosize: stats.bogosize,
        hash_serialized_3: with_hash.then(|| stats.hash.to_string()),
        total_amount: encode::bitcoins(stats.total),
        transactions: stats.transactions,
        disk_size: store_size(view),
    })
}
