//! Where addresses come from.
//!
//! A [`Discovery`] is asked when a node starts, when it gets a peer, and for as long as it misses peers and has nobody
//! left to dial. What it finds goes into the address book; it never dials.
//!
//! - [`addr`]: `getaddr` to peers.
//! - [`bootstrap`]: addresses given in the configuration.
//! - [`crawler`]: not a source for this node, but what makes one of it: a DNS seed's survey of the testnet.
//! - [`dns`]: DNS seeds.
//! - [`pace`]: how often a source is asked again.

use std::net::{IpAddr, SocketAddr};

use netsplit_api::config::{Discovery as Kind, NodeConfig};

use crate::{
    io::{ConnId, QueryId},
    outbox::Outbox,
    peers::roster::Link,
    random,
    time::Instant,
};

pub(crate) mod addr;
pub(crate) mod bootstrap;
pub(crate) mod crawler;
pub(crate) mod dns;
pub(crate) mod pace;

/// A way to find addresses.
pub(crate) trait Discovery: std::fmt::Debug + Send {
    /// The node has just started.
    fn started(&mut self, _now: Instant, _out: &mut Outbox) {}

    /// A peer is there.
    fn peer_connected(&mut self, _conn: ConnId, _link: Link, _out: &mut Outbox) {}

    /// Peers are missing and there is nobody to dial. `peers` may be asked. Called again and again: bound yourself.
    fn search(&mut self, now: Instant, peers: &[ConnId], out: &mut Outbox);

    /// No more peers are missing.
    fn satisfied(&mut self) {}

    /// An address was learned that was not known, from whomever, or a peer was lost.
    fn news(&mut self, _now: Instant) {}

    /// A DNS seed answered one's question, or did not.
    fn resolved(
        &mut self,
        _query: QueryId,
        _result: &Result<Vec<IpAddr>, String>,
        _out: &mut Outbox,
    ) {
    }

    /// When [`search`](Self::search) is worth calling again.
    fn next_search(&self) -> Option<Instant>;
}

/// The ways `config` names, in its order.
pub(crate) fn from_config(config: &NodeConfig, seed: &[u8; 32]) -> Vec<Box<dyn Discovery>> {
    let choose = |kind: &Kind| -> Box<dyn Discovery> {
        match kind {
            Kind::Bootstrap => Box::new(bootstrap::Bootstrap::new(
                config.bootstrap.clone(),
                &config.timers,
            )),
            Kind::Dns => Box::new(dns::Dns::new(
                config.dns_seeds.clone(),
                config.p2p_port,
                &config.timers,
                random::stream(seed, "discovery/dns"),
            )),
            Kind::Addr => {
                let rng = random::stream(seed, "discovery/addr");
                let pace = random::stream(seed, "discovery/addr/pace");
                Box::new(addr::Addr::new(&config.timers, rng, pace))
            }
        }
    };
    config.discovery.iter().map(choose).collect()
}

/// Addresses of nodes that a seed named: seeds name no ports.
fn with_port(ips: &[IpAddr], port: u16) -> Vec<SocketAddr> {
    ips.iter().map(|ip| SocketAddr::new(*ip, port)).collect()
}
