//! Peers: who they are, how a connection becomes one, and how it ends.
//!
//! - [`addresses`]: the address book, and what `addr` and `getaddr` do to it.
//! - [`chance`]: draws from random streams.
//! - [`connections`]: whom to dial, whom to keep.
//! - [`handshake`]: `version` and `verack`.
//! - [`ping`]: round-trip times and dead peers.
//! - [`info`]: what the control API may know of a peer.
//! - [`roster`]: the table of connections.

pub(crate) mod addresses;
pub(crate) mod chance;
pub(crate) mod connections;
pub(crate) mod handshake;
pub mod info;
pub(crate) mod ping;
pub(crate) mod roster;

pub use self::handshake::{PROTOCOL_VERSION, USER_AGENT};
