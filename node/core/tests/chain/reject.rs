//! Every reject word is earned by a block that deserves it, and by nothing else.

use bitcoin::{
    Amount, CompactTarget, OutPoint, ScriptBuf, Sequence, Transaction, TxMerkleNode, Witness,
    absolute::LockTime, block::Version, hashes::Hash as _, opcodes::all::OP_CHECKSIG,
};
use netsplit_core::{chain::BlockOutcome, store::Table, time::WallTime};

use crate::support::{
    Fixture, NOW, START, anyone, coins_of, input, nobody, output, recommit, reseal, spend,
};

/// Submits the block; afterwards an honest block must still be accepted.
fn word(fixture: &mut Fixture, block: &bitcoin::Block) -> (String, bool) {
    let refused = fixture.refuse(block);
    let honest = fixture.on(&fixture.chain.tip().hash, vec![], 999);
    assert!(fixture.accept(&honest).is_some());
    fixture.assert_survives_restart();
    refused
}

fn permanent(reason: &str) -> (String, bool) {
    (reason.to_owned(), true)
}

fn temporary(reason: &str) -> (String, bool) {
    (reason.to_owned(), false)
}

/// A mature coin's chain and a valid transaction that spends it.
fn mature() -> (Fixture, Transaction) {
    let fixture = Fixture::with_height(101);
    let tx = spend(&[fixture.coinbase_at(1)], 1, 0);
    (fixture, tx)
}

/// The word for a block with one transaction made from a valid one.
fn word_for_tx(change: impl FnOnce(&mut Transaction)) -> (String, bool) {
    let (mut fixture, mut tx) = mature();
    change(&mut tx);
    let block = fixture.next(vec![tx]);
    word(&mut fixture, &block)
}

#[test]
fn a_valid_spend_is_no_reason_for_a_word() {
    let (mut fixture, tx) = mature();
    let block = fixture.next(vec![tx]);
    assert!(fixture.accept(&block).is_some());
    assert_eq!(fixture.submit(&block), BlockOutcome::Duplicate);
}

#[test]
fn high_hash() {
    let mut fixture = Fixture::with_height(1);
    let mut block = fixture.next(vec![]);
    while fixture.chain.consensus().proves(&block.header) {
        block.header.nonce += 1;
    }
    assert_eq!(word(&mut fixture, &block), permanent("high-hash"));
}

#[test]
fn bad_diffbits() {
    let mut fixture = Fixture::with_height(1);
    let mut block = fixture.next(vec![]);
    block.header.bits = CompactTarget::from_consensus(0x2070_ffff);
    while !fixture.chain.consensus().proves(&block.header) {
        block.header.nonce += 1;
    }
    assert_eq!(word(&mut fixture, &block), permanent("bad-diffbits"));
}

#[test]
fn time_too_old() {
    let mut fixture = Fixture::with_height(12);
    let mut block = fixture.next(vec![]);
    block.header.time = fixture
        .chain
        .median_time_past(&fixture.chain.tip().hash)
        .unwrap();
    let block = reseal(&fixture, block);
    assert_eq!(word(&mut fixture, &block), permanent("time-too-old"));
}

#[test]
fn time_too_new_passes_later() {
    let mut fixture = Fixture::with_height(1);
    let mut block = fixture.next(vec![]);
    block.header.time = NOW.seconds() + 7201;
    let block = reseal(&fixture, block);
    assert_eq!(fixture.refuse(&block), temporary("time-too-new"));
    let later = WallTime(NOW.0 + 1_000_000_000);
    let outcome = fixture
        .chain
        .accept_block(&mut fixture.db, &block, later)
        .unwrap();
    assert!(
        matches!(
            outcome,
            BlockOutcome::Accepted {
                change: Some(_),
                ..
            }
        ),
        "{outcome:?}"
    );
}

#[test]
fn bad_version() {
    let mut fixture = Fixture::with_height(1);
    let mut block = fixture.next(vec![]);
    block.header.version = Version::from_consensus(3);
    let block = reseal(&fixture, block);
    assert_eq!(
        word(&mut fixture, &block),
        permanent("bad-version(0x00000003)")
    );
}

