//! The only place that touches files: each error names its path, and nothing half-written is
//! ever taken for whole, because a file appears under its name only when it is complete.
#![expect(
    clippy::disallowed_methods,
    reason = "this is the wrapper that the lint points to"
)]

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

/// Opens a file for buffered reading.
pub fn open(path: &Path) -> Result<BufReader<File>> {
    let file = File::open(path).map_err(|e| Error::io(path, e))?;
    // Opening a folder succeeds on Linux; reading it fails without naming it.
    if file.metadata().map_err(|e| Error::io(path, e))?.is_dir() {
        return Err(Error::file(path, "is a folder, expected a file"));
    }
    Ok(BufReader::with_capacity(1 << 16, file))
}

/// Reads a whole file.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?
        .read_to_end(&mut bytes)
        .map_err(|e| Error::io(path, e))?;
    Ok(bytes)
}

/// Reads `length` bytes of a file, from `start` on.
pub fn read_part(path: &Path, start: u64, length: usize) -> Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    let mut file = File::open(path).map_err(|e| Error::io(path, e))?;
    file.seek(SeekFrom::Start(start))
        .and_then(|_| file.read_exact(&mut bytes))
        .map_err(|e| Error::io(path, e))?;
    Ok(bytes)
}

/// Reads a whole UTF-8 file.
pub fn read_text(path: &Path) -> Result<String> {
    String::from_utf8(read(path)?).map_err(|e| {
        let line = e.as_bytes()[..e.utf8_error().valid_up_to()]
            .split(|b| *b == b'\n')
            .count();
        Error::record(path, line, "not valid UTF-8; save the file as UTF-8")
    })
}

/// The length of a file in bytes.
pub fn length(path: &Path) -> Result<u64> {
    let metadata = std::fs::metadata(path).map_err(|e| Error::io(path, e))?;
    Ok(metadata.len())
}

/// Makes a folder and its parents.
pub fn create_folder(path: &Path) -> Result<()> {
    std::fs::create_dir_all(path).map_err(|e| Error::io(path, e))
}

/// Removes a file or a folder with all in it; what is not there is no error.
pub fn remove(path: &Path) -> Result<()> {
    let done = if path.is_dir() {
        std::fs::remove_dir_all(path)
    } else {
        std::fs::remove_file(path)
    };
    match done {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io(path, e)),
        _ => Ok(()),
    }
}

/// Puts `from` in the place of `to` in one step, and replaces what was there.
pub fn rename(from: &Path, to: &Path) -> Result<()> {
    if to.is_dir() {
        remove(to)?;
    }
    std::fs::rename(from, to).map_err(|e| Error::io(to, e))
}

/// Gives a file a second name, or where that cannot be, a copy; what is there is left alone.
///
/// Files appear whole and are never changed in place, so that two names do no harm.
pub fn link(from: &Path, to: &Path) -> Result<()> {
    if to.exists() {
        return Ok(());
    }
    match std::fs::hard_link(from, to) {
        Ok(()) => Ok(()),
        Err(_) => write(to, read(from)?),
    }
}

/// Writes a file whole or not at all: into a sibling, flushed to the disk, then renamed.
pub fn write(path: &Path, bytes: impl AsRef<[u8]>) -> Result<()> {
    let mut writer = Writer::create(path)?;
    writer
        .write_all(bytes.as_ref())
        .map_err(|e| Error::io(path, e))?;
    writer.finish()
}

/// Writes JSON with two spaces of indentation and a closing newline, whole or not at all.
pub fn write_json(path: &Path, value: &impl serde::Serialize) -> Result<()> {
    let mut text = serde_json::to_string_pretty(value)
        .map_err(|e| Error::file(path, format!("cannot be written as JSON: {e}")))?;
    text.push('\n');
    write(path, text)
}

/// Reads a JSON file into a struct.
pub fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    serde_json::from_str(&read_text(path)?)
        .map_err(|e| Error::record(path, e.line(), format!("not the expected JSON: {e}")))
}

/// The SHA-256 of a file, in hex.
pub fn sha256(path: &Path) -> Result<String> {
    let mut hasher = Sha256::new();
    let mut reader = open(path)?;
    loop {
        let bytes = reader.fill_buf().map_err(|e| Error::io(path, e))?;
        if bytes.is_empty() {
            return Ok(hex(&hasher.finalize()));
        }
        hasher.update(bytes);
        let n = bytes.len();
        reader.consume(n);
    }
}

