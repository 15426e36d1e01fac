//! Counts tokens with a tokenizer alone: no weights, no config, no model family.

use std::path::Path;

use stillhouse_core::fs;

use crate::error::{Error, Result};

/// Reads `tokenizer.json` in `folder`, and gives a function that counts the tokens of a text,
/// with nothing put before or after it.
pub fn counter(folder: &Path) -> Result<impl Fn(&str) -> usize + use<>> {
    let path = folder.join("tokenizer.json");
    if !path.is_file() {
        return Err(Error::folder(folder, "no tokenizer.json"));
    }
    let inner = tokenizers::Tokenizer::from_bytes(fs::read(&path)?)
        .map_err(|e| Error::folder(&path, format!("not a tokenizer: {e}")))?;
    Ok(move |text: &str| {
        inner
            .encode_fast(text, false)
            .map_or(0, |encoding| encoding.len())
    })
}
