//! The kernel's nf_tables over netlink: the table of a run, built, sent, read back and counted.
//!
//! No firewall tool is run. Layouts follow `linux/netfilter/nf_tables.h` and `linux/rtnetlink.h`.
//!
//! - [`ruleset`]: a table as data; [`build`] makes one from a link table, [`pairs`] says what it cuts.
//! - `encode`, `decode`: to and from the bytes of [`netlink`](crate::netlink).
//! - [`kernel`]: the enforcer; `neighbours`: which bridge port a node is behind.
//! - [`probe`]: tries what a run needs and names what is missing.
//! - [`namespace`]: running something inside another network namespace.

pub mod build;
mod decode;
mod encode;
pub mod kernel;
pub mod namespace;
mod neighbours;
pub mod pairs;
pub mod probe;
pub mod ruleset;
#[cfg(test)]
mod tests;
