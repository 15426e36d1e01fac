//! The run directory: stages, manifest, what is done and what is stale.

use serde::{Deserialize, Serialize};

/// The stages, in the order in which they run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Reads, checks and splits the examples.
    Data,
    /// Collects candidate rationales.
    Teacher,
    /// Keeps the good ones.
    Select,
    /// Fine-tunes the student.
    Train,
    /// Lets the student label and explain the test split.
    Generate,
    /// Measures.
    Evaluate,
    /// Writes the pages.
    Report,
}
