//! Which message goes to which manager.

use std::net::SocketAddr;

use bitcoin::{
    BlockHash, Txid,
    p2p::{message::NetworkMessage, message_blockdata::Inventory, message_network::VersionMessage},
};
use netsplit_api::{config::Sync as SyncKind, event::Event};

use super::{Node, keeps_blocks};
use crate::{
    io::ConnId,
    outbox::Farewell,
    peers::{
        handshake::is_visit,
        ping::Ping,
        roster::{Introduced, Link, Phase},
    },
    store::StoreError,
    sync::{PeerFacts, Turn, serve::Shelf},
    time::{Instant, Now},
    wire::{MAX_PAYLOAD, WireError},
};

/// Entries in one `inv` or `getdata` (Bitcoin Core's `MAX_INV_SZ`).
const MAX_INV: usize = 50_000;
/// Longest payload taken from one whose handshake is not complete: nothing that matters then is longer.
const MAX_GREETING: usize = 4096;
/// Bytes that may be sent to a peer in answer to what came from it in one go: a few of the largest messages. What
/// arrives in one go could otherwise ask for a thousand times its length.
const MAX_ANSWER: u64 = 8 << 20;

impl Node {
    /// Bytes came: as many messages as are whole are dealt with, one after the other.
    pub(super) fn received(
        &mut self,
        conn: ConnId,
        bytes: &[u8],
        now: Now,
    ) -> Result<(), StoreError> {
        let Some(connection) = self.roster.get_mut(conn) else {
            return Ok(());
        };
        connection.traffic.last_received = Some(now.wall);
        connection.traffic.bytes_received += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        connection.decoder.push(bytes);
        let allowed = connection.traffic.bytes_sent + MAX_ANSWER;
        self.ping.heard(conn, now.mono);
        while let Some(connection) = self.roster.get_mut(conn) {
            let limit = if connection.is_ready() {
                MAX_PAYLOAD
            } else {
                MAX_GREETING
            };
            match connection.decoder.next_message_within(limit) {
                Ok(_) if connection.traffic.bytes_sent > allowed => {
                    self.out.misbehaved(conn, "asks for too much at once");
                }
                Ok(Some(message)) => self.message(conn, message, now)?,
                Ok(None) => break,
                Err(error) => self.out.misbehaved(conn, describe(&error)),
            }
            self.settle(now);
        }
        Ok(())
    }

    fn message(
        &mut self,
        conn: ConnId,
        message: NetworkMessage,
        now: Now,
    ) -> Result<(), StoreError> {
        let Some(connection) = self.roster.get(conn) else {
            return Ok(());
        };
        let (link, ready) = (connection.link, connection.is_ready());
        match message {
            NetworkMessage::Version(version) => {
                self.received_version(conn, version, now);
                Ok(())
            }
            NetworkMessage::Verack => {
                self.received_verack(conn, now);
                Ok(())
            }
            message if !ready => {
                tracing::debug!(target: "handshake", ?conn, command = message.cmd(), "too early");
                Ok(())
            }
            NetworkMessage::Addr(told) if link == Link::Crawl => {
                let told: Vec<SocketAddr> = told
                    .iter()
                    .take(1000)
                    .filter_map(|(_, a)| a.socket_addr().ok())
                    .collect();
                if let Some(crawler) = &mut self.crawler {
                    crawler.received_addr(conn, &told, now.mono, &mut self.out);
                }
                Ok(())
            }
            NetworkMessage::Ping(nonce) => {
                Ping::received_ping(conn, nonce, &mut self.out);
                Ok(())
            }
            // A visit is for addresses only.
            _ if link == Link::Crawl => Ok(()),
            message => self.peer_message(conn, message, now),
        }
    }

