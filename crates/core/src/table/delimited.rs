//! CSV and TSV with a header, as RFC 4180 says; a byte order mark and either line end will do.

use std::path::Path;

use csv::{ByteRecord, ErrorKind, ReaderBuilder};
use serde_json::Value;

use super::bytes::{Meter, newlines, open, skip_mark, too_long};
use super::{Each, Place, Row, names};
use crate::error::{Error, Result};

/// Reads a table whose first record names the columns.
pub(super) fn read(path: &Path, delimiter: u8, each: &mut Each<'_>) -> Result<()> {
    let mut bytes = open(path)?;
    skip_mark(path, &mut *bytes)?;
    let (meter, gauge) = Meter::new(bytes);
    // A carriage return is taken off the last cell by hand: the reader would take it for the end
    // of the record and count the line feed after it to the next one.
    let mut reader = ReaderBuilder::new()
        .delimiter(delimiter)
        .terminator(csv::Terminator::Any(b'\n'))
        .has_headers(false)
        .flexible(true)
        .from_reader(meter);
    let mut record = ByteRecord::new();
    let mut columns: Vec<String> = vec![];
    let mut row = 0;
    let mut open_quote = None;
    loop {
        gauge.begin_record();
        let begun = reader.position().line() as usize;
        let more = reader.read_byte_record(&mut record).map_err(|e| {
            if gauge.is_over() {
                return Error::record(path, begun, too_long());
            }
            match e.into_kind() {
                ErrorKind::Io(e) => Error::io(path, e),
                other => Error::record(path, begun, format!("{other:?}")),
            }
        })?;
        if !more {
            break;
        }
        // The last line feed read so far went into a cell: at the end of the file, an open quote.
        let is_open = record.as_slice().ends_with(b"\n")
            && gauge.total() == reader.position().byte() as usize;
        take_return_off(&mut record);
        if record.len() == 1 && record[0].is_empty() {
            continue;
        }
        let at = reader.position();
        let is_ended = !is_open && gauge.ended_line_at(at.byte() as usize);
        let last_line = at.line() as usize - usize::from(is_ended);
        let n_inner = newlines(record.as_slice());
        let line = last_line - n_inner;
        let cell = |bytes: &[u8]| {
            String::from_utf8(bytes.to_vec())
                .map_err(|_| Error::record(path, line, "not valid UTF-8; save the file as UTF-8"))
        };
        if columns.is_empty() {
            columns = record.iter().map(cell).collect::<Result<_>>()?;
            check_header(path, line, &columns)?;
            continue;
        }
        row += 1;
        let place = Place {
            path,
            row,
            line: Some(line),
            line_says_it: true,
        };
        if record.len() != columns.len() {
            let spans = if n_inner > 0 {
                " (a quoted cell goes over several lines: is a quote never closed?)"
            } else {
                ""
            };
            return Err(place.error(format!(
                "has {} fields, expected the {} of the header: {}{spans}",
                record.len(),
                columns.len(),
                names(&columns)
            )));
        }
        let mut cells = Row::new();
        for (name, bytes) in columns.iter().zip(&record) {
            cells.insert(name.clone(), Value::String(cell(bytes)?));
        }
        each(&place, cells)?;
        open_quote = is_open.then_some(line);
    }
    if let Some(line) = open_quote {
        return Err(Error::record(
            path,
            line,
            "a quote is opened and never closed",
        ));
    }
    if columns.is_empty() {
        return Err(Error::file(path, "is empty, expected a header line"));
    }
    Ok(())
}

/// Takes the first half of the line end off the last cell.
fn take_return_off(record: &mut ByteRecord) {
    if record.as_slice().last() != Some(&b'\r') {
        return;
    }
    let mut cells: Vec<&[u8]> = record.iter().collect();
    if let Some(last) = cells.last_mut() {
        *last = last.strip_suffix(b"\r").unwrap_or(last);
    }
    *record = ByteRecord::from(cells);
}

fn check_header(path: &Path, line: usize, columns: &[String]) -> Result<()> {
    for (at, name) in columns.iter().enumerate() {
        if columns[..at].contains(name) {
            let what = format!("the header names the column `{name}` twice");
            return Err(Error::record(path, line, what));
        }
    }
    Ok(())
}
