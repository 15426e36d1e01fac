//! One file a subcommand: what it asks of the library, and what it prints.

pub(crate) mod ablate;
pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod data;
pub(crate) mod doctor;
pub(crate) mod evaluate;
pub(crate) mod pull;
pub(crate) mod run;
pub(crate) mod score;
