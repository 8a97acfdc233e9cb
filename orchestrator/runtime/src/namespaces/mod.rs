//! Testnets of processes in Linux namespaces: no daemon, no root.
//!
//! - `protocol`: what the client and a run's supervisor say to each other.

pub(crate) mod protocol;
