//! The wallet over real blocks: what it receives, spends, and keeps through reorganisations and crashes.

use std::sync::Arc;

use bitcoin::{Amount, Block, Network, ScriptBuf, Transaction};
use netsplit_api::config::{ChainNetwork, Premine};
use netsplit_core::{
    chain::TipChange,
    mempool::Mempool,
    miner::build_block,
    premine::premine_blocks,
    wallet::{Balance, Wallet, WalletError, payee_script},
};

use crate::support::{Fixture, NOW, START, anyone};

const SEED: [u8; 32] = [7; 32];
const BTC: Amount = Amount::ONE_BTC;

struct Owner {
    fixture: Fixture,
    pool: Mempool,
    wallet: Wallet,
    nonce: u64,
}

impl Owner {
    /// A wallet to whose first address `blocks` premined blocks are paid.
    fn new(blocks: u32) -> Self {
        let mut fixture = Fixture::new();
        let payees = vec![payee_script(&SEED).to_hex_string()];
        let premine = Premine {
            blocks,
            time: START,
            payees,
        };
        for block in premine_blocks(&premine, ChainNetwork::Regtest).unwrap() {
            fixture.accept(&block);
        }
        let wallet = Wallet::open(&SEED, &fixture.chain, &mut fixture.db).unwrap();
        fixture.db.commit().unwrap();
        Self {
            fixture,
            pool: Mempool::new(),
            wallet,
            nonce: 0,
        }
    }

    fn template(&mut self) -> Block {
        self.nonce += 1;
        build_block(&self.fixture.chain, &self.pool, &anyone(), NOW, self.nonce)
    }

    fn mine(&mut self) -> Block {
        let block = self.template();
        self.submit(&block).unwrap();
        block
    }

    fn submit(&mut self, block: &Block) -> Option<TipChange> {
        let change = self.fixture.accept(block)?;
        let Self {
            fixture,
            pool,
            wallet,
            ..
        } = self;
        let dropped = pool
            .on_tip_change(&fixture.chain, &fixture.db, &change)
            .unwrap();
        wallet
            .on_tip_change(&fixture.chain, &mut fixture.db, &change)
            .unwrap();
        wallet.on_dropped(&mut fixture.db, &dropped, NOW).unwrap();
        fixture.db.commit().unwrap();
        Some(change)
    }

    fn send(&mut self, script: ScriptBuf, amount: Amount) -> Result<Transaction, WalletError> {
        self.wallet.send(&mut self.fixture.db, script, amount, None)
    }

    /// Sends and puts into mempool and wallet.
    fn pay(&mut self, script: ScriptBuf, amount: Amount) -> Transaction {
        let tx = self.send(script, amount).unwrap();
        self.receive(&tx);
        tx
    }

    fn receive(&mut self, tx: &Transaction) {
        let Self {
            fixture,
            pool,
            wallet,
            ..
        } = self;
        pool.accept(&fixture.chain, &fixture.db, tx.clone(), NOW)
            .unwrap()
            .unwrap();
        assert!(
            wallet
                .on_transaction(&mut fixture.db, &Arc::new(tx.clone()), NOW)
                .unwrap()
        );
        fixture.db.commit().unwrap();
    }

    /// What a restart after a crash now would find.
    fn reopened(&self) -> Wallet {
        let (chain, mut db) = self.fixture.reopened();
        Wallet::open(&SEED, &chain, &mut db).unwrap()
    }

    fn assert_survives_restart(&self) {
        let again = self.reopened();
        assert_eq!(again.balance(), self.wallet.balance());
        assert_eq!(again.transactions(), self.wallet.transactions());
        assert_eq!(again.unconfirmed(), self.wallet.unconfirmed());
        assert_eq!(again.height(), self.wallet.height());
    }
}

