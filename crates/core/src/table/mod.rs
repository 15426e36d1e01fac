//! Tables in the forms in which data sets come, row by row: JSONL, JSON, CSV, TSV, Parquet, and
//! parallel line files.
//!
//! Every form is read in a stream with bounded memory, text forms also compressed (`.gz`), and
//! every row comes with its [`Place`], so that a complaint names file and line. Knows nothing of
//! what the columns mean.

mod bytes;
mod delimited;
mod json;
mod lines;
#[cfg(feature = "parquet")]
mod parquet;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::{Error, Result};

/// One row: its columns by name, in the order of the source.
pub type Row = Map<String, Value>;

/// How a table is read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TableOptions {
    /// The form; without it the file's extension says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
    /// JSON: the pointer to the list of records, such as `/examples`; without it the file is a
    /// list itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// Parallel line files: the file of each column, in the folder that is read.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub lines: BTreeMap<String, PathBuf>,
}

/// The forms of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// One JSON object a line.
    Jsonl,
    /// A list of JSON objects.
    Json,
    /// Comma-separated values with a header (RFC 4180).
    Csv,
    /// The same, separated by tabs.
    Tsv,
    /// Parquet; needs the feature `parquet`.
    Parquet,
    /// One value a line: a text file as the column `text`, or a folder of parallel files.
    Lines,
}

impl Format {
    /// The form that a file's name says; `.gz` after it counts as not there.
    pub fn of(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?.to_lowercase();
        let name = name.strip_suffix(".gz").unwrap_or(&name);
        let (_, extension) = name.rsplit_once('.')?;
        match extension {
            "jsonl" | "ndjson" => Some(Self::Jsonl),
            "json" => Some(Self::Json),
            "csv" => Some(Self::Csv),
            "tsv" | "tab" => Some(Self::Tsv),
            "parquet" | "pq" => Some(Self::Parquet),
            "txt" => Some(Self::Lines),
            _ => None,
        }
    }
}

/// Where a row stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place<'a> {
    /// The file, or the folder of parallel files.
    pub path: &'a Path,
    /// The row, counted from 1.
    pub row: usize,
    /// The line on which it begins, counted from 1; none in Parquet.
    pub line: Option<usize>,
    /// Whether the line alone says which row is meant; in JSON many records can share one.
    line_says_it: bool,
}

impl Place<'_> {
    /// A complaint about this row.
    pub fn error(&self, what: impl Into<String>) -> Error {
        let what = what.into();
        match self.line {
            Some(line) if self.line_says_it => Error::record(self.path, line, what),
            Some(line) => Error::record(self.path, line, format!("record {}: {what}", self.row)),
            None => Error::file(self.path, format!("row {}: {what}", self.row)),
        }
    }

    /// The place inside its file: "line 731", "record 31" or "row 31".
    pub fn within(&self) -> String {
        match self.line {
            Some(line) if self.line_says_it => format!("line {line}"),
            Some(_) => format!("record {}", self.row),
            None => format!("row {}", self.row),
        }
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        match self.line {
            Some(line) if self.line_says_it => write!(f, ":{line}"),
            Some(line) => write!(f, ":{line} (record {})", self.row),
            None => write!(f, ": row {}", self.row),
        }
    }
}

/// What is called with every row.
type Each<'a> = dyn FnMut(&Place<'_>, Row) -> Result<()> + 'a;

/// Calls `each(place, row)` for every row of the table at `path`, in order.
///
/// Cells of CSV, TSV and line files are texts; in JSON and Parquet they are what the file says.
///
/// # Examples
///
/// ```
/// use stillhouse_core::{fs, table};
///
/// let path = std::env::temp_dir().join("stillhouse-table-doc.csv");
/// fs::write(&path, "id,claim\n1,\"Ice melts, mostly\"\n")?;
/// let mut seen = vec![];
/// table::read_each(&path, &table::TableOptions::default(), |place, row| {
///     seen.push(format!("{}: {}", place.within(), row["claim"]));
///     Ok(())
/// })?;
/// assert_eq!(seen, ["line 2: \"Ice melts, mostly\""]);
/// # fs::remove(&path)?;
/// # Ok::<(), stillhouse_core::Error>(())
/// ```
pub fn read_each(
    path: &Path,
    options: &TableOptions,
    mut each: impl FnMut(&Place<'_>, Row) -> Result<()>,
) -> Result<()> {
    let each: &mut Each<'_> = &mut each;
    if !options.lines.is_empty() {
        if options.format.is_some_and(|format| format != Format::Lines) || options.at.is_some() {
            let what = "`lines` names parallel files; it goes with no other `format` and no `at`";
            return Err(Error::file(path, what));
        }
        return lines::read_parallel(path, &options.lines, each);
    }
    let format = options.format.or_else(|| Format::of(path));
    if options.at.is_some() && format != Some(Format::Json) {
        let what = "`at` points into a JSON file (format = \"json\"), and this is none";
        return Err(Error::file(path, what));
    }
    match format {
        Some(Format::Jsonl) => lines::read_jsonl(path, each),
        Some(Format::Json) => json::read(path, options.at.as_deref(), each),
        Some(Format::Csv) => delimited::read(path, b',', each),
        Some(Format::Tsv) => delimited::read(path, b'\t', each),
        Some(Format::Lines) => lines::read_text(path, each),
        #[cfg(feature = "parquet")]
        Some(Format::Parquet) => parquet::read(path, each),
        #[cfg(not(feature = "parquet"))]
        Some(Format::Parquet) => Err(Error::file(
            path,
            "is Parquet, and this build reads none (feature `parquet`)",
        )),
        None => Err(Error::file(
            path,
            "its extension names no form; expected .jsonl, .json, .csv, .tsv, .parquet or .txt, \
             text also with .gz, or a `format`",
        )),
    }
}

/// Reads all rows of a small table.
pub fn read(path: &Path, options: &TableOptions) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    read_each(path, options, |_, row| {
        rows.push(row);
        Ok(())
    })?;
    Ok(rows)
}

/// What a value is, in words for a complaint: "a list".
pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// The names of a record's fields, for a complaint.
pub(crate) fn names<'a>(names: impl IntoIterator<Item = &'a String>) -> String {
    let quoted: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    if quoted.is_empty() {
        "none".into()
    } else {
        quoted.join(", ")
    }
}
