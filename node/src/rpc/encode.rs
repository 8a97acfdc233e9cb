//! Blocks, transactions and scripts in Bitcoin Core's JSON.

use bitcoin::{
    Address, Amount, Block, CompactTarget, Network, Script, ScriptBuf, Transaction, Witness,
    blockdata::{
        opcodes::{Opcode, all as op},
        script::Instruction,
    },
    consensus::encode::serialize_hex,
};
use netsplit_api::rpc::{
    blockchain::{self, BlockTransactions},
    rawtransactions::{Input, Output, ScriptPubKey, ScriptSig, Transaction as JsonTransaction},
};
use netsplit_core::chain::{BlockStatus, Chain, HeaderInfo};

/// Scripts are read as those of the network whose addresses start like this one's.
pub(super) const NETWORK: Network = Network::Regtest;

/// An amount in bitcoins, as Core writes it.
pub(super) fn bitcoins(amount: Amount) -> f64 {
    amount.to_btc()
}

/// A target's difficulty by Core's formula (`GetDifficulty`).
#[expect(clippy::cast_lossless, reason = "24 bits fit a float")]
pub(super) fn difficulty(bits: CompactTarget) -> f64 {
    let bits = bits.to_consensus();
    let mut difficulty = 65535.0 / (bits & 0x00ff_ffff) as f64;
    let exponent = bits >> 24;
    for _ in exponent..29 {
        difficulty *= 256.0;
    }
    for _ in 29..exponent {
        difficulty /= 256.0;
    }
    difficulty
}

/// Where a block stands relative to the active chain.
pub(super) struct Place {
    pub(super) confirmations: i64,
    pub(super) next: Option<String>,
}

pub(super) fn place(chain: &Chain, info: &HeaderInfo) -> Place {
    let hash = info.header.block_hash();
    if !chain.is_active(&hash) {
        return Place {
            confirmations: -1,
            next: None,
        };
    }
    let confirmations = i64::from(chain.tip().height) - i64::from(info.height) + 1;
    let next = chain.hash_at(info.height + 1).map(|hash| hash.to_string());
    Place {
        confirmations,
        next,
    }
}

/// `getblockheader`'s result.
pub(super) fn header(
    chain: &Chain,
    info: &HeaderInfo,
    transactions: u32,
) -> blockchain::BlockHeader {
    let header = &info.header;
    let hash = header.block_hash();
    let place = place(chain, info);
    blockchain::BlockHeader {
        hash: hash.to_string(),
        confirmations: place.confirmations,
        height: info.height,
        version: header.version.to_consensus(),
        version_hex: format!("{:08x}", header.version.to_consensus()),
        merkleroot: header.merkle_root.to_string(),
        time: header.time,
        mediantime: chain.median_time_past(&hash).unwrap_or(header.time),
        nonce: header.nonce,
        bits: format!("{:08x}", header.bits.to_consensus()),
        target: hex::encode(header.target().to_be_bytes()),
        difficulty: difficulty(header.bits),
        chainwork: hex::encode(info.work.to_be_bytes()),
        n_tx: if info.status == BlockStatus::HeaderOnly {
            0
        } else {
            transactions
        },
        previousblockhash: (info.height > 0).then(|| header.prev_blockhash.to_string()),
        nextblockhash: place.next,
    }
}

/// `getblock`'s result.
pub(super) fn block(
    chain: &Chain,
    info: &HeaderInfo,
    block: &Block,
    tx: BlockTransactions,
) -> blockchain::Block {
    let header = header(
        chain,
        info,
        u32::try_from(block.txdata.len()).unwrap_or(u32::MAX),
    );
    let stripped: usize = block.txdata.iter().map(Transaction::base_size).sum();
    let count = bitcoin::VarInt::from(block.txdata.len()).size();
    blockchain::Block {
        hash: header.hash,
        confirmations: header.confirmations,
        size: block.total_size() as u64,
        strippedsize: (stripped + count + bitcoin::block::Header::SIZE) as u64,
        weight: block.weight().to_wu(),
        height: header.height,
        version: header.version,
        version_hex: header.version_hex,
        merkleroot: header.merkleroot,
        tx,
        time: header.time,
        mediantime: header.mediantime,
        nonce: header.nonce,
        bits: header.bits,
        target: header.target,
        difficulty: header.difficulty,
        chainwork: header.chainwork,
        n_tx: header.n_tx,
        previousblockhash: header.previousblockhash,
        nextblockhash: header.nextblockhash,
    }
}

/// A transaction that is in no block.
pub(super) fn transaction(tx: &Transaction) -> JsonTransaction {
    let output = |(n, output): (usize, &bitcoin::TxOut)| Output {
        value: bitcoins(output.value),
        n: u32::try_from(n).unwrap_or(u32::MAX),
        script_pubkey: script_pubkey(&output.script_pubkey),
    };
    JsonTransaction {
        in_active_chain: None,
        txid: tx.compute_txid().to_string(),
        hash: tx.compute_wtxid().to_string(),
        version: tx.version.0,
        size: tx.total_size() as u64,
        vsize: tx.vsize() as u64,
        weight: tx.weight().to_wu(),
        locktime: tx.lock_time.to_consensus_u32(),
        vin: tx
            .input
            .iter()
            .map(|input| self::input(input, tx.is_coinbase()))
            .collect(),
        vout: tx.output.iter().enumerate().map(output).collect(),
        hex: serialize_hex(tx),
        blockhash: None,
        confirmations: None,
        time: None,
        blocktime: None,
    }
}

