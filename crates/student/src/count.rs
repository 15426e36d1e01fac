//! Counts tokens with a tokenizer alone: no weights, no config, no model family.

use std::path::Path;

use crate::error::Result;
use crate::tokenizer;

/// Reads the tokenizer in `folder`, and gives a function that counts the tokens of a text, with
/// nothing put before or after it.
pub fn counter(folder: &Path) -> Result<impl Fn(&str) -> usize + use<>> {
    let inner = tokenizer::read(folder)?.inner;
    Ok(move |text: &str| {
        inner
            .encode_fast(text, false)
            .map_or(0, |encoding| encoding.len())
    })
}
