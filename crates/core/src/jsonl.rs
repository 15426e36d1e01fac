//! Reading and writing one record a line.
//!
//! Lines are read in a stream and are bounded ([`MAX_LINE_BYTES`]), so that a broken file cannot
//! fill the memory; each complaint names the file and the line.

use std::fs::File;
use std::io::{BufRead, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
use crate::fs;

/// A line longer than this is refused: no explanation needs it.
pub const MAX_LINE_BYTES: usize = 16 << 20;

/// Calls `each(line number, record)` for every line that is not blank.
pub fn read_each<T: DeserializeOwned>(
    path: &Path,
    each: impl FnMut(usize, T) -> Result<()>,
) -> Result<()> {
    read_each_from(path, fs::open(path)?, each)
}

/// The same over `reader`; `path` is for complaints.
pub(crate) fn read_each_from<T: DeserializeOwned>(
    path: &Path,
    mut reader: impl BufRead,
    mut each: impl FnMut(usize, T) -> Result<()>,
) -> Result<()> {
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let limit = MAX_LINE_BYTES as u64 + 1;
        let n = reader
            .by_ref()
            .take(limit)
            .read_until(b'\n', &mut line)
            .map_err(|e| Error::io(path, e))?;
        if n == 0 {
            break;
        }
        if n > MAX_LINE_BYTES {
            let limit = MAX_LINE_BYTES >> 20;
            return Err(Error::record(
                path,
                number,
                format!("the line is longer than {limit} MiB; is it JSONL, one record a line?"),
            ));
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        let text = std::str::from_utf8(&line)
            .map_err(|_| Error::record(path, number, "not valid UTF-8; save the file as UTF-8"))?;
        // A byte order mark is what some editors put before the first line.
        let text = text.trim_start_matches('\u{feff}');
        let record = serde_json::from_str(text).map_err(|e| {
            let cut = if line.ends_with(b"\n") {
                ""
            } else {
                " (the file ends in this line: was it cut?)"
            };
            Error::record(path, number, format!("{e}{cut}"))
        })?;
        each(number, record)?;
    }
    Ok(())
}

/// Reads all records of a file.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    let mut records = Vec::new();
    read_each(path, |_, record| {
        records.push(record);
        Ok(())
    })?;
    Ok(records)
}

/// Writes all records, whole or not at all.
pub fn write<T: Serialize>(path: &Path, records: impl IntoIterator<Item = T>) -> Result<()> {
    let mut writer = fs::Writer::create(path)?;
    for record in records {
        let line = to_line(path, &record)?;
        writer.write_all(&line).map_err(|e| Error::io(path, e))?;
    }
    writer.finish()
}

fn to_line(path: &Path, record: &impl Serialize) -> Result<Vec<u8>> {
    let mut line = serde_json::to_vec(record)
        .map_err(|e| Error::file(path, format!("a record cannot be written as JSON: {e}")))?;
    line.push(b'\n');
    Ok(line)
}

/// A record file that grows while a stage works and survives a kill.
///
/// A line cut by a kill is taken off when the log is opened again.
#[derive(Debug)]
pub struct Log {
    path: PathBuf,
    file: File,
}

impl Log {
    /// Opens or begins a log, and returns the records that it holds.
    pub fn open<T: DeserializeOwned>(path: &Path) -> Result<(Self, Vec<T>)> {
        let mut file = fs::open_to_append(path)?;
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(0))
            .map_err(|e| Error::io(path, e))?;
        file.read_to_end(&mut bytes)
            .map_err(|e| Error::io(path, e))?;
        let whole = bytes
            .iter()
            .rposition(|b| *b == b'\n')
            .map_or(0, |at| at + 1);
        file.set_len(whole as u64).map_err(|e| Error::io(path, e))?;
        let mut records = Vec::new();
        for (number, line) in bytes[..whole].split(|b| *b == b'\n').enumerate() {
            if !line.is_empty() {
                let record = serde_json::from_slice(line)
                    .map_err(|e| Error::record(path, number + 1, e.to_string()))?;
                records.push(record);
            }
        }
        Ok((
            Self {
                path: path.to_owned(),
                file,
            },
            records,
        ))
    }

    /// Adds one record; it is in the system's hands when this returns.
    pub fn push(&mut self, record: &impl Serialize) -> Result<()> {
        let line = to_line(&self.path, record)?;
        self.file
            .write_all(&line)
            .map_err(|e| Error::io(&self.path, e))
    }

    /// Flushes to the disk.
    pub fn sync(&self) -> Result<()> {
        self.file.sync_all().map_err(|e| Error::io(&self.path, e))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_cut_last_line_is_an_error_when_read_and_is_taken_off_by_a_log() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        fs::write(&path, "{\"a\":1}\n{\"a\":").unwrap();
        let error = read::<Value>(&path).unwrap_err().to_string();
        assert!(
            error.contains("a.jsonl:2:") && error.contains("was it cut"),
            "{error}"
        );

        let (mut log, records) = Log::open::<Value>(&path).unwrap();
        assert_eq!(records, [json!({"a": 1})]);
        log.push(&json!({"a": 2})).unwrap();
        assert_eq!(
            read::<Value>(&path).unwrap(),
            [json!({"a": 1}), json!({"a": 2})]
        );
    }

    #[test]
    fn a_line_of_50_mb_is_refused_without_reading_it_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        fs::write(&path, format!("\"{}\"\n", "x".repeat(50 << 20))).unwrap();
        let error = read::<Value>(&path).unwrap_err().to_string();
        assert!(
            error.contains("a.jsonl:1: the line is longer than 16 MiB"),
            "{error}"
        );
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(texts in proptest::collection::vec(".*", 0..8)) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("a.jsonl");
            write(&path, &texts).unwrap();
            prop_assert_eq!(read::<String>(&path).unwrap(), texts);
        }
    }
}