fn input(input: &bitcoin::TxIn, coinbase: bool) -> Input {
    let script = &input.script_sig;
    Input {
        coinbase: coinbase.then(|| script.to_hex_string()),
        txid: (!coinbase).then(|| input.previous_output.txid.to_string()),
        vout: (!coinbase).then_some(input.previous_output.vout),
        script_sig: (!coinbase).then(|| ScriptSig {
            asm: assembly(script),
            hex: script.to_hex_string(),
        }),
        txinwitness: witness(&input.witness),
        sequence: input.sequence.to_consensus_u32(),
    }
}

fn witness(witness: &Witness) -> Option<Vec<String>> {
    (!witness.is_empty()).then(|| witness.iter().map(hex::encode).collect())
}

/// An output's script.
pub(super) fn script_pubkey(script: &ScriptBuf) -> ScriptPubKey {
    let address = Address::from_script(script, NETWORK)
        .ok()
        .filter(|_| !script.is_p2pk());
    ScriptPubKey {
        asm: assembly(script),
        hex: script.to_hex_string(),
        address: address.map(|address| address.to_string()),
        kind: kind(script).to_owned(),
    }
}

/// Core's name of a script's form.
fn kind(script: &Script) -> &'static str {
    match script {
        s if s.is_p2wpkh() => "witness_v0_keyhash",
        s if s.is_p2wsh() => "witness_v0_scripthash",
        s if s.is_p2tr() => "witness_v1_taproot",
        s if s.as_bytes() == [0x51, 0x02, 0x4e, 0x73] => "anchor",
        s if s.is_witness_program() => match s.as_bytes().first() {
            // Version 0 with another length is never valid.
            Some(0) => "nonstandard",
            _ => "witness_unknown",
        },
        s if s.is_p2pkh() => "pubkeyhash",
        s if s.is_p2sh() => "scripthash",
        s if s.is_p2pk() => "pubkey",
        s if s.is_multisig() => "multisig",
        s if s.is_op_return() => "nulldata",
        _ => "nonstandard",
    }
}

/// A script in Core's words: pushed bytes in hex, short ones as numbers.
fn assembly(script: &Script) -> String {
    let mut words = Vec::new();
    for instruction in script.instructions() {
        match instruction {
            Ok(Instruction::PushBytes(bytes)) if bytes.is_empty() => words.push("0".to_owned()),
            Ok(Instruction::PushBytes(bytes)) if bytes.len() <= 4 => {
                words.push(number(bytes.as_bytes()).to_string());
            }
            Ok(Instruction::PushBytes(bytes)) => words.push(hex::encode(bytes.as_bytes())),
            Ok(Instruction::Op(opcode)) => words.push(word(opcode)),
            Err(_) => {
                words.push("[error]".to_owned());
                break;
            }
        }
    }
    words.join(" ")
}

/// A script number: little-endian, the highest bit is the sign.
fn number(bytes: &[u8]) -> i64 {
    let magnitude = bytes
        .iter()
        .rev()
        .fold(0, |sum, byte| (sum << 8) | i64::from(*byte));
    let sign = bytes
        .len()
        .checked_sub(1)
        .map_or(0, |last| 0x80_i64 << (8 * last));
    if magnitude & sign == 0 {
        magnitude
    } else {
        -(magnitude & !sign)
    }
}

fn word(opcode: Opcode) -> String {
    match opcode {
        op::OP_CLTV => "OP_CHECKLOCKTIMEVERIFY".to_owned(),
        op::OP_CSV => "OP_CHECKSEQUENCEVERIFY".to_owned(),
        op::OP_PUSHNUM_NEG1 => "-1".to_owned(),
        _ => {
            let name = opcode.to_string();
            match name.strip_prefix("OP_PUSHNUM_") {
                Some(number) => number.to_owned(),
                None => name,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn difficulty_is_cores() {
        for (bits, expected) in [
            (0x207f_ffff, 4.656_542_373_906_925e-10),
            (0x1d00_ffff, 1.0),
            (0x1b04_04cb, 16_307.420_938_523_983),
        ] {
            let found = difficulty(CompactTarget::from_consensus(bits));
            assert!((found / expected - 1.0).abs() < 1e-15, "{bits:x}: {found}");
        }
    }

    #[test]
    fn scripts_have_cores_words() {
        let script = |hex: &str| script_pubkey(&ScriptBuf::from_hex(hex).unwrap());
        let hash = "11".repeat(20);
        // The program of BIP 173's examples.
        let program = "751e76e8199196d454941c45d1b3a323f1433bd6";
        let wpkh = script(&format!("0014{program}"));
        assert_eq!(
            (wpkh.asm, wpkh.kind.as_str()),
            (format!("0 {program}"), "witness_v0_keyhash")
        );
        assert_eq!(
            wpkh.address.unwrap(),
            "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"
        );
        let pkh = script(&format!("76a914{hash}88ac"));
        assert_eq!(
            pkh.asm,
            format!("OP_DUP OP_HASH160 {hash} OP_EQUALVERIFY OP_CHECKSIG")
        );
        assert_eq!(pkh.kind, "pubkeyhash");
        let taproot = script(&format!("5120{}", "22".repeat(32)));
        assert_eq!(
            (&taproot.asm[..2], taproot.kind.as_str()),
            ("1 ", "witness_v1_taproot")
        );
        let data = script(&format!("6a24aa21a9ed{}", "33".repeat(32)));
        assert_eq!((data.kind.as_str(), data.address), ("nulldata", None));
        assert_eq!(script("51024e73").kind, "anchor");
        assert_eq!(script("").kind, "nonstandard");
        assert_eq!(script("02ff80").asm, "-255");
        assert_eq!(
            script("4f5160b1b2").asm,
            "-1 1 16 OP_CHECKLOCKTIMEVERIFY OP_CHECKSEQUENCEVERIFY"
        );
        assert_eq!(script("05aabb").asm, "[error]");
    }
}
