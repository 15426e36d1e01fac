//! The glue of each stage: which records it reads, which library call does the work, which
//! records it leaves. Stages meet only in files.

pub(crate) mod data;
pub(crate) mod evaluate;
pub(crate) mod generate;
pub(crate) mod report;
pub(crate) mod select;
pub(crate) mod teacher;
pub(crate) mod train;

use serde_json::Value;

/// An option struct as JSON, for a stage's key.
fn options(options: &impl serde::Serialize) -> Value {
    serde_json::to_value(options).expect("options of plain values are JSON")
}