#[test]
fn bad_prevblk_and_duplicate_invalid() {
    let mut fixture = Fixture::with_height(1);
    let mut bad = fixture.next(vec![]);
    bad.txdata[0].output[0].value += Amount::ONE_SAT;
    let bad = reseal(&fixture, bad);
    let child = {
        let mut elsewhere = Fixture::with_height(1);
        elsewhere
            .chain
            .accept_headers(&mut elsewhere.db, &[bad.header], NOW)
            .unwrap();
        elsewhere.on(&bad.block_hash(), vec![], 0)
    };
    assert_eq!(fixture.refuse(&bad), permanent("bad-cb-amount"));
    assert_eq!(fixture.refuse(&bad), permanent("duplicate-invalid"));
    assert_eq!(word(&mut fixture, &child), permanent("bad-prevblk"));
}

#[test]
fn bad_txnmrklroot_does_not_condemn_the_honest_twin() {
    let (mut fixture, tx) = mature();
    let honest = fixture.next(vec![tx]);
    let mut tampered = honest.clone();
    tampered.txdata.pop();
    assert_eq!(fixture.refuse(&tampered), temporary("bad-txnmrklroot"));
    assert!(fixture.accept(&honest).is_some());
}

#[test]
fn bad_txns_duplicate_does_not_condemn_the_honest_twin() {
    // CVE-2012-2459: three transactions and the same with the third repeated have one root.
    let (mut fixture, first) = mature();
    let second = spend(&coins_of(&first), 1, 0);
    let honest = fixture.next(vec![first, second.clone()]);
    let mut mutated = honest.clone();
    mutated.txdata.push(second);
    assert_eq!(mutated.compute_merkle_root(), honest.compute_merkle_root());
    assert_eq!(fixture.refuse(&mutated), temporary("bad-txns-duplicate"));
    assert!(fixture.accept(&honest).is_some());
}

#[test]
fn bad_blk_length() {
    let mut fixture = Fixture::with_height(1);
    let mut empty = fixture.next(vec![]);
    empty.txdata.clear();
    empty.header.merkle_root = TxMerkleNode::all_zeros();
    let empty = reseal(&fixture, empty);
    assert_eq!(word(&mut fixture, &empty), permanent("bad-blk-length"));

    let mut large = fixture.next(vec![]);
    let padding = ScriptBuf::from_bytes(vec![0x6a; 1_000_000]);
    large.txdata[0].output.push(output(0, &padding));
    let large = reseal(&fixture, large);
    assert_eq!(word(&mut fixture, &large), permanent("bad-blk-length"));
}

#[test]
fn bad_cb_missing_and_multiple() {
    let (mut fixture, tx) = mature();
    let mut block = fixture.next(vec![tx]);
    let coinbase = block.txdata.remove(0);
    let missing = reseal(&fixture, block.clone());
    assert_eq!(word(&mut fixture, &missing), permanent("bad-cb-missing"));
    let mut second = coinbase.clone();
    second.output[0].value = Amount::ZERO;
    block.txdata = vec![coinbase, second];
    let multiple = reseal(&fixture, block);
    assert_eq!(word(&mut fixture, &multiple), permanent("bad-cb-multiple"));
}

#[test]
fn transactions_that_are_wrong_by_themselves() {
    let vin = word_for_tx(|tx| tx.input.clear());
    assert_eq!(vin, permanent("bad-txns-vin-empty"));
    let vout = word_for_tx(|tx| tx.output.clear());
    assert_eq!(vout, permanent("bad-txns-vout-empty"));
    let negative = word_for_tx(|tx| tx.output[0].value = Amount::from_sat(u64::MAX));
    assert_eq!(negative, permanent("bad-txns-vout-negative"));
    let large = word_for_tx(|tx| tx.output[0].value = Amount::MAX_MONEY + Amount::ONE_SAT);
    assert_eq!(large, permanent("bad-txns-vout-toolarge"));
    let total = word_for_tx(|tx| {
        tx.output = vec![
            output(Amount::MAX_MONEY.to_sat(), &anyone()),
            output(1, &anyone()),
        ];
    });
    assert_eq!(total, permanent("bad-txns-txouttotal-toolarge"));
    let twice = word_for_tx(|tx| tx.input.push(tx.input[0].clone()));
    assert_eq!(twice, permanent("bad-txns-inputs-duplicate"));
    let null = word_for_tx(|tx| tx.input.push(input(OutPoint::null())));
    assert_eq!(null, permanent("bad-txns-prevout-null"));
}

#[test]
fn bad_cb_length() {
    for length in [1, 101] {
        let mut fixture = Fixture::with_height(1);
        let mut block = fixture.next(vec![]);
        block.txdata[0].input[0].script_sig = ScriptBuf::from_bytes(vec![0x52; length]);
        let block = reseal(&fixture, block);
        assert_eq!(
            word(&mut fixture, &block),
            permanent("bad-cb-length"),
            "{length}"
        );
    }
    for length in [2, 100] {
        let mut fixture = Fixture::with_height(1);
        let mut block = fixture.next(vec![]);
        block.txdata[0].input[0].script_sig = ScriptBuf::from_bytes(vec![0x52; length]);
        let block = reseal(&fixture, block);
        assert!(fixture.accept(&block).is_some(), "{length}");
    }
}

