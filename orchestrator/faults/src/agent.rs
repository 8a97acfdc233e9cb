//! The process that holds the link table: one per run and host, `netsplit agent`.
//!
//! - [`client`]: how others talk to it.

pub mod client;
mod client_tunnel;
