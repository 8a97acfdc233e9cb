//! Announce to every peer that may not have it: transactions and blocks by `inv`, blocks by `headers` to those who
//! asked for that (BIP130) and can connect them.

use std::collections::BTreeMap;

use bitcoin::{
    BlockHash, Txid, Work,
    block::Header,
    p2p::{message::NetworkMessage, message_blockdata::Inventory},
};

use crate::{
    chain::{Chain, Tip, TipChange},
    io::ConnId,
    outbox::Outbox,
    relay::{Relay, known::Known},
};

/// Transactions remembered of what one peer has.
const MAX_KNOWN: usize = 5_000;
/// Waiting transactions a new peer is told of.
const MAX_WAITING: usize = 5_000;
/// Entries in one `inv`.
const MAX_INV: usize = 1_000;
/// Headers in one announcement; beyond it the tip alone is announced (Bitcoin Core's `MAX_BLOCKS_TO_ANNOUNCE`).
const MAX_HEADERS: usize = 8;

#[derive(Debug)]
struct Peer {
    wants_transactions: bool,
    wants_headers: bool,
    /// The block with the most work that it has for sure, and hence all before it.
    best: Option<(BlockHash, Work)>,
    /// The last block it was told of.
    told: Option<BlockHash>,
    transactions: Known<Txid>,
}

/// Floods.
#[derive(Debug, Default)]
pub(crate) struct Flood {
    peers: BTreeMap<ConnId, Peer>,
}

impl Peer {
    fn has(&self, hash: &BlockHash, chain: &Chain) -> bool {
        if self.told == Some(*hash) {
            return true;
        }
        let Some((best, _)) = self.best else {
            return false;
        };
        let (Some(best), Some(info)) = (chain.header(&best), chain.header(hash)) else {
            return false;
        };
        let same_branch = chain.is_active(&best.header.block_hash()) && chain.is_active(hash);
        best.header.block_hash() == *hash || (same_branch && info.height <= best.height)
    }

    /// Tells of the last of `headers`, which follow each other.
    fn announce(&mut self, conn: ConnId, headers: &[Header], chain: &Chain, out: &mut Outbox) {
        let (Some(first), Some(last)) = (headers.first(), headers.last()) else {
            return;
        };
        let hash = last.block_hash();
        if self.has(&hash, chain) {
            return;
        }
        let connects = headers.len() <= MAX_HEADERS && self.has(&first.prev_blockhash, chain);
        if self.wants_headers && connects {
            out.send(conn, NetworkMessage::Headers(headers.to_vec()));
        } else {
            out.send(conn, NetworkMessage::Inv(vec![Inventory::Block(hash)]));
        }
        self.told = Some(hash);
    }
}

fn announce_all(conn: ConnId, txids: &[Txid], out: &mut Outbox) {
    for part in txids.chunks(MAX_INV) {
        let inventory = part.iter().copied().map(Inventory::Transaction);
        out.send(conn, NetworkMessage::Inv(inventory.collect()));
    }
}

impl Relay for Flood {
    fn peer_connected(
        &mut self,
        conn: ConnId,
        wants_transactions: bool,
        (tip, mut waiting): (Tip, Vec<Txid>),
        out: &mut Outbox,
    ) {
        let mut transactions = Known::new(MAX_KNOWN);
        if tip.height > 0 {
            out.send(conn, NetworkMessage::Inv(vec![Inventory::Block(tip.hash)]));
        }
        if wants_transactions {
            waiting.truncate(MAX_WAITING);
            announce_all(conn, &waiting, out);
            for txid in waiting {
                transactions.insert(txid);
            }
        }
        let told = (tip.height > 0).then_some(tip.hash);
        let (wants_headers, best) = (false, None);
        let peer = Peer {
            wants_transactions,
            wants_headers,
            best,
            told,
            transactions,
        };
        self.peers.insert(conn, peer);
    }

    fn peer_disconnected(&mut self, conn: ConnId) {
        self.peers.remove(&conn);
    }

    fn received_sendheaders(&mut self, conn: ConnId) {
        if let Some(peer) = self.peers.get_mut(&conn) {
            peer.wants_headers = true;
        }
    }

    fn has_block(&mut self, conn: ConnId, hash: &BlockHash, chain: &Chain) {
        let Some(peer) = self.peers.get_mut(&conn) else {
            return;
        };
        let Some(info) = chain.header(hash) else {
            return;
        };
        if peer.best.is_none_or(|(_, work)| info.work > work) {
            peer.best = Some((*hash, info.work));
        }
    }

    fn has_transaction(&mut self, conn: ConnId, txid: &Txid) {
        if let Some(peer) = self.peers.get_mut(&conn) {
            peer.transactions.insert(*txid);
        }
    }

    fn tip_changed(&mut self, change: &TipChange, chain: &Chain, out: &mut Outbox) {
        let connected = &change.connected;
        let last = connected.len().saturating_sub(MAX_HEADERS + 1);
        let headers: Vec<Header> = connected[last..]
            .iter()
            .filter_map(|hash| chain.header(hash).map(|info| info.header))
            .collect();
        for (conn, peer) in &mut self.peers {
            peer.announce(*conn, &headers, chain, out);
        }
    }

    fn header_changed(&mut self, best: Tip, chain: &Chain, out: &mut Outbox) {
        let header = chain.header(&best.hash).map(|info| info.header);
        for (conn, peer) in &mut self.peers {
            peer.announce(*conn, header.as_slice(), chain, out);
        }
    }