#[test]
fn keys_derive_from_the_seed_by_bip84() {
    assert_eq!(payee_script(&SEED), payee_script(&SEED));
    assert_ne!(payee_script(&SEED), payee_script(&[8; 32]));
    let owner = Owner::new(0);
    assert_eq!(owner.wallet.payee_script(), payee_script(&SEED));
    assert!(owner.wallet.is_mine(&payee_script(&SEED)));
    // The same key by hand: m/84'/1'/0'/0/0.
    let secp = bitcoin::secp256k1::Secp256k1::new();
    let master = bitcoin::bip32::Xpriv::new_master(Network::Regtest, &SEED).unwrap();
    let path: bitcoin::bip32::DerivationPath = "84'/1'/0'/0/0".parse().unwrap();
    let key = master
        .derive_priv(&secp, &path)
        .unwrap()
        .to_priv()
        .public_key(&secp);
    assert_eq!(
        ScriptBuf::new_p2wpkh(&key.wpubkey_hash().unwrap()),
        payee_script(&SEED)
    );
}

#[test]
fn premined_coins_are_found_and_mature() {
    let owner = Owner::new(101);
    let balance = owner.wallet.balance();
    // Blocks 1 and 2 can be spent in block 102.
    assert_eq!(balance.confirmed, BTC * 100);
    assert_eq!(balance.immature, BTC * 4950);
    owner.assert_survives_restart();
}

#[test]
fn a_payment_confirms_and_balances_add_up() {
    let mut owner = Owner::new(101);
    let tx = owner.pay(anyone(), BTC);
    let fee = owner.pool.get(&tx.compute_txid()).unwrap().fee;
    assert!(
        fee.to_sat() >= tx.vsize() as u64 && fee.to_sat() <= tx.vsize() as u64 + 2,
        "{fee}"
    );
    assert_eq!(owner.wallet.balance().spendable(), BTC * 99 - fee);
    assert_eq!(owner.wallet.unconfirmed().len(), 1);
    owner.assert_survives_restart();
    let block = owner.mine();
    assert_eq!(block.txdata[1], tx);
    // Block 3's coinbase is mature now.
    assert_eq!(owner.wallet.balance().confirmed, BTC * 149 - fee);
    assert!(owner.wallet.unconfirmed().is_empty());
    let listed = owner.wallet.transaction(&tx.compute_txid()).unwrap();
    assert_eq!(listed.block, Some((102, block.block_hash())));
    assert_eq!(
        (listed.fee, listed.sent - listed.received),
        (Some(fee), BTC + fee)
    );
    owner.assert_survives_restart();
}

#[test]
fn fee_rates_are_kept() {
    let mut owner = Owner::new(101);
    let tx = owner
        .wallet
        .send(&mut owner.fixture.db, anyone(), BTC, Some(25))
        .unwrap();
    owner.receive(&tx);
    let fee = owner.pool.get(&tx.compute_txid()).unwrap().fee.to_sat();
    // By weight, rounded up; a signature may turn out a byte shorter than planned.
    let weight = tx.weight().to_wu();
    assert!(
        (25 * weight..=25 * (weight + 2) + 4).contains(&(fee * 4)),
        "{fee} for {weight}"
    );
}

