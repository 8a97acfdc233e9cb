//! The address book.

#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::{random, store::MemoryStore, time::WallTime};

const ALICE: ConnId = ConnId(1);
const BOB: ConnId = ConnId(2);
const CAROL: ConnId = ConnId(3);
const DAVE: ConnId = ConnId(4);
const PAUSE: Duration = Duration::from_millis(500);

fn address(last: u8) -> SocketAddr {
    ([11, 0, 0, last], 18444).into()
}

fn at(seconds: u64) -> Now {
    let mono = Instant(seconds * 1_000_000_000);
    Now {
        mono,
        wall: WallTime((1_700_000_000 + seconds) * 1_000_000_000),
    }
}

fn open(db: &Db) -> Addresses {
    let rng = random::stream(&[1; 32], "addresses");
    Addresses::open(address(1), ServiceFlags::NETWORK, PAUSE, rng, db).unwrap()
}

fn empty() -> (Addresses, Db, Outbox) {
    let db = Db::new(Box::new(MemoryStore::default()));
    (open(&db), db, Outbox::default())
}

fn told(seconds: u64, last: u8) -> (u32, Address) {
    (
        at(seconds).wall.seconds(),
        Address::new(&address(last), ServiceFlags::NETWORK),
    )
}

#[test]
fn a_new_peer_hears_where_we_are() {
    let (mut book, _db, mut out) = empty();
    book.peer_connected(
        BOB,
        (Some(address(2)), ServiceFlags::NETWORK),
        at(0),
        &mut out,
    );
    assert_eq!(out.said_to(BOB), [NetworkMessage::Addr(vec![told(0, 1)])]);
    let known: Vec<AddressInfo> = book.iter().collect();
    assert_eq!(known[0].address, address(2));
    assert_eq!(known[0].last_success, Some(at(0).wall.seconds()));
}

#[test]
fn news_go_to_two_others_once_and_answers_to_nobody() {
    let (mut book, _db, mut out) = empty();
    for conn in [ALICE, BOB, CAROL, DAVE] {
        book.peer_connected(conn, (None, ServiceFlags::NETWORK), at(0), &mut out);
        out.said_to(conn);
    }
    let all = [ALICE, BOB, CAROL, DAVE];
    let mut passed_on = |book: &mut Addresses, told: &[(u32, Address)]| {
        book.received_addr(ALICE, told, at(10), &mut out);
        book.on_timer(at(11).mono, all.into_iter(), &mut out);
        assert!(
            out.said_to(ALICE).is_empty(),
            "not back to where it came from"
        );
        all.iter()
            .map(|conn| out.said_to(*conn).len())
            .sum::<usize>()
    };
    assert_eq!(passed_on(&mut book, &[told(5, 7)]), 2);
    assert_eq!(passed_on(&mut book, &[told(6, 7)]), 0, "twice is no news");
    let many: Vec<_> = (20..31).map(|last| told(5, last)).collect();
    assert_eq!(passed_on(&mut book, &many), 0, "eleven are an answer");
    let stale = (
        at(0).wall.seconds() - 601,
        Address::new(&address(9), ServiceFlags::NETWORK),
    );
    assert_eq!(passed_on(&mut book, &[stale]), 0, "old is no news");
    assert_eq!(book.iter().count(), 13, "but all are known");
}

#[test]
fn news_travel_together_and_no_longer_where_many_are_known() {
    let (mut book, _db, mut out) = empty();
    let all = [ALICE, BOB, CAROL, DAVE];
    for conn in all {
        book.peer_connected(conn, (None, ServiceFlags::NETWORK), at(0), &mut out);
        out.said_to(conn);
    }
    for last in 20..28 {
        book.received_addr(ALICE, &[told(5, last)], at(5), &mut out);
    }
    let due = book.next_deadline().unwrap();
    assert!(due > at(5).mono && due < at(6).mono);
    book.on_timer(due, all.into_iter(), &mut out);
    let messages: Vec<_> = all.iter().flat_map(|conn| out.said_to(*conn)).collect();
    match &messages[..] {
        [NetworkMessage::Addr(one), NetworkMessage::Addr(other)] => {
            assert_eq!((one.len(), other.len()), (8, 8));
        }
        other => panic!("{other:?}"),
    }
    for number in 0..200_u8 {
        book.found(([12, 0, 0, number], 18444).into(), at(6));
    }
    book.received_addr(ALICE, &[told(6, 30)], at(6), &mut out);
    book.on_timer(at(7).mono, all.into_iter(), &mut out);
    assert!(all.iter().all(|conn| out.said_to(*conn).is_empty()));
    book.received_getaddr(BOB, &|_| false, at(8), &mut out);
    match &out.said_to(BOB)[..] {
        [NetworkMessage::Addr(answer)] => assert_eq!(answer.len(), ENOUGH),
        other => panic!("{other:?}"),
    }
}

