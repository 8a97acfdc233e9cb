//! Whole nodes on loopback: each has an address of its own there, so that all use the usual ports.

#![expect(clippy::unwrap_used, reason = "tests")]

mod crash;
mod dns;
mod events;
mod harness;
mod network;
mod reference;
mod rpc;
