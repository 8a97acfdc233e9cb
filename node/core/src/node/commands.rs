//! What the control API may have done. Every command gets exactly one reply.

use bitcoin::{Block, ScriptBuf, Transaction};
use netsplit_api::{
    event::BlockSource,
    rpc::{RpcError, code},
};

use super::{Node, keeps_blocks};
use crate::{
    chain::BlockOutcome,
    io::{AddNode, Command, CommandId, Reply},
    mempool::{RejectKind, TxReject},
    outbox::{Effect, Farewell},
    peers::roster::Link,
    store::StoreError,
    time::Now,
    wallet::WalletError,
};

/// A command's outcome, or the store's failure.
type Outcome = Result<Result<Reply, RpcError>, StoreError>;

fn refusal(code: i32, message: impl Into<String>) -> Outcome {
    Ok(Err(RpcError::new(code, message)))
}

impl Node {
    pub(super) fn command(
        &mut self,
        id: CommandId,
        command: Command,
        now: Now,
    ) -> Result<(), StoreError> {
        let needs_blocks = matches!(
            command,
            Command::SubmitBlock(_) | Command::SendRawTransaction(_) | Command::Generate { .. }
        );
        let result = if needs_blocks && !keeps_blocks(&self.config) {
            Err(RpcError::new(code::MISC_ERROR, "this node keeps no blocks"))
        } else {
            match command {
                Command::AddNode { address, mode } => self.add_node(address, mode, now),
                Command::DisconnectNode { address, peer } => self.disconnect_node(address, peer),
                Command::SubmitBlock(block) => self.submit_block(&block, now)?,
                Command::SendRawTransaction(tx) => self.send_raw_transaction(*tx, now)?,
                Command::Generate { blocks, script } => self.generate(blocks, &script, now)?,
                Command::NewAddress => self.new_address()?,
                Command::SendToAddress {
                    script,
                    amount,
                    fee_rate,
                } => self.send_to_address(script, amount, fee_rate, now)?,
            }
        };
        self.out.push(Effect::Reply(id, result));
        Ok(())
    }

    fn add_node(
        &mut self,
        address: std::net::SocketAddr,
        mode: AddNode,
        now: Now,
    ) -> Result<Reply, RpcError> {
        match mode {
            AddNode::Add => {
                if !self.connections.add(address, now.mono) {
                    let message = "Error: Node already added";
                    return Err(RpcError::new(code::CLIENT_NODE_ALREADY_ADDED, message));
                }
                if !self.roster.knows(address) {
                    self.dial(address, Link::Manual, now);
                }
            }
            AddNode::Remove => {
                if !self.connections.remove(address) {
                    let message =
                        "Error: Node could not be removed. It has not been added previously.";
                    return Err(RpcError::new(code::CLIENT_NODE_NOT_ADDED, message));
                }
            }
            AddNode::OneTry => {
                if !self.roster.knows(address) {
                    self.dial(address, Link::Manual, now);
                }
            }
        }
        Ok(Reply::Done)
    }

    fn disconnect_node(
        &mut self,
        address: Option<std::net::SocketAddr>,
        peer: Option<u64>,
    ) -> Result<Reply, RpcError> {
        let conn = match (address, peer) {
            (Some(address), _) => {
                let same = |c: &crate::peers::roster::Connection| {
                    c.remote == address || c.listens_at == Some(address)
                };
                self.roster
                    .iter()
                    .find(|(_, c)| same(c))
                    .map(|(conn, _)| conn)
            }
            (None, Some(id)) => self.roster.by_id(id),
            (None, None) => None,
        };
        let Some(conn) = conn else {
            let message = "Node not found in connected nodes";
            return Err(RpcError::new(code::CLIENT_NODE_NOT_CONNECTED, message));
        };
        self.out
            .hang_up(conn, Farewell::Surplus("disconnectnode".to_owned()));
        Ok(Reply::Done)
    }

