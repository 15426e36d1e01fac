//! Continues prompts: token by token with a cache, many prompts at once, each as if it were alone.

use std::collections::BTreeSet;

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use stillhouse_core::event::{Event, Observer, tell};
use stillhouse_core::random::Random;

use crate::adapter;
use crate::error::{Error, Result};
use crate::model::Model;
use crate::network::{Cache, Network};
use crate::ops;

/// How a token is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Sampling {
    /// The likeliest one; of equals the first.
    Greedy {},
    /// Drawn by the seed.
    Random {
        /// Below 1 the likely ones gain, above 1 the unlikely.
        #[serde(default = "one")]
        temperature: f64,
        /// Only the likeliest tokens that together reach this probability.
        #[serde(default = "one")]
        top_p: f64,
    },
}

fn one() -> f64 {
    1.0
}

/// How a student speaks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GenerateOptions {
    /// Longest completion, in tokens.
    pub max_new_tokens: usize,
    /// How a token is chosen: "greedy", or "random" with `temperature` and `top_p`.
    pub sampling: Sampling,
    /// Tokens that stand in the text already become less likely by this factor; 1 is off.
    pub repetition_penalty: f64,
    /// No sequence of this many tokens comes twice; `false` is off.
    #[serde(with = "stillhouse_core::off")]
    pub no_repeat_ngram: Option<usize>,
    /// Whether the two rules above count the prompt's tokens too, as transformers does.
    /// Off, words of the evidence may be used freely.
    pub penalise_prompt: bool,
    /// Texts that end a completion; they are cut off.
    pub stop: Vec<String>,
    /// How many prompts are continued at once; the texts do not depend on it.
    pub batch_size: usize,
}

impl Default for GenerateOptions {
    fn default() -> Self {
        Self {
            max_new_tokens: 160,
            sampling: Sampling::Greedy {},
            repetition_penalty: 1.2,
            no_repeat_ngram: Some(3),
            penalise_prompt: false,
            stop: Vec::new(),
            batch_size: 16,
        }
    }
}

impl GenerateOptions {
    /// Complains of values that cannot work, by their keys.
    pub fn check(&self) -> Result<()> {
        let wrong =
            |key: &str, what: String| Err(Error::option(format!("student.generate.{key}"), what));
        let is_positive = |value: f64| value.is_finite() && value > 0.0;
        if self.max_new_tokens == 0 {
            return wrong("max_new_tokens", "0 tokens say nothing".to_owned());
        }
        if self.batch_size == 0 {
            return wrong("batch_size", "0 is not above 0".to_owned());
        }
        if !is_positive(self.repetition_penalty) {
            return wrong(
                "repetition_penalty",
                format!("{} is not above 0", self.repetition_penalty),
            );
        }
        if self.no_repeat_ngram == Some(0) {
            return wrong(
                "no_repeat_ngram",
                "0 is not above 0; set it to false to turn it off".to_owned(),
            );
        }
        if self.stop.iter().any(String::is_empty) {
            return wrong("stop", "an empty text ends every completion".to_owned());
        }
        match self.sampling {
            Sampling::Random { temperature, .. } if !is_positive(temperature) => wrong(
                "sampling.temperature",
                format!("{temperature} is not above 0"),
            ),
            Sampling::Random { top_p, .. } if !(is_positive(top_p) && top_p <= 1.0) => wrong(
                "sampling.top_p",
                format!("{top_p} is not above 0 and at most 1"),
            ),
            _ => Ok(()),
        }
    }
}

/// What came back for one prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completion {
    /// The text, without special tokens.
    pub text: String,
    /// The tokens, without the one that ended them.
    pub tokens: Vec<u32>,
    /// Whether the length limit or the context cut it off.
    pub is_truncated: bool,
}

/// Continues each prompt and hands each completion, with its prompt's index, to `each` when it is
/// done: shorter ones may come before longer ones of a smaller index.
///
/// A completion depends on its own prompt alone, not on those beside it; equal prompts get equal
/// texts, drawn ones too.
pub fn generate(
    model: &Model,
    prompts: &[String],
    options: &GenerateOptions,
    seed: u64,
    observe: &mut Observer<'_>,
    each: &mut dyn FnMut(usize, Completion) -> Result<()>,
) -> Result<()> {
    options.check()?;
    let network = adapter::merge(&model.network);
    let mut batch = Batch {
        model,
        options,
        cache: network.cache(options.batch_size),
        network,
        live: Vec::new(),
    };
    let mut waiting = prompts.iter().enumerate();
    let mut n_done = 0;
    loop {
        while batch.live.len() < options.batch_size
            && let Some((index, prompt)) = waiting.next()
        {
            batch.begin(index, prompt, seed)?;
        }
        if batch.live.is_empty() {
            return Ok(());
        }
        for (index, completion) in batch.take_finished() {
            n_done += 1;
            each(index, completion)?;
            tell(
                observe,
                Event::Progress {
                    unit: "completions".to_owned(),
                    done: n_done,
                    total: prompts.len(),
                },
            )?;
        }
        batch.advance();
    }
}