/// The SHA-256 of some bytes, in hex.
pub fn sha256_of(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// The SHA-256 of a file, or of the names and hashes of all files in a folder.
pub fn sha256_of_tree(path: &Path) -> Result<String> {
    if !path.is_dir() {
        return sha256(path);
    }
    let mut lines = Vec::new();
    for (name, _) in list(path)? {
        lines.push(format!("{} {name}\n", sha256_of_tree(&path.join(&name))?));
    }
    Ok(sha256_of(lines.concat().as_bytes()))
}

/// The names in a folder, sorted, each with its length in bytes.
pub fn list(path: &Path) -> Result<Vec<(String, u64)>> {
    let entry = |entry: std::io::Result<std::fs::DirEntry>| {
        let entry = entry?;
        // Through links, as the cache of the hub has them.
        let length = std::fs::metadata(entry.path())?.len();
        Ok((entry.file_name().to_string_lossy().into_owned(), length))
    };
    let entries = std::fs::read_dir(path).map_err(|e| Error::io(path, e))?;
    let names = entries.map(entry).collect::<std::io::Result<Vec<_>>>();
    let mut names = names.map_err(|e| Error::io(path, e))?;
    names.sort();
    Ok(names)
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes
        .iter()
        .fold(String::with_capacity(64), |mut text, byte| {
            write!(text, "{byte:02x}").expect("writing to a String cannot fail");
            text
        })
}

/// A file in the making: it takes its name only at [`Writer::finish`]; dropped before that, it
/// leaves nothing.
#[derive(Debug)]
pub struct Writer {
    path: PathBuf,
    part: PathBuf,
    file: std::io::BufWriter<File>,
}

impl Writer {
    /// Begins a file that will be called `path`.
    pub fn create(path: &Path) -> Result<Self> {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".part");
        let part = path.with_file_name(name);
        let file = File::create(&part).map_err(|e| Error::io(&part, e))?;
        let file = std::io::BufWriter::new(file);
        Ok(Self {
            path: path.to_owned(),
            part,
            file,
        })
    }

    /// Flushes to the disk and gives the file its name.
    pub fn finish(mut self) -> Result<()> {
        let flushed = self
            .file
            .flush()
            .and_then(|()| self.file.get_ref().sync_all());
        let finished = flushed.and_then(|()| std::fs::rename(&self.part, &self.path));
        finished.map_err(|e| Error::io(&self.path, e))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // Finished, there is nothing by this name; on a full disk it must not stay.
        let _ = std::fs::remove_file(&self.part);
    }
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.file.write(bytes)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

/// A file that grows line by line and is kept when the process dies; see [`crate::jsonl::Log`].
pub(crate) fn open_to_append(path: &Path) -> Result<File> {
    File::options()
        .create(true)
        .append(true)
        .read(true)
        .open(path)
        .map_err(|e| Error::io(path, e))
}

/// A file that several processes read and append to.
#[derive(Debug)]
pub struct Appended {
    path: PathBuf,
    file: File,
}

impl Appended {
    /// Opens a file, or makes an empty one.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path)
            .map_err(|e| Error::io(path, e))?;
        Ok(Self {
            path: path.to_owned(),
            file,
        })
    }

    /// Reads from the beginning.
    pub fn read_all(&mut self) -> Result<impl BufRead + '_> {
        self.file
            .seek(SeekFrom::Start(0))
            .map_err(|e| Error::io(&self.path, e))?;
        Ok(BufReader::with_capacity(1 << 20, &self.file))
    }

    /// Fills `bytes` from what stands at `start`.
    pub fn read_at(&mut self, start: u64, bytes: &mut [u8]) -> Result<()> {
        self.file
            .seek(SeekFrom::Start(start))
            .and_then(|_| self.file.read_exact(bytes))
            .map_err(|e| Error::io(&self.path, e))
    }

    /// Appends in one piece while other processes wait, and returns where.
    ///
    /// `plan` is told the length that is there, and says how much of it stays (less than all where
    /// an earlier process died in the middle of a record) and what is written after that.
    pub fn append(&mut self, plan: impl FnOnce(u64) -> (u64, Vec<u8>)) -> Result<u64> {
        let mut file = &self.file;
        let locked = || {
            file.lock()?;
            let length = file.metadata()?.len();
            let (start, bytes) = plan(length);
            if start < length {
                file.set_len(start)?;
            }
            file.seek(SeekFrom::Start(start))?;
            file.write_all(&bytes)?;
            Ok(start)
        };
        let done = locked();
        let unlocked = self.file.unlock();
        done.and_then(|start| unlocked.map(|()| start))
            .map_err(|e| Error::io(&self.path, e))
    }
}

/// A lock on a file; it goes when the process ends, however it ends.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "held for its lock")] File);

impl Lock {
    /// Takes the lock, or `None` when another process holds it.
    pub fn take(path: &Path) -> Result<Option<Self>> {
        let file = open_to_append(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self(file))),
            Err(std::fs::TryLockError::WouldBlock) => Ok(None),
            Err(std::fs::TryLockError::Error(e)) => Err(Error::io(path, e)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_appears_only_when_it_is_complete() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        let mut writer = Writer::create(&path).unwrap();
        writer.write_all(b"half").unwrap();
        assert!(!path.exists());
        writer.finish().unwrap();
        assert_eq!(read(&path).unwrap(), b"half");
        drop(Writer::create(&path.with_extension("b")).unwrap());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn errors_name_the_path() {
        let error = read(Path::new("no/such/file")).unwrap_err();
        assert!(error.to_string().starts_with("no/such/file: "), "{error}");
    }

    #[test]
    fn a_part_is_read_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        write(&path, "abcdef").unwrap();
        assert_eq!(read_part(&path, 2, 3).unwrap(), b"cde");
        assert!(read_part(&path, 4, 3).is_err());
    }

    #[test]
    fn invalid_utf8_is_placed_by_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        std::fs::write(&path, b"one\ntw\xff\n").unwrap();
        assert!(
            read_text(&path)
                .unwrap_err()
                .to_string()
                .contains("a.txt:2: not valid UTF-8")
        );
    }
}
