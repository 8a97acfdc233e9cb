//! Spreading blocks and transactions: to whom and how, never whether they are valid.
//!
//! - [`flood`]: announce to every peer that may not have it.
//! - [`known`]: what a peer has already, within bounds.
//! - [`wanted`]: asking for announced transactions.

use bitcoin::{BlockHash, Txid};
use netsplit_api::config::Relay as Kind;

use crate::{
    chain::{Chain, Tip, TipChange},
    io::ConnId,
    outbox::Outbox,
};

pub(crate) mod flood;
pub(crate) mod known;
pub(crate) mod wanted;

/// A way to spread what is new. Sees what each peer has, and what was accepted.
pub(crate) trait Relay: std::fmt::Debug + Send {
    /// A peer is there; `wants_transactions` as it said in `version`. It is told the `news`: the tip and what waits.
    fn peer_connected(
        &mut self,
        conn: ConnId,
        wants_transactions: bool,
        news: (Tip, Vec<Txid>),
        out: &mut Outbox,
    );

    /// A peer is gone.
    fn peer_disconnected(&mut self, conn: ConnId);

    /// A peer wants new blocks announced by their headers (BIP130).
    fn received_sendheaders(&mut self, conn: ConnId);

    /// A peer has a block.
    fn has_block(&mut self, conn: ConnId, hash: &BlockHash, chain: &Chain);

    /// A peer has a transaction.
    fn has_transaction(&mut self, conn: ConnId, txid: &Txid);

    /// The active chain moved.
    fn tip_changed(&mut self, change: &TipChange, chain: &Chain, out: &mut Outbox);

    /// A node that keeps headers only has a new best one.
    fn header_changed(&mut self, best: Tip, chain: &Chain, out: &mut Outbox);

    /// A transaction entered the mempool: it is announced to those who may not have it.
    fn transaction_accepted(&mut self, txid: &Txid, out: &mut Outbox);

    /// These wait for long: they are announced once more to everyone, for one who refused or lost them may take them now.
    fn announce_again(&mut self, txids: &[Txid], out: &mut Outbox);
}

/// The strategy `kind`.
pub(crate) fn from_config(kind: Kind) -> Box<dyn Relay> {
    match kind {
        Kind::Flood => Box::new(flood::Flood::default()),
    }
}
