//! Payments.

use bdk_wallet::{KeychainKind, error::CreateTxError};
use bitcoin::{
    Amount, FeeRate, OutPoint, Psbt, ScriptBuf, Transaction,
    absolute::LockTime,
    secp256k1::rand::{Error, RngCore},
};
use rand_chacha::ChaCha12Rng;
use rand_core::Rng as _;

use super::{Wallet, WalletError};
use crate::db::Db;

/// Fee of a payment that names none, in satoshis per virtual byte.
pub const DEFAULT_FEE_RATE: u64 = 1;

impl Wallet {
    /// Makes and signs a payment of `amount` to `script` from confirmed coins and own change, at `fee_rate` satoshis
    /// per virtual byte.
    ///
    /// The wallet takes note of it when it is handed to [`on_transaction`](Self::on_transaction): after the mempool
    /// accepted it.
    ///
    /// # Errors
    /// When there are not enough coins or the amount is dust; the store's errors.
    pub fn send(
        &mut self,
        db: &mut Db,
        script: ScriptBuf,
        amount: Amount,
        fee_rate: Option<u64>,
    ) -> Result<Transaction, WalletError> {
        let rate = FeeRate::from_sat_per_vb(fee_rate.unwrap_or(DEFAULT_FEE_RATE))
            .ok_or_else(|| WalletError::Build("the fee rate is too high".into()))?;
        let foreign = self.foreign_pending();
        let mut rng = Bridge(&mut self.rng);
        let mut builder = self.inner.build_tx();
        builder
            .add_recipient(script, amount)
            .fee_rate(rate)
            .unspendable(foreign)
            // A lock at the tip's height would keep peers one block behind from relaying it.
            .nlocktime(LockTime::ZERO);
        let mut psbt = builder
            .finish_with_aux_rand(&mut rng)
            .map_err(build_error)?;
        self.sign(&mut psbt)?;
        self.persist(db)?;
        // Absurd fee rates are the caller's choice.
        Ok(psbt.extract_tx_unchecked_fee_rate())
    }

    fn sign(&self, psbt: &mut Psbt) -> Result<(), WalletError> {
        psbt.sign(&self.master, self.inner.secp_ctx())
            .map_err(|(_, errors)| WalletError::Build(format!("no signature: {errors:?}")))?;
        let outcome = self
            .inner
            .try_finalize_psbt(psbt)
            .map_err(|error| WalletError::Build(error.to_string()))?;
        if !outcome.is_finalized() {
            return Err(WalletError::Build("a signature is missing".into()));
        }
        Ok(())
    }

    /// Unconfirmed coins that others paid: they may never confirm.
    fn foreign_pending(&self) -> Vec<OutPoint> {
        self.inner
            .list_unspent()
            .filter(|coin| !coin.chain_position.is_confirmed())
            .filter(|coin| coin.keychain == KeychainKind::External)
            .map(|coin| coin.outpoint)
            .collect()
    }
}

fn build_error(error: CreateTxError) -> WalletError {
    match error {
        CreateTxError::CoinSelection(funds) => WalletError::InsufficientFunds {
            needed: funds.needed,
            available: funds.available,
        },
        CreateTxError::OutputBelowDustLimit(_) => WalletError::Dust,
        other => WalletError::Build(other.to_string()),
    }
}

/// The node's random stream for a library that knows an older trait.
struct Bridge<'a>(&'a mut ChaCha12Rng);

impl RngCore for Bridge<'_> {
    fn next_u32(&mut self) -> u32 {
        self.0.next_u32()
    }

    fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        self.0.fill_bytes(bytes);
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Error> {
        self.0.fill_bytes(bytes);
        Ok(())
    }
}
