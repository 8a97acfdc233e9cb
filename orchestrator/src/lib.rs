//! The orchestrator: the runner that carries out a plan, the reporters that tell of it, the commands that users type.
//!
//! - [`cli`]: what a user types, one file per command. [`hidden`]: what only netsplit itself types.
//! - [`exit`]: what the process exits with. [`error`]: how a command fails.
//! - [`run`]: carries out a plan against any runtime, and judges.
//! - [`event`]: what a run says happened; the interface between the runner and every reporter.
//! - [`report`]: what a person, a file, a CI system sees of a run.
//! - [`ui`]: the only way to speak to the user.

pub mod cli;
pub mod error;
pub mod event;
pub mod exit;
pub mod hidden;
pub mod report;
pub mod run;
pub mod ui;
