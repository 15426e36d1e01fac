//! Encoders of the BERT, `RoBERTa`, XLM-R and `MPNet` families, read from Hugging Face folders.
//!
//! Inference on the CPU alone.
//! Sentences are packed one after the other without padding, so a vector never depends on its
//! neighbours, bit for bit, and no work is done for padding.
//!
//! ```no_run
//! use std::ops::ControlFlow;
//! use stillhouse_core::evaluate::Embed;
//! use stillhouse_student::encoder::Encoder;
//!
//! # fn main() -> stillhouse_core::Result<()> {
//! let mut encoder = Encoder::load("models/all-MiniLM-L6-v2".as_ref(), "all-MiniLM-L6-v2")?;
//! let vectors = encoder.embed(&["Ice melts."], &mut |_| ControlFlow::Continue(()))?;
//! assert_eq!(vectors[0].len(), 384);
//! # Ok(())
//! # }
//! ```

mod classifier;
mod family;
mod folder;
mod matches;
mod pooling;
mod schedule;
mod tensors;
mod tokens;
mod transformer;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use tokenizers::EncodeInput;

use stillhouse_core::evaluate::{Embed, TokenMatch};
use stillhouse_core::event::Observer;
use stillhouse_core::{Error, Result};

use crate::cpu;

pub use classifier::{Classifier, NliLabels};
use folder::Config;
use pooling::Pooling;
use tensors::Tensors;
use tokens::{Encoded, Tokens};
use transformer::{Sequence, Transformer};

/// A sentence encoder.
#[derive(Debug)]
pub struct Encoder {
    name: String,
    key: String,
    folder: PathBuf,
    tokens: Tokens,
    transformer: Transformer,
    pooling: Pooling,
    is_lowercased: bool,
    n_positions: usize,
}

/// The vectors of one text's tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenStates {
    /// The token ids, with the special tokens at both ends.
    pub ids: Vec<u32>,
    /// Whether each token is one that the tokenizer put around the text.
    pub is_special: Vec<bool>,
    /// `[tokens, hidden]`.
    pub states: Vec<f32>,
}

impl Encoder {
    /// Loads the encoder of `folder`; `name` is what signatures will call it.
    pub fn load(folder: &Path, name: &str) -> Result<Self> {
        let layout = folder::read(folder)?;
        let config = &layout.config;
        let parts = load_parts(&layout.transformer, config, layout.max_tokens, |_| ())?;
        let pooling = layout.pooling;
        let key = format!(
            "weights {}, tokenizer {}, {} tokens, {}, {}, {}, {}",
            parts.sha256,
            parts.tokens.sha256,
            layout.max_tokens,
            if layout.is_lowercased {
                "lower case"
            } else {
                "as written"
            },
            pooling.name(),
            cpu::detect().kernel_path(),
            env!("CARGO_PKG_VERSION"),
        );
        Ok(Self {
            name: short_name(name, &parts.sha256),
            key,
            folder: folder.to_owned(),
            tokens: parts.tokens,
            transformer: parts.transformer,
            pooling,
            is_lowercased: layout.is_lowercased,
            n_positions: config.n_positions(),
        })
    }

    /// Features of a vector.
    pub fn hidden_size(&self) -> usize {
        self.transformer.hidden_size()
    }

    /// Tokens of a text that are read, special tokens counted; the rest is cut off.
    pub fn max_tokens(&self) -> usize {
        self.tokens.max_tokens()
    }

    /// All that a vector's bits depend on beside the text: weights, tokenizer, limits, pooling,
    /// instruction set and our own version. What keeps vectors keeps them under this.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The hidden states of each text's tokens after `layer` layers, not normalised.
    ///
    /// Texts are read as they are, white space at the ends too; some tokenizers heed it.
    /// `max_tokens` may go beyond what [`Embed::embed`] reads, up to the positions of the model.
    pub fn token_states(
        &self,
        texts: &[&str],
        layer: usize,
        max_tokens: usize,
        observe: &mut Observer<'_>,
    ) -> Result<Vec<TokenStates>> {
        if layer > self.transformer.n_layers() {
            let what = format!(
                "has {} layers, layer {layer} was asked for",
                self.transformer.n_layers()
            );
            return Err(Error::file(&self.folder, what));
        }
        let max_tokens = max_tokens.min(self.n_positions);
        let encoded = if max_tokens == self.tokens.max_tokens() {
            self.encode(&self.tokens, texts, observe)?
        } else {
            self.encode(&self.tokens.clone().cut_at(max_tokens)?, texts, observe)?
        };
        let states = self.map(&encoded, layer, <[f32]>::to_vec, observe)?;
        let all = encoded.into_iter().zip(states);
        Ok(all
            .map(|(encoded, states)| TokenStates {
                ids: encoded.ids,
                is_special: encoded.is_special,
                states,
            })
            .collect())
    }

