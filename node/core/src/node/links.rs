//! Connections begin and end: whom the node dials, whom it lets in, and what becomes of a peer's address when it is gone.

use std::net::SocketAddr;

use bitcoin::p2p::ServiceFlags;
use netsplit_api::event::Event;

use super::{Node, keeps_blocks, keeps_peers, services};
use crate::{
    io::{ConnId, ENDED, Output},
    outbox::Farewell,
    peers::{
        handshake::Introduction,
        roster::{Connection, Link, Phase},
    },
    sync::Turn,
    time::Now,
};

/// How a connection ended.
#[derive(Debug)]
pub(super) enum Ending {
    /// We hung up.
    Ours(Farewell),
    /// It was closed or failed.
    Theirs(String),
    /// It never came to be.
    DialFailed(String),
}

impl Ending {
    fn reason(&self) -> &str {
        match self {
            Self::Ours(farewell) => farewell.reason(),
            Self::Theirs(reason) | Self::DialFailed(reason) => reason,
        }
    }
}

impl Node {
    pub(super) fn dial(&mut self, address: SocketAddr, link: Link, now: Now) -> ConnId {
        let conn = self.connections.dial(address, now.mono, &mut self.out);
        self.roster.insert(conn, address, link, now);
        conn
    }

    /// Dials while peers are missing, and looks for addresses while there is nobody to dial.
    pub(super) fn keep_peers(&mut self, now: Now) {
        self.search_at = None;
        if !keeps_peers(&self.config) {
            return;
        }
        let vacancies = self.connections.vacancies(&self.roster);
        for _ in 0..vacancies {
            let busy = |address| self.roster.knows(address);
            let Some(address) = self.addresses.candidate(now.mono, &busy) else {
                self.search(now);
                return;
            };
            self.dial(address, Link::Outbound, now);
        }
        if vacancies == 0 && self.roster.taken() >= usize::from(self.config.peers.min) {
            for discovery in &mut self.discovery {
                discovery.satisfied();
            }
        }
    }

    /// Those who look for addresses hear of what may make it worth their while.
    pub(super) fn news(&mut self, now: Now) {
        for discovery in &mut self.discovery {
            discovery.news(now.mono);
        }
    }

    fn search(&mut self, now: Now) {
        let ready: Vec<ConnId> = self.roster.peers().map(|(conn, _)| conn).collect();
        for discovery in &mut self.discovery {
            discovery.search(now.mono, &ready, &mut self.out);
        }
        let busy = |address| self.roster.knows(address);
        let candidate = self.addresses.next_candidate(now.mono, &busy);
        let searches = self
            .discovery
            .iter()
            .filter_map(|discovery| discovery.next_search());
        self.search_at = searches.filter(|at| *at > now.mono).chain(candidate).min();
    }

    /// Visits whom a DNS seed has to visit.
    pub(super) fn crawl(&mut self, now: Now) {
        let Some(crawler) = &mut self.crawler else {
            return;
        };
        for address in crawler.due(now.mono) {
            let conn = self.connections.dial(address, now.mono, &mut self.out);
            self.roster.insert(conn, address, Link::Crawl, now);
            crawler.visiting(conn, address);
        }
    }

    fn introduction(&self, link: Link) -> Introduction {
        if link == Link::Crawl {
            return Introduction {
                listens_at: None,
                services: ServiceFlags::NONE,
                relay: false,
            };
        }
        let own = SocketAddr::new(self.config.address, self.config.p2p_port);
        let services = services(&self.config);
        Introduction {
            listens_at: Some(own),
            services,
            relay: keeps_blocks(&self.config),
        }
    }

    pub(super) fn accepted(&mut self, conn: ConnId, remote: SocketAddr, now: Now) {
        let welcome =
            keeps_peers(&self.config) && self.connections.admits(remote.ip(), &self.roster);
        self.roster.insert(conn, remote, Link::Inbound, now);
        if welcome {
            self.begin_handshake(conn, now);
        } else {
            self.out
                .hang_up(conn, Farewell::Surplus("too many connections".to_owned()));
        }
    }

