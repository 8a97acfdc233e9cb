//! Methods that Core's help lists under "Mining".

use bitcoin::{Block, ScriptBuf, consensus::encode::deserialize_hex};
use netsplit_api::rpc::{RpcError, code};
use netsplit_core::io::{Command, Reply};

use super::{Answer, Params, View, answer, encode, unexpected};

/// Most blocks of one call: the node does nothing else meanwhile.
const MAX_BLOCKS: u32 = 2000;

pub(super) fn generatetoaddress(_: &View<'_>, params: &Params) -> Result<Command, RpcError> {
    let blocks = params.count(0)?.unwrap_or_default();
    if blocks > MAX_BLOCKS {
        let text = format!("nblocks is at most {MAX_BLOCKS}");
        return Err(RpcError::new(code::INVALID_PARAMETER, text));
    }
    Ok(Command::Generate {
        blocks,
        script: script_of(params.required_text(1)?)?,
    })
}

/// The script of an address of this network.
pub(super) fn script_of(address: &str) -> Result<ScriptBuf, RpcError> {
    let parsed: Option<bitcoin::Address<_>> = address.parse().ok();
    parsed
        .and_then(|address: bitcoin::Address<_>| address.require_network(encode::NETWORK).ok())
        .map(|address| address.script_pubkey())
        .ok_or_else(|| RpcError::new(code::INVALID_ADDRESS_OR_KEY, "Error: Invalid address"))
}

pub(super) fn generated(reply: Reply) -> Answer {
    match reply {
        Reply::Generated(hashes) => answer(&hashes),
        other => Err(unexpected(&other)),
    }
}

pub(super) fn submitblock(_: &View<'_>, params: &Params) -> Result<Command, RpcError> {
    let block: Block = deserialize_hex(params.required_text(0)?)
        .map_err(|_| RpcError::new(code::DESERIALIZATION_ERROR, "Block decode failed"))?;
    if !block
        .txdata
        .first()
        .is_some_and(bitcoin::Transaction::is_coinbase)
    {
        let text = "Block does not start with a coinbase";
        return Err(RpcError::new(code::DESERIALIZATION_ERROR, text));
    }
    Ok(Command::SubmitBlock(Box::new(block)))
}

pub(super) fn submitted(reply: Reply) -> Answer {
    match reply {
        Reply::Submitted(reason) => answer(&reason),
        other => Err(unexpected(&other)),
    }
}
