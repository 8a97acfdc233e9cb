//! From a YAML topology to a validated scenario to a seeded plan; and what holds of a testnet, as pure functions.
//!
//! Nothing here touches the machine: the same file and seed give the same plan everywhere.
//!
//! - [`topology`]: from text to a plan, or to everything that is wrong with the text.
//! - [`problem`]: what is wrong with a topology, and how it is shown.
//! - [`planner`]: from words to a plan.
//! - [`plan`]: what a run will do, fully resolved.
//! - [`node_config`]: what each node of a plan is told at birth.
//! - [`cuts`]: which cuts are in force, and the directed drops they come to.
//! - [`assertion`]: what can be asserted of a testnet.
//! - [`observe`]: what was seen of a testnet so far.
//! - [`judge`]: how an assertion stands.
//! - [`amount`]: amounts of coins.

pub mod amount;
pub mod assertion;
pub mod cuts;
mod describe;
pub mod judge;
pub mod node_config;
pub mod observe;
pub mod plan;
pub mod planner;
pub mod problem;
pub mod topology;