#[test]
fn payments_that_cannot_be_made_say_why() {
    let mut owner = Owner::new(101);
    let available = BTC * 100;
    match owner.send(anyone(), available) {
        Err(WalletError::InsufficientFunds {
            needed,
            available: found,
        }) => {
            assert!(needed > available);
            assert_eq!(found, available);
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(
        owner.send(anyone(), Amount::from_sat(1)),
        Err(WalletError::Dust)
    ));
    let rate = owner
        .wallet
        .send(&mut owner.fixture.db, anyone(), BTC, Some(u64::MAX));
    assert!(matches!(rate, Err(WalletError::Build(_))));
    assert!(owner.send(anyone(), BTC).is_ok());
}

#[test]
fn change_can_be_spent_before_it_confirms_but_foreign_money_cannot() {
    let mut owner = Owner::new(101);
    let first = owner.pay(anyone(), BTC * 99);
    let second = owner.pay(anyone(), BTC / 2);
    assert_eq!(second.input[0].previous_output.txid, first.compute_txid());
    assert_eq!(
        owner
            .wallet
            .unconfirmed()
            .iter()
            .map(|tx| tx.compute_txid())
            .collect::<Vec<_>>(),
        [first.compute_txid(), second.compute_txid()]
    );
    // 30 more from somebody else, unconfirmed.
    let address = owner.wallet.new_address(&mut owner.fixture.db).unwrap();
    let gift = {
        let giver = Fixture::with_height(101);
        let mut tx = crate::support::spend(&[giver.coinbase_at(1)], 1, 1000);
        tx.output[0].script_pubkey = address.script_pubkey();
        tx
    };
    owner
        .wallet
        .on_transaction(&mut owner.fixture.db, &Arc::new(gift.clone()), NOW)
        .unwrap();
    assert_eq!(
        owner.wallet.balance().untrusted_pending,
        BTC * 50 - Amount::from_sat(1000)
    );
    assert!(matches!(
        owner.send(anyone(), BTC),
        Err(WalletError::InsufficientFunds { .. })
    ));
    let Fixture { mut db, chain, .. } = Fixture::new();
    let mut stranger = Wallet::open(&[9; 32], &chain, &mut db).unwrap();
    assert!(
        !stranger
            .on_transaction(&mut db, &Arc::new(gift), NOW)
            .unwrap()
    );
    assert_eq!(stranger.balance(), Balance::default());
}

#[test]
fn a_reorganisation_returns_own_payments_and_takes_own_coinbases() {
    let mut owner = Owner::new(101);
    let fork = owner.fixture.chain.tip().hash;
    let before = owner.wallet.balance();
    let tx = owner.pay(anyone(), BTC);
    owner.mine();
    // Another block for ourselves, which will be lost.
    owner.nonce += 1;
    let payee = owner.wallet.payee_script();
    let own = build_block(&owner.fixture.chain, &owner.pool, &payee, NOW, owner.nonce);
    owner.submit(&own).unwrap();
    assert_eq!(
        owner.wallet.balance().immature,
        before.immature - BTC * 100 + BTC * 50
    );
    let mut parent = fork;
    for nonce in 0..3 {
        let block = owner.fixture.on(&parent, vec![], 500 + nonce);
        parent = block.block_hash();
        owner.submit(&block);
    }
    assert_eq!(owner.fixture.chain.tip().height, 104);
    let unconfirmed = owner.wallet.unconfirmed();
    assert_eq!(
        unconfirmed
            .iter()
            .map(|tx| tx.compute_txid())
            .collect::<Vec<_>>(),
        [tx.compute_txid()]
    );
    assert!(owner.pool.contains(&tx.compute_txid()));
    let fee = owner.pool.get(&tx.compute_txid()).unwrap().fee;
    let balance = owner.wallet.balance();
    assert_eq!(balance.immature, before.immature - BTC * 150);
    assert_eq!(
        balance.spendable(),
        before.confirmed + BTC * 150 - BTC - fee
    );
    owner.assert_survives_restart();
    owner.mine();
    assert!(owner.wallet.unconfirmed().is_empty());
    owner.assert_survives_restart();
}

#[test]
fn a_payment_from_a_coinbase_that_vanished_is_not_money() {
    // 101 blocks of our own, then another chain of 102 from the genesis block on.
    let mut owner = Owner::new(101);
    let tx = owner.pay(anyone(), BTC);
    let mut parent = owner.fixture.chain.hash_at(0).unwrap();
    for nonce in 0..102 {
        let block = owner.fixture.on(&parent, vec![], 2000 + nonce);
        parent = block.block_hash();
        owner.submit(&block);
    }
    assert_eq!(owner.fixture.chain.tip().hash, parent);
    assert!(owner.wallet.transaction(&tx.compute_txid()).is_none());
    assert_eq!(owner.wallet.balance(), Balance::default());
    assert!(owner.wallet.unconfirmed().is_empty());
    owner.assert_survives_restart();
}

#[test]
fn a_payment_contradicted_by_the_new_branch_is_forgotten() {
    let mut owner = Owner::new(101);
    let fork = owner.fixture.chain.tip().hash;
    // Two wallets with one seed pay from the same coins.
    let mut twin = Owner::new(101);
    let everything = BTC * 99;
    let lost = owner.pay(anyone(), everything);
    owner.mine();
    let winning = twin.pay(ScriptBuf::from_bytes(vec![0x51; 22]), everything - BTC);
    let a = owner.fixture.on(&fork, vec![winning.clone()], 900);
    owner.submit(&a);
    let b = owner.fixture.on(&a.block_hash(), vec![], 901);
    owner.submit(&b).unwrap();
    assert!(!owner.pool.contains(&lost.compute_txid()));
    assert!(owner.wallet.unconfirmed().is_empty());
    assert!(owner.wallet.transaction(&lost.compute_txid()).is_none());
    let listed = owner.wallet.transaction(&winning.compute_txid()).unwrap();
    assert_eq!(listed.block, Some((102, a.block_hash())));
    owner.assert_survives_restart();
}

#[test]
fn a_dropped_payment_that_comes_back_in_the_same_second_counts_again() {
    let mut owner = Owner::new(101);
    let before = owner.wallet.balance();
    let tx = owner.pay(anyone(), BTC);
    let paid = owner.wallet.balance();
    for _ in 0..2 {
        let db = &mut owner.fixture.db;
        owner
            .wallet
            .on_dropped(db, &[tx.compute_txid()], NOW)
            .unwrap();
        assert_eq!(owner.wallet.balance(), before);
        let again = Arc::new(tx.clone());
        assert!(owner.wallet.on_transaction(db, &again, NOW).unwrap());
        assert_eq!(owner.wallet.balance(), paid);
    }
}

#[test]
fn a_wallet_catches_up_with_a_chain_it_did_not_follow() {
    let mut owner = Owner::new(101);
    owner.pay(anyone(), BTC);
    let fork = owner.fixture.chain.tip().hash;
    owner.mine();
    // The chain reorganises while the wallet is not told.
    let block = owner.fixture.on(&fork, vec![], 800);
    owner.fixture.accept(&block);
    let block = owner.fixture.on(&block.block_hash(), vec![], 801);
    owner.fixture.accept(&block).unwrap();
    let again = owner.reopened();
    assert_eq!(again.height(), 103);
    assert_eq!(again.unconfirmed().len(), 1);
}

#[test]
fn addresses_are_fresh_over_restarts_and_equal_seeds_choose_equal_coins() {
    let (mut a, mut b) = (Owner::new(101), Owner::new(101));
    let first = a.wallet.new_address(&mut a.fixture.db).unwrap();
    assert_ne!(first.script_pubkey(), payee_script(&SEED));
    a.fixture.db.commit().unwrap();
    let (_, mut db) = a.fixture.reopened();
    let second = a.reopened().new_address(&mut db).unwrap();
    assert_ne!(first, second);
    assert_eq!(b.wallet.new_address(&mut b.fixture.db).unwrap(), first);
    let send = |owner: &mut Owner| owner.send(anyone(), BTC * 60).unwrap();
    assert_eq!(send(&mut a), send(&mut b));
}

#[test]
fn many_changes_are_merged_on_opening() {
    let mut owner = Owner::new(101);
    for _ in 0..300 {
        owner.mine();
    }
    let rows = |db: &netsplit_core::db::Db| {
        let mut rows = 0;
        db.scan(netsplit_core::store::Table::Wallet, &mut |_, _| rows += 1)
            .unwrap();
        rows
    };
    assert!(rows(&owner.fixture.db) > 256);
    let (chain, mut db) = owner.fixture.reopened();
    let again = Wallet::open(&SEED, &chain, &mut db).unwrap();
    assert_eq!(rows(&db), 1);
    assert_eq!(again.balance(), owner.wallet.balance());
    db.commit().unwrap();
    let once_more = Wallet::open(&SEED, &chain, &mut db).unwrap();
    assert_eq!(once_more.balance(), owner.wallet.balance());
}
