//! Continues prompts: token by token with a cache, many prompts at once, each as if it were alone.

mod beam;
mod choice;
mod options;
mod said;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use burn::tensor::Tensor;

use stillhouse_core::event::{Event, Observer, tell};
use stillhouse_core::random::Random;

use crate::adapter;
use crate::batch::Reading;
use crate::error::{Error, Result};
use crate::model::Model;
use crate::network::{Cache, Network};
use crate::ops::{self, Frozen};
use crate::options::Base;

use beam::{Beams, Search};
use choice::{draw, likeliest, penalise};
pub use options::{EarlyStopping, GenerateOptions, Sampling};
pub use said::Completion;
use said::Said;

/// Continues each prompt and hands each completion, with its prompt's index, to `each` when it is
/// done: shorter ones may come before longer ones of a smaller index.
///
/// A completion depends on its own prompt and the seed alone, not on those beside it; equal prompts
/// get equal texts, drawn ones too.
pub fn generate(
    model: &Model,
    prompts: &[String],
    options: &GenerateOptions,
    seed: u64,
    observe: &mut Observer<'_>,
    each: &mut dyn FnMut(usize, Completion) -> Result<()>,
) -> Result<()> {
    options.check()?;
    let resting = (options.weights != Base::F32).then(|| model.resting(options.at_rest()));
    let model = resting.as_ref().unwrap_or(model);
    let network = adapter::merge(&model.network);
    let n_slots = options.batch_size.max(options.width());
    let mut batch = Batch {
        model,
        options,
        ends: model.interface().eos,
        n_tokens: model.tokenizer().vocabulary().max(1),
        cache: network.cache(n_slots),
        network,
        free: (0..n_slots).rev().collect(),
        live: Vec::new(),
    };
    let mut waiting = prompts.iter().enumerate().peekable();
    let mut n_done = 0;
    loop {
        let mut new = Vec::new();
        let n_free = batch.free.len() / options.width();
        for (index, prompt) in waiting.by_ref().take(n_free) {
            new.push((index, prompt.as_str(), batch.reading(index, prompt)?));
        }
        batch.begin(new, seed);
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
                    total: prompts.len() * options.n,
                },
            )?;
        }
        batch.advance();
    }
}

/// Tokens of prompts that are read in one pass, if there is more than one prompt.
const TOKENS_TOGETHER: usize = 1024;

/// What goes on at the moment.
struct Batch<'a> {
    model: &'a Model,
    options: &'a GenerateOptions,
    /// The tokens that end a text.
    ends: Vec<u32>,
    /// Rows of the head beyond the tokenizer's vocabulary are padding.
    n_tokens: usize,
    network: Network,
    cache: Cache,
    /// The slots that nobody uses.
    free: Vec<usize>,
    live: Vec<Live>,
}

/// A text that goes on, or several of one prompt among which the best is sought.
struct Live {
    /// The prompt's place.
    index: usize,
    /// How many tokens fit.
    most: usize,
    /// One a running text.
    slots: Vec<usize>,
    /// For beams to come.
    spare: Vec<usize>,
    kind: Kind,
}

enum Kind {
    One {
        sample: usize,
        said: Said,
        random: Random,
    },
    Beams(Beams),
}

impl Live {
    /// The last token of each running text.
    fn last(&self) -> impl Iterator<Item = u32> + '_ {
        let said = |said: &Said| *said.tokens.last().expect("a running text has a token");
        let (one, beams) = match &self.kind {
            Kind::One { said, .. } => (Some(said), None),
            Kind::Beams(beams) => (None, Some(beams.running.iter().map(|beam| &beam.said))),
        };
        one.into_iter().chain(beams.into_iter().flatten()).map(said)
    }

    fn is_done(&self) -> bool {
        match &self.kind {
            Kind::One { said, .. } => said.ended.is_some(),
            Kind::Beams(beams) => beams.is_done,
        }
    }
}

