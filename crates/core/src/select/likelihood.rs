//! What selection asks of a model, without knowing one.

use crate::error::Result as CoreResult;
use crate::event::Observer;

/// What is to be scored: pieces of a completion after a prompt.
///
/// Prompt and pieces are tokenised each by itself and stand one after the other; in a model with
/// an encoder it reads the prompt, and the decoder the pieces. Asks that begin alike share the
/// work, if the model can.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ask {
    /// What the model reads first; nothing for a text by itself.
    pub prompt: String,
    /// The pieces of the completion.
    pub pieces: Vec<String>,
    /// Whether the last piece alone is scored: those before it are read, and have no tokens.
    pub last_only: bool,
}

/// What a model thinks of one token, given all before it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Token {
    /// The natural logarithm of its probability.
    pub log_probability: f32,
    /// 1 and how many tokens are likelier.
    pub rank: u32,
}

/// The tokens of each piece of an ask, or why there are none.
pub type Said = Result<Vec<Vec<Token>>, String>;

/// A model that says how likely texts are.
pub trait Likelihood {
    /// Tokens of a prompt, with what the model puts before it.
    fn prompt_tokens(&self, prompt: &str) -> usize;

    /// Tokens of a piece of a completion, with nothing before or after it.
    fn completion_tokens(&self, piece: &str) -> usize;

    /// Tokens of the longest sequence.
    fn context_tokens(&self) -> usize;

    /// What it says of each ask, in their order. After an empty prompt, and without a token that
    /// begins every text, the first token has no probability and is left out.
    fn score(&mut self, asks: &[Ask], observe: &mut Observer<'_>) -> CoreResult<Vec<Said>>;
}

/// A toy for tests: a token is a word, and its probability falls with how long ago it was said
/// last.
#[cfg(test)]
pub(crate) struct Toy {
    pub(crate) context: usize,
    pub(crate) n_asked: usize,
}

#[cfg(test)]
impl Likelihood for Toy {
    fn prompt_tokens(&self, prompt: &str) -> usize {
        prompt.split_whitespace().count()
    }

    fn completion_tokens(&self, piece: &str) -> usize {
        piece.split_whitespace().count()
    }

    fn context_tokens(&self) -> usize {
        self.context
    }

    fn score(&mut self, asks: &[Ask], _: &mut Observer<'_>) -> CoreResult<Vec<Said>> {
        self.n_asked += asks.len();
        let bare = |w: &str| w.trim_matches(['.', ',']).to_lowercase();
        let one = |ask: &Ask| {
            let mut said: Vec<String> = ask.prompt.split_whitespace().map(bare).collect();
            let piece = |piece: &String| -> Vec<Token> {
                let mut tokens = Vec::new();
                for word in piece.split_whitespace() {
                    let ago = said.iter().rev().position(|w| *w == bare(word));
                    if !said.is_empty() {
                        let ago = ago.unwrap_or(200) as u32 + 1;
                        tokens.push(Token {
                            log_probability: -0.1 * ago as f32,
                            rank: ago,
                        });
                    }
                    said.push(bare(word));
                }
                tokens
            };
            let mut tokens: Vec<Vec<Token>> = ask.pieces.iter().map(piece).collect();
            if ask.last_only {
                let read = ask.pieces.len().saturating_sub(1);
                tokens[..read].iter_mut().for_each(Vec::clear);
            }
            Ok(tokens)
        };
        Ok(asks.iter().map(one).collect())
    }
}