    fn submit_block(&mut self, block: &Block, now: Now) -> Outcome {
        let word = match self.take_block(block, BlockSource::Rpc, now)? {
            BlockOutcome::Accepted {
                change: Some(_), ..
            } => None,
            BlockOutcome::Accepted { change: None, .. } => Some("inconclusive".to_owned()),
            BlockOutcome::Duplicate => Some("duplicate".to_owned()),
            BlockOutcome::MissingParent(_) => Some("prev-blk-not-found".to_owned()),
            BlockOutcome::Invalid { reason, .. } => Some(reason),
        };
        Ok(Ok(Reply::Submitted(word)))
    }

    /// One that waits already is announced again, as Bitcoin Core does.
    fn send_raw_transaction(&mut self, tx: Transaction, now: Now) -> Outcome {
        let txid = tx.compute_txid();
        if self.mempool.contains(&txid) {
            self.relay.transaction_accepted(&txid, &mut self.out);
            return Ok(Ok(Reply::Sent(txid)));
        }
        match self.take_transaction(tx, None, now)? {
            Ok(accepted) => Ok(Ok(Reply::Sent(accepted.txid))),
            Err(reject) => Ok(Err(rejected(reject))),
        }
    }

    fn generate(&mut self, blocks: u32, script: &ScriptBuf, now: Now) -> Outcome {
        let mut hashes = Vec::new();
        for _ in 0..blocks {
            match self.mine(script, now)? {
                (hash, BlockOutcome::Accepted { .. }) => hashes.push(hash),
                (_, BlockOutcome::Invalid { reason, .. }) => {
                    return refusal(code::INTERNAL_ERROR, format!("own block refused: {reason}"));
                }
                (_, BlockOutcome::Duplicate | BlockOutcome::MissingParent(_)) => {
                    return refusal(code::INTERNAL_ERROR, "own block does not extend the chain");
                }
            }
        }
        Ok(Ok(Reply::Generated(hashes)))
    }

    fn new_address(&mut self) -> Outcome {
        let Some(wallet) = &mut self.wallet else {
            return no_wallet();
        };
        match wallet.new_address(&mut self.db) {
            Ok(address) => Ok(Ok(Reply::Address(address))),
            Err(error) => wallet_refused(error),
        }
    }

    fn send_to_address(
        &mut self,
        script: ScriptBuf,
        amount: bitcoin::Amount,
        fee_rate: Option<u64>,
        now: Now,
    ) -> Outcome {
        let Some(wallet) = &mut self.wallet else {
            return no_wallet();
        };
        let tx = match wallet.send(&mut self.db, script, amount, fee_rate) {
            Ok(tx) => tx,
            Err(error) => return wallet_refused(error),
        };
        match self.take_transaction(tx, None, now)? {
            Ok(accepted) => Ok(Ok(Reply::Sent(accepted.txid))),
            Err(reject) => refusal(code::WALLET_ERROR, reject.reason),
        }
    }
}

fn no_wallet() -> Outcome {
    refusal(code::WALLET_NOT_FOUND, "No wallet is loaded")
}

fn wallet_refused(error: WalletError) -> Outcome {
    match error {
        WalletError::Store(error) => Err(error),
        WalletError::InsufficientFunds { .. } => {
            refusal(code::WALLET_INSUFFICIENT_FUNDS, "Insufficient funds")
        }
        other => refusal(code::WALLET_ERROR, other.to_string()),
    }
}

/// Bitcoin Core's code for each kind of refusal.
fn rejected(reject: TxReject) -> RpcError {
    match reject.kind {
        RejectKind::Known => RpcError::new(code::VERIFY_ALREADY_IN_CHAIN, reject.reason),
        RejectKind::MissingInputs => RpcError::new(code::VERIFY_ERROR, reject.reason),
        RejectKind::Conflict | RejectKind::Policy | RejectKind::Invalid => {
            RpcError::new(code::VERIFY_REJECTED, reject.reason)
        }
    }
}