#[test]
fn getaddr_is_answered_with_what_is_known_now_at_most_once_a_second() {
    let (mut book, _db, mut out) = empty();
    book.peer_connected(BOB, (None, ServiceFlags::NETWORK), at(0), &mut out);
    let mut answer = |book: &mut Addresses, second| {
        out.said_to(BOB);
        book.received_getaddr(BOB, &|_| false, at(second), &mut out);
        out.said_to(BOB)
    };
    book.found(address(5), at(0));
    assert_eq!(answer(&mut book, 0).len(), 1);
    book.found(address(6), at(0));
    assert!(answer(&mut book, 0).is_empty());
    match &answer(&mut book, 1)[..] {
        [NetworkMessage::Addr(addresses)] => assert_eq!(addresses.len(), 2),
        other => panic!("{other:?}"),
    }
}

#[test]
fn where_dials_failed_comes_last_and_later() {
    let (mut book, _db, _out) = empty();
    book.found(address(5), at(0));
    book.attempt_failed(address(5), at(0));
    assert_eq!(book.candidate(at(0).mono, &|_| false), None);
    assert!(book.next_candidate(at(0).mono, &|_| false).unwrap() < at(1).mono);
    book.found(address(6), at(1));
    assert_eq!(book.candidate(at(1).mono, &|_| false), Some(address(6)));
    assert_eq!(
        book.candidate(at(1).mono, &|busy| busy == address(6)),
        Some(address(5))
    );
}

#[test]
fn the_book_survives_a_restart_and_what_cannot_be_dialled_never_enters() {
    let (mut book, mut db, mut out) = empty();
    book.peer_connected(
        BOB,
        (Some(address(2)), ServiceFlags::NETWORK),
        at(0),
        &mut out,
    );
    book.found(address(3), at(0));
    book.found(address(1), at(0));
    book.found(([0, 0, 0, 0], 18444).into(), at(0));
    book.found(([224, 0, 0, 1], 18444).into(), at(0));
    book.found(([11, 0, 0, 9], 0).into(), at(0));
    book.save(at(0).mono, &mut db);
    assert!(!db.is_dirty(), "news waits for other writes");
    assert_eq!(book.next_deadline(), Some(at(0).mono + SAVE_PAUSE));
    book.save(at(1).mono, &mut db);
    let before: Vec<AddressInfo> = book.iter().collect();
    assert_eq!(
        before.iter().map(|info| info.address).collect::<Vec<_>>(),
        [address(2), address(3)]
    );
    assert_eq!(open(&db).iter().collect::<Vec<_>>(), before);
    book.forget(address(3));
    // The batch has the first save already: this one goes with it.
    book.save(at(1).mono, &mut db);
    assert_eq!(open(&db).iter().count(), 1);
}

#[test]
fn a_full_book_forgets_only_what_was_never_reached() {
    let (mut book, _db, mut out) = empty();
    book.peer_connected(
        BOB,
        (Some(address(2)), ServiceFlags::NETWORK),
        at(0),
        &mut out,
    );
    for number in 0..5000_u32 {
        let [_, a, b, c] = number.to_be_bytes();
        book.found(([12, a, b, c], 18444).into(), at(0));
    }
    assert_eq!(book.iter().count(), MAX_ADDRESSES);
    assert!(book.iter().any(|info| info.address == address(2)));
}
