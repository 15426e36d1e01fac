//! How likely a model finds a given completion after a given prompt.

use crate::batch::Packed;
use crate::error::{Error, Result};
use crate::model::Model;
use crate::ops;

/// The tokens of a completion and what the model thinks of each.
#[derive(Clone, Debug, PartialEq)]
pub struct Likelihood {
    /// The completion's tokens; no end token.
    pub tokens: Vec<u32>,
    /// The natural logarithm of each one's probability, given all before it.
    pub log_probabilities: Vec<f32>,
}

impl Likelihood {
    /// The exponential of the mean negative log-probability; `None` for an empty completion.
    pub fn perplexity(&self) -> Option<f64> {
        let n = self.log_probabilities.len();
        let sum: f64 = self.log_probabilities.iter().copied().map(f64::from).sum();
        (n > 0).then(|| (-sum / n as f64).exp())
    }
}

/// Scores a completion; prompt and completion are tokenised apart, as in training.
pub fn log_likelihood(model: &Model, prompt: &str, completion: &str) -> Result<Likelihood> {
    let mut reading = model.reading(prompt);
    let read = &mut reading.tokens;
    let tokens = model.tokenizer().completion(completion);
    if tokens.is_empty() {
        return Ok(Likelihood {
            tokens,
            log_probabilities: Vec::new(),
        });
    }
    let n_prompt = read.len();
    read.extend(&tokens[..tokens.len() - 1]);
    let n_read = read.len();
    if n_prompt == 0 || reading.source.len().max(n_read) > model.context_tokens() {
        let what = format!(
            "{} tokens of prompt and {} of completion; the context is {}",
            reading.source.len().max(n_prompt),
            tokens.len(),
            model.context_tokens()
        );
        return Err(Error::Item {
            id: completion.to_owned(),
            what,
        });
    }
    let network = model.network.plain();
    let states = network.states(&Packed::alone(reading));
    let targets = (0..n_read).map(|at| tokens.get((at + 1).wrapping_sub(n_prompt)).copied());
    let targets: Vec<Option<u32>> = targets.collect();
    let found = ops::head_log_likelihood(states, network.head(), &targets);
    Ok(Likelihood {
        tokens,
        log_probabilities: found.into_iter().flatten().collect(),
    })
}
