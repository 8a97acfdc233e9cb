//! What becomes of blocks, headers and transactions, wherever they come from.

use std::sync::Arc;

use bitcoin::{Block, Transaction, Txid, block::Header};
use netsplit_api::event::{BlockSource, Event};
use rand_core::Rng as _;

use super::{Node, keeps_blocks};
use crate::{
    chain::{BlockOutcome, HeaderError, Tip, TipChange},
    io::ConnId,
    mempool::{Accepted, RejectKind, TxReject},
    miner,
    store::StoreError,
    sync::{Turn, headers::MAX_HEADERS},
    time::Now,
    wallet::WalletError,
};

/// A block that nobody asked for is looked at if it is at most this far below the tip.
const UNASKED_DEPTH: u32 = 288;

/// The wallet's own mistakes stop the node like the store's: its data are gone.
fn store_error(error: WalletError) -> StoreError {
    match error {
        WalletError::Store(error) => error,
        other => StoreError(other.to_string()),
    }
}

impl Node {
    /// The tip that peers are told of: of blocks, or of headers for a node that keeps nothing else.
    pub(super) fn best_tip(&self) -> Tip {
        if keeps_blocks(&self.config) {
            self.chain.tip()
        } else {
            self.chain.best_header()
        }
    }

    pub(super) fn received_headers(&mut self, conn: ConnId, headers: &[Header], now: Now) {
        if headers.len() > MAX_HEADERS {
            self.out
                .misbehaved(conn, format!("{} headers in one message", headers.len()));
            return;
        }
        if headers
            .windows(2)
            .any(|pair| pair[1].prev_blockhash != pair[0].block_hash())
        {
            self.out
                .misbehaved(conn, "headers do not follow each other");
            return;
        }
        let before = self.chain.best_header();
        let result = self.chain.accept_headers(&mut self.db, headers, now.wall);
        if let Err(HeaderError::Invalid { hash, reason, .. }) = &result {
            let peer = self.roster.get(conn).map(|connection| connection.id);
            let (hash, reason) = (hash.to_string(), reason.clone());
            self.out.event(Event::BlockRejected { hash, reason, peer });
        }
        if let Some(last) = headers.last() {
            self.relay.has_block(conn, &last.block_hash(), &self.chain);
        }
        let mut turn = Turn {
            now: now.mono,
            chain: &self.chain,
            out: &mut self.out,
        };
        self.sync
            .received_headers(conn, headers, &result, &mut turn);
        let best = self.chain.best_header();
        if !keeps_blocks(&self.config) && best.hash != before.hash {
            self.relay.header_changed(best, &self.chain, &mut self.out);
        }
    }

    pub(super) fn received_block(
        &mut self,
        conn: ConnId,
        block: &Block,
        now: Now,
    ) -> Result<(), StoreError> {
        let hash = block.block_hash();
        let asked = self.sync.received_block(conn, &hash, now.mono);
        if !keeps_blocks(&self.config) || !(asked || self.is_recent(block)) {
            return Ok(());
        }
        let Some(id) = self.roster.get(conn).map(|connection| connection.id) else {
            return Ok(());
        };
        match self.take_block(block, BlockSource::Peer(id), now)? {
            BlockOutcome::Accepted { .. } => {
                if let Some(connection) = self.roster.get_mut(conn) {
                    connection.traffic.last_block = Some(now.wall);
                }
            }
            BlockOutcome::Duplicate => {}
            BlockOutcome::MissingParent(_) => {
                let mut turn = Turn {
                    now: now.mono,
                    chain: &self.chain,
                    out: &mut self.out,
                };
                self.sync.block_unconnected(conn, &hash, &mut turn);
            }
            BlockOutcome::Invalid { reason, .. } => {
                if reason != "time-too-new" {
                    self.out
                        .misbehaved(conn, format!("invalid block: {reason}"));
                }
            }
        }
        Ok(())
    }

    /// Whether an unasked block may matter: its parent is unknown or not far below the tip.
    fn is_recent(&self, block: &Block) -> bool {
        let parent = self.chain.header(&block.header.prev_blockhash);
        parent.is_none_or(|info| info.height + UNASKED_DEPTH >= self.chain.tip().height)
    }

