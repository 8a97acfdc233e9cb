//! Whole testnets in virtual time: many seeds, one promise each.
//!
//! Every failure names its seed; see `tests/seeds/README.md` for what to do with it.
#![expect(clippy::unwrap_used, reason = "tests")]
#![expect(
    clippy::disallowed_methods,
    reason = "the list of failed seeds is a file"
)]
#![allow(
    clippy::cast_possible_truncation,
    reason = "tests count in small numbers"
)]

mod testnet;

mod chain;
mod determinism;
mod discovery;
mod hostile;
mod partition;
mod store;
mod sync;
