//! The floor that everything stands on: records, data, prompts, selection, metrics and reports.
//!
//! Core opens no socket and links no tensor library.
//! Stages meet in the records of [`record`], on disk, never in memory.

pub mod data;
pub mod error;
pub mod evaluate;
pub mod event;
pub mod fs;
pub mod jsonl;
pub mod off;
pub mod prompt;
pub mod random;
pub mod record;
pub mod report;
pub mod run;
pub mod select;
pub mod table;
pub mod text;

pub use error::{Error, Result};
