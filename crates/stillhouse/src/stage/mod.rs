//! The glue of each stage: which records it reads, which library call does the work, which
//! records it leaves. Stages meet only in files.

pub(crate) mod data;
pub(crate) mod evaluate;
pub(crate) mod generate;
pub(crate) mod judge;
mod local;
pub(crate) mod report;
pub(crate) mod select;
pub(crate) mod teacher;
pub(crate) mod train;

use serde_json::Value;
use stillhouse_student::train::Method;

use crate::job::Job;

/// An option struct as JSON, for a stage's key.
fn options(options: &impl serde::Serialize) -> Value {
    serde_json::to_value(options).expect("options of plain values are JSON")
}

/// What training leaves: a whole model, or an adapter.
fn trained_name(job: &Job<'_>) -> &'static str {
    match job.config.student.train.method {
        Method::Full => "model",
        Method::Lora => "adapter",
    }
}
