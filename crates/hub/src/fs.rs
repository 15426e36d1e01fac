//! The hub's few uses of the file system; each error names its path.
#![expect(
    clippy::disallowed_methods,
    reason = "the hub stands beside core and has no other fs"
)]

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

pub(crate) fn create_folder(path: &Path) -> Result<()> {
    std::fs::create_dir_all(path).map_err(|e| Error::io(path, e))
}

pub(crate) fn read_text(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(|e| Error::io(path, e))
}

pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|e| Error::io(path, e))
}

pub(crate) fn create(path: &Path) -> Result<File> {
    File::create(path).map_err(|e| Error::io(path, e))
}

/// Removes a file or a folder with all in it; what is not there is no error.
pub(crate) fn remove(path: &Path) -> Result<()> {
    let done = if path.is_dir() && !path.is_symlink() {
        std::fs::remove_dir_all(path)
    } else {
        std::fs::remove_file(path)
    };
    match done {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(Error::io(path, e)),
        _ => Ok(()),
    }
}

/// Puts `from` in the place of `to`.
pub(crate) fn replace(from: &Path, to: &Path) -> Result<()> {
    remove(to)?;
    std::fs::rename(from, to).map_err(|e| Error::io(to, e))
}

pub(crate) fn copy(from: &Path, to: &Path) -> Result<()> {
    if let Some(folder) = to.parent() {
        create_folder(folder)?;
    }
    std::fs::copy(from, to)
        .map(|_| ())
        .map_err(|e| Error::io(to, e))
}

/// Writes all of `content`, flushed to the disk, and returns the bytes and their SHA-256 in hex.
///
/// An error of the reader is told apart, since it is the network's and not the disk's.
pub(crate) fn write(
    path: &Path,
    content: &mut dyn Read,
) -> Result<std::result::Result<(u64, String), std::io::Error>> {
    if let Some(folder) = path.parent() {
        create_folder(folder)?;
    }
    let mut file = create(path)?;
    let mut hasher = Sha256::new();
    let mut bytes = 0;
    let mut buffer = vec![0; 1 << 16];
    loop {
        let n = match content.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => n,
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            Err(e) => return Ok(Err(e)),
        };
        file.write_all(&buffer[..n])
            .map_err(|e| Error::io(path, e))?;
        hasher.update(&buffer[..n]);
        bytes += n as u64;
    }
    file.sync_all().map_err(|e| Error::io(path, e))?;
    Ok(Ok((bytes, hex(&hasher.finalize()))))
}

/// Writes all of `content` into a file, behind what is there or in its place, and returns the
/// bytes; an error of the reader is told apart, and what came before it is kept.
pub(crate) fn append(
    path: &Path,
    behind: bool,
    content: &mut dyn Read,
) -> Result<std::result::Result<u64, std::io::Error>> {
    if let Some(folder) = path.parent() {
        create_folder(folder)?;
    }
    let mut file = if behind {
        let opened = File::options().append(true).open(path);
        opened.map_err(|e| Error::io(path, e))?
    } else {
        create(path)?
    };
    let mut bytes = 0;
    let mut buffer = vec![0; 1 << 16];
    let end = loop {
        match content.read(&mut buffer) {
            Ok(0) => break Ok(()),
            Ok(n) => {
                let written = file.write_all(&buffer[..n]);
                written.map_err(|e| Error::io(path, e))?;
                bytes += n as u64;
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => break Err(e),
        }
    };
    file.sync_all().map_err(|e| Error::io(path, e))?;
    Ok(end.map(|()| bytes))
}

/// The length of a file; 0 where there is none.
pub(crate) fn length(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |metadata| metadata.len())
}

/// The SHA-256 of some bytes, in hex.
pub(crate) fn sha256_of(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// The SHA-256 of a file, in hex.
pub(crate) fn sha256(path: &Path) -> Result<String> {
    let mut file = File::open(path).map_err(|e| Error::io(path, e))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer).map_err(|e| Error::io(path, e))? {
            0 => return Ok(hex(&hasher.finalize())),
            n => hasher.update(&buffer[..n]),
        }
    }
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

/// The files under `folder`, two levels deep, as `name` or `folder/name`; a link that leads
/// nowhere is no file.
pub(crate) fn list(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for (path, name) in entries(folder)? {
        if path.is_file() {
            names.push(name);
        } else if path.is_dir() {
            let inner = entries(&path)?
                .into_iter()
                .filter(|(path, _)| path.is_file());
            names.extend(inner.map(|(_, file)| format!("{name}/{file}")));
        }
    }
    names.sort_unstable();
    Ok(names)
}

fn entries(folder: &Path) -> Result<Vec<(PathBuf, String)>> {
    let io = |e| Error::io(folder, e);
    std::fs::read_dir(folder)
        .map_err(io)?
        .map(|entry| {
            let entry = entry.map_err(io)?;
            Ok((
                entry.path(),
                entry.file_name().to_string_lossy().into_owned(),
            ))
        })
        .collect()
}

/// Holds `path` locked until the file is dropped; waits for another process that holds it.
pub(crate) fn lock(path: &Path, note: &mut dyn FnMut(&str)) -> Result<File> {
    if let Some(folder) = path.parent() {
        create_folder(folder)?;
    }
    let file = create(path)?;
    if file.try_lock().is_err() {
        note("another process is fetching the same files; waiting for it");
        file.lock().map_err(|e| Error::io(path, e))?;
    }
    Ok(file)
}
