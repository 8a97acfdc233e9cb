//! The chain half of a node: real blocks, valid and not, through the public interface.

#![allow(clippy::unwrap_used, clippy::missing_errors_doc, reason = "tests")]
#![allow(unreachable_pub, missing_docs, reason = "tests")]

mod headers;
mod mempool;
mod mining;
mod reject;
mod reorg;
mod support;
mod wallet;