#[test]
fn bad_blk_sigops() {
    let checks = ScriptBuf::from_bytes(vec![OP_CHECKSIG.to_u8(); 20_000]);
    let block_with = |fixture: &Fixture, extra: usize| {
        let mut block = fixture.next(vec![]);
        block.txdata[0].output.push(output(0, &checks));
        let extra = ScriptBuf::from_bytes(vec![OP_CHECKSIG.to_u8(); extra]);
        block.txdata[0].output.push(output(0, &extra));
        block.txdata[0].output.swap(1, 3);
        recommit(fixture, block)
    };
    let mut fixture = Fixture::with_height(1);
    let over = block_with(&fixture, 1);
    assert_eq!(word(&mut fixture, &over), permanent("bad-blk-sigops"));
    let just = block_with(&fixture, 0);
    assert!(fixture.accept(&just).is_some());
}

#[test]
fn bad_blk_sigops_hidden_in_witness_scripts() {
    // 250 outputs whose witness script counts 400 operations, unseen before the coins are known.
    let script = {
        let mut bytes = vec![0x00, 0x63]; // OP_0 OP_IF .. OP_ENDIF OP_1
        bytes.extend(vec![OP_CHECKSIG.to_u8(); 190]);
        bytes.extend([0x68, 0x51]);
        ScriptBuf::from_bytes(bytes)
    };
    let mut fixture = Fixture::with_height(101);
    let mut fund = spend(&[fixture.coinbase_at(1)], 422, 0);
    for output in &mut fund.output {
        output.script_pubkey = script.to_p2wsh();
    }
    let block = fixture.next(vec![fund.clone()]);
    fixture.accept(&block);
    let spend_some = |count: usize| {
        let mut tx = spend(&coins_of(&fund)[..count], 1, 0);
        for input in &mut tx.input {
            input.witness = Witness::from_slice(&[script.as_bytes()]);
        }
        tx
    };
    // 421 * 190 = 79,990; one more is over 80,000.
    let over = fixture.next(vec![spend_some(422)]);
    assert_eq!(fixture.refuse(&over), permanent("bad-blk-sigops"));
    let just = fixture.next(vec![spend_some(421)]);
    assert!(fixture.accept(&just).is_some());
}

#[test]
fn bad_txns_nonfinal_by_lock_time() {
    let height = word_for_tx(|tx| {
        tx.lock_time = LockTime::from_consensus(102);
        tx.input[0].sequence = Sequence::ZERO;
    });
    assert_eq!(height, permanent("bad-txns-nonfinal"));
    // BIP 113: the median of the blocks before, not the block's own time.
    let time = word_for_tx(|tx| {
        tx.lock_time = LockTime::from_consensus(START + 101);
        tx.input[0].sequence = Sequence::ZERO;
    });
    assert_eq!(time, permanent("bad-txns-nonfinal"));
}

#[test]
fn bad_txns_nonfinal_by_relative_lock() {
    let blocks = word_for_tx(|tx| tx.input[0].sequence = Sequence::from_height(102));
    assert_eq!(blocks, permanent("bad-txns-nonfinal"));
    // The fixture's blocks are a second apart: the coin of block 102 is not 512 seconds old in block 103.
    let (mut fixture, fund) = mature();
    let block = fixture.next(vec![fund.clone()]);
    fixture.accept(&block);
    let mut tx = spend(&coins_of(&fund), 1, 0);
    tx.input[0].sequence = Sequence::from_512_second_intervals(1);
    let block = fixture.next(vec![tx]);
    assert_eq!(word(&mut fixture, &block), permanent("bad-txns-nonfinal"));
    let (mut fixture, mut tx) = mature();
    tx.input[0].sequence = Sequence::from_height(101);
    let block = fixture.next(vec![tx]);
    assert!(fixture.accept(&block).is_some());
}

