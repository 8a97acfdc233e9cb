//! The async shell of a netsplit node: sockets, disk, clocks, DNS and the control API around `netsplit-core`.
//!
//! It decides nothing about peers, blocks or transactions: it turns what happens into the core's inputs and does what the
//! core's outputs say. One current-thread runtime, one thread per node.
//!
//! - [`run`] and [`serve`]: a node's life (`start`); `shell` is its loop, `wake` what keeps it going.
//! - [`store`]: the core's store in a redb file.
//! - `net`: connections with other nodes; `dns`: the seed's server and the resolver; `probes`: reachability.
//! - `rpc`: JSON-RPC, `/events`, `/metrics`; `events` and `metrics` are what they serve.
//! - [`settings`]: where the configuration comes from; [`logs`]: stdout that never blocks; `clock`.

mod clock;
mod dns;
mod events;
mod exit;
pub mod logs;
mod metrics;
mod net;
mod probes;
mod rpc;
pub mod settings;
mod shell;
mod start;
pub mod store;
mod wake;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub use self::{
    exit::NodeExit,
    rpc::reference,
    start::{run, serve},
};

/// Where to listen for what may come over any network: on loopback each node has an address of its own, elsewhere the
/// whole network namespace is the node's.
const fn listen_address(configured: IpAddr) -> IpAddr {
    match configured {
        IpAddr::V4(address) if address.is_loopback() => configured,
        IpAddr::V6(address) if address.is_loopback() => configured,
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    }
}

/// Where to send to `target` from, over whichever network leads there.
const fn source_address(configured: IpAddr, target: IpAddr) -> IpAddr {
    match (listen_address(configured), target) {
        (source @ IpAddr::V4(_), IpAddr::V4(_)) | (source @ IpAddr::V6(_), IpAddr::V6(_)) => source,
        (_, IpAddr::V4(_)) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        (_, IpAddr::V6(_)) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    }
}
