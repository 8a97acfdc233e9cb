//! The process that holds the link table: one per run and host, `netsplit agent`.
//!
//! - [`serve`], [`bridge`]: the hidden subcommands `agent` and `agent connect`.
//! - [`Host`]: the same agent inside another process.
//! - [`client`]: how others talk to it.
//! - `server`: what it knows and does; `session`: one client of it; `nodes`, `follow`,
//!   `tunnel`: HTTP, events and TCP of the nodes; `sanitise`: how it gives up what it does not need.

pub mod client;
mod client_tunnel;
mod follow;
mod host;
mod nodes;
mod process;
#[cfg(feature = "sabotage")]
mod sabotage;
mod sanitise;
mod server;
mod session;
#[cfg(test)]
mod tests;
mod tunnel;

pub use host::Host;
pub use process::{ServeError, bridge, serve};
