//! Headers first, locators, and the tree's tips.

use bitcoin::{Network, block::Header, constants::genesis_block};
use netsplit_core::chain::{BlockStatus, Chain, ChainTipStatus, HeaderError};

use crate::support::{Fixture, NOW};

/// Blocks of a longer chain elsewhere, and its headers.
fn elsewhere(height: u32) -> (Vec<bitcoin::Block>, Vec<Header>) {
    let other = Fixture::with_height(height);
    let blocks: Vec<_> = (1..=height)
        .map(|h| {
            other
                .chain
                .block(&other.db, &other.chain.hash_at(h).unwrap())
                .unwrap()
                .unwrap()
        })
        .collect();
    let headers = blocks.iter().map(|block| block.header).collect();
    (blocks, headers)
}

fn missing(chain: &Chain) -> usize {
    chain.missing_blocks(usize::MAX, &|_| false).len()
}

#[test]
fn a_new_chain_is_regtests_genesis_block() {
    let fixture = Fixture::new();
    let tip = fixture.chain.tip();
    let known = "0f9188f13cb7b2c71f2a335e3a4fc328bf5beb436012afca590b1a11466e2206";
    assert_eq!(tip.hash.to_string(), known);
    assert_eq!(tip.height, 0);
    assert_eq!(tip.work, genesis_block(Network::Regtest).header.work());
    assert_eq!(
        fixture
            .chain
            .block(&fixture.db, &tip.hash)
            .unwrap()
            .unwrap(),
        genesis_block(Network::Regtest)
    );
    // The genesis block's coinbase cannot be spent.
    assert_eq!(fixture.chain.coin_stats(&fixture.db).unwrap().txouts, 0);
    fixture.assert_survives_restart();
}

#[test]
fn blocks_in_any_order_follow_the_headers() {
    let (blocks, headers) = elsewhere(30);
    let mut fixture = Fixture::new();
    assert_eq!(
        fixture.chain.accept_headers(&mut fixture.db, &headers, NOW),
        Ok(30)
    );
    assert_eq!(
        fixture.chain.accept_headers(&mut fixture.db, &headers, NOW),
        Ok(0)
    );
    fixture.db.commit().unwrap();
    assert_eq!(fixture.chain.best_header().height, 30);
    assert_eq!(fixture.chain.tip().height, 0);
    assert_eq!(missing(&fixture.chain), 30);
    let wanted = fixture
        .chain
        .missing_blocks(3, &|hash| *hash == headers[1].block_hash());
    assert_eq!(wanted, [0, 2, 3].map(|at| headers[at].block_hash()));
    for block in blocks[1..].iter().rev() {
        assert_eq!(fixture.accept(block), None);
        fixture.assert_survives_restart();
    }
    assert_eq!(missing(&fixture.chain), 1);
    let change = fixture.accept(&blocks[0]).unwrap();
    assert_eq!(change.connected.len(), 30);
    assert_eq!(
        (change.from.height, change.fork_height, change.to.height),
        (0, 0, 30)
    );
    assert_eq!(missing(&fixture.chain), 0);
    fixture.assert_survives_restart();
}

#[test]
fn headers_stop_at_the_first_bad_one() {
    let (_, mut headers) = elsewhere(5);
    headers[3].nonce = (0..)
        .find(|nonce| {
            !Fixture::new().chain.consensus().proves(&Header {
                nonce: *nonce,
                ..headers[3]
            })
        })
        .unwrap();
    let mut fixture = Fixture::new();
    let error = fixture
        .chain
        .accept_headers(&mut fixture.db, &headers, NOW)
        .unwrap_err();
    let HeaderError::Invalid {
        hash,
        reason,
        permanent,
    } = error
    else {
        panic!("{error:?}")
    };
    assert_eq!(
        (hash, reason.as_str(), permanent),
        (headers[3].block_hash(), "high-hash", true)
    );
    assert_eq!(fixture.chain.best_header().height, 3);
    let orphan = fixture
        .chain
        .accept_headers(&mut fixture.db, &headers[4..], NOW);
    assert_eq!(
        orphan,
        Err(HeaderError::MissingParent(headers[4].block_hash()))
    );
}

