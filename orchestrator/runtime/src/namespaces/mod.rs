//! Testnets of processes in Linux namespaces: no daemon, no root.
//!
//! - `protocol`: what the client and a run's supervisor say to each other.
//! - [`supervisor`]: the process that a run is.

pub(crate) mod protocol;
pub mod supervisor;
