//! Keys, own coins and payments: `bdk_wallet` fed by the node's own chain and mempool.
//!
//! One BIP 84 account whose keys derive from the node's seed. Its changes are written with the chain's, so that both
//! always agree after a crash. Does not broadcast.

use std::sync::Arc;

use bdk_wallet::{
    KeychainKind,
    chain::{ChainPosition, Indexer as _},
    template::Bip84,
};
use bitcoin::{
    Address, Amount, Block, BlockHash, Network, ScriptBuf, Transaction, Txid, bip32::Xpriv,
};
use rand_chacha::ChaCha12Rng;

use crate::{
    chain::{Chain, TipChange},
    db::Db,
    random,
    store::StoreError,
    time::WallTime,
};

mod history;
mod persist;
mod send;

pub use self::{history::WalletTransaction, send::DEFAULT_FEE_RATE};

/// Why the wallet could not do something.
#[derive(Debug, thiserror::Error)]
pub enum WalletError {
    /// The coins that may be spent now are worth less than payment and fee.
    #[error("insufficient funds: {available} available of {needed} needed")]
    InsufficientFunds {
        /// What payment and fee need.
        needed: Amount,
        /// What may be spent now.
        available: Amount,
    },
    /// The amount is too small to be worth spending.
    #[error("the amount is below the dust limit")]
    Dust,
    /// Anything else about building or signing.
    #[error("the transaction cannot be made: {0}")]
    Build(String),
    /// The wallet's part of the store makes no sense.
    #[error("the wallet's data are damaged: {0}")]
    Damaged(String),
    /// The store failed.
    #[error("the wallet cannot reach its data")]
    Store(#[from] StoreError),
}

/// What the wallet owns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Balance {
    /// In blocks, spendable.
    pub confirmed: Amount,
    /// Unconfirmed change of own transactions, spendable.
    pub trusted_pending: Amount,
    /// Unconfirmed, from others.
    pub untrusted_pending: Amount,
    /// Coinbases that are too young.
    pub immature: Amount,
}

impl Balance {
    /// What can be spent now: Bitcoin Core's `trusted`.
    #[must_use]
    pub fn spendable(&self) -> Amount {
        self.confirmed + self.trusted_pending
    }
}

/// Keys, own coins and payments.
pub struct Wallet {
    inner: bdk_wallet::Wallet,
    master: Xpriv,
    rng: ChaCha12Rng,
    /// Key of the next change in the store.
    next_change: u64,
}

impl Wallet {
    /// The wallet of the node with this `seed`, as `db` holds it or new, brought up to the active tip.
    ///
    /// # Errors
    /// When the store fails or holds another wallet's data.
    pub fn open(seed: &[u8; 32], chain: &Chain, db: &mut Db) -> Result<Self, WalletError> {
        let master = master_key(seed);
        let (external, internal) = descriptors(master);
        let changes = persist::load(db)?;
        let inner = match changes.merged {
            Some(changeset) => bdk_wallet::Wallet::load()
                .descriptor(KeychainKind::External, Some(external))
                .descriptor(KeychainKind::Internal, Some(internal))
                .check_network(Network::Regtest)
                .load_wallet_no_persist(changeset)
                .map_err(|error| WalletError::Damaged(error.to_string()))?
                .ok_or_else(|| WalletError::Damaged("no keychain".into()))?,
            None => bdk_wallet::Wallet::create(external, internal)
                .network(Network::Regtest)
                .create_wallet_no_persist()
                .map_err(|error| WalletError::Damaged(error.to_string()))?,
        };
        let rng = random::stream(seed, "wallet");
        let mut wallet = Self {
            inner,
            master,
            rng,
            next_change: changes.next,
        };
        // Index 0 is the payee of the premine and of the miner: it is in use from the start.
        if wallet
            .inner
            .derivation_index(KeychainKind::External)
            .is_none()
        {
            wallet.inner.reveal_next_address(KeychainKind::External);
        }
        wallet.catch_up(chain, db)?;
        wallet.persist(db)?;
        Ok(wallet)
    }

    /// Applies the active blocks above the last one that the wallet knows.
    fn catch_up(&mut self, chain: &Chain, db: &Db) -> Result<(), WalletError> {
        let known = self
            .inner
            .checkpoints()
            .find(|at| chain.is_active(&at.hash()));
        let from = known.map_or(0, |at| at.height()) + 1;
        for height in from..=chain.tip().height {
            let hash = chain.hash_at(height).expect("at most the tip's height");
            self.connect(chain, db, &hash, height)?;
        }
        Ok(())
    }

    fn connect(
        &mut self,
        chain: &Chain,
        db: &Db,
        hash: &BlockHash,
        height: u32,
    ) -> Result<(), WalletError> {
        let lost = || StoreError(format!("the block {hash} is lost"));
        let block: Block = chain.block(db, hash)?.ok_or_else(lost)?;
        self.inner
            .apply_block(&block, height)
            .map_err(|error| WalletError::Damaged(error.to_string()))
    }

    /// Who is paid at index 0 of the external keychain: premine and mining.
    #[must_use]
    pub fn payee_script(&self) -> ScriptBuf {
        self.inner
            .peek_address(KeychainKind::External, 0)
            .script_pubkey()
    }

