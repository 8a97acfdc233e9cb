//! The runner: carries out a plan against any runtime, tells what happens, and judges. It prints nothing.
//!
//! - [`execute`]: the three doors: a whole run (`test`), bringing a testnet up (`up`), driving one that runs.
//! - [`state`]: what the agent keeps for later commands. [`cuts`]: which pairs of nodes are cut.
//! - `conductor`: the loop: select builds a value, apply is synchronous.
//! - `stage`: everything a step may touch. `steps`: one file per family of steps.
//! - `desk`: faults, one change at a time. `evidence`: what shows that a fault is real, and that it is over.
//! - `roster`: where the nodes' processes are. `census`: what the nodes said of themselves. `ready`: when is that enough.
//! - `logs`: the nodes' logs are kept before their containers go. `verdict`: from what happened to the report.

mod census;
mod conductor;
pub mod cuts;
mod desk;
mod evidence;
pub mod execute;
mod logs;
mod ready;
mod roster;
mod stage;
pub mod state;
mod steps;
mod verdict;

pub use execute::{EventSink, Interrupts, Options, bring_up, drive, run_test};

#[cfg(test)]
pub(crate) mod tests;
