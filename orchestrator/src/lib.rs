//! The orchestrator: the runner that carries out a plan, the reporters that tell of it, the commands that users type.
//!
//! - [`exit`]: what the process exits with.
//! - [`run`]: carries out a plan against any runtime, and judges.
//! - [`event`]: what a run says happened; the interface between the runner and every reporter.

pub mod event;
pub mod exit;
pub mod run;
