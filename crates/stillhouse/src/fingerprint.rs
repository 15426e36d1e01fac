//! What a model folder is, in one short text, without reading tens of gigabytes at every start.

use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use stillhouse_core::{Error, Result, fs};

/// Weight files larger than this are known by their length and their two ends.
const WHOLE: u64 = 256 << 20;
const END: u64 = 1 << 20;

/// A hash over the files of a model folder that decide what the model says.
pub(crate) fn of_model(folder: &Path) -> Result<String> {
    let mut lines = Vec::new();
    for (name, length) in fs::list(folder)? {
        let decides = ["safetensors", "json", "model", "txt", "jinja"]
            .iter()
            .any(|end| name.ends_with(end));
        if decides {
            let path = folder.join(&name);
            let hash = if length > WHOLE {
                of_ends(&path, length)?
            } else {
                fs::sha256(&path)?
            };
            lines.push(format!("{hash} {name}\n"));
        }
    }
    Ok(fs::sha256_of(lines.concat().as_bytes()))
}

fn of_ends(path: &Path, length: u64) -> Result<String> {
    let mut file = fs::open(path)?;
    let mut bytes = length.to_le_bytes().to_vec();
    let mut read = |from: u64, bytes: &mut Vec<u8>| {
        file.seek(SeekFrom::Start(from))?;
        file.by_ref().take(END).read_to_end(bytes)
    };
    read(0, &mut bytes)
        .and_then(|_| read(length - END, &mut bytes))
        .map_err(|e| Error::io(path, e))?;
    Ok(fs::sha256_of(&bytes))
}