    fn transaction_accepted(&mut self, txid: &Txid, out: &mut Outbox) {
        for (conn, peer) in self
            .peers
            .iter_mut()
            .filter(|(_, peer)| peer.wants_transactions)
        {
            if peer.transactions.insert(*txid) {
                out.send(
                    *conn,
                    NetworkMessage::Inv(vec![Inventory::Transaction(*txid)]),
                );
            }
        }
    }

    fn announce_again(&mut self, txids: &[Txid], out: &mut Outbox) {
        for (conn, peer) in self
            .peers
            .iter_mut()
            .filter(|(_, peer)| peer.wants_transactions)
        {
            announce_all(*conn, txids, out);
            for txid in txids {
                peer.transactions.insert(*txid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use bitcoin::{ScriptBuf, hashes::Hash as _};
    use netsplit_api::config::ChainNetwork;

    use super::*;
    use crate::{
        chain::BlockOutcome, db::Db, mempool::Mempool, miner, store::MemoryStore, time::WallTime,
    };

    const ALICE: ConnId = ConnId(1);
    const BOB: ConnId = ConnId(2);

    /// A node with two peers, and its chain.
    struct Scene {
        flood: Flood,
        out: Outbox,
        chain: Chain,
        db: Db,
    }

    impl Scene {
        fn new() -> Self {
            let mut db = Db::new(Box::new(MemoryStore::default()));
            let chain = Chain::open(ChainNetwork::Regtest, &mut db).unwrap();
            let (mut flood, mut out) = (Flood::default(), Outbox::default());
            for conn in [ALICE, BOB] {
                flood.peer_connected(conn, true, (chain.tip(), Vec::new()), &mut out);
            }
            Self {
                flood,
                out,
                chain,
                db,
            }
        }

        fn mine(&mut self) -> Header {
            let now = WallTime(1_700_000_000_000_000_000);
            let script = ScriptBuf::new();
            let block = miner::build_block(&self.chain, &Mempool::new(), &script, now, 0);
            match self.chain.accept_block(&mut self.db, &block, now).unwrap() {
                BlockOutcome::Accepted {
                    change: Some(change),
                    ..
                } => {
                    self.flood.tip_changed(&change, &self.chain, &mut self.out);
                }
                other => panic!("{other:?}"),
            }
            block.header
        }
    }

    fn inv(header: &Header) -> NetworkMessage {
        NetworkMessage::Inv(vec![Inventory::Block(header.block_hash())])
    }

    #[test]
    fn who_wants_headers_gets_them_once_he_can_connect_them() {
        let mut scene = Scene::new();
        scene.flood.received_sendheaders(ALICE);
        let first = scene.mine();
        assert_eq!(
            scene.out.said_to(ALICE),
            [inv(&first)],
            "who knows what she has"
        );
        let second = scene.mine();
        assert_eq!(
            scene.out.said_to(ALICE),
            [NetworkMessage::Headers(vec![second])]
        );
        assert_eq!(scene.out.said_to(BOB), [inv(&first), inv(&second)]);
    }

    #[test]
    fn a_block_is_not_announced_to_one_who_has_it_or_what_comes_after_it() {
        let mut scene = Scene::new();
        let first = scene.mine();
        scene
            .flood
            .has_block(BOB, &first.block_hash(), &scene.chain);
        scene.out.said_to(BOB);
        let genesis = scene.chain.hash_at(0).unwrap();
        let known = scene.chain.headers_after(&genesis, None, 1);
        let bob = scene.flood.peers.get_mut(&BOB).unwrap();
        bob.told = None;
        bob.announce(BOB, &known, &scene.chain, &mut scene.out);
        assert_eq!(scene.out.said_to(BOB), []);
    }

    #[test]
    fn a_transaction_goes_to_each_once_and_not_back() {
        let mut scene = Scene::new();
        let txid = Txid::from_byte_array([1; 32]);
        scene.flood.has_transaction(ALICE, &txid);
        for _ in 0..2 {
            scene.flood.transaction_accepted(&txid, &mut scene.out);
        }
        assert_eq!(scene.out.said_to(ALICE), []);
        let announced = NetworkMessage::Inv(vec![Inventory::Transaction(txid)]);
        assert_eq!(scene.out.said_to(BOB), [announced]);
    }

    #[test]
    fn what_waits_for_long_is_announced_to_those_who_were_told_too() {
        let mut scene = Scene::new();
        let txid = Txid::from_byte_array([1; 32]);
        scene.flood.transaction_accepted(&txid, &mut scene.out);
        let announced = [NetworkMessage::Inv(vec![Inventory::Transaction(txid)])];
        assert_eq!(scene.out.said_to(ALICE), announced);
        scene.flood.announce_again(&[txid], &mut scene.out);
        assert_eq!(scene.out.said_to(ALICE), announced);
        scene.flood.announce_again(&[], &mut scene.out);
        assert_eq!(scene.out.said_to(ALICE), []);
    }

    #[test]
    fn a_new_peer_is_told_of_the_tip_and_of_what_waits_if_it_wants_that() {
        let mut scene = Scene::new();
        let header = scene.mine();
        let (carol, dave) = (ConnId(3), ConnId(4));
        let waiting = vec![Txid::from_byte_array([1; 32])];
        let tip = scene.chain.tip();
        scene
            .flood
            .peer_connected(carol, true, (tip, waiting.clone()), &mut scene.out);
        scene
            .flood
            .peer_connected(dave, false, (tip, waiting.clone()), &mut scene.out);
        let told = NetworkMessage::Inv(vec![Inventory::Transaction(waiting[0])]);
        assert_eq!(scene.out.said_to(carol), [inv(&header), told]);
        assert_eq!(scene.out.said_to(dave), [inv(&header)]);
    }
}