    fn peer_message(
        &mut self,
        conn: ConnId,
        message: NetworkMessage,
        now: Now,
    ) -> Result<(), StoreError> {
        let (mono, out) = (now.mono, &mut self.out);
        match message {
            NetworkMessage::Pong(nonce) => self.ping.received_pong(conn, nonce, mono),
            NetworkMessage::Addr(told) => {
                let taken = self.addresses.received_addr(conn, &told, now, out);
                if let Some(crawler) = &mut self.crawler {
                    for address in taken {
                        crawler.heard_of(address, mono);
                    }
                }
            }
            NetworkMessage::GetAddr => {
                let live = |address| {
                    self.roster
                        .peers()
                        .any(|(_, peer)| peer.listens_at == Some(address))
                };
                self.addresses.received_getaddr(conn, &live, now, out);
            }
            NetworkMessage::SendHeaders => self.relay.received_sendheaders(conn),
            NetworkMessage::GetHeaders(asked) => {
                self.serve
                    .received_getheaders(conn, &asked, &self.chain, out);
            }
            NetworkMessage::GetBlocks(asked) => {
                self.serve
                    .received_getblocks(conn, &asked, &self.chain, out);
            }
            NetworkMessage::GetData(items) if items.len() > MAX_INV => {
                out.misbehaved(conn, "getdata is too long");
            }
            NetworkMessage::GetData(items) => {
                let shelf = Shelf {
                    chain: &self.chain,
                    db: &self.db,
                    mempool: &self.mempool,
                };
                self.serve
                    .received_getdata(conn, &items, mono, shelf, out)?;
            }
            NetworkMessage::Inv(items) if items.len() > MAX_INV => {
                out.misbehaved(conn, "inv is too long");
            }
            NetworkMessage::Inv(items) => self.received_inv(conn, &items, mono),
            NetworkMessage::NotFound(items) => self.received_notfound(conn, &items, mono),
            NetworkMessage::Headers(headers) => self.received_headers(conn, &headers, now),
            NetworkMessage::Block(block) => self.received_block(conn, &block, now)?,
            NetworkMessage::Tx(tx) => self.received_transaction(conn, tx, now)?,
            ignored => {
                tracing::debug!(target: "messages", ?conn, command = ignored.cmd(), "ignored");
            }
        }
        Ok(())
    }

    fn received_version(&mut self, conn: ConnId, theirs: VersionMessage, now: Now) {
        let Some(theirs) = self.handshake.received_version(conn, theirs, &mut self.out) else {
            return;
        };
        let Some(connection) = self.roster.get_mut(conn) else {
            return;
        };
        connection.visits = is_visit(connection.link, &theirs);
        if connection.link == Link::Inbound && !connection.visits {
            let said = theirs.sender.socket_addr().ok();
            connection.listens_at =
                said.filter(|said| said.ip() == connection.remote.ip() && said.port() != 0);
        }
        connection.introduced = Some(Introduced {
            version: theirs.version,
            services: theirs.services,
            user_agent: theirs.user_agent,
            start_height: theirs.start_height,
            relay: theirs.relay,
            time_offset: theirs
                .timestamp
                .saturating_sub(i64::from(now.wall.seconds())),
        });
        let quiet = |other| self.ping.is_quiet(other, now.mono);
        let verdict = self
            .connections
            .judge(conn, (now.mono, &quiet), &self.roster, &mut self.out);
        match verdict {
            Ok(()) => {
                if let Some(connection) = self.roster.get_mut(conn) {
                    connection.phase = Phase::Welcomed;
                }
                let height = self.chain.tip().height;
                self.handshake.welcome(conn, now, height, &mut self.out);
            }
            Err(farewell) => self.refuse(conn, farewell, now.mono),
        }
    }

    /// Hangs up on a newcomer; if another connection with the same node is the reason, that one has to show it lives.
    fn refuse(&mut self, conn: ConnId, farewell: Farewell, now: Instant) {
        let address = self
            .roster
            .get(conn)
            .and_then(|newcomer| newcomer.listens_at);
        if let Some(address) = address {
            let twins: Vec<ConnId> = self
                .roster
                .peers()
                .filter(|(other, peer)| *other != conn && peer.listens_at == Some(address))
                .map(|(other, _)| other)
                .collect();
            for twin in twins {
                self.ping.ping(twin, now, &mut self.out);
            }
        }
        self.out.hang_up(conn, farewell);
    }

