//! From a YAML topology to a validated scenario to a seeded plan; and what holds of a testnet, as pure functions.
//!
//! Nothing here touches the machine: the same file and seed give the same plan everywhere.
//!
//! - [`plan`]: what a run will do, fully resolved.
//! - [`assertion`]: what can be asserted of a testnet.

pub mod assertion;
pub mod plan;
