//! Every decision a netsplit node takes: no I/O, no clock, no entropy.
//!
//! [`Node`](node::Node) is one state machine. The shell (`netsplit-node`), the virtual network and a fuzzer drive it alike:
//! `handle(now, Input)` puts something in, `poll_output()` takes effects out until there are none, and
//! `next_deadline()` says when it wants to be woken with [`Input::Tick`](io::Input::Tick).
//!
//! - [`io`]: the only way in and out.
//! - [`time`]: clocks as values.
//! - [`store`]: what is kept; a trait, and one in memory.

pub mod chain;
pub mod consensus;
pub mod db;
pub mod io;
pub mod mempool;
pub mod miner;
pub mod node;
pub mod peers;
pub mod premine;
pub mod random;
pub mod store;
pub mod time;
pub mod wallet;
pub mod wire;
mod discovery;
mod outbox;
mod relay;
mod sync;
#[cfg(feature = "virtual-network")]
pub mod virtual_network;