    /// A fresh address to be paid at.
    ///
    /// # Errors
    /// When the change cannot be written down.
    pub fn new_address(&mut self, db: &mut Db) -> Result<Address, WalletError> {
        let address = self
            .inner
            .reveal_next_address(KeychainKind::External)
            .address;
        self.persist(db)?;
        Ok(address)
    }

    /// Whether an output script belongs to the wallet.
    #[must_use]
    pub fn is_mine(&self, script: &ScriptBuf) -> bool {
        self.inner.is_mine(script.clone())
    }

    /// Follows the active chain, which has moved already. Own transactions of blocks that left are unconfirmed again,
    /// unless [`on_dropped`](Self::on_dropped) says otherwise.
    ///
    /// # Errors
    /// When the store fails.
    pub fn on_tip_change(
        &mut self,
        chain: &Chain,
        db: &mut Db,
        change: &TipChange,
    ) -> Result<(), WalletError> {
        for (hash, height) in change.connected.iter().zip(change.fork_height + 1..) {
            self.connect(chain, db, hash, height)?;
        }
        self.persist(db)
    }

    /// Takes note of a transaction that entered the mempool; ignores those of others. Answers whether it concerns the
    /// wallet.
    ///
    /// # Errors
    /// When the change cannot be written down.
    pub fn on_transaction(
        &mut self,
        db: &mut Db,
        tx: &Arc<Transaction>,
        now: WallTime,
    ) -> Result<bool, WalletError> {
        if !self.inner.spk_index().is_tx_relevant(tx) {
            return Ok(false);
        }
        // One that was dropped is back only if it was seen after that: seconds are too long to tell.
        let graph = self.inner.tx_graph();
        let dropped = graph.get_last_evicted(tx.compute_txid());
        let seen = dropped.map_or(0, |at| at + 1).max(now.seconds().into());
        self.inner.apply_unconfirmed_txs([(Arc::clone(tx), seen)]);
        self.persist(db)?;
        Ok(true)
    }

    /// Takes note of transactions that left the mempool without being in a block.
    ///
    /// # Errors
    /// When the change cannot be written down.
    pub fn on_dropped(
        &mut self,
        db: &mut Db,
        txids: &[Txid],
        now: WallTime,
    ) -> Result<(), WalletError> {
        let at = u64::from(now.seconds());
        let evicted: Vec<(Txid, u64)> = txids
            .iter()
            .map(|txid| (*txid, self.last_seen(txid).max(at)))
            .collect();
        self.inner.apply_evicted_txs(evicted);
        self.persist(db)
    }

    /// When a transaction was last seen waiting, in seconds; the wallet's clock may have been ahead then.
    fn last_seen(&self, txid: &Txid) -> u64 {
        self.inner
            .tx_graph()
            .get_tx_node(*txid)
            .and_then(|node| node.last_seen)
            .unwrap_or(0)
    }

    /// What the wallet owns at the active tip and in the mempool.
    #[must_use]
    pub fn balance(&self) -> Balance {
        let balance = self.inner.balance();
        Balance {
            confirmed: balance.confirmed,
            trusted_pending: balance.trusted_pending,
            untrusted_pending: balance.untrusted_pending,
            immature: balance.immature,
        }
    }

    /// Height up to which the wallet knows the chain.
    #[must_use]
    pub fn height(&self) -> u32 {
        self.inner.latest_checkpoint().height()
    }

    /// Own payments that no block holds, ancestors first: to be broadcast again.
    #[must_use]
    pub fn unconfirmed(&self) -> Vec<Arc<Transaction>> {
        let mut waiting: Vec<Arc<Transaction>> = self
            .inner
            .transactions()
            .filter(|tx| matches!(tx.chain_position, ChainPosition::Unconfirmed { .. }))
            .map(|tx| tx.tx_node.tx)
            .filter(|tx| self.inner.sent_and_received(tx).0 > Amount::ZERO)
            .collect();
        waiting.sort_by_key(|tx| tx.compute_txid());
        history::ancestors_first(waiting)
    }

    fn persist(&mut self, db: &mut Db) -> Result<(), WalletError> {
        if let Some(changes) = self.inner.take_staged() {
            persist::append(db, self.next_change, &changes)?;
            self.next_change += 1;
        }
        Ok(())
    }
}

fn master_key(seed: &[u8; 32]) -> Xpriv {
    Xpriv::new_master(Network::Regtest, seed)
        .expect("the chance that 32 bytes give no key is below 2^-127")
}

fn descriptors(master: Xpriv) -> (Bip84<Xpriv>, Bip84<Xpriv>) {
    (
        Bip84(master, KeychainKind::External),
        Bip84(master, KeychainKind::Internal),
    )
}

/// The script at index 0 of the external keychain of the wallet with this `seed`: `m/84'/1'/0'/0/0`.
#[must_use]
pub fn payee_script(seed: &[u8; 32]) -> ScriptBuf {
    let (external, internal) = descriptors(master_key(seed));
    let wallet = bdk_wallet::Wallet::create(external, internal)
        .network(Network::Regtest)
        .lookahead(1)
        .create_wallet_no_persist()
        .expect("the descriptors of BIP 84 are well-formed");
    wallet
        .peek_address(KeychainKind::External, 0)
        .script_pubkey()
}
