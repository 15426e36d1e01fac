//! One record or one value a line: JSONL, a text file, and parallel text files.

use std::collections::BTreeMap;
use std::io::{BufRead, Read};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::bytes::{open, skip_mark};
use super::{Each, Place, Row, kind};
use crate::error::{Error, Result};
use crate::jsonl::{self, MAX_LINE_BYTES};

/// Reads one JSON object a line.
pub(super) fn read_jsonl(path: &Path, each: &mut Each<'_>) -> Result<()> {
    let mut row = 0;
    jsonl::read_each_from(path, open(path)?, |line, value: Value| {
        row += 1;
        let place = place(path, row, line);
        match value {
            Value::Object(record) => each(&place, record),
            Value::Array(_) if row == 1 => Err(place.error(
                "is a list, expected one object a line; a list is read with format = \"json\"",
            )),
            other => Err(place.error(format!("is {}, expected an object", kind(&other)))),
        }
    })
}

/// Reads a text file: every line is a row with the column `text`.
pub(super) fn read_text(path: &Path, each: &mut Each<'_>) -> Result<()> {
    let mut lines = Lines::open(path)?;
    let mut row = 0;
    while let Some(text) = lines.next()? {
        row += 1;
        let cells = Row::from_iter([("text".to_owned(), Value::String(text))]);
        each(&place(path, row, row), cells)?;
    }
    Ok(())
}

/// Reads parallel files: line n of each is row n.
pub(super) fn read_parallel(
    folder: &Path,
    columns: &BTreeMap<String, PathBuf>,
    each: &mut Each<'_>,
) -> Result<()> {
    let mut files = Vec::new();
    for (name, file) in columns {
        files.push((name, Lines::open(&folder.join(file))?));
    }
    for row in 1.. {
        let mut cells = Row::new();
        let mut ended = vec![];
        for (name, file) in &mut files {
            match file.next()? {
                Some(text) => drop(cells.insert(String::clone(name), text.into())),
                None => ended.push(file.path.clone()),
            }
        }
        if cells.is_empty() {
            break;
        }
        if let Some(short) = ended.first() {
            let longer = &columns[cells.keys().next().expect("a cell was read")];
            let what = format!(
                "ends after {} lines, but `{}` goes on; parallel files have one line a row",
                row - 1,
                longer.display()
            );
            return Err(Error::file(short, what));
        }
        each(&place(folder, row, row), cells)?;
    }
    Ok(())
}

fn place(path: &Path, row: usize, line: usize) -> Place<'_> {
    Place {
        path,
        row,
        line: Some(line),
        line_says_it: true,
    }
}

/// The lines of a text file; blank ones count, since parallel files stay in step by them.
struct Lines {
    path: PathBuf,
    reader: Box<dyn BufRead>,
    n_read: usize,
}

impl Lines {
    fn open(path: &Path) -> Result<Self> {
        let mut reader = open(path)?;
        skip_mark(path, &mut *reader)?;
        Ok(Self {
            path: path.to_owned(),
            reader,
            n_read: 0,
        })
    }

    fn next(&mut self) -> Result<Option<String>> {
        let mut line = Vec::new();
        self.n_read += 1;
        let n = (&mut *self.reader)
            .take(MAX_LINE_BYTES as u64 + 1)
            .read_until(b'\n', &mut line)
            .map_err(|e| Error::io(&self.path, e))?;
        if n == 0 {
            return Ok(None);
        }
        let wrong = |what: String| Error::record(&self.path, self.n_read, what);
        if n > MAX_LINE_BYTES {
            return Err(wrong(super::bytes::too_long()));
        }
        let mut text = String::from_utf8(line)
            .map_err(|_| wrong("not valid UTF-8; save the file as UTF-8".into()))?;
        text.truncate(text.trim_end_matches(['\n', '\r']).len());
        Ok(Some(text))
    }
}
