//! What managers want done: filled in the order of their decisions, emptied by [`crate::node`] alone.

use std::{collections::VecDeque, net::SocketAddr};

use bitcoin::p2p::message::NetworkMessage;
use netsplit_api::{event::Event, rpc::RpcError};

use crate::io::{CommandId, ConnId, QueryId, Reply};

/// Why we end a connection. What becomes of the peer's address depends on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Farewell {
    /// It broke the protocol.
    Misbehaviour(String),
    /// It is no longer heard.
    Silence(String),
    /// There is no need for it: a duplicate, one too many, a visit that is over.
    Surplus(String),
}

impl Farewell {
    pub(crate) fn reason(&self) -> &str {
        match self {
            Self::Misbehaviour(reason) | Self::Silence(reason) | Self::Surplus(reason) => reason,
        }
    }
}

/// One thing to be done.
#[derive(Debug)]
pub(crate) enum Effect {
    /// A message to a peer.
    Send(ConnId, NetworkMessage),
    /// A block to a peer, as it lies in the store.
    SendBlock(ConnId, Vec<u8>),
    /// A dial.
    Dial(ConnId, SocketAddr),
    /// The end of a connection.
    Hangup(ConnId, Farewell),
    /// A question to a DNS seed.
    Resolve(QueryId, SocketAddr),
    /// Addresses where nodes may be.
    Found(Vec<SocketAddr>),
    /// The answer to a command.
    Reply(CommandId, Result<Reply, RpcError>),
    /// Something happened.
    Event(Event),
}

/// Things to be done, in order.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    effects: VecDeque<Effect>,
}

impl Outbox {
    pub(crate) fn send(&mut self, conn: ConnId, message: NetworkMessage) {
        self.effects.push_back(Effect::Send(conn, message));
    }

    pub(crate) fn misbehaved(&mut self, conn: ConnId, reason: impl Into<String>) {
        self.effects
            .push_back(Effect::Hangup(conn, Farewell::Misbehaviour(reason.into())));
    }

    pub(crate) fn hang_up(&mut self, conn: ConnId, why: Farewell) {
        self.effects.push_back(Effect::Hangup(conn, why));
    }

    pub(crate) fn event(&mut self, event: Event) {
        self.effects.push_back(Effect::Event(event));
    }

    pub(crate) fn push(&mut self, effect: Effect) {
        self.effects.push_back(effect);
    }

    pub(crate) fn next(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }
}

#[cfg(test)]
impl Outbox {
    /// What was said to `conn` so far; the rest stays.
    pub(crate) fn said_to(&mut self, conn: ConnId) -> Vec<NetworkMessage> {
        let mut said = Vec::new();
        self.effects.retain(|effect| match effect {
            Effect::Send(to, message) if *to == conn => {
                said.push(message.clone());
                false
            }
            _ => true,
        });
        said
    }

    /// Whom we hung up on, and why.
    pub(crate) fn hung_up(&self) -> Vec<(ConnId, Farewell)> {
        let end = |effect: &Effect| match effect {
            Effect::Hangup(conn, why) => Some((*conn, why.clone())),
            _ => None,
        };
        self.effects.iter().filter_map(end).collect()
    }
}