/// The prompts that are continued at the moment.
struct Batch<'a> {
    model: &'a Model,
    options: &'a GenerateOptions,
    network: Network,
    cache: Cache,
    live: Vec<Live>,
}

/// One prompt and what was said so far.
struct Live {
    index: usize,
    slot: usize,
    /// The prompt's tokens where they count for the rules against repetition, else nothing; then
    /// those of the completion.
    tokens: Vec<u32>,
    n_before: usize,
    /// How many tokens fit.
    most: usize,
    random: Random,
    ended: Option<Ended>,
}

/// What ends a completion.
enum Ended {
    Itself,
    Stop(String),
    Length,
}

impl Batch<'_> {
    /// Reads a prompt and chooses the first token after it.
    fn begin(&mut self, index: usize, prompt: &str, seed: u64) -> Result<()> {
        let reading = self.model.reading(prompt);
        let context = self.model.context_tokens();
        let n = reading.tokens.len();
        if n == 0 || n >= context || reading.source.len() > context {
            let what = format!(
                "{} tokens leave no room for a completion in a context of {context}",
                n.max(reading.source.len())
            );
            return Err(Error::Item {
                id: format!("prompt {index}"),
                what,
            });
        }
        let is_taken = |slot: &usize| self.live.iter().any(|live| live.slot == *slot);
        let slot = (0..self.options.batch_size)
            .find(|slot| !is_taken(slot))
            .expect("the caller saw a free slot");
        self.cache.clear_slot(slot);
        let states = self.network.begin(&reading, slot, &mut self.cache);
        let row = self.logits(states);
        let most = self.options.max_new_tokens.min(context - n);
        let random = Random::new(seed, &format!("generate {prompt}"));
        let before = if self.options.penalise_prompt {
            reading.tokens
        } else {
            Vec::new()
        };
        self.live.push(Live {
            index,
            slot,
            n_before: before.len(),
            tokens: before,
            most,
            random,
            ended: None,
        });
        self.choose(self.live.len() - 1, row);
        Ok(())
    }

    /// Reads the last token of each and chooses the next.
    fn advance(&mut self) {
        if self.live.is_empty() {
            return;
        }
        let last = |live: &Live| *live.tokens.last().expect("each live prompt has a token");
        let tokens: Vec<u32> = self.live.iter().map(last).collect();
        let slots: Vec<usize> = self.live.iter().map(|live| live.slot).collect();
        let states = self.network.advance(&tokens, &slots, &mut self.cache);
        let logits = self.logits(states);
        let size = self.network.interface().vocabulary;
        for (at, row) in logits.chunks_exact(size).enumerate() {
            self.choose(at, row.to_vec());
        }
    }

    fn logits(&self, states: Tensor<2>) -> Vec<f32> {
        let logits = ops::head_rows(states, self.network.head());
        logits
            .try_into_vec_as::<f32>()
            .expect("a float tensor holds floats")
    }

    fn choose(&mut self, at: usize, mut logits: Vec<f32>) {
        let (options, live) = (self.options, &mut self.live[at]);
        // Rows beyond the tokenizer's vocabulary are padding.
        logits.truncate(self.model.tokenizer().vocabulary().max(1));
        penalise(&mut logits, &live.tokens, options);
        let token = match options.sampling {
            Sampling::Greedy {} => likeliest(&logits),
            Sampling::Random { temperature, top_p } => {
                draw(&logits, temperature, top_p, &mut live.random)
            }
        };
        if self.model.interface().eos.contains(&token) {
            live.ended = Some(Ended::Itself);
            return;
        }
        live.tokens.push(token);
        if !options.stop.is_empty() {
            let text = self.model.tokenizer().decode(&live.tokens[live.n_before..]);
            if let Some(end) = options.stop.iter().filter_map(|stop| text.find(stop)).min() {
                live.ended = Some(Ended::Stop(text[..end].to_owned()));
                return;
            }
        }
        if live.tokens.len() - live.n_before == live.most {
            live.ended = Some(Ended::Length);
        }
    }

    fn take_finished(&mut self) -> Vec<(usize, Completion)> {
        let finished = self.live.extract_if(.., |live| live.ended.is_some());
        finished
            .map(|mut live| {
                let tokens = live.tokens.split_off(live.n_before);
                let text = match &live.ended {
                    Some(Ended::Stop(text)) => text.clone(),
                    _ => self.model.tokenizer().decode(&tokens),
                };
                let is_truncated = matches!(live.ended, Some(Ended::Length));
                (
                    live.index,
                    Completion {
                        text,
                        tokens,
                        is_truncated,
                    },
                )
            })
            .collect()
    }
}

