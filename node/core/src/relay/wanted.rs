//! Asking for announced transactions: one peer at a time, and the next one when it lets us wait.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use bitcoin::{
    Txid,
    p2p::{message::NetworkMessage, message_blockdata::Inventory},
};

use crate::{
    io::ConnId, outbox::Outbox, relay::known::Known, sync::in_flight::InFlight, time::Instant,
};

/// Transactions asked of one peer at a time.
const WINDOW: usize = 100;
/// Transactions wanted of one peer (Bitcoin Core's `MAX_PEER_TX_ANNOUNCEMENTS`), so that made-up ones do not keep
/// those of others out.
const MAX_OF_PEER: usize = 5_000;
/// Peers remembered for one transaction.
const MAX_SOURCES: usize = 8;
/// Refused transactions remembered.
const MAX_REFUSED: usize = 5_000;

/// Transactions that peers have and we do not.
#[derive(Debug)]
pub(crate) struct Wanted {
    sources: BTreeMap<Txid, VecDeque<ConnId>>,
    /// How often each peer is among the sources.
    counts: BTreeMap<ConnId, usize>,
    in_flight: InFlight<Txid>,
    refused: Known<Txid>,
    /// Whose parents were asked for already.
    retried: Known<Txid>,
}

impl Wanted {
    pub(crate) const fn new(timeout: Duration) -> Self {
        Self {
            sources: BTreeMap::new(),
            counts: BTreeMap::new(),
            in_flight: InFlight::new(timeout),
            refused: Known::new(MAX_REFUSED),
            retried: Known::new(MAX_REFUSED),
        }
    }

    /// `conn` has a transaction that we lack.
    pub(crate) fn announced(&mut self, conn: ConnId, txid: Txid) {
        let count = self.counts.entry(conn).or_default();
        if self.refused.contains(&txid) || *count >= MAX_OF_PEER {
            return;
        }
        let sources = self.sources.entry(txid).or_default();
        if sources.len() < MAX_SOURCES && !sources.contains(&conn) {
            sources.push_back(conn);
            *count += 1;
        }
    }

    /// Asks for more when much of what `conn` was asked for has come.
    pub(crate) fn go_on(&mut self, conn: ConnId, now: Instant, out: &mut Outbox) {
        if self.in_flight.count(conn) < WINDOW / 2 {
            self.fetch(now, out);
        }
    }

    /// Asks for what nobody is being asked for.
    fn fetch(&mut self, now: Instant, out: &mut Outbox) {
        let mut asked: BTreeMap<ConnId, Vec<Inventory>> = BTreeMap::new();
        for (txid, sources) in &self.sources {
            if self.in_flight.contains(txid) {
                continue;
            }
            let free = sources
                .iter()
                .find(|conn| self.in_flight.count(**conn) < WINDOW);
            if let Some(conn) = free {
                self.in_flight.asked(*conn, *txid, now);
                asked
                    .entry(*conn)
                    .or_default()
                    .push(Inventory::WitnessTransaction(*txid));
            }
        }
        for (conn, inventory) in asked {
            out.send(conn, NetworkMessage::GetData(inventory));
        }
    }

    /// A transaction came or is no longer wanted.
    pub(crate) fn received(&mut self, txid: &Txid) {
        self.in_flight.over(txid);
        for source in self.sources.remove(txid).into_iter().flatten() {
            self.forget_one(source);
        }
    }

    fn forget_one(&mut self, source: ConnId) {
        if let Some(count) = self.counts.get_mut(&source) {
            *count = count.saturating_sub(1);
        }
    }

    /// What `conn` sent as `txid` is not wanted, but others may have it with other witnesses.
    pub(crate) fn spoiled(&mut self, conn: ConnId, txid: &Txid, now: Instant, out: &mut Outbox) {
        if self.in_flight.is_asked(conn, txid) {
            self.in_flight.over(txid);
        }
        self.drop_source(conn, txid);
        self.fetch(now, out);
    }

