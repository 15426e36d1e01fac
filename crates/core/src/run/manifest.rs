//! What is written down of a run: `manifest.json`.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::FORMAT;
use crate::error::{Error, Result};
use crate::fs;

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

impl Stage {
    /// All stages in order.
    pub const ALL: [Self; 7] = [
        Self::Data,
        Self::Teacher,
        Self::Select,
        Self::Train,
        Self::Generate,
        Self::Evaluate,
        Self::Report,
    ];

    /// The stage's word, as on the command line and in the manifest.
    pub fn name(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Teacher => "teacher",
            Self::Select => "select",
            Self::Train => "train",
            Self::Generate => "generate",
            Self::Evaluate => "evaluate",
            Self::Report => "report",
        }
    }
}

impl std::fmt::Display for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// How far a stage is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Its folder under `work/` may hold unfinished work.
    #[default]
    Begun,
    /// Its outputs stand in the run directory.
    Done,
}

/// What is written down of one stage.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageRecord {
    /// How far it is.
    pub state: State,
    /// The tool's version that began it.
    pub version: String,
    /// The seed that it used.
    pub seed: u64,
    /// The options that it read, resolved.
    pub options: Value,
    /// SHA-256 or revision of each thing that it read, by name.
    pub inputs: BTreeMap<String, String>,
    /// SHA-256 of each output, by name.
    pub outputs: BTreeMap<String, String>,
    /// Facts for the report: counts, notes.
    #[serde(default)]
    pub facts: Value,
    /// Wall-clock seconds over all sittings.
    pub seconds: f64,
}

/// What is written down of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The format of the run directory.
    pub format: u32,
    /// The tool's version that worked here last.
    pub version: String,
    /// The seed.
    pub seed: u64,
    /// Where the student works.
    pub device: String,
    /// The resolved config.
    pub config: Value,
    /// The stages that were begun.
    pub stages: BTreeMap<Stage, StageRecord>,
}

impl Default for Manifest {
    fn default() -> Self {
        Self {
            format: FORMAT,
            version: String::new(),
            seed: 0,
            device: String::new(),
            config: Value::Null,
            stages: BTreeMap::new(),
        }
    }
}

impl Manifest {
    /// Reads a manifest of this format.
    pub fn load(path: &Path) -> Result<Self> {
        let value: Value = fs::read_json(path)?;
        match value.get("format").and_then(Value::as_u64) {
            Some(format) if format == u64::from(FORMAT) => {}
            Some(format) => {
                let what = format!(
                    "was written in format {format}, this version reads format {FORMAT}; use the version that made it, or another --out"
                );
                return Err(Error::file(path, what));
            }
            None => {
                return Err(Error::file(
                    path,
                    "is no stillhouse manifest; choose another --out",
                ));
            }
        }
        serde_json::from_value(value)
            .map_err(|e| Error::file(path, format!("is damaged: {e}; choose another --out")))
    }
}

/// Describes where two resolved options differ: "train.epochs was 3, now 4".
pub(super) fn differences(key: &str, old: &Value, new: &Value, found: &mut Vec<String>) {
    let show = |value: Option<&Value>| value.map_or("unset".into(), Value::to_string);
    if let (Value::Object(old), Value::Object(new)) = (old, new) {
        let names = old
            .keys()
            .chain(new.keys().filter(|name| !old.contains_key(*name)));
        for name in names {
            let inner = if key.is_empty() {
                name.clone()
            } else {
                format!("{key}.{name}")
            };
            match (old.get(name), new.get(name)) {
                (Some(old), Some(new)) => differences(&inner, old, new, found),
                (old, new) => found.push(format!("{inner} was {}, now {}", show(old), show(new))),
            }
        }
    } else if old != new {
        found.push(format!("{key} was {old}, now {new}"));
    }
}
