//! The bytes of a text table: uncompressed where need be, counted, and bounded by the record.

use std::cell::Cell;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::rc::Rc;

use flate2::read::MultiGzDecoder;

use crate::error::{Error, Result};
use crate::fs;
use crate::jsonl::MAX_LINE_BYTES;

/// Opens a text file, through gzip where its name ends in `.gz`.
pub(super) fn open(path: &Path) -> Result<Box<dyn BufRead>> {
    let reader = fs::open(path)?;
    if path
        .extension()
        .is_some_and(|e| e.eq_ignore_ascii_case("gz"))
    {
        Ok(Box::new(BufReader::with_capacity(
            1 << 16,
            MultiGzDecoder::new(reader),
        )))
    } else {
        Ok(Box::new(reader))
    }
}

/// Counts lines, and refuses a record that does not end.
pub(super) struct Meter<R> {
    inner: R,
    gauge: Gauge,
}

/// What a [`Meter`] has counted; shared with whoever knows where records begin.
#[derive(Clone, Default)]
pub(super) struct Gauge(Rc<Counts>);

#[derive(Default)]
struct Counts {
    newlines: Cell<usize>,
    total: Cell<usize>,
    last: Cell<u8>,
    /// Bytes since the record began; none between records.
    bytes: Cell<Option<usize>>,
    is_over: Cell<bool>,
}

impl<R: Read> Meter<R> {
    pub(super) fn new(inner: R) -> (Self, Gauge) {
        let gauge = Gauge::default();
        (
            Self {
                inner,
                gauge: gauge.clone(),
            },
            gauge,
        )
    }
}

impl Gauge {
    /// The line of the byte read last, counted from 1.
    pub(super) fn line(&self) -> usize {
        self.0.newlines.get() + 1
    }

    /// Bytes read so far.
    pub(super) fn total(&self) -> usize {
        self.0.total.get()
    }

    /// Whether a line ended right before the byte at `offset`, which has been read or is the end.
    pub(super) fn ended_line_at(&self, offset: usize) -> bool {
        offset < self.0.total.get() || self.0.last.get() == b'\n'
    }

    /// A record begins: it may have [`MAX_LINE_BYTES`] again.
    pub(super) fn begin_record(&self) {
        self.0.bytes.set(Some(0));
    }

    /// The last record has ended; what follows is not kept and may be long.
    pub(super) fn end_records(&self) {
        self.0.bytes.set(None);
    }

    /// Whether reading ended because a record was too long.
    pub(super) fn is_over(&self) -> bool {
        self.0.is_over.get()
    }
}

impl<R: Read> Read for Meter<R> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let n = self.inner.read(into)?;
        let counts = &self.gauge.0;
        let newlines = newlines(&into[..n]);
        counts.newlines.set(counts.newlines.get() + newlines);
        counts.total.set(counts.total.get() + n);
        if let Some(last) = into[..n].last() {
            counts.last.set(*last);
        }
        let bytes = counts.bytes.get().map(|bytes| bytes + n);
        counts.bytes.set(bytes);
        if bytes.is_some_and(|bytes| bytes > MAX_LINE_BYTES) {
            counts.is_over.set(true);
            return Err(std::io::Error::other(too_long()));
        }
        Ok(n)
    }
}

/// The complaint about a record without an end.
pub(super) fn too_long() -> String {
    let limit = MAX_LINE_BYTES >> 20;
    format!("a record is longer than {limit} MiB; is a quote or a bracket never closed?")
}

/// Takes a byte order mark off, which some editors put before the first line.
pub(super) fn skip_mark(path: &Path, reader: &mut dyn BufRead) -> Result<()> {
    let head = reader.fill_buf().map_err(|e| Error::io(path, e))?;
    if head.starts_with(b"\xef\xbb\xbf") {
        reader.consume(3);
    }
    Ok(())
}

/// How many line feeds there are.
pub(super) fn newlines(bytes: &[u8]) -> usize {
    bytes.split(|b| *b == b'\n').count() - 1
}
