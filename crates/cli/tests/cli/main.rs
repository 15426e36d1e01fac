//! The command, run as a user runs it.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may stop at what it did not expect"
)]

mod ablate;
mod bad_input;
mod common;
mod data;
mod device;
mod evaluate;
mod face;
mod score;
#[path = "../../../teacher/tests/server/mod.rs"]
mod server;
mod teacher;
mod whole_run;
