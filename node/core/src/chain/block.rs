//! Rules for one block that need no coins, with Bitcoin Core's reject words.

use std::borrow::Cow;

use bitcoin::{
    Block, Transaction, TxMerkleNode, Weight,
    consensus::Encodable as _,
    hashes::{Hash as _, sha256d},
    script::Builder,
};

use super::transaction::{check_transaction, is_final};

/// Most signature operations in a block, weighted (BIP 141).
pub(crate) const MAX_SIGOP_COST: usize = 80_000;

/// Bytes that mark the output which commits to the witnesses (BIP 141): `OP_RETURN`, push of 36 bytes, tag.
pub(crate) const COMMITMENT_PREFIX: [u8; 6] = [0x6a, 0x24, 0xaa, 0x21, 0xa9, 0xed];

/// Why a block was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reject {
    /// In Bitcoin Core's words.
    pub(crate) reason: Cow<'static, str>,
    /// Whether no block with this hash can ever be valid. A block whose body was tampered with has an honest twin.
    pub(crate) permanent: bool,
}

impl Reject {
    pub(crate) const fn invalid(reason: &'static str) -> Self {
        Self {
            reason: Cow::Borrowed(reason),
            permanent: true,
        }
    }

    pub(crate) const fn mutated(reason: &'static str) -> Self {
        Self {
            reason: Cow::Borrowed(reason),
            permanent: false,
        }
    }
}

/// Rules that need nothing but the block (Bitcoin Core `CheckBlock`, without the header's proof).
pub(crate) fn check_block(block: &Block) -> Result<(), Reject> {
    let (root, mutated) = merkle_root(
        block
            .txdata
            .iter()
            .map(|tx| tx.compute_txid().to_raw_hash()),
    );
    if root != block.header.merkle_root.to_raw_hash() {
        return Err(Reject::mutated("bad-txnmrklroot"));
    }
    if mutated {
        return Err(Reject::mutated("bad-txns-duplicate"));
    }
    let stripped: usize = 80
        + block
            .txdata
            .iter()
            .map(Transaction::base_size)
            .sum::<usize>();
    if block.txdata.is_empty()
        || Weight::from_non_witness_data_size(stripped as u64) > Weight::MAX_BLOCK
    {
        return Err(Reject::invalid("bad-blk-length"));
    }
    if !block.txdata[0].is_coinbase() {
        return Err(Reject::invalid("bad-cb-missing"));
    }
    if block.txdata[1..].iter().any(Transaction::is_coinbase) {
        return Err(Reject::invalid("bad-cb-multiple"));
    }
    for tx in &block.txdata {
        check_transaction(tx).map_err(Reject::invalid)?;
    }
    let sigops: usize = block
        .txdata
        .iter()
        .map(|tx| tx.total_sigop_cost(|_| None))
        .sum();
    if sigops > MAX_SIGOP_COST {
        return Err(Reject::invalid("bad-blk-sigops"));
    }
    Ok(())
}

/// Rules that depend on the block's place (Bitcoin Core `ContextualCheckBlock`): its height, and the median time of
/// the eleven blocks before it.
pub(crate) fn check_block_at(block: &Block, height: u32, median_time: u32) -> Result<(), Reject> {
    if block
        .txdata
        .iter()
        .any(|tx| !is_final(tx, height, median_time))
    {
        return Err(Reject::invalid("bad-txns-nonfinal"));
    }
    let coinbase = &block.txdata[0];
    if !coinbase.input[0]
        .script_sig
        .as_bytes()
        .starts_with(&height_push(height))
    {
        return Err(Reject::invalid("bad-cb-height"));
    }
    check_witnesses(block)?;
    if block.weight() > Weight::MAX_BLOCK {
        return Err(Reject::invalid("bad-blk-weight"));
    }
    Ok(())
}

/// What a coinbase's script begins with at `height` (BIP 34): `OP_1` to `OP_16`, then minimal pushes.
pub(crate) fn height_push(height: u32) -> Vec<u8> {
    Builder::new().push_int(i64::from(height)).into_bytes()
}

/// BIP 141's commitment: present and right, or no witnesses at all.
fn check_witnesses(block: &Block) -> Result<(), Reject> {
    let coinbase = &block.txdata[0];
    let commitment = coinbase
        .output
        .iter()
        .rev()
        .map(|output| output.script_pubkey.as_bytes())
        .find(|script| script.len() >= 38 && script.starts_with(&COMMITMENT_PREFIX));
    let Some(commitment) = commitment else {
        let any = block
            .txdata
            .iter()
            .any(|tx| tx.input.iter().any(|i| !i.witness.is_empty()));
        return if any {
            Err(Reject::mutated("unexpected-witness"))
        } else {
            Ok(())
        };
    };
    let witness = &coinbase.input[0].witness;
    let reserved = match (witness.len(), witness.nth(0)) {
        (1, Some(reserved)) if reserved.len() == 32 => reserved,
        _ => return Err(Reject::mutated("bad-witness-nonce-size")),
    };
    if witness_commitment(&block.txdata, reserved).as_byte_array() != &commitment[6..38] {
        return Err(Reject::mutated("bad-witness-merkle-match"));
    }
    Ok(())
}

