//! The node: one state machine that routes between its managers.
//!
//! Managers never call each other. What comes in is routed to them here, in one visible order; what they want done they
//! put into the [`Outbox`], which is emptied here. One input is one commit, and its outputs leave after that.
//!
//! - [`acceptance`]: what becomes of blocks, headers and transactions, wherever they come from.
//! - [`commands`]: what the control API may have done.
//! - [`links`]: connections begin and end.
//! - [`messages`]: which message goes to which manager.

use std::{
    collections::VecDeque,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use bitcoin::{
    ScriptBuf,
    p2p::{Magic, ServiceFlags},
};
use netsplit_api::{
    config::{NodeConfig, Role},
    event::Event,
};
use rand_chacha::ChaCha12Rng;

use self::links::Ending;
use crate::{
    chain::Chain,
    db::Db,
    discovery::{self, Discovery, crawler::Crawler},
    io::{ConnId, Input, Output},
    mempool::Mempool,
    miner::MinerSchedule,
    outbox::{Effect, Outbox},
    peers::{
        addresses::Addresses,
        connections::Connections,
        handshake::Handshake,
        info::{AddressInfo, PeerInfo},
        ping::Ping,
        roster::{Connection, Roster},
    },
    premine::{self, PremineError},
    random,
    relay::{self, Relay, wanted::Wanted},
    store::{Store, StoreError},
    sync::{
        self, Sync, Turn,
        serve::{Serve, Shelf},
    },
    time::{Instant, Now},
    wallet::{self, Wallet, WalletError},
    wire,
};

mod acceptance;
mod commands;
mod links;
mod messages;

/// Messages to one peer are sent together up to this many bytes.
const MAX_COALESCED: usize = 1 << 20;
/// Own payments that no block holds are announced again this often.
const REBROADCAST: Duration = Duration::from_secs(5);

/// A node could not be made.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The seed is not 64 hex digits.
    #[error("the node's seed is not 32 bytes of hex")]
    Seed,
    /// The premine is impossible.
    #[error("failed to build the premine")]
    Premine(#[from] PremineError),
    /// The premined blocks are not valid.
    #[error("a premined block was refused: {0}")]
    PremineRefused(String),
    /// The store failed.
    #[error("failed to open the node's state")]
    Store(#[from] StoreError),
    /// The wallet could not be opened.
    #[error("failed to open the node's wallet")]
    Wallet(#[from] WalletError),
}

/// What mining needs.
#[derive(Debug)]
struct Mining {
    schedule: MinerSchedule,
    payee: ScriptBuf,
}

/// Every decision of one node.
pub struct Node {
    config: NodeConfig,
    magic: Magic,
    db: Db,
    chain: Chain,
    mempool: Mempool,
    wallet: Option<Wallet>,
    mining: Option<Mining>,
    extranonce: ChaCha12Rng,
    roster: Roster,
    handshake: Handshake,
    ping: Ping,
    addresses: Addresses,
    connections: Connections,
    discovery: Vec<Box<dyn Discovery>>,
    crawler: Option<Crawler>,
    sync: Box<dyn Sync>,
    serve: Serve,
    relay: Box<dyn Relay>,
    wanted: Wanted,
    /// Whether the first tick has come.
    is_started: bool,
    /// When to look for peers again, while some are missing.
    search_at: Option<Instant>,
    rebroadcast_at: Option<Instant>,
    out: Outbox,
    /// Outputs of the input at hand.
    pending: Vec<Output>,
    /// Outputs of committed inputs.
    released: VecDeque<Output>,
    failure: Option<StoreError>,
}

/// Whether a node with these roles takes part in the network of peers; a mere DNS seed only looks at it.
fn keeps_peers(config: &NodeConfig) -> bool {
    config.roles.iter().any(|role| *role != Role::DnsSeed)
}

/// Whether a node with these roles keeps blocks.
fn keeps_blocks(config: &NodeConfig) -> bool {
    config
        .roles
        .iter()
        .any(|role| matches!(role, Role::Full | Role::Miner | Role::Wallet))
}

fn services(config: &NodeConfig) -> ServiceFlags {
    if keeps_blocks(config) {
        ServiceFlags::NETWORK | ServiceFlags::WITNESS | ServiceFlags::NETWORK_LIMITED
    } else {
        ServiceFlags::WITNESS
    }
}

impl Node {
    /// A node in the state its store remembers. It acts from its first input on, which should be [`Input::Tick`].
    ///
    /// # Errors
    /// When the configuration is impossible or the store fails.
    pub fn new(
        config: NodeConfig,
        store: Box<dyn Store + Send>,
        now: Now,
    ) -> Result<Self, NodeError> {
        let seed = random::parse_seed(&config.seed).ok_or(NodeError::Seed)?;
        let mut db = Db::new(store);
        let mut chain = Chain::open(config.chain.network, &mut db)?;
        if keeps_peers(&config) {
            build_premine(&config, &mut chain, &mut db, now)?;
        }
        let owns = config.roles.contains(&Role::Wallet) || config.roles.contains(&Role::Miner);
        let wallet = if owns {
            Some(Wallet::open(&seed, &chain, &mut db)?)
        } else {
            None
        };
        db.commit()?;
        let timers = config.timers;
        let ms = Duration::from_millis;
        let own = SocketAddr::new(config.address, config.p2p_port);
        let stream = |label| random::stream(&seed, label);
        let block_interval = ms(config.chain.block_interval_ms);
        let mining = config.miner.map(|miner| Mining {
            schedule: MinerSchedule::new(&seed, miner.share, block_interval, now.mono),
            payee: wallet::payee_script(&seed),
        });
        let crawls = config.roles.contains(&Role::DnsSeed);
        let pause = ms(timers.redial_ms);
        Ok(Self {
            magic: Magic::REGTEST,
            mempool: Mempool::new(),
            extranonce: stream("extranonce"),
            roster: Roster::new(Magic::REGTEST),
            handshake: Handshake::new(ms(timers.handshake_ms), stream("handshake")),
            ping: Ping::new(ms(timers.ping_ms), ms(timers.idle_ms), stream("ping")),
            addresses: Addresses::open(own, services(&config), pause, stream("addresses"), &db)?,
            connections: Connections::new(own, config.peers, &timers, stream("connections")),
            discovery: discovery::from_config(&config, &seed),
            crawler: crawls
                .then(|| Crawler::new(config.p2p_port, &timers, stream("discovery/crawler"))),
            sync: sync::from_config(config.sync, keeps_blocks(&config), &timers),
            serve: Serve::new(keeps_blocks(&config)),
            relay: relay::from_config(config.relay),
            wanted: Wanted::new(ms(timers.request_ms)),
            is_started: false,
            search_at: None,
            rebroadcast_at: owns.then(|| now.mono + REBROADCAST),
            out: Outbox::default(),
            pending: Vec::new(),
            released: VecDeque::new(),
            failure: None,
            config,
            db,
            chain,
            wallet,
            mining,
        })
    }

    /// Takes one input: its writes are committed once, then its outputs are released. Nothing happens after a failure.
    pub fn handle(&mut self, now: Now, input: Input) {
        if self.failure.is_some() {
            return;
        }
        let mut result = self.process(now, input);
        if result.is_ok() {
            self.addresses.save(now.mono, &mut self.db);
            result = self.db.commit();
        }
        match result {
            Ok(()) => self.released.extend(self.pending.drain(..)),
            Err(error) => {
                self.pending.clear();
                let event = Event::StoreFailed {
                    reason: error.0.clone(),
                };
                self.released.push_back(Output::Event(event));
                self.failure = Some(error);
            }
        }
    }

    /// The next thing to be done, in order.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.released.pop_front()
    }

    /// When the node wants [`Input::Tick`]; `None` if never.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        if self.failure.is_some() {
            return None;
        }
        [
            self.handshake.next_deadline(),
            self.addresses.next_deadline(),
            self.ping.next_deadline(),
            self.connections.next_deadline(),
            self.sync.next_deadline(),
            self.serve.next_deadline(),
            self.wanted.next_deadline(),
            self.crawler.as_ref().and_then(Crawler::next_deadline),
            self.mining.as_ref().map(|mining| mining.schedule.next()),
            self.rebroadcast_at,
            self.search_at,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Why the node has stopped; it takes no more input then.
    #[must_use]
    pub const fn failed(&self) -> Option<&StoreError> {
        self.failure.as_ref()
    }

    /// What the node was told before it started.
    #[must_use]
    pub const fn config(&self) -> &NodeConfig {
        &self.config
    }

    /// The block tree.
    #[must_use]
    pub const fn chain(&self) -> &Chain {
        &self.chain
    }

    /// The store, for reading.
    #[must_use]
    pub const fn db(&self) -> &Db {
        &self.db
    }

    /// Transactions that wait.
    #[must_use]
    pub const fn mempool(&self) -> &Mempool {
        &self.mempool
    }

    /// Keys and coins, for the roles `wallet` and `miner`.
    #[must_use]
    pub const fn wallet(&self) -> Option<&Wallet> {
        self.wallet.as_ref()
    }

    /// Peers whose handshake is complete. Those who only look in, such as a DNS seed's crawler, are not among them.
    pub fn peers(&self) -> impl Iterator<Item = PeerInfo> {
        self.roster
            .peers()
            .map(|(conn, connection)| self.describe(conn, connection))
    }

    /// The address book.
    pub fn addresses(&self) -> impl Iterator<Item = AddressInfo> {
        self.addresses.iter()
    }

    /// Nodes that `addnode` asked for.
    pub fn added_nodes(&self) -> impl Iterator<Item = SocketAddr> {
        self.connections.added()
    }

    /// Services offered to peers.
    #[must_use]
    pub fn services(&self) -> u64 {
        services(&self.config).to_u64()
    }

    /// Nodes a DNS seed may name now: reached by handshake and not forgotten. Empty without the role.
    #[must_use]
    pub fn dns_answer(&self) -> Vec<IpAddr> {
        let Some(crawler) = &self.crawler else {
            return Vec::new();
        };
        let itself = keeps_peers(&self.config).then_some(self.config.address);
        itself.into_iter().chain(crawler.reached()).collect()
    }

    fn describe(&self, conn: ConnId, connection: &Connection) -> PeerInfo {
        let introduced = connection.introduced.as_ref();
        let traffic = &connection.traffic;
        let (ping, min_ping) = self.ping.times(conn);
        let (best, blocks_in_flight) = self.sync.progress(conn);
        PeerInfo {
            id: connection.id,
            conn,
            address: connection.remote,
            listens_at: connection.listens_at,
            inbound: !connection.link.is_outbound(),
            manual: connection.link.is_manual(),
            services: introduced.map_or(0, |peer| peer.services.to_u64()),
            version: introduced.map_or(0, |peer| peer.version),
            user_agent: introduced.map_or_else(String::new, |peer| peer.user_agent.clone()),
            start_height: introduced.map_or(-1, |peer| peer.start_height),
            relay: introduced.is_some_and(|peer| peer.relay),
            time_offset: introduced.map_or(0, |peer| peer.time_offset),
            connected_at: connection.began.mono,
            connected_wall: connection.began.wall,
            last_send: traffic.last_send,
            last_received: traffic.last_received,
            last_block: traffic.last_block,
            last_transaction: traffic.last_transaction,
            bytes_sent: traffic.bytes_sent,
            bytes_received: traffic.bytes_received,
            ping,
            min_ping,
            synced_headers: best
                .and_then(|hash| self.chain.header(&hash))
                .map(|info| info.height),
            blocks_in_flight,
        }
    }

    fn process(&mut self, now: Now, input: Input) -> Result<(), StoreError> {
        let known = self.addresses.learned();
        if !self.is_started {
            self.is_started = true;
            if keeps_peers(&self.config) {
                for discovery in &mut self.discovery {
                    discovery.started(now.mono, &mut self.out);
                }
            }
        }
        match input {
            Input::Tick => self.on_timer(now)?,
            Input::Accepted { conn, remote } => self.accepted(conn, remote, now),
            Input::Connected { conn } => self.connected(conn, now),
            Input::DialFailed { conn, reason } => self.end(conn, &Ending::DialFailed(reason), now),
            Input::Received { conn, bytes } => self.received(conn, &bytes, now)?,
            Input::Closed { conn, reason } => self.end(conn, &Ending::Theirs(reason), now),
            Input::Resolved { query, result } => {
                for discovery in &mut self.discovery {
                    discovery.resolved(query, &result, &mut self.out);
                }
            }
            Input::DnsAsked { from } => {
                if let Some(crawler) = &mut self.crawler {
                    crawler.asked_by(from, now.mono);
                }
            }
            Input::Command { id, command } => self.command(id, command, now)?,
        }
        self.settle(now);
        if self.addresses.learned() > known {
            self.news(now);
        }
        self.crawl(now);
        self.keep_peers(now);
        self.settle(now);
        Ok(())
    }

    fn on_timer(&mut self, now: Now) -> Result<(), StoreError> {
        self.ping.on_timer(now.mono, &mut self.out);
        self.handshake.on_timer(now.mono, &mut self.out);
        let ready = self.roster.peers().map(|(conn, _)| conn);
        self.addresses.on_timer(now.mono, ready, &mut self.out);
        self.settle(now);
        for (address, link) in self
            .connections
            .on_timer(now.mono, &self.roster, &mut self.out)
        {
            self.dial(address, link, now);
        }
        self.settle(now);
        let mut turn = Turn {
            now: now.mono,
            chain: &self.chain,
            out: &mut self.out,
        };
        self.sync.on_timer(&mut turn);
        self.wanted.on_timer(now.mono, &mut self.out);
        let shelf = Shelf {
            chain: &self.chain,
            db: &self.db,
            mempool: &self.mempool,
        };
        self.serve.on_timer(now.mono, shelf, &mut self.out)?;
        if let Some(crawler) = &self.crawler {
            crawler.on_timer(now.mono, &mut self.out);
        }
        if self.rebroadcast_at.is_some_and(|at| at <= now.mono) {
            self.rebroadcast_at = Some(now.mono + REBROADCAST);
            self.rebroadcast(now)?;
        }
        self.mine_if_due(now)
    }

    /// Does what managers want done, until they want nothing more.
    fn settle(&mut self, now: Now) {
        while let Some(effect) = self.out.next() {
            match effect {
                Effect::Send(conn, message) => {
                    self.send(conn, wire::encode(self.magic, message), now);
                }
                Effect::SendBlock(conn, block) => {
                    self.send(conn, wire::encode_block(self.magic, &block), now);
                }
                Effect::Dial(conn, remote) => self.pending.push(Output::Dial { conn, remote }),
                Effect::Hangup(conn, why) => self.end(conn, &Ending::Ours(why), now),
                Effect::Resolve(query, server) => {
                    self.pending.push(Output::Resolve { query, server });
                }
                Effect::Found(addresses) => {
                    for address in addresses {
                        self.addresses.found(address, now);
                    }
                }
                Effect::Reply(id, result) => self.pending.push(Output::Reply { id, result }),
                Effect::Event(event) => self.pending.push(Output::Event(event)),
            }
        }
    }

    fn send(&mut self, conn: ConnId, message: Vec<u8>, now: Now) {
        let Some(connection) = self.roster.get_mut(conn) else {
            return;
        };
        let traffic = &mut connection.traffic;
        traffic.last_send = Some(now.wall);
        traffic.bytes_sent += u64::try_from(message.len()).unwrap_or(u64::MAX);
        match self.pending.last_mut() {
            Some(Output::Send { conn: last, bytes })
                if *last == conn && bytes.len() + message.len() <= MAX_COALESCED =>
            {
                bytes.extend_from_slice(&message);
            }
            _ => self.pending.push(Output::Send {
                conn,
                bytes: message,
            }),
        }
    }
}

/// Accepts the blocks that exist before the testnet starts, unless the store has them.
fn build_premine(
    config: &NodeConfig,
    chain: &mut Chain,
    db: &mut Db,
    now: Now,
) -> Result<(), NodeError> {
    let Some(premine) = &config.chain.premine else {
        return Ok(());
    };
    let is_there = premine::is_premined(premine, chain)
        || (!keeps_blocks(config) && chain.best_header().height >= premine.blocks);
    if is_there {
        return Ok(());
    }
    for block in premine::premine_blocks(premine, config.chain.network)? {
        if keeps_blocks(config) {
            let outcome = chain.accept_block(db, &block, now.wall)?;
            if let crate::chain::BlockOutcome::Invalid { reason, .. } = outcome {
                return Err(NodeError::PremineRefused(reason));
            }
        } else {
            chain
                .accept_headers(db, &[block.header], now.wall)
                .map_err(|error| NodeError::PremineRefused(error.to_string()))?;
        }
    }
    // One commit for all: a node that dies before it builds them again.
    Ok(db.commit()?)
}