#[test]
fn bad_cb_height() {
    // Heights 1 to 16 are OP_1 to OP_16, not pushes of one byte.
    for (height, script) in [
        (2, vec![0x01, 0x02]),
        (2, vec![0x53, 0x00]),
        (17, vec![0x60, 0x00]),
    ] {
        let mut fixture = Fixture::with_height(height - 1);
        let mut block = fixture.next(vec![]);
        block.txdata[0].input[0].script_sig = ScriptBuf::from_bytes(script);
        let block = reseal(&fixture, block);
        assert_eq!(word(&mut fixture, &block), permanent("bad-cb-height"));
    }
}

#[test]
fn bad_witness_nonce_size() {
    for witness in [vec![], vec![vec![0; 31]], vec![vec![0; 32], vec![0; 32]]] {
        let (mut fixture, tx) = mature();
        let mut block = fixture.next(vec![tx]);
        block.txdata[0].input[0].witness = Witness::from_slice(&witness);
        assert_eq!(
            word(&mut fixture, &block),
            temporary("bad-witness-nonce-size")
        );
    }
}

#[test]
fn bad_witness_merkle_match() {
    let (mut fixture, tx) = mature();
    let honest = fixture.next(vec![tx]);
    let mut block = honest.clone();
    block.txdata[1].input[0].witness = Witness::from_slice(&[[1]]);
    assert_eq!(
        fixture.refuse(&block),
        temporary("bad-witness-merkle-match")
    );
    assert!(fixture.accept(&honest).is_some());
}

#[test]
fn unexpected_witness() {
    let (mut fixture, tx) = mature();
    let mut block = fixture.next(vec![tx]);
    block.txdata[0].output.pop();
    let block = reseal(&fixture, block);
    assert_eq!(word(&mut fixture, &block), temporary("unexpected-witness"));
}

#[test]
fn no_commitment_is_needed_without_witnesses() {
    let (mut fixture, tx) = mature();
    let mut block = fixture.next(vec![tx]);
    block.txdata[0].output.pop();
    block.txdata[0].input[0].witness.clear();
    let block = reseal(&fixture, block);
    assert!(fixture.accept(&block).is_some());
}

#[test]
fn bad_blk_weight() {
    let (mut fixture, mut tx) = mature();
    tx.input[0].witness = Witness::from_slice(&[vec![0; 4_000_000]]);
    let block = fixture.next(vec![tx]);
    assert_eq!(word(&mut fixture, &block), permanent("bad-blk-weight"));
}

/// Puts a coin into the store that no block created, for rules that honest coins cannot break.
fn plant(fixture: &mut Fixture, outpoint: OutPoint, sats: u64) {
    let mut key = outpoint.txid.to_byte_array().to_vec();
    key.extend(outpoint.vout.to_be_bytes());
    let mut value = 2u32.to_le_bytes().to_vec();
    value.extend(sats.to_le_bytes());
    value.extend(anyone().as_bytes());
    fixture.db.put(Table::Coin, key, value);
    fixture.db.commit().unwrap();
}

#[test]
fn bad_txns_bip30() {
    let (mut fixture, tx) = mature();
    plant(
        &mut fixture,
        OutPoint {
            txid: tx.compute_txid(),
            vout: 0,
        },
        5,
    );
    let block = fixture.next(vec![tx]);
    assert_eq!(word(&mut fixture, &block), permanent("bad-txns-BIP30"));
}

#[test]
fn inputs_and_fees_out_of_range() {
    let coin = |n: u8| OutPoint {
        txid: bitcoin::Txid::from_byte_array([n; 32]),
        vout: 0,
    };
    let max = Amount::MAX_MONEY;
    let with_two = |separately: bool| {
        let mut fixture = Fixture::with_height(1);
        plant(&mut fixture, coin(1), max.to_sat());
        plant(&mut fixture, coin(2), max.to_sat());
        let mut first = spend(&[(coin(1), max)], 1, 0);
        first.output[0].value = Amount::ZERO;
        let mut second = first.clone();
        second.input[0].previous_output = coin(2);
        let txs = if separately {
            vec![first, second]
        } else {
            first.input.push(second.input[0].clone());
            vec![first]
        };
        let block = fixture.next(txs);
        word(&mut fixture, &block)
    };
    assert_eq!(
        with_two(false),
        permanent("bad-txns-inputvalues-outofrange")
    );
    assert_eq!(
        with_two(true),
        permanent("bad-txns-accumulated-fee-outofrange")
    );
}

