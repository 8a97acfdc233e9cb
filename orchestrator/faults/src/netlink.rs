//! Netlink by hand: bytes of messages, and a conversation with the kernel.
//!
//! Serves nf_tables here and whoever else speaks netlink (rtnetlink above all). Numbers are written and read in the order
//! their family wants: big endian in nf_tables, the machine's own in rtnetlink.
//!
//! - [`wire`]: messages and attributes as bytes.
//! - [`socket`]: sending batches and reading dumps.

pub mod socket;
pub mod wire;
