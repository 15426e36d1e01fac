//! Texts to token ids, cut at a limit and never padded.

use std::fmt;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use tokenizers::{EncodeInput, PostProcessor, Tokenizer, TruncationParams};

use stillhouse_core::event::{Event, Observer, tell};
use stillhouse_core::{Error, Result, fs};

use super::transformer::Sequence;

/// A folder's tokenizer with the limits of its model.
#[derive(Clone)]
pub(super) struct Tokens {
    tokenizer: Tokenizer,
    path: PathBuf,
    n_vocab: usize,
    /// Tokens that are read, special tokens counted.
    limit: usize,
    /// Of the tokenizer's file.
    pub(super) sha256: String,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens")
            .field("path", &self.path)
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

/// One text, or two as a pair.
#[derive(Debug)]
pub(super) struct Encoded {
    pub(super) ids: Vec<u32>,
    /// Which text each token belongs to.
    pub(super) segments: Vec<u32>,
    /// Whether each token was put around the texts.
    pub(super) is_special: Vec<bool>,
    is_cut: bool,
}

impl Encoded {
    pub(super) fn sequence(&self) -> Sequence<'_> {
        Sequence {
            ids: &self.ids,
            segments: &self.segments,
        }
    }
}

impl Tokens {
    /// Reads `tokenizer.json`.
    ///
    /// The file's own settings are not taken: all-MiniLM-L6-v2 says to cut at 128 and to pad
    /// everything to 128, which sentence-transformers overrides too.
    pub(super) fn load(folder: &Path, max_tokens: usize, n_vocab: usize) -> Result<Self> {
        let path = folder.join("tokenizer.json");
        let bytes = fs::read(&path)?;
        let mut tokenizer = Tokenizer::from_bytes(&bytes)
            .map_err(|e| Error::file(&path, format!("is not a tokenizer: {e}")))?;
        let found = tokenizer.get_vocab_size(true);
        if found > n_vocab {
            let what = format!("has {found} tokens, the model knows {n_vocab}");
            return Err(Error::file(path, what));
        }
        tokenizer.with_padding(None);
        let tokens = Self {
            tokenizer,
            path,
            n_vocab,
            limit: 0,
            sha256: fs::sha256_of(&bytes),
        };
        tokens.cut_at(max_tokens)
    }

    /// Tokens that are read, special tokens counted.
    pub(super) fn max_tokens(&self) -> usize {
        self.limit
    }

    /// The same with another limit.
    pub(super) fn cut_at(mut self, max_tokens: usize) -> Result<Self> {
        let added = |pair| {
            self.tokenizer
                .get_post_processor()
                .map_or(0, |p| p.added_tokens(pair))
        };
        let least = added(false).max(added(true)) + 2;
        if max_tokens < least {
            let what =
                format!("cannot cut texts at {max_tokens} tokens, expected at least {least}");
            return Err(Error::file(self.path, what));
        }
        let truncation = TruncationParams {
            max_length: max_tokens,
            ..TruncationParams::default()
        };
        match self.tokenizer.with_truncation(Some(truncation)) {
            Ok(_) => {
                self.limit = max_tokens;
                Ok(self)
            }
            Err(e) => {
                let what = format!("cannot cut texts at {max_tokens} tokens: {e}");
                Err(Error::file(self.path, what))
            }
        }
    }

    /// The tokens of all texts, or of all pairs; those that were cut are counted and told.
    pub(super) fn encode<'a, T: Sync>(
        &self,
        texts: &[T],
        input: impl Fn(&T) -> EncodeInput<'a> + Sync,
        observe: &mut Observer<'_>,
    ) -> Result<Vec<Encoded>> {
        let encoded = texts.par_iter().map(|text| self.encode_one(input(text)));
        let encoded = encoded.collect::<Result<Vec<_>>>()?;
        let n_cut = encoded.iter().filter(|e| e.is_cut).count();
        if n_cut > 0 {
            let (n, most) = (encoded.len(), self.limit);
            let text = format!(
                "{n_cut} of {n} texts have more than {most} tokens; the encoder reads no further"
            );
            tell(observe, Event::Warning { text })?;
        }
        Ok(encoded)
    }

    fn encode_one(&self, input: EncodeInput<'_>) -> Result<Encoded> {
        let bad = |what: String| Error::file(&self.path, what);
        let encoding = self
            .tokenizer
            .encode_fast(input, true)
            .map_err(|e| bad(format!("gave up: {e}")))?;
        let ids = encoding.get_ids().to_vec();
        let n_vocab = self.n_vocab;
        if let Some(id) = ids.iter().find(|id| **id as usize >= n_vocab) {
            return Err(bad(format!("gave token {id}, the model knows {n_vocab}")));
        }
        let is_special = encoding.get_special_tokens_mask();
        Ok(Encoded {
            ids,
            segments: encoding.get_type_ids().to_vec(),
            is_special: is_special.iter().map(|m| *m == 1).collect(),
            is_cut: !encoding.get_overflowing().is_empty(),
        })
    }
}