    /// A transaction is not to be asked for again, until the chain moves.
    pub(crate) fn refuse(&mut self, txid: Txid) {
        self.refused.insert(txid);
    }

    /// A transaction's `parents` are unknown: they and then it are asked of the peer that sent it, once.
    pub(crate) fn ask_parents(
        &mut self,
        conn: ConnId,
        txid: Txid,
        parents: &[Txid],
        out: &mut Outbox,
    ) {
        if parents.len() < WINDOW && self.retried.insert(txid) {
            let wanted = parents.iter().copied().chain([txid]);
            let inventory = wanted.map(Inventory::WitnessTransaction).collect();
            out.send(conn, NetworkMessage::GetData(inventory));
        }
    }

    /// What was refused may be welcome on the new chain.
    pub(crate) fn tip_changed(&mut self) {
        self.refused.clear();
        self.retried.clear();
    }

    pub(crate) fn received_notfound(
        &mut self,
        conn: ConnId,
        txid: &Txid,
        now: Instant,
        out: &mut Outbox,
    ) {
        if self.in_flight.is_asked(conn, txid) {
            self.in_flight.over(txid);
            self.drop_source(conn, txid);
            self.fetch(now, out);
        }
    }

    pub(crate) fn peer_disconnected(&mut self, conn: ConnId, now: Instant, out: &mut Outbox) {
        self.in_flight.peer_disconnected(conn);
        self.counts.remove(&conn);
        for sources in self.sources.values_mut() {
            sources.retain(|source| *source != conn);
        }
        self.sources.retain(|_, sources| !sources.is_empty());
        self.fetch(now, out);
    }

    pub(crate) fn on_timer(&mut self, now: Instant, out: &mut Outbox) {
        for (txid, conn) in self.in_flight.timed_out(now) {
            self.drop_source(conn, &txid);
        }
        self.fetch(now, out);
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.in_flight.next_deadline()
    }

    fn drop_source(&mut self, conn: ConnId, txid: &Txid) {
        let Some(sources) = self.sources.get_mut(txid) else {
            return;
        };
        let before = sources.len();
        sources.retain(|source| *source != conn);
        let (left, is_gone) = (sources.len(), sources.is_empty());
        if is_gone {
            self.sources.remove(txid);
        }
        if left < before {
            self.forget_one(conn);
        }
    }
}

#[cfg(test)]
mod tests {
    use bitcoin::hashes::Hash as _;

    use super::*;

    const ALICE: ConnId = ConnId(1);
    const BOB: ConnId = ConnId(2);
    const SECOND: Duration = Duration::from_secs(1);

    fn txid(number: u8) -> Txid {
        Txid::from_byte_array([number; 32])
    }

    fn request(numbers: &[u8]) -> NetworkMessage {
        let wanted = numbers
            .iter()
            .map(|number| Inventory::WitnessTransaction(txid(*number)));
        NetworkMessage::GetData(wanted.collect())
    }

    fn both_have_it() -> (Wanted, Outbox) {
        let (mut wanted, mut out) = (Wanted::new(SECOND), Outbox::default());
        wanted.announced(ALICE, txid(1));
        wanted.announced(BOB, txid(1));
        wanted.fetch(Instant(0), &mut out);
        assert_eq!(out.said_to(ALICE), [request(&[1])]);
        assert_eq!(out.said_to(BOB), [], "one is enough");
        (wanted, out)
    }

    #[test]
    fn the_next_one_is_asked_when_the_first_lets_us_wait_or_leaves_or_lacks_it() {
        let (mut wanted, mut out) = both_have_it();
        wanted.on_timer(Instant(0) + SECOND, &mut out);
        assert_eq!(out.said_to(BOB), [request(&[1])]);
        let (mut wanted, mut out) = both_have_it();
        wanted.peer_disconnected(ALICE, Instant(0), &mut out);
        assert_eq!(out.said_to(BOB), [request(&[1])]);
        let (mut wanted, mut out) = both_have_it();
        wanted.received_notfound(ALICE, &txid(1), Instant(0), &mut out);
        assert_eq!(out.said_to(BOB), [request(&[1])]);
    }

