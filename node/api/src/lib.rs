//! Types that cross the line between a netsplit node and whoever drives it.
//!
//! Nothing here acts: it is serde data and constants only.
//!
//! - [`config`]: what a node is told before it starts.
//! - [`event`]: what a node says happened, in the past tense, on `GET /events`.
//! - [`probe`]: how nodes show from the inside that a link is cut or whole.
//! - [`rpc`]: JSON-RPC envelopes, Bitcoin Core's error codes, and result types with Core's field names.

pub mod config;
pub mod event;
pub mod probe;
pub mod rpc;