#[test]
fn bad_txns_inputs_missingorspent() {
    let missing = word_for_tx(|tx| tx.input[0].previous_output.vout = 7);
    assert_eq!(missing, permanent("bad-txns-inputs-missingorspent"));
    // Twice in one block, and in a later block.
    let (mut fixture, tx) = mature();
    let mut again = tx.clone();
    again.output[0].script_pubkey = nobody();
    let both = fixture.next(vec![tx.clone(), again.clone()]);
    assert_eq!(
        fixture.refuse(&both),
        permanent("bad-txns-inputs-missingorspent")
    );
    let block = fixture.next(vec![tx]);
    fixture.accept(&block);
    let later = fixture.next(vec![again]);
    assert_eq!(
        word(&mut fixture, &later),
        permanent("bad-txns-inputs-missingorspent")
    );
}

#[test]
fn a_transaction_cannot_spend_from_a_later_one_of_its_block() {
    let (mut fixture, first) = mature();
    let second = spend(&coins_of(&first), 1, 0);
    let block = fixture.next(vec![second, first]);
    assert_eq!(
        word(&mut fixture, &block),
        permanent("bad-txns-inputs-missingorspent")
    );
}

#[test]
fn bad_txns_premature_spend_of_coinbase() {
    let mut fixture = Fixture::with_height(100);
    let tx = spend(&[fixture.coinbase_at(2)], 1, 0);
    let block = fixture.next(vec![tx]);
    let expected = permanent("bad-txns-premature-spend-of-coinbase");
    assert_eq!(fixture.refuse(&block), expected);
    // 100 confirmations are enough: block 1 may be spent in block 101.
    let tx = spend(&[fixture.coinbase_at(1)], 1, 0);
    let block = fixture.next(vec![tx]);
    assert!(fixture.accept(&block).is_some());
}

#[test]
fn bad_txns_in_belowout() {
    let below = word_for_tx(|tx| tx.output[0].value += Amount::ONE_SAT);
    assert_eq!(below, permanent("bad-txns-in-belowout"));
}

#[test]
fn mandatory_script_verify_flag_failed() {
    let mut fixture = Fixture::with_height(101);
    let mut fund = spend(&[fixture.coinbase_at(1)], 1, 0);
    fund.output[0].script_pubkey = nobody();
    let steal = spend(&coins_of(&fund), 1, 0);
    let block = fixture.next(vec![fund, steal]);
    assert_eq!(
        word(&mut fixture, &block),
        permanent("mandatory-script-verify-flag-failed")
    );
}

#[test]
fn taproot_spends_are_checked_with_all_prevouts() {
    // A key path spend with a signature of zeros: without taproot's rules it would be anyone's.
    let mut fixture = Fixture::with_height(101);
    let mut fund = spend(&[fixture.coinbase_at(1)], 1, 0);
    let mut program = vec![0x51, 0x20];
    program.extend(
        hex::decode("79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798").unwrap(),
    );
    fund.output[0].script_pubkey = ScriptBuf::from_bytes(program);
    let mut steal = spend(&coins_of(&fund), 1, 0);
    steal.input[0].witness = Witness::from_slice(&[[0; 64]]);
    let block = fixture.next(vec![fund, steal]);
    assert_eq!(
        word(&mut fixture, &block),
        permanent("mandatory-script-verify-flag-failed")
    );
}

#[test]
fn bad_cb_amount() {
    let (mut fixture, _) = mature();
    let tx = spend(&[fixture.coinbase_at(1)], 1, 500);
    let mut block = fixture.next(vec![tx]);
    block.txdata[0].output[0].value += Amount::from_sat(501);
    let over = reseal(&fixture, block.clone());
    assert_eq!(fixture.refuse(&over), permanent("bad-cb-amount"));
    block.txdata[0].output[0].value -= Amount::ONE_SAT;
    let just = reseal(&fixture, block);
    assert!(fixture.accept(&just).is_some());
}

#[test]
fn the_subsidy_halves_every_150_blocks() {
    let mut fixture = Fixture::with_height(149);
    let mut block = fixture.next(vec![]);
    assert_eq!(block.txdata[0].output[0].value, Amount::from_int_btc(25));
    block.txdata[0].output[0].value += Amount::ONE_SAT;
    let over = reseal(&fixture, block);
    assert_eq!(word(&mut fixture, &over), permanent("bad-cb-amount"));
}

#[test]
fn a_block_without_a_known_parent_is_not_kept() {
    let mut fixture = Fixture::with_height(2);
    let mut other = Fixture::with_height(1);
    let parent = other.on(&other.chain.tip().hash, vec![], 5);
    other.accept(&parent);
    let child = other.next(vec![]);
    assert_eq!(
        fixture.submit(&child),
        BlockOutcome::MissingParent(parent.block_hash())
    );
    assert!(fixture.chain.header(&child.block_hash()).is_none());
}