    pub(super) fn connected(&mut self, conn: ConnId, now: Now) {
        self.connections.dial_over(conn);
        if let Some(connection) = self.roster.get_mut(conn) {
            connection.phase = Phase::Connected;
            self.begin_handshake(conn, now);
        }
    }

    fn begin_handshake(&mut self, conn: ConnId, now: Now) {
        let Some(connection) = self.roster.get(conn) else {
            return;
        };
        let who = (connection.remote, connection.link);
        let introduction = self.introduction(connection.link);
        let height = self.chain.tip().height;
        self.handshake
            .connected(conn, who, introduction, (now, height), &mut self.out);
    }

    /// A connection is over, whoever ended it.
    pub(super) fn end(&mut self, conn: ConnId, ending: &Ending, now: Now) {
        let Some(connection) = self.roster.remove(conn) else {
            return;
        };
        if let Ending::Ours(why) = ending {
            let reason = why.reason().to_owned();
            self.pending.push(Output::Hangup { conn, reason });
        }
        self.connections.dial_over(conn);
        self.handshake.disconnected(conn);
        if let Some(crawler) = &mut self.crawler {
            crawler.disconnected(conn, ending.reason(), now.mono, &mut self.out);
        }
        if connection.link == Link::Crawl {
            return;
        }
        if connection.is_ready() {
            self.peer_gone(conn, &connection, ending, now);
        } else {
            self.attempt_gone(&connection, ending, now);
        }
    }

    fn peer_gone(&mut self, conn: ConnId, connection: &Connection, ending: &Ending, now: Now) {
        let address = connection.listens_at;
        self.ping.peer_disconnected(conn);
        self.addresses.peer_disconnected(conn, address, now);
        let mut turn = Turn {
            now: now.mono,
            chain: &self.chain,
            out: &mut self.out,
        };
        self.sync.peer_disconnected(conn, &mut turn);
        self.wanted.peer_disconnected(conn, now.mono, &mut self.out);
        self.relay.peer_disconnected(conn);
        self.serve.peer_disconnected(conn);
        if connection.visits {
            return;
        }
        self.news(now);
        self.out.event(Event::PeerDisconnected {
            peer: connection.id,
            address: connection.remote.to_string(),
            reason: ending.reason().to_owned(),
        });
        let Some(address) = address else { return };
        match ending {
            Ending::Ours(Farewell::Silence(_)) => self.connections.lost(address, now.mono),
            Ending::Theirs(reason) if reason != ENDED => self.connections.lost(address, now.mono),
            Ending::Ours(Farewell::Misbehaviour(_)) => {
                self.connections.forget(address);
                self.addresses.attempt_failed(address, now);
            }
            Ending::Ours(Farewell::Surplus(_)) | Ending::Theirs(_) | Ending::DialFailed(_) => {}
        }
    }

    fn attempt_gone(&mut self, connection: &Connection, ending: &Ending, now: Now) {
        let dialling = connection.phase == Phase::Dialling;
        if !dialling && !connection.visits {
            self.out.event(Event::HandshakeRefused {
                address: connection.remote.to_string(),
                inbound: !connection.link.is_outbound(),
                reason: ending.reason().to_owned(),
            });
        }
        if !connection.link.is_outbound() {
            return;
        }
        let refused = match ending {
            Ending::Ours(Farewell::Surplus(_)) => return,
            Ending::Ours(Farewell::Misbehaviour(_)) => true,
            Ending::Theirs(reason) => reason == ENDED,
            Ending::Ours(Farewell::Silence(_)) | Ending::DialFailed(_) => false,
        };
        self.connections
            .dial_failed(connection.remote, refused, now.mono);
        self.addresses.attempt_failed(connection.remote, now);
    }
}