    fn many(count: u16, salt: u8) -> Vec<Txid> {
        let id = |number: u16| {
            let mut bytes = [salt; 32];
            bytes[..2].copy_from_slice(&number.to_be_bytes());
            Txid::from_byte_array(bytes)
        };
        (0..count).map(id).collect()
    }

    fn asked(out: &mut Outbox, conn: ConnId) -> Vec<Txid> {
        let ids = |message| match message {
            NetworkMessage::GetData(items) => items,
            other => panic!("{other:?}"),
        };
        let items = out.said_to(conn).into_iter().flat_map(ids);
        items
            .map(|item| match item {
                Inventory::WitnessTransaction(txid) => txid,
                other => panic!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn a_long_announcement_is_asked_for_piece_by_piece_to_its_end() {
        let (mut wanted, mut out) = (Wanted::new(SECOND), Outbox::default());
        let all = many(350, 1);
        all.iter().for_each(|txid| wanted.announced(ALICE, *txid));
        wanted.fetch(Instant(0), &mut out);
        let mut got = Vec::new();
        loop {
            let batch = asked(&mut out, ALICE);
            if batch.is_empty() {
                break;
            }
            assert!(batch.len() <= WINDOW);
            for txid in &batch {
                wanted.received(txid);
                wanted.go_on(ALICE, Instant(0), &mut out);
            }
            got.extend(batch);
        }
        got.sort_unstable();
        assert_eq!(got, all);
        assert_eq!(wanted.counts[&ALICE], 0);
    }

    #[test]
    fn made_up_transactions_of_one_do_not_keep_those_of_others_out() {
        let (mut wanted, mut out) = (Wanted::new(SECOND), Outbox::default());
        let made_up = many(20_000, 1);
        made_up
            .iter()
            .for_each(|txid| wanted.announced(ALICE, *txid));
        assert_eq!(wanted.sources.len(), MAX_OF_PEER);
        wanted.announced(BOB, txid(9));
        wanted.fetch(Instant(0), &mut out);
        assert_eq!(asked(&mut out, BOB), [txid(9)]);
        for round in 1..=50 {
            wanted.on_timer(Instant(0) + SECOND * round, &mut out);
        }
        assert_eq!(wanted.counts[&ALICE], 0, "what never comes is forgotten");
        wanted.peer_disconnected(ALICE, Instant(0), &mut out);
        wanted.peer_disconnected(BOB, Instant(0), &mut out);
        assert!(wanted.sources.is_empty() && wanted.counts.is_empty());
    }

    #[test]
    fn one_who_spoils_a_transaction_does_not_keep_it_from_us() {
        let (mut wanted, mut out) = both_have_it();
        wanted.spoiled(ALICE, &txid(1), Instant(0), &mut out);
        assert_eq!(out.said_to(BOB), [request(&[1])]);
        assert_eq!(out.said_to(ALICE), []);
    }

    #[test]
    fn what_was_refused_is_not_asked_for_until_the_chain_moves() {
        let (mut wanted, mut out) = both_have_it();
        wanted.received(&txid(1));
        wanted.refuse(txid(1));
        wanted.announced(BOB, txid(1));
        wanted.fetch(Instant(0), &mut out);
        assert_eq!(out.said_to(BOB), []);
        wanted.tip_changed();
        wanted.announced(BOB, txid(1));
        wanted.fetch(Instant(0), &mut out);
        assert_eq!(out.said_to(BOB), [request(&[1])]);
    }

    #[test]
    fn parents_come_before_the_child_and_are_asked_for_once() {
        let (mut wanted, mut out) = (Wanted::new(SECOND), Outbox::default());
        for _ in 0..2 {
            wanted.ask_parents(ALICE, txid(9), &[txid(1), txid(2)], &mut out);
        }
        assert_eq!(out.said_to(ALICE), [request(&[1, 2, 9])]);
    }
}
