//! The link table, its enforcement in the kernel, and the agent that holds it.
//!
//! This crate knows addresses and link ids; it knows nothing of topologies, chains or engines.
//!
//! - [`link`]: what is to be cut, and what was seen to be cut.
//! - [`protocol`]: what the agent is asked and what it answers, over one byte stream.
//! - [`codec`]: messages as frames on a byte stream; [`netlink`]: messages to and from the kernel.
//! - [`nft`]: the firewall table that cuts links; [`enforcer`]: who brings it into force, and a double of it.
//! - [`routed`]: the enforcer of a namespace that routes, broadcast and multicast included.
//! - [`links`]: a link table in force: checked, enforced, read back, counted.
//! - [`agent`]: the process that holds the table, and its client.

pub mod agent;
pub mod codec;
pub mod enforcer;
pub mod link;
pub mod links;
pub mod netlink;
pub mod nft;
pub mod protocol;
pub mod routed;
