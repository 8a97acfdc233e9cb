//! The command line as users see it: every help text, and what bad input is answered with. Nothing here needs an engine.
#![expect(clippy::unwrap_used, reason = "tests")]

mod help;
mod screen;
mod screens;
