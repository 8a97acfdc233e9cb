//! Whole testnets on the real engine, driven through the command line as a user would.
//!
//! These tests never skip: without an engine they fail and say so. `ci/test` provides it.
#![expect(clippy::unwrap_used, reason = "tests")]

mod bad_luck;
mod by_hand;
mod crash;
mod engine_trouble;
mod namespaces;
mod netsplit;
mod topologies;
mod verdict;
