//! A student as what selection asks.

use stillhouse_core::event::Observer;
use stillhouse_core::select::{Ask, Likelihood, Said, Token};
use stillhouse_core::{Error as CoreError, Result as CoreResult};
use stillhouse_student::Model;
use stillhouse_student::score::log_likelihood;

/// A model that says how likely completions are.
pub(crate) struct Scorer<'a>(pub(crate) &'a Model);

impl Likelihood for Scorer<'_> {
    fn prompt_tokens(&self, prompt: &str) -> usize {
        self.0.prompt_tokens(prompt)
    }

    fn completion_tokens(&self, piece: &str) -> usize {
        self.0.tokenizer().completion(piece).len()
    }

    fn context_tokens(&self) -> usize {
        self.0.context_tokens()
    }

    fn score(&mut self, asks: &[Ask], _: &mut Observer<'_>) -> CoreResult<Vec<Said>> {
        let one = |ask: &Ask| {
            let lengths: Vec<usize> = ask
                .pieces
                .iter()
                .map(|piece| self.completion_tokens(piece))
                .collect();
            let found = log_likelihood(self.0, &ask.prompt, &ask.pieces.concat())
                .map_err(|e| CoreError::option("select.scorer", e.to_string()))?;
            let mut tokens = found
                .log_probabilities
                .into_iter()
                .map(|log_probability| Token {
                    log_probability,
                    rank: 1,
                });
            let pieces = lengths.into_iter();
            Ok(Ok(pieces
                .map(|n| tokens.by_ref().take(n).collect())
                .collect()))
        };
        asks.iter().map(one).collect()
    }
}