    /// Judges a block and draws all consequences.
    pub(super) fn take_block(
        &mut self,
        block: &Block,
        source: BlockSource,
        now: Now,
    ) -> Result<BlockOutcome, StoreError> {
        let outcome = self.chain.accept_block(&mut self.db, block, now.wall)?;
        let hash = block.block_hash();
        match &outcome {
            BlockOutcome::Accepted { height, change } => {
                self.out.event(Event::BlockAccepted {
                    hash: hash.to_string(),
                    previous: block.header.prev_blockhash.to_string(),
                    height: *height,
                    source,
                    transactions: u32::try_from(block.txdata.len()).unwrap_or(u32::MAX),
                    size: u32::try_from(block.total_size()).unwrap_or(u32::MAX),
                });
                let sender = self.sender_of(source);
                if let Some(conn) = sender {
                    self.relay.has_block(conn, &hash, &self.chain);
                }
                if let Some(change) = change {
                    self.tip_changed(change, now)?;
                }
            }
            BlockOutcome::Invalid { reason, .. } => {
                let peer = match source {
                    BlockSource::Peer(id) => Some(id),
                    BlockSource::Mined | BlockSource::Rpc => None,
                };
                let (hash, reason) = (hash.to_string(), reason.clone());
                self.out.event(Event::BlockRejected { hash, reason, peer });
            }
            BlockOutcome::Duplicate | BlockOutcome::MissingParent(_) => return Ok(outcome),
        }
        let mut turn = Turn {
            now: now.mono,
            chain: &self.chain,
            out: &mut self.out,
        };
        self.sync.chain_changed(&mut turn);
        Ok(outcome)
    }

    fn sender_of(&self, source: BlockSource) -> Option<ConnId> {
        match source {
            BlockSource::Peer(id) => self.roster.by_id(id),
            BlockSource::Mined | BlockSource::Rpc => None,
        }
    }

    fn tip_changed(&mut self, change: &TipChange, now: Now) -> Result<(), StoreError> {
        let dropped = self.mempool.on_tip_change(&self.chain, &self.db, change)?;
        if let Some(wallet) = &mut self.wallet {
            wallet
                .on_tip_change(&self.chain, &mut self.db, change)
                .map_err(store_error)?;
        }
        self.dropped(&dropped, now)?;
        self.wanted.tip_changed();
        if !change.disconnected.is_empty() {
            self.out.event(Event::ChainReorganised {
                from: change.from.hash.to_string(),
                to: change.to.hash.to_string(),
                fork_height: change.fork_height,
                disconnected: u32::try_from(change.disconnected.len()).unwrap_or(u32::MAX),
                connected: u32::try_from(change.connected.len()).unwrap_or(u32::MAX),
            });
        }
        self.out.event(Event::TipChanged {
            hash: change.to.hash.to_string(),
            height: change.to.height,
            previous: change.from.hash.to_string(),
        });
        self.relay.tip_changed(change, &self.chain, &mut self.out);
        self.announce_returned(change)
    }

    /// What only blocks held that have left is news to those who were on the other branch.
    fn announce_returned(&mut self, change: &TipChange) -> Result<(), StoreError> {
        let mut returned = Vec::new();
        for hash in change.disconnected.iter().rev() {
            let block = self.chain.block(&self.db, hash)?;
            let ids = block.iter().flat_map(|block| &block.txdata);
            returned.extend(ids.map(Transaction::compute_txid));
        }
        returned.retain(|txid| self.mempool.contains(txid));
        // One that was told of it may have asked while a block held it, and so got nothing.
        self.relay.announce_again(&returned, &mut self.out);
        Ok(())
    }

    fn dropped(&mut self, txids: &[Txid], now: Now) -> Result<(), StoreError> {
        match &mut self.wallet {
            Some(wallet) if !txids.is_empty() => wallet
                .on_dropped(&mut self.db, txids, now.wall)
                .map_err(store_error),
            Some(_) | None => Ok(()),
        }
    }