#[test]
fn best_headers_leave_a_branch_that_turns_out_invalid() {
    let mut fixture = Fixture::with_height(3);
    let mut bad = fixture.next(vec![]);
    bad.txdata[0].output[0].value += bitcoin::Amount::ONE_SAT;
    let bad = crate::support::reseal(&fixture, bad);
    fixture
        .chain
        .accept_headers(&mut fixture.db, &[bad.header], NOW)
        .unwrap();
    let child = fixture.on(&bad.block_hash(), vec![], 0);
    fixture
        .chain
        .accept_headers(&mut fixture.db, &[child.header], NOW)
        .unwrap();
    assert_eq!(fixture.chain.best_header().height, 5);
    assert_eq!(fixture.refuse(&bad).0, "bad-cb-amount");
    assert_eq!(fixture.chain.best_header(), fixture.chain.tip());
    assert_eq!(missing(&fixture.chain), 0);
    let status = fixture.chain.header(&child.block_hash()).unwrap().status;
    assert_eq!(status, BlockStatus::Invalid);
    fixture.assert_survives_restart();
}

#[test]
fn locators_grow_sparser_and_name_the_fork() {
    let fixture = Fixture::with_height(60);
    let tip = fixture.chain.tip();
    let locator = fixture.chain.locator(&tip.hash);
    let heights: Vec<u32> = locator
        .iter()
        .map(|hash| fixture.chain.header(hash).unwrap().height)
        .collect();
    let expected = [
        60, 59, 58, 57, 56, 55, 54, 53, 52, 51, 50, 49, 47, 43, 35, 19, 0,
    ];
    assert_eq!(heights, expected);

    let mut other = Fixture::with_height(40);
    let twin = other.on(&other.chain.tip().hash, vec![], 7);
    other.accept(&twin);
    let fork = fixture
        .chain
        .find_fork(&other.chain.locator(&twin.block_hash()));
    assert_eq!(fixture.chain.header(&fork).unwrap().height, 40);
    let genesis = genesis_block(Network::Regtest).block_hash();
    assert_eq!(fixture.chain.find_fork(&[]), genesis);
    assert_eq!(fixture.chain.locator(&twin.block_hash()), vec![]);
}

#[test]
fn headers_and_hashes_after_a_fork_stop_where_asked() {
    let fixture = Fixture::with_height(20);
    let at = |height| fixture.chain.hash_at(height).unwrap();
    let hashes = |stop: Option<u32>, max| {
        fixture
            .chain
            .hashes_after(&at(5), stop.map(at).as_ref(), max)
    };
    assert_eq!(hashes(None, 3), [6, 7, 8].map(at));
    assert_eq!(hashes(Some(7), 10), [6, 7].map(at));
    assert_eq!(hashes(Some(4), 10), vec![]);
    assert_eq!(hashes(None, usize::MAX).len(), 15);
    let headers = fixture.chain.headers_after(&at(19), None, 2000);
    assert_eq!(
        headers.iter().map(Header::block_hash).collect::<Vec<_>>(),
        [at(20)]
    );
    assert_eq!(headers[0].prev_blockhash, at(19));
}

#[test]
fn tips_tell_what_is_known_of_every_end() {
    let mut fixture = Fixture::with_height(5);
    let at = |fixture: &Fixture, height| fixture.chain.hash_at(height).unwrap();
    let stored = fixture.on(&at(&fixture, 3), vec![], 1);
    fixture.accept(&stored);
    let header_only = fixture.on(&at(&fixture, 2), vec![], 2);
    fixture
        .chain
        .accept_headers(&mut fixture.db, &[header_only.header], NOW)
        .unwrap();
    let mut bad = fixture.on(&at(&fixture, 5), vec![], 3);
    bad.txdata[0].output[0].value += bitcoin::Amount::ONE_SAT;
    let bad = crate::support::reseal(&fixture, bad);
    fixture.refuse(&bad);
    let tips: Vec<_> = fixture
        .chain
        .tips()
        .iter()
        .map(|tip| (tip.height, tip.branch_length, tip.status))
        .collect();
    let expected = [
        (6, 1, ChainTipStatus::Invalid),
        (5, 0, ChainTipStatus::Active),
        (4, 1, ChainTipStatus::ValidHeaders),
        (3, 1, ChainTipStatus::HeadersOnly),
    ];
    assert_eq!(tips, expected);
}
