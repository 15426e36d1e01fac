//! Collects the teacher's rationales: so far from files in which they were recorded.
//!
//! Whatever the kind of teacher, the stage leaves the same records
//! ([`stillhouse_core::record::Rationale`]); nothing after it knows where they came from. The
//! teacher knows neither references nor roles.

mod recorded;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use recorded::{Found, from_candidates, read_candidates};

/// The stage's options: `[teacher]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TeacherOptions {
    /// Where rationales come from: "recorded".
    pub kind: Kind,
    /// The file of recorded rationales, one JSON object a line; unset, they stand in the data
    /// set's own records.
    pub path: Option<PathBuf>,
    /// Where the parts of a recorded rationale stand, as JSON pointers.
    pub fields: RecordedFields,
    /// Whether the teacher was shown the gold label when it was asked.
    pub label_was_shown: bool,
    /// Use at most this many candidates an example, by lot.
    pub samples: Option<usize>,
}

/// The kinds of teacher.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Rationales that were asked for earlier and stand in a file.
    #[default]
    Recorded,
}

/// JSON pointers into a line of `teacher.path`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RecordedFields {
    /// The example's id.
    pub id: String,
    /// The label that the rationale argues for.
    pub label: String,
    /// The justification.
    pub text: String,
}

impl Default for RecordedFields {
    fn default() -> Self {
        Self {
            id: "/id".into(),
            label: "/label".into(),
            text: "/text".into(),
        }
    }
}