/// Applies the rules against repetition, in the order and with the meaning of transformers.
fn penalise(logits: &mut [f32], tokens: &[u32], options: &GenerateOptions) {
    let penalty = options.repetition_penalty as f32;
    for &token in &tokens.iter().copied().collect::<BTreeSet<u32>>() {
        if let Some(logit) = logits.get_mut(token as usize) {
            *logit = if *logit < 0.0 {
                *logit * penalty
            } else {
                *logit / penalty
            };
        }
    }
    if let Some(n) = options.no_repeat_ngram
        && tokens.len() + 1 >= n
    {
        let tail = &tokens[tokens.len() + 1 - n..];
        for window in tokens.windows(n).filter(|window| window[..n - 1] == *tail) {
            if let Some(logit) = logits.get_mut(window[n - 1] as usize) {
                *logit = f32::NEG_INFINITY;
            }
        }
    }
}

fn likeliest(logits: &[f32]) -> u32 {
    let better = |best: usize, at: usize| if logits[at] > logits[best] { at } else { best };
    (0..logits.len()).reduce(better).unwrap_or(0) as u32
}

/// Draws from the smallest set of likeliest tokens whose probability reaches `top_p`.
fn draw(logits: &[f32], temperature: f64, top_p: f64, random: &mut Random) -> u32 {
    let most = f64::from(logits[likeliest(logits) as usize]);
    let weight = |at: usize| ((f64::from(logits[at]) - most) / temperature).exp();
    let mut ranked: Vec<(usize, f64)> = (0..logits.len()).map(|at| (at, weight(at))).collect();
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    let total: f64 = ranked.iter().map(|(_, weight)| weight).sum();
    let mut reached = 0.0;
    let kept = ranked.iter().take_while(|(_, weight)| {
        let is_kept = reached < top_p * total;
        reached += weight;
        is_kept
    });
    let kept: Vec<_> = kept.copied().collect();
    let mut left = random.next_f64() * kept.iter().map(|(_, weight)| weight).sum::<f64>();
    let chosen = kept.iter().find(|(_, weight)| {
        left -= weight;
        left < 0.0
    });
    chosen.or(kept.last()).map_or(0, |(at, _)| *at as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Reading;

    #[test]
    fn a_token_that_was_said_loses_and_a_said_ngram_is_barred() {
        let options = GenerateOptions {
            repetition_penalty: 2.0,
            no_repeat_ngram: Some(2),
            ..Default::default()
        };
        let mut logits = [4.0, -1.0, 1.0, 3.0];
        // 0 1 was said, and 0 stands at the end again: 1 may not follow.
        penalise(&mut logits, &[0, 1, 0], &options);
        assert_eq!(
            logits.map(f32::to_bits),
            [2.0, f32::NEG_INFINITY, 1.0, 3.0].map(f32::to_bits)
        );
    }

    #[test]
    fn the_logits_of_a_row_do_not_depend_on_the_rows_beside_it() {
        let base = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../examples/quickstart/base"
        );
        let network = Model::load(std::path::Path::new(base)).unwrap().network;
        let rows = |n: usize| {
            let mut cache = network.cache(n);
            let slots: Vec<usize> = (0..n).collect();
            let prompt = Reading {
                source: Vec::new(),
                tokens: (20..27).collect(),
            };
            for slot in &slots {
                let _ = network.begin(&prompt, *slot, &mut cache);
            }
            let states = network.advance(&vec![30; n], &slots, &mut cache);
            let logits = ops::head_rows(states, network.head());
            let logits = logits.try_into_vec_as::<f32>().unwrap();
            let bits: Vec<u32> = logits.into_iter().map(f32::to_bits).collect();
            bits.chunks_exact(network.interface().vocabulary)
                .map(<[u32]>::to_vec)
                .collect::<Vec<_>>()
        };
        let alone = rows(1);
        for n in [2, 3, 5, 8, 16] {
            assert!(rows(n).iter().all(|row| *row == alone[0]), "{n} at once");
        }
    }

    #[test]
    fn of_equal_tokens_the_first_is_chosen() {
        assert_eq!(likeliest(&[0.0, 2.0, 2.0, -1.0]), 1);
    }

    #[test]
    fn drawing_keeps_to_the_likeliest_tokens() {
        let logits = [0.0, 5.0, 4.9, -3.0];
        let mut random = Random::new(1, "test");
        let drawn: Vec<u32> = (0..200)
            .map(|_| draw(&logits, 1.0, 0.9, &mut random))
            .collect();
        assert!(
            drawn.contains(&1) && drawn.contains(&2) && drawn.iter().all(|t| [1, 2].contains(t))
        );
        assert!((0..50).all(|_| draw(&logits, 1.0, 0.01, &mut random) == 1));
    }
}
