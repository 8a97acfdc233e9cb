//! Methods that Core's help lists under "Rawtransactions".

use bitcoin::{
    BlockHash, Transaction, Txid,
    consensus::encode::{deserialize_hex, serialize_hex},
};
use netsplit_api::rpc::{RpcError, code};
use netsplit_core::{
    chain::HeaderInfo,
    io::{Command, Reply},
};

use super::{
    Answer, Params, View, answer, blockchain::known_block, encode, store_error, unexpected,
};

pub(super) fn sendrawtransaction(_: &View<'_>, params: &Params) -> Result<Command, RpcError> {
    let transaction: Transaction = deserialize_hex(params.required_text(0)?).map_err(|_| {
        let text = "TX decode failed. Make sure the tx has at least one input.";
        RpcError::new(code::DESERIALIZATION_ERROR, text)
    })?;
    Ok(Command::SendRawTransaction(Box::new(transaction)))
}

pub(super) fn sent(reply: Reply) -> Answer {
    match reply {
        Reply::Sent(txid) => answer(&txid),
        other => Err(unexpected(&other)),
    }
}

pub(super) fn getrawtransaction(view: &View<'_>, params: &Params) -> Answer {
    let txid = params.txid(0)?;
    let verbosity = params.verbosity(1, 0)?;
    let wanted: Option<BlockHash> = params.hash(2)?;
    let (transaction, block) = match wanted {
        Some(hash) => in_block(view, &txid, &hash)?,
        None => anywhere(view, &txid)?,
    };
    if verbosity <= 0 {
        return answer(&serialize_hex(&transaction));
    }
    let mut result = encode::transaction(&transaction);
    if let Some(info) = block {
        let confirmations = encode::place(view.node.chain(), &info).confirmations;
        result.in_active_chain = wanted.is_some().then_some(confirmations > 0);
        result.blockhash = Some(info.header.block_hash().to_string());
        result.confirmations = Some(u32::try_from(confirmations).unwrap_or(0));
        result.time = Some(info.header.time);
        result.blocktime = Some(info.header.time);
    }
    answer(&result)
}

type Found = (Transaction, Option<HeaderInfo>);

fn in_block(view: &View<'_>, txid: &Txid, hash: &BlockHash) -> Result<Found, RpcError> {
    if view.node.chain().header(hash).is_none() {
        return Err(RpcError::new(
            code::INVALID_ADDRESS_OR_KEY,
            "Block hash not found",
        ));
    }
    let (info, block) = known_block(view, hash)?;
    let transaction = block
        .txdata
        .into_iter()
        .find(|tx| tx.compute_txid() == *txid);
    let transaction = transaction.ok_or_else(|| {
        let text = "No such transaction found in the provided block. Use gettransaction for wallet transactions.";
        RpcError::new(code::INVALID_ADDRESS_OR_KEY, text)
    })?;
    Ok((transaction, Some(info)))
}

/// There is no index: the mempool first, then the active chain from its tip down.
fn anywhere(view: &View<'_>, txid: &Txid) -> Result<Found, RpcError> {
    if let Some(entry) = view.node.mempool().get(txid) {
        return Ok((entry.tx.as_ref().clone(), None));
    }
    let chain = view.node.chain();
    let heights = (0..=chain.tip().height).rev();
    // Core does not find the genesis block's transaction either.
    for hash in heights
        .filter(|height| *height > 0)
        .filter_map(|height| chain.hash_at(height))
    {
        let Some(block) = chain.block(view.node.db(), &hash).map_err(store_error)? else {
            continue;
        };
        if let Some(found) = block
            .txdata
            .into_iter()
            .find(|tx| tx.compute_txid() == *txid)
        {
            return Ok((found, chain.header(&hash)));
        }
    }
    let text =
        "No such mempool or blockchain transaction. Use gettransaction for wallet transactions.";
    Err(RpcError::new(code::INVALID_ADDRESS_OR_KEY, text))
}
