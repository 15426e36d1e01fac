//! The teacher against servers on this machine: every fault, kills, caps, pace and secrets.
//!
//! `STILLHOUSE_REQUESTS=10000` makes the long tests as long as that.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test may stop, and `--nocapture` shows what the long ones measured"
)]

#[path = "../server/mod.rs"]
mod server;

mod batches;
mod faults;
mod judge;
mod kills;
mod pace;
mod secrets;
mod world;
