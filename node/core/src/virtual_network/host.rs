//! One machine: what survives its node, and what does not.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
};

use netsplit_api::{
    config::{NodeConfig, Role},
    event::Event,
    rpc::RpcError,
};

use super::stream::{Side, StreamId};
use crate::{
    io::{CommandId, ConnId, Reply},
    node::Node,
    store::{Batch, MemoryStore, Store, StoreError, Table},
    time::Instant,
};

/// Who is at home.
pub(super) enum Inhabitant {
    Node(Box<Node>),
    Nobody,
    /// Somebody whose words a test chooses, and what he heard.
    Stranger(BTreeMap<StreamId, Vec<u8>>),
}

pub(super) struct Host {
    pub(super) config: NodeConfig,
    pub(super) store: SharedStore,
    pub(super) inhabitant: Inhabitant,
    /// Counts the node's lives.
    pub(super) incarnation: u64,
    pub(super) connections: BTreeMap<ConnId, (StreamId, Side)>,
    /// When the node is woken next.
    pub(super) wake: Option<Instant>,
    pub(super) replies: BTreeMap<CommandId, Result<Reply, RpcError>>,
    pub(super) events: Vec<(Instant, Event)>,
    accepted: u64,
}

impl Host {
    pub(super) fn new(config: NodeConfig) -> Self {
        Self {
            config,
            store: SharedStore::default(),
            inhabitant: Inhabitant::Nobody,
            incarnation: 0,
            connections: BTreeMap::new(),
            wake: None,
            replies: BTreeMap::new(),
            events: Vec::new(),
            accepted: 0,
        }
    }

    /// Whether somebody accepts connections at `address`. A mere DNS seed listens for questions only.
    pub(super) fn listens_at(&self, address: SocketAddr) -> bool {
        matches!(self.inhabitant, Inhabitant::Node(_))
            && self.config.roles.iter().any(|role| *role != Role::DnsSeed)
            && address == SocketAddr::new(self.config.address, self.config.p2p_port)
    }

    pub(super) const fn next_inbound(&mut self) -> ConnId {
        self.accepted += 1;
        ConnId((1 << 63) | self.accepted)
    }
}

#[derive(Debug, Default)]
struct Medium {
    store: MemoryStore,
    /// Commits until the medium fails; `None` if it does not.
    commits_left: Option<u64>,
}

/// A store in memory that outlives its node and fails when told to.
#[derive(Clone, Debug, Default)]
pub(super) struct SharedStore(Arc<Mutex<Medium>>);

impl SharedStore {
    fn medium(&self) -> MutexGuard<'_, Medium> {
        self.0.lock().expect("nobody panics while holding the lock")
    }

    pub(super) fn works(&self) {
        self.medium().commits_left = None;
    }

    pub(super) fn fail_after(&self, commits: u64) {
        self.medium().commits_left = Some(commits);
    }
}

impl Store for SharedStore {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.medium().store.get(table, key)
    }

    fn scan(&self, table: Table, visit: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), StoreError> {
        self.medium().store.scan(table, visit)
    }

    fn commit(&mut self, batch: &Batch) -> Result<(), StoreError> {
        let mut medium = self.medium();
        match &mut medium.commits_left {
            Some(0) => return Err(StoreError("the medium is full".to_owned())),
            Some(left) => *left -= 1,
            None => {}
        }
        medium.store.commit(batch)
    }
}