impl Batch<'_> {
    /// What is read before a completion, if there is room for one.
    fn reading(&self, index: usize, prompt: &str) -> Result<Reading> {
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
        Ok(reading)
    }

    /// Reads prompts and chooses the first tokens after them.
    fn begin(&mut self, mut prompts: Vec<(usize, &str, Reading)>, seed: u64) {
        while !prompts.is_empty() {
            // As many as make a good product, but no more memory than a long prompt takes.
            let mut n_tokens = 0;
            let fits = |(_, _, reading): &&(usize, &str, Reading)| {
                n_tokens += reading.tokens.len();
                n_tokens <= TOKENS_TOGETHER
            };
            let n = prompts.iter().take_while(fits).count().max(1);
            let others = prompts.split_off(n);
            self.begin_together(std::mem::replace(&mut prompts, others), seed);
        }
    }

    fn begin_together(&mut self, prompts: Vec<(usize, &str, Reading)>, seed: u64) {
        let width = self.options.width();
        let slots: Vec<Vec<usize>> = prompts
            .iter()
            .map(|_| self.free.split_off(self.free.len() - width))
            .collect();
        let first: Vec<usize> = slots.iter().map(|slots| slots[0]).collect();
        for slot in &first {
            self.cache.clear_slot(*slot);
        }
        let readings: Vec<&Reading> = prompts.iter().map(|(_, _, reading)| reading).collect();
        let (network, cache) = (&self.network, &mut self.cache);
        let head = self.model.resting_head.as_ref();
        let all = ops::in_pool(|| {
            let states = network.begin(&readings, &first, cache);
            logits(network, head, states)
        });
        let rows = all.chunks_exact(all.len() / prompts.len());
        for (((index, prompt, reading), slots), logits) in prompts.into_iter().zip(slots).zip(rows)
        {
            let room = self.model.context_tokens() - reading.tokens.len();
            let most = self.options.max_new_tokens.min(room);
            let before = if self.options.penalise_prompt {
                reading.tokens
            } else {
                Vec::new()
            };
            self.live_texts(index, prompt, seed, most, &before, &slots, logits);
        }
    }

    #[expect(clippy::too_many_arguments, reason = "all that a text begins with")]
    fn live_texts(
        &mut self,
        index: usize,
        prompt: &str,
        seed: u64,
        most: usize,
        before: &[u32],
        slots: &[usize],
        logits: &[f32],
    ) {
        let said = || Said::new(before.to_vec());
        let first = self.live.len();
        match self.options.sampling {
            Sampling::Beam {
                beams,
                length_penalty,
                early_stopping,
            } => {
                let search = Search {
                    beams,
                    length_penalty,
                    early_stopping,
                    most,
                };
                self.live.push(Live {
                    index,
                    most,
                    slots: slots[..1].to_vec(),
                    spare: slots[1..].to_vec(),
                    kind: Kind::Beams(Beams::new(search, said())),
                });
            }
            _ => {
                for (sample, &slot) in slots.iter().enumerate() {
                    // The first draws what a prompt with one completion draws.
                    let topic = match sample {
                        0 => format!("generate {prompt}"),
                        _ => format!("generate sample {sample} of {prompt}"),
                    };
                    if sample > 0 {
                        self.cache.copy_slot(slots[0], slot);
                    }
                    self.live.push(Live {
                        index,
                        most,
                        slots: vec![slot],
                        spare: Vec::new(),
                        kind: Kind::One {
                            sample,
                            said: said(),
                            random: Random::new(seed, &topic),
                        },
                    });
                }
            }
        }
        for at in first..self.live.len() {
            self.choose(at, &mut logits.to_vec());
        }
    }

    /// Reads the last token of each running text and chooses the next.
    fn advance(&mut self) {
        let tokens: Vec<u32> = self.live.iter().flat_map(Live::last).collect();
        if tokens.is_empty() {
            return;
        }
        let slots: Vec<usize> = self
            .live
            .iter()
            .flat_map(|live| live.slots.clone())
            .collect();
        let (network, cache) = (&self.network, &mut self.cache);
        let head = self.model.resting_head.as_ref();
        // Among the threads that share the products: handing each product over to them from outside
        // would take longer than a small one does.
        let mut logits = ops::in_pool(|| {
            let states = network.advance(&tokens, &slots, cache);
            logits(network, head, states)
        });
        let size = logits.len() / tokens.len();
        let mut rest = &mut logits[..];
        for at in 0..self.live.len() {
            let rows = self.live[at].slots.len();
            let (own, others) = rest.split_at_mut(rows * size);
            self.choose(at, own);
            rest = others;
        }
    }

    /// The next token of one text, or of each beam; `logits` holds a row for each.
    fn choose(&mut self, at: usize, logits: &mut [f32]) {
        let (options, n_tokens) = (self.options, self.n_tokens);
        let live = &mut self.live[at];
        let most = live.most;
        match &mut live.kind {
            Kind::One { said, random, .. } => {
                let n = logits.len().min(n_tokens);
                let logits = &mut logits[..n];
                penalise(logits, &said.tokens, options);
                said.tokens.push(match options.sampling {
                    Sampling::Random {
                        temperature,
                        top_k,
                        top_p,
                    } => draw(logits, temperature, top_k, top_p, random),
                    _ => likeliest(logits),
                });
                said.look(self.model, &self.ends, options, most);
            }
            Kind::Beams(beams) => {
                let size = logits.len() / beams.running.len();
                let rows = logits.chunks_exact_mut(size).zip(&beams.running);
                let scores: Vec<&[f32]> = rows
                    .map(|(row, beam)| {
                        log_softmax(row);
                        let row = &mut row[..size.min(n_tokens)];
                        penalise(row, &beam.said.tokens, options);
                        &*row
                    })
                    .collect();
                let (model, ends) = (self.model, &self.ends);
                let look = |said: &mut Said, most| said.look(model, ends, options, most);
                let from = beams.step(&scores, ends.len(), look);
                if !beams.is_done {
                    move_slots(&mut live.slots, &mut live.spare, &from, &mut self.cache);
                }
            }
        }
    }

    fn take_finished(&mut self) -> Vec<(usize, Completion)> {
        let finished: Vec<Live> = self.live.extract_if(.., |live| live.is_done()).collect();
        let mut completions = Vec::new();
        for live in finished {
            let index = live.index;
            self.free.extend(live.slots.into_iter().chain(live.spare));
            match live.kind {
                Kind::One { sample, said, .. } => {
                    completions.push((index, said.completion(self.model, sample)));
                }
                Kind::Beams(beams) => {
                    let best = beams.ended.into_iter().chain(beams.running);
                    let best = best.take(self.options.n).enumerate();
                    completions.extend(
                        best.map(|(sample, beam)| {
                            (index, beam.said.completion(self.model, sample))
                        }),
                    );
                }
            }
        }
        completions
    }
}

