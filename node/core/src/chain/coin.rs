//! Unspent outputs, what a block spent, and how both are stored.

use std::collections::BTreeMap;

use bitcoin::{Amount, OutPoint, ScriptBuf, TxOut, hashes::Hash as _};

use crate::{
    db::Db,
    store::{StoreError, Table},
};

/// Longest script that can ever be satisfied, in bytes (Bitcoin Core `script.h`).
const MAX_SCRIPT_SIZE: usize = 10_000;

/// An unspent transaction output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coin {
    /// Amount and script.
    pub output: TxOut,
    /// Height of the block that created it.
    pub height: u32,
    /// Whether a coinbase created it.
    pub coinbase: bool,
}

impl Coin {
    /// Height and coinbase flag in one number, as Bitcoin Core packs them.
    #[must_use]
    pub fn code(&self) -> u32 {
        (self.height << 1) | u32::from(self.coinbase)
    }

    /// Whether an output can never be spent and so is never a coin (Bitcoin Core `IsUnspendable`).
    #[must_use]
    pub fn is_unspendable(output: &TxOut) -> bool {
        output.script_pubkey.is_op_return() || output.script_pubkey.len() > MAX_SCRIPT_SIZE
    }

    pub(crate) fn encode(&self, into: &mut Vec<u8>) {
        into.extend(self.code().to_le_bytes());
        into.extend(self.output.value.to_sat().to_le_bytes());
        into.extend(self.output.script_pubkey.as_bytes());
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (code, rest) = bytes.split_first_chunk()?;
        let (value, script) = rest.split_first_chunk()?;
        let code = u32::from_le_bytes(*code);
        let output = TxOut {
            value: Amount::from_sat(u64::from_le_bytes(*value)),
            script_pubkey: ScriptBuf::from_bytes(script.to_vec()),
        };
        Some(Self {
            output,
            height: code >> 1,
            coinbase: code & 1 == 1,
        })
    }
}

/// Key of a coin: transaction id, then output index so that keys sort as Bitcoin Core's.
pub(crate) fn coin_key(outpoint: &OutPoint) -> Vec<u8> {
    let mut key = outpoint.txid.to_byte_array().to_vec();
    key.extend(outpoint.vout.to_be_bytes());
    key
}

/// The outpoint whose key this is.
pub(crate) fn decode_coin_key(key: &[u8]) -> Option<OutPoint> {
    let (txid, vout) = key.split_first_chunk::<32>()?;
    let vout = u32::from_be_bytes(vout.try_into().ok()?);
    Some(OutPoint {
        txid: bitcoin::Txid::from_byte_array(*txid),
        vout,
    })
}

/// The coin at `outpoint`, if it is unspent.
pub(crate) fn read_coin(db: &Db, outpoint: &OutPoint) -> Result<Option<Coin>, StoreError> {
    let Some(bytes) = db.get(Table::Coin, &coin_key(outpoint))? else {
        return Ok(None);
    };
    match Coin::decode(&bytes) {
        Some(coin) => Ok(Some(coin)),
        None => Err(StoreError(format!("the coin {outpoint} is damaged"))),
    }
}

/// The coins a block spent, in the order of its inputs.
pub(crate) fn encode_undo(spent: &[Coin]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut coin_bytes = Vec::new();
    for coin in spent {
        coin_bytes.clear();
        coin.encode(&mut coin_bytes);
        let length = u32::try_from(coin_bytes.len()).expect("a script is far below 4 GiB");
        bytes.extend(length.to_le_bytes());
        bytes.extend(&coin_bytes);
    }
    bytes
}

pub(crate) fn decode_undo(mut bytes: &[u8]) -> Option<Vec<Coin>> {
    let mut spent = Vec::new();
    while !bytes.is_empty() {
        let (length, rest) = bytes.split_first_chunk()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        let (coin, rest) = rest.split_at_checked(length)?;
        spent.push(Coin::decode(coin)?);
        bytes = rest;
    }
    Some(spent)
}

/// The set of coins with changes that may still be dropped as a whole: a reorganisation in the making.
pub(crate) struct CoinView<'a> {
    db: &'a Db,
    changes: BTreeMap<OutPoint, Option<Coin>>,
}

impl<'a> CoinView<'a> {
    pub(crate) fn new(db: &'a Db) -> Self {
        Self {
            db,
            changes: BTreeMap::new(),
        }
    }

    pub(crate) fn get(&self, outpoint: &OutPoint) -> Result<Option<Coin>, StoreError> {
        match self.changes.get(outpoint) {
            Some(changed) => Ok(changed.clone()),
            None => read_coin(self.db, outpoint),
        }
    }

    pub(crate) fn add(&mut self, outpoint: OutPoint, coin: Coin) {
        self.changes.insert(outpoint, Some(coin));
    }

    pub(crate) fn remove(&mut self, outpoint: OutPoint) {
        self.changes.insert(outpoint, None);
    }

    /// Ends the view; what is returned goes to [`write_coins`].
    pub(crate) fn into_changes(self) -> BTreeMap<OutPoint, Option<Coin>> {
        self.changes
    }
}

pub(crate) fn write_coins(db: &mut Db, changes: BTreeMap<OutPoint, Option<Coin>>) {
    for (outpoint, coin) in changes {
        let key = coin_key(&outpoint);
        match coin {
            Some(coin) => {
                let mut value = Vec::new();
                coin.encode(&mut value);
                db.put(Table::Coin, key, value);
            }
            None => db.delete(Table::Coin, key),
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn coin(height: u32, coinbase: bool, script: Vec<u8>) -> Coin {
        let output = TxOut {
            value: Amount::from_sat(77),
            script_pubkey: ScriptBuf::from_bytes(script),
        };
        Coin {
            output,
            height,
            coinbase,
        }
    }

    #[test]
    fn undo_data_survive_the_round_trip() {
        let coins = vec![
            coin(1, true, vec![]),
            coin(900_000, false, vec![1; 500]),
            coin(0, false, vec![7]),
        ];
        assert_eq!(decode_undo(&encode_undo(&coins)).unwrap(), coins);
        assert_eq!(decode_undo(&encode_undo(&[])).unwrap(), vec![]);
        let mut damaged = encode_undo(&coins);
        damaged.pop();
        assert!(decode_undo(&damaged).is_none());
    }

    #[test]
    fn keys_sort_by_transaction_then_index() {
        let txid = bitcoin::Txid::from_byte_array([3; 32]);
        let keys = [1, 255, 256, 70_000].map(|vout| coin_key(&OutPoint { txid, vout }));
        assert!(keys.is_sorted());
        assert_eq!(
            decode_coin_key(&keys[3]),
            Some(OutPoint { txid, vout: 70_000 })
        );
    }
}