    pub(super) fn received_transaction(
        &mut self,
        conn: ConnId,
        tx: Transaction,
        now: Now,
    ) -> Result<(), StoreError> {
        let txid = tx.compute_txid();
        self.relay.has_transaction(conn, &txid);
        if !keeps_blocks(&self.config) {
            return Ok(());
        }
        let parents: Vec<Txid> = tx
            .input
            .iter()
            .map(|input| input.previous_output.txid)
            .collect();
        // An id says nothing of the witnesses, which anybody on the way may have replaced.
        let is_malleable = tx.input.iter().any(|input| !input.witness.is_empty());
        match self.take_transaction(tx, Some(conn), now)? {
            Ok(_) => {
                if let Some(connection) = self.roster.get_mut(conn) {
                    connection.traffic.last_transaction = Some(now.wall);
                }
            }
            Err(reject) => {
                match reject.kind {
                    RejectKind::Policy | RejectKind::Invalid if is_malleable => {
                        let out = &mut self.out;
                        self.wanted.spoiled(conn, &txid, now.mono, out);
                    }
                    RejectKind::Policy | RejectKind::Invalid | RejectKind::Conflict => {
                        self.wanted.received(&txid);
                        self.wanted.refuse(txid);
                    }
                    RejectKind::Known => self.wanted.received(&txid),
                    RejectKind::MissingInputs => {
                        self.wanted.received(&txid);
                        self.ask_parents(conn, txid, parents);
                    }
                }
                if reject.kind == RejectKind::Invalid {
                    let reason = format!("invalid transaction: {}", reject.reason);
                    self.out.misbehaved(conn, reason);
                }
            }
        }
        self.wanted.go_on(conn, now.mono, &mut self.out);
        Ok(())
    }

    fn ask_parents(&mut self, conn: ConnId, txid: Txid, mut parents: Vec<Txid>) {
        parents.retain(|parent| !self.mempool.contains(parent));
        parents.sort_unstable();
        parents.dedup();
        self.wanted.ask_parents(conn, txid, &parents, &mut self.out);
    }

    /// Judges a transaction and draws all consequences.
    pub(super) fn take_transaction(
        &mut self,
        tx: Transaction,
        from: Option<ConnId>,
        now: Now,
    ) -> Result<Result<Accepted, TxReject>, StoreError> {
        let txid = tx.compute_txid();
        let peer = from
            .and_then(|conn| self.roster.get(conn))
            .map(|connection| connection.id);
        let result = self.mempool.accept(&self.chain, &self.db, tx, now.wall)?;
        match &result {
            Ok(accepted) => {
                self.out.event(Event::TransactionAccepted {
                    txid: txid.to_string(),
                    peer,
                });
                let tx = self.mempool.get(&txid).map(|entry| Arc::clone(&entry.tx));
                if let (Some(wallet), Some(tx)) = (&mut self.wallet, tx) {
                    wallet
                        .on_transaction(&mut self.db, &tx, now.wall)
                        .map_err(store_error)?;
                }
                self.dropped(&accepted.evicted, now)?;
                self.wanted.received(&txid);
                self.relay.transaction_accepted(&txid, &mut self.out);
            }
            Err(reject) if reject.kind == RejectKind::Known => {}
            Err(reject) => {
                let (txid, reason) = (txid.to_string(), reject.reason.clone());
                self.out
                    .event(Event::TransactionRejected { txid, reason, peer });
            }
        }
        Ok(result)
    }

    /// Announces own payments that no block holds to everyone, once more.
    pub(super) fn rebroadcast(&mut self, now: Now) -> Result<(), StoreError> {
        let Some(wallet) = &self.wallet else {
            return Ok(());
        };
        let mut waiting = Vec::new();
        for tx in wallet.unconfirmed() {
            let txid = tx.compute_txid();
            if self.mempool.contains(&txid) {
                waiting.push(txid);
            } else {
                let _rejected_again = self.take_transaction(Transaction::clone(&tx), None, now)?;
            }
        }
        self.relay.announce_again(&waiting, &mut self.out);
        Ok(())
    }

    /// Finds a block if it is time.
    pub(super) fn mine_if_due(&mut self, now: Now) -> Result<(), StoreError> {
        let Some(mining) = &mut self.mining else {
            return Ok(());
        };
        if mining.schedule.next() > now.mono {
            return Ok(());
        }
        mining.schedule.advance(now.mono);
        let payee = mining.payee.clone();
        self.mine(&payee, now)?;
        Ok(())
    }

    /// Builds a block on the tip that pays to `payee`, and takes it.
    pub(super) fn mine(
        &mut self,
        payee: &bitcoin::Script,
        now: Now,
    ) -> Result<(bitcoin::BlockHash, BlockOutcome), StoreError> {
        let extranonce = self.extranonce.next_u64();
        let block = miner::build_block(&self.chain, &self.mempool, payee, now.wall, extranonce);
        let outcome = self.take_block(&block, BlockSource::Mined, now)?;
        Ok((block.block_hash(), outcome))
    }
}
