//! Every decision a netsplit node takes: no I/O, no clock, no entropy.
//!
//! [`Node`](node::Node) is one state machine. The shell (`netsplit-node`), the virtual network and a fuzzer drive it alike:
//! `handle(now, Input)` puts something in, `poll_output()` takes effects out until there are none, and
//! `next_deadline()` says when it wants to be woken with [`Input::Tick`](io::Input::Tick).
//!
//! - [`io`]: the only way in and out.
//! - [`time`]: clocks as values.
//! - [`store`]: what is kept; a trait, and one in memory.
//! - [`db`]: the store under what the input at hand has written so far.
//! - [`chain`], [`mempool`], [`wallet`]: what is known, what waits, what is owned.
//! - [`consensus`], [`miner`], [`premine`]: which branch is better, and how new blocks come about.
//! - [`random`]: named streams of chance from the node's seed.

pub mod chain;
pub mod consensus;
pub mod db;
mod discovery;
pub mod io;
pub mod mempool;
pub mod miner;
pub mod node;
mod outbox;
pub mod peers;
pub mod premine;
pub mod random;
mod relay;
pub mod store;
mod sync;
pub mod time;
#[cfg(feature = "virtual-network")]
pub mod virtual_network;
pub mod wallet;
pub mod wire;
