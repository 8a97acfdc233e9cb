//! The control API: JSON-RPC over HTTP with Bitcoin Core's methods, and what goes beside it.
//!
//! - `connections`: how many, and how slow they may be.
//! - `http`: paths, authentication, the event stream, metrics.
//! - `envelope`: requests and replies of JSON-RPC 1.0, 1.1 and 2.0, alone and in batches.
//! - `params`: positional and named parameters, and their types.
//! - `table`: every method; `help`: what is said of them, in `docs/rpc.md` too.
//! - `blockchain`, `network`, `mining`, `rawtransactions`, `wallet`, `control`, `x_probe`: the methods, by Core's groups.
//! - `encode`: blocks, transactions and scripts in Core's JSON.
//!
//! A method that reads runs in the node's loop, between two inputs; one that changes something becomes a [`Command`].

mod blockchain;
mod connections;
mod control;
mod encode;
mod envelope;
mod help;
mod http;
mod mining;
mod network;
mod params;
mod rawtransactions;
mod table;
mod wallet;
mod x_probe;

use netsplit_api::{
    config::NodeConfig,
    rpc::{RpcError, code},
};
use netsplit_core::{
    io::{Command, Reply},
    node::Node,
    store::StoreError,
};
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::sync::oneshot;

pub use self::help::reference;
pub(crate) use self::{
    http::{Credentials, Server, serve, stopping},
    params::Params,
    table::Method,
};
use crate::{clock::Clock, net::Network};

/// A method's result as JSON, in the order of its fields.
pub(crate) type Answer = Result<Box<RawValue>, RpcError>;

/// What a method that reads may look at.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) node: &'a Node,
    pub(crate) config: &'a NodeConfig,
    pub(crate) network: &'a Network,
    pub(crate) clock: &'a Clock,
}

/// How a method is run.
pub(crate) enum Run {
    /// By reading the node's state.
    Read(fn(&View<'_>, &Params) -> Answer),
    /// By a command of the node; the second function puts its reply into words.
    Command(
        fn(&View<'_>, &Params) -> Result<Command, RpcError>,
        fn(Reply) -> Answer,
    ),
    /// By the probes, beside the node.
    Probe(x_probe::Probe),
    /// By ending the node.
    Stop,
}

/// A method to be run in the node's loop.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) method: &'static Method,
    pub(crate) params: Params,
    pub(crate) reply: oneshot::Sender<Answer>,
}

/// `value` as a method's result.
pub(crate) fn answer(value: &impl Serialize) -> Answer {
    serde_json::value::to_raw_value(value)
        .map_err(|error| RpcError::new(code::INTERNAL_ERROR, error.to_string()))
}

/// A reply that does not belong to its command; a bug in the core.
fn unexpected(reply: &Reply) -> RpcError {
    RpcError::new(
        code::INTERNAL_ERROR,
        format!("the node gave an unexpected reply: {reply:?}"),
    )
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn store_error(error: StoreError) -> RpcError {
    RpcError::new(code::INTERNAL_ERROR, error.to_string())
}