    fn received_verack(&mut self, conn: ConnId, now: Now) {
        if self.handshake.received_verack(conn).is_none() {
            return;
        }
        let Some(connection) = self.roster.get_mut(conn) else {
            return;
        };
        connection.phase = Phase::Ready;
        if connection.link == Link::Crawl {
            if let Some(crawler) = &mut self.crawler {
                crawler.peer_connected(conn, now.mono, &mut self.out);
            }
            return;
        }
        self.peer_ready(conn, now);
    }

    fn peer_ready(&mut self, conn: ConnId, now: Now) {
        let Some(connection) = self.roster.get(conn) else {
            return;
        };
        let Some(peer) = connection.introduced.clone() else {
            return;
        };
        let (link, listens_at, visits) =
            (connection.link, connection.listens_at, connection.visits);
        let facts = PeerFacts {
            has_blocks: connection.has_blocks(),
        };
        if !visits {
            self.out.event(Event::PeerConnected {
                peer: connection.id,
                address: connection.remote.to_string(),
                inbound: !link.is_outbound(),
                version: peer.version,
                user_agent: peer.user_agent,
                height: peer.start_height,
            });
        }
        if self.config.sync == SyncKind::Headers || !keeps_blocks(&self.config) {
            self.out.send(conn, NetworkMessage::SendHeaders);
        }
        let out = &mut self.out;
        self.connections.peer_connected(conn, &self.roster, out);
        self.ping
            .peer_connected(conn, link.is_outbound(), now.mono, out);
        self.addresses
            .peer_connected(conn, (listens_at, peer.services), now, out);
        if !visits {
            for discovery in &mut self.discovery {
                discovery.peer_connected(conn, link, out);
            }
        }
        self.serve.peer_connected(conn);
        let news = (
            self.best_tip(),
            self.mempool.iter().map(|(txid, _)| *txid).collect(),
        );
        let out = &mut self.out;
        self.relay.peer_connected(conn, peer.relay, news, out);
        let mut turn = Turn {
            now: now.mono,
            chain: &self.chain,
            out,
        };
        self.sync.peer_connected(conn, facts, &mut turn);
    }

    fn received_inv(&mut self, conn: ConnId, items: &[Inventory], now: Instant) {
        let (blocks, transactions) = split(items);
        for hash in &blocks {
            self.relay.has_block(conn, hash, &self.chain);
        }
        if !blocks.is_empty() {
            let mut turn = Turn {
                now,
                chain: &self.chain,
                out: &mut self.out,
            };
            self.sync.received_inv(conn, &blocks, &mut turn);
        }
        if !keeps_blocks(&self.config) {
            return;
        }
        for txid in &transactions {
            self.relay.has_transaction(conn, txid);
            if !self.mempool.contains(txid) {
                self.wanted.announced(conn, *txid);
            }
        }
        if !transactions.is_empty() {
            self.wanted.go_on(conn, now, &mut self.out);
        }
    }

    fn received_notfound(&mut self, conn: ConnId, items: &[Inventory], now: Instant) {
        let (blocks, transactions) = split(items);
        if !blocks.is_empty() {
            let mut turn = Turn {
                now,
                chain: &self.chain,
                out: &mut self.out,
            };
            self.sync.received_notfound(conn, &blocks, &mut turn);
        }
        for txid in &transactions {
            self.wanted
                .received_notfound(conn, txid, now, &mut self.out);
        }
    }
}

/// Blocks and transactions among `items`, each in order; other kinds are ignored.
fn split(items: &[Inventory]) -> (Vec<BlockHash>, Vec<Txid>) {
    let (mut blocks, mut transactions) = (Vec::new(), Vec::new());
    for item in items {
        match item {
            Inventory::Block(hash)
            | Inventory::WitnessBlock(hash)
            | Inventory::CompactBlock(hash) => blocks.push(*hash),
            Inventory::Transaction(txid) | Inventory::WitnessTransaction(txid) => {
                transactions.push(*txid);
            }
            Inventory::WTx(_) | Inventory::Unknown { .. } | Inventory::Error => {}
        }
    }
    (blocks, transactions)
}

fn describe(error: &WireError) -> String {
    match error {
        WireError::Malformed { source, .. } => format!("{error}: {source}"),
        WireError::Magic | WireError::Oversized(_) | WireError::Checksum(_) => error.to_string(),
    }
}
