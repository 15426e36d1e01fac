//! Sentence encoders of the BERT type, read from the folders that sentence-transformers writes.
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

mod bert;
mod folder;
mod matches;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use tokenizers::Tokenizer;

use stillhouse_core::evaluate::{Embed, TokenMatch};
use stillhouse_core::event::{Event, Observer, tell};
use stillhouse_core::{Error, Result, fs};

use bert::{Bert, Scratch};
use folder::Pooling;

/// Tokens of one task: enough rows to reuse each panel of weights, few enough for the cache of a
/// core. Measured with `MiniLM` on two cores.
const TOKENS_A_TASK: usize = 128;
/// Tasks between two reports of progress.
const TASKS_A_REPORT: usize = 64;

/// A sentence encoder.
#[derive(Debug)]
pub struct Encoder {
    name: String,
    folder: PathBuf,
    tokenizer: Tokenizer,
    bert: Bert,
    pooling: Pooling,
    is_lowercased: bool,
    max_tokens: usize,
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
        let weights = layout.transformer.join("model.safetensors");
        let bytes = fs::read(&weights)?;
        let (bert, hash) = rayon::join(
            || Bert::load(&layout, &weights, &bytes),
            || fs::sha256_of(&bytes),
        );
        let bert = bert?;
        let tokenizer = folder::tokenizer(&layout.transformer, layout.max_tokens, bert.n_vocab())?;
        let name = name
            .trim_end_matches('/')
            .rsplit('/')
            .next()
            .unwrap_or_default();
        let name = name.split('@').next().unwrap_or_default();
        Ok(Self {
            name: format!("{name}@{}", &hash[..8]),
            folder: folder.to_owned(),
            tokenizer,
            bert,
            pooling: layout.pooling,
            is_lowercased: layout.is_lowercased,
            max_tokens: layout.max_tokens,
        })
    }

    /// Features of a vector.
    pub fn hidden_size(&self) -> usize {
        self.bert.hidden_size()
    }

    /// Tokens of a text that are read, special tokens counted; the rest is cut off.
    pub fn max_tokens(&self) -> usize {
        self.max_tokens
    }

    /// The hidden states of each text's tokens after `layer` layers, not normalised.
    ///
    /// `max_tokens` may go beyond what [`Embed::embed`] reads, up to the positions of the model.
    pub fn token_states(
        &self,
        texts: &[&str],
        layer: usize,
        max_tokens: usize,
        observe: &mut Observer<'_>,
    ) -> Result<Vec<TokenStates>> {
        if layer > self.bert.n_layers() {
            let what = format!(
                "has {} layers, layer {layer} was asked for",
                self.bert.n_layers()
            );
            return Err(Error::file(&self.folder, what));
        }
        let max_tokens = max_tokens.min(self.bert.n_positions());
        let tokenizer = folder::truncated(self.tokenizer.clone(), max_tokens)
            .map_err(|what| Error::file(&self.folder, what))?;
        let encodings: Vec<_> = texts
            .par_iter()
            .map(|text| self.encode(&tokenizer, text))
            .collect::<Result<_>>()?;
        let ids: Vec<&[u32]> = encodings
            .iter()
            .map(tokenizers::Encoding::get_ids)
            .collect();
        let states = self.map_states(&ids, layer, <[f32]>::to_vec, observe)?;
        let all = encodings.iter().zip(states);
        Ok(all
            .map(|(encoding, states)| TokenStates {
                ids: encoding.get_ids().to_vec(),
                is_special: encoding
                    .get_special_tokens_mask()
                    .iter()
                    .map(|m| *m == 1)
                    .collect(),
                states,
            })
            .collect())
    }

    fn encode(&self, tokenizer: &Tokenizer, text: &str) -> Result<tokenizers::Encoding> {
        let text = text.trim();
        let encoded = if self.is_lowercased {
            tokenizer.encode_fast(text.to_lowercase(), true)
        } else {
            tokenizer.encode_fast(text, true)
        };
        encoded.map_err(|e| Error::file(&self.folder, format!("the tokenizer gave up: {e}")))
    }

    /// Runs the layers over all sequences, and applies `f` to the states `[tokens, hidden]` of
    /// each; results stand in the order of the sequences.
    fn map_states<T: Send>(
        &self,
        sequences: &[&[u32]],
        layer: usize,
        f: impl Fn(&[f32]) -> T + Sync,
        observe: &mut Observer<'_>,
    ) -> Result<Vec<T>> {
        let mut order: Vec<usize> = (0..sequences.len()).collect();
        // Long sequences first: the last tasks are the small ones, and both cores end together.
        order.sort_by_key(|i| std::cmp::Reverse(sequences[*i].len()));
        let tasks = pack(&order, |i| sequences[i].len());
        let mut results: Vec<Option<T>> = sequences.iter().map(|_| None).collect();
        let mut done = 0;
        for tasks in tasks.chunks(TASKS_A_REPORT) {
            let outputs: Vec<Vec<T>> = tasks
                .par_iter()
                .map_init(Scratch::default, |scratch, task| {
                    let packed: Vec<&[u32]> = task.iter().map(|i| sequences[*i]).collect();
                    let states = self.bert.forward(&packed, layer, scratch);
                    let mut rest = states;
                    let mut take = |tokens: usize| {
                        let (own, others) = rest.split_at(tokens * self.hidden_size());
                        rest = others;
                        f(own)
                    };
                    packed.iter().map(|sequence| take(sequence.len())).collect()
                })
                .collect();
            for (i, output) in tasks
                .iter()
                .copied()
                .flatten()
                .zip(outputs.into_iter().flatten())
            {
                results[*i] = Some(output);
                done += 1;
            }
            let unit = "sentences".to_owned();
            tell(
                observe,
                Event::Progress {
                    unit,
                    done,
                    total: sequences.len(),
                },
            )?;
        }
        Ok(results
            .into_iter()
            .map(|r| r.expect("each sequence is in one task"))
            .collect())
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
        let ids: Vec<Vec<u32>> = different
            .par_iter()
            .map(|text| Ok(self.encode(&self.tokenizer, text)?.get_ids().to_vec()))
            .collect::<Result<_>>()?;
        let ids: Vec<&[u32]> = ids.iter().map(Vec::as_slice).collect();
        let pool = |states: &[f32]| self.pooling.unit_vector(states, self.hidden_size());
        let vectors = self.map_states(&ids, self.bert.n_layers(), pool, observe)?;
        Ok(at.into_iter().map(|i| vectors[i].clone()).collect())
    }

    fn n_layers(&self) -> usize {
        self.bert.n_layers()
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

/// Cuts `order` into tasks of at most [`TOKENS_A_TASK`] tokens, or of one longer sequence.
fn pack(order: &[usize], tokens: impl Fn(usize) -> usize) -> Vec<&[usize]> {
    let mut tasks = Vec::new();
    let (mut first, mut n) = (0, 0);
    for (at, i) in order.iter().enumerate() {
        if at > first && n + tokens(*i) > TOKENS_A_TASK {
            tasks.push(&order[first..at]);
            (first, n) = (at, 0);
        }
        n += tokens(*i);
    }
    if first < order.len() {
        tasks.push(&order[first..]);
    }
    tasks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sequence_is_in_one_task_and_long_ones_stand_alone() {
        let lengths = [300, 129, 100, 20, 8, 7, 1];
        let order: Vec<usize> = (0..lengths.len()).collect();
        let tasks = pack(&order, |i| lengths[i]);
        assert_eq!(tasks, [&[0][..], &[1], &[2, 3, 4], &[5, 6]]);
        assert!(pack(&[], |_| 1).is_empty());
    }
}