/// The logits of each row of states.
fn logits(network: &Network, at_rest: Option<&Arc<Frozen>>, states: Tensor<2>) -> Vec<f32> {
    ops::head_rows(states, network.head(), at_rest)
        .try_into_vec_as::<f32>()
        .expect("a float tensor holds floats")
}

/// Gives each running beam the slot of the one that it goes on from; of several the first keeps it,
/// and the others get a copy in a slot that no beam goes on from.
fn move_slots(slots: &mut Vec<usize>, spare: &mut Vec<usize>, from: &[usize], cache: &mut Cache) {
    let unused = (0..slots.len()).filter(|at| !from.contains(at));
    spare.extend(unused.map(|at| slots[at]));
    let place = |(rank, &parent): (usize, &usize)| {
        if !from[..rank].contains(&parent) {
            return slots[parent];
        }
        let slot = spare.pop().expect("each prompt has a slot a beam");
        cache.copy_slot(slots[parent], slot);
        slot
    };
    let new = from.iter().enumerate().map(place).collect();
    *slots = new;
}

/// Logits to log-probabilities.
fn log_softmax(logits: &mut [f32]) {
    let most = logits.iter().copied().fold(f32::MIN, f32::max);
    let sum: f64 = logits
        .iter()
        .map(|logit| f64::from(logit - most).exp())
        .sum();
    let shift = most + sum.ln() as f32;
    for logit in logits {
        *logit -= shift;
    }
}