    /// The vector that [`Embed::embed`] gives a text, from its token states after the last layer,
    /// when they were read up to the same limit: one pass serves both.
    pub fn pool(&self, states: &TokenStates) -> Vec<f32> {
        self.pooling.unit_vector(&states.states, self.hidden_size())
    }

    fn encode(
        &self,
        tokens: &Tokens,
        texts: &[&str],
        observe: &mut Observer<'_>,
    ) -> Result<Vec<Encoded>> {
        let input = |text: &&str| {
            if self.is_lowercased {
                EncodeInput::Single(text.to_lowercase().into())
            } else {
                EncodeInput::Single((*text).to_owned().into())
            }
        };
        tokens.encode(texts, input, observe)
    }

    fn map<T: Send>(
        &self,
        encoded: &[Encoded],
        layer: usize,
        f: impl Fn(&[f32]) -> T + Sync,
        observe: &mut Observer<'_>,
    ) -> Result<Vec<T>> {
        let sequences: Vec<Sequence<'_>> = encoded.iter().map(Encoded::sequence).collect();
        schedule::map(
            &self.transformer,
            &sequences,
            layer,
            f,
            "sentences",
            observe,
        )
    }
}

impl Embed for Encoder {
    fn name(&self) -> &str {
        &self.name
    }

    /// Equal texts are embedded once.
    fn embed(&mut self, texts: &[&str], observe: &mut Observer<'_>) -> Result<Vec<Vec<f32>>> {
        let mut places: HashMap<&str, usize> = HashMap::new();
        let mut different = Vec::new();
        let at: Vec<usize> = texts
            .iter()
            .map(|text| {
                *places.entry(text).or_insert_with(|| {
                    different.push(*text);
                    different.len() - 1
                })
            })
            .collect();
        let encoded = self.encode(&self.tokens, &different, observe)?;
        let pool = |states: &[f32]| self.pooling.unit_vector(states, self.hidden_size());
        let vectors = self.map(&encoded, self.n_layers(), pool, observe)?;
        Ok(at.into_iter().map(|i| vectors[i].clone()).collect())
    }

    fn n_layers(&self) -> usize {
        self.transformer.n_layers()
    }

    fn match_tokens(
        &mut self,
        pairs: &[(&str, &str)],
        layer: usize,
        observe: &mut Observer<'_>,
    ) -> Result<Vec<TokenMatch>> {
        matches::match_tokens(self, pairs, layer, observe)
    }
}

/// What every folder has, beside a head that only some have.
struct Parts<H> {
    tokens: Tokens,
    transformer: Transformer,
    head: H,
    /// Of the weights.
    sha256: String,
}

/// Reads tokenizer, weights and their hash beside each other.
fn load_parts<H: Send>(
    folder: &Path,
    config: &Config,
    max_tokens: usize,
    head: impl Fn(&Tensors) -> H + Sync,
) -> Result<Parts<H>> {
    let tensors = Tensors::open(folder, config.family.prefix)?;
    let (tokens, (sha256, (transformer, head))) = rayon::join(
        || Tokens::load(folder, max_tokens, config.vocab_size),
        || {
            rayon::join(
                || tensors.sha256(),
                || (Transformer::load(config, &tensors), head(&tensors)),
            )
        },
    );
    tensors.finish()?;
    Ok(Parts {
        tokens: tokens?,
        transformer,
        head,
        sha256: sha256?,
    })
}

/// The last part of a name or path, without a revision, and the beginning of the weights' hash.
fn short_name(name: &str, sha256: &str) -> String {
    let name = name.trim_end_matches('/').rsplit('/').next();
    let name = name.unwrap_or_default().split('@').next();
    format!("{}@{}", name.unwrap_or_default(), &sha256[..8])
}
