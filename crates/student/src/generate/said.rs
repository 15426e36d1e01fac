//! What was said so far, and whether it is at its end.

use super::GenerateOptions;
use crate::model::Model;

/// A completion as far as it goes.
#[derive(Clone, Debug)]
pub(super) struct Said {
    /// The prompt's tokens where they count for the rules against repetition, else nothing; then
    /// those of the completion.
    pub(super) tokens: Vec<u32>,
    n_before: usize,
    pub(super) ended: Option<Ended>,
}

/// What ends a completion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// A token that ends texts; it is not kept.
    Itself,
    /// A stop text; what stands before it.
    Stop(String),
    /// The longest completion, or the context.
    Length,
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
    /// Which of the prompt's completions it is, from 0.
    pub sample: usize,
}

impl Said {
    pub(super) fn new(before: Vec<u32>) -> Self {
        Self {
            n_before: before.len(),
            tokens: before,
            ended: None,
        }
    }

    /// How many tokens the completion has.
    pub(super) fn n_said(&self) -> usize {
        self.tokens.len() - self.n_before
    }

    /// Looks at the last token: whether it, a stop text that it completes, or the length ends the
    /// completion.
    pub(super) fn look(
        &mut self,
        model: &Model,
        ends: &[u32],
        options: &GenerateOptions,
        most: usize,
    ) -> bool {
        if self.tokens.last().is_some_and(|last| ends.contains(last)) {
            self.tokens.pop();
            self.ended = Some(Ended::Itself);
        } else if let Some(before) = self.stopped(model, &options.stop) {
            self.ended = Some(Ended::Stop(before));
        } else if self.n_said() >= most {
            self.ended = Some(Ended::Length);
        }
        self.ended.is_some()
    }

    /// The text before the first stop text. Only the last tokens are decoded, as many as the longest
    /// stop text has bytes and a few more, unless there is one in them.
    fn stopped(&self, model: &Model, stop: &[String]) -> Option<String> {
        let longest = stop.iter().map(String::len).max()?;
        let said = &self.tokens[self.n_before..];
        let tail = &said[said.len().saturating_sub(longest + 8)..];
        let tail = model.tokenizer().decode(tail);
        if !stop.iter().any(|stop| tail.contains(stop)) {
            return None;
        }
        let text = model.tokenizer().decode(said);
        let end = stop.iter().filter_map(|stop| text.find(stop)).min()?;
        Some(text[..end].to_owned())
    }

    pub(super) fn completion(self, model: &Model, sample: usize) -> Completion {
        let tokens = self.tokens[self.n_before..].to_vec();
        Completion {
            is_truncated: matches!(self.ended, None | Some(Ended::Length)),
            text: match self.ended {
                Some(Ended::Stop(text)) => text,
                _ => model.tokenizer().decode(&tokens),
            },
            tokens,
            sample,
        }
    }
}