/// SHA-256d of the witness root and the coinbase's reserved value (BIP 141).
pub(crate) fn witness_commitment(transactions: &[Transaction], reserved: &[u8]) -> sha256d::Hash {
    let leaves = transactions.iter().enumerate().map(|(at, tx)| match at {
        // The coinbase cannot commit to itself.
        0 => sha256d::Hash::all_zeros(),
        _ => tx.compute_wtxid().to_raw_hash(),
    });
    let (root, _) = merkle_root(leaves);
    let mut bytes = root.to_byte_array().to_vec();
    bytes.extend(reserved);
    sha256d::Hash::hash(&bytes)
}

/// Root of the Merkle tree, and whether two equal neighbours below it make other lists of leaves give the same root
/// (CVE-2012-2459).
fn merkle_root(leaves: impl Iterator<Item = sha256d::Hash>) -> (sha256d::Hash, bool) {
    let mut level: Vec<sha256d::Hash> = leaves.collect();
    let mut mutated = false;
    if level.is_empty() {
        return (sha256d::Hash::all_zeros(), false);
    }
    while level.len() > 1 {
        mutated |= level.chunks_exact(2).any(|pair| pair[0] == pair[1]);
        level = level
            .chunks(2)
            .map(|pair| join(pair[0], *pair.last().unwrap_or(&pair[0])))
            .collect();
    }
    (level[0], mutated)
}

fn join(left: sha256d::Hash, right: sha256d::Hash) -> sha256d::Hash {
    let mut engine = sha256d::Hash::engine();
    left.consensus_encode(&mut engine)
        .expect("hashing cannot fail");
    right
        .consensus_encode(&mut engine)
        .expect("hashing cannot fail");
    sha256d::Hash::from_engine(engine)
}

/// The root that belongs into the header of a block with these transactions.
pub(crate) fn transaction_root(transactions: &[Transaction]) -> TxMerkleNode {
    let (root, _) = merkle_root(
        transactions
            .iter()
            .map(|tx| tx.compute_txid().to_raw_hash()),
    );
    TxMerkleNode::from_raw_hash(root)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn hashes(texts: &[&str]) -> Vec<sha256d::Hash> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    /// Block 100,000 of Bitcoin's main chain.
    const LEAVES: [&str; 4] = [
        "8c14f0db3df150123e6f3dbbf30f8b955a8249b62ac1d1ff16284aefa3d06d87",
        "fff2525b8931402dd09222c50775608f75787bd2b87e56995a7bdd30f79702c4",
        "6359f0868171b1d194cbee1af2f16ea598ae8fad666d9b012c8ed2b79a236ec4",
        "e9a66845e05d5abc0ad04ec80f774a7e585c6e8db975962d069a522137b80c1d",
    ];

    #[test]
    fn the_root_of_a_real_block() {
        let (root, mutated) = merkle_root(hashes(&LEAVES).into_iter());
        let known = "f3e94742aca4b5ef85488dc37c06c3282295ffec960994b2c0d5ac2a25a95766";
        assert_eq!(root.to_string(), known);
        assert!(!mutated);
    }

    #[test]
    fn repeated_leaves_give_the_same_root_and_are_noticed() {
        let leaf = hashes(&LEAVES);
        for (honest, mutated) in [
            (vec![0, 1, 2], vec![0, 1, 2, 2]),
            (vec![0, 1, 2, 3, 0, 1], vec![0, 1, 2, 3, 0, 1, 0, 1]),
        ] {
            let root = |at: &[usize]| merkle_root(at.iter().map(|i| leaf[*i]));
            assert_eq!(root(&honest), (root(&mutated).0, false));
            assert!(root(&mutated).1);
        }
        assert_eq!(merkle_root(leaf[..1].iter().copied()), (leaf[0], false));
    }

    #[test]
    fn heights_are_pushed_as_bip34_wants() {
        let expected = [
            (1, "51"),
            (16, "60"),
            (17, "0111"),
            (127, "017f"),
            (128, "028000"),
            (256, "020001"),
            (227_836, "03fc7903"),
            (500_000, "0320a107"),
        ];
        for (height, push) in expected {
            assert_eq!(hex::encode(height_push(height)), push);
        }
    }
}
