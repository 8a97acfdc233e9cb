//! The complete desired state of all links, and what the kernel was seen to hold.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// Everything that is to be different from an untouched network. An enforcer applies it whole, never in parts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkTable {
    /// Grows with every change; an enforcer refuses one older than what it holds.
    pub version: u64,
    /// Cuts in force, each with an id of its own. A pair is cut while any of them cuts it.
    pub cuts: Vec<Cut>,
}

/// One fault that drops packets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cut {
    /// Unique in the table.
    pub id: String,
    /// Directed drops.
    pub drops: Vec<Drop>,
}

/// Packets from any address of `from` to any address of `to` are dropped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drop {
    /// Senders; never empty.
    pub from: Vec<IpAddr>,
    /// Receivers; never empty, disjoint from `from`.
    pub to: Vec<IpAddr>,
}

/// What an enforcer did with a table, and what it then read back from the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// Version of the table.
    pub version: u64,
    /// Nanoseconds since the epoch just before the commit was sent.
    pub committed_from_ns: u64,
    /// Nanoseconds since the epoch just after the kernel acknowledged it.
    pub committed_to_ns: u64,
    /// Ordered pairs of addresses that are to be cut.
    pub pairs_intended: u64,
    /// Ordered pairs of addresses that the table read back from the kernel cuts.
    pub pairs_installed: u64,
    /// How what was read back differs from what was asked; empty when it does not.
    pub differences: Vec<String>,
}

/// Packets dropped so far, by cut.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// One entry per cut in force, in the table's order.
    pub cuts: Vec<CutCounters>,
}

/// Packets dropped so far by one cut.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CutCounters {
    /// The cut.
    pub id: String,
    /// One entry per directed drop, in the cut's order.
    pub drops: Vec<DropCounters>,
}

/// Packets dropped so far in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropCounters {
    /// Packets of the protocol: everything that is neither a probe nor group-addressed.
    pub protocol: u64,
    /// Packets of probes.
    pub probes: u64,
    /// Broadcast and multicast packets.
    pub group: u64,
}
