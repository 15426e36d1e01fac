//! What texts a model reads and writes: all that tokenizers, batches and generation need to know of
//! `config.json`, whatever the kind of the model.

use std::path::Path;

use crate::config::Config;
use crate::error::Result;
use crate::seq2seq;
use crate::tokenizer::Tokenizer;

/// The tokens that a model knows, and how many of them it takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Rows of the embedding; may be more than the tokenizer has.
    pub vocabulary: usize,
    /// Longest sequence, in tokens.
    pub context: usize,
    /// The beginning-of-text token.
    pub bos: Option<u32>,
    /// The tokens that end a text.
    pub eos: Vec<u32>,
    /// The token that a completion is begun with, where an encoder reads the prompt.
    pub start: Option<u32>,
}

impl Interface {
    /// Reads the config of a model folder, without its weights.
    pub fn load(folder: &Path) -> Result<Self> {
        Ok(match seq2seq::Config::load(folder)? {
            Some(config) => config.interface(),
            None => Config::load(folder)?.interface(),
        })
    }

    /// Whether an encoder reads the prompt and a decoder writes the completion.
    pub fn is_encoder_decoder(&self) -> bool {
        self.start.is_some()
    }

    /// The tokens of a prompt as the model reads it: an encoder sees it closed by the end token.
    pub fn prompt(&self, tokenizer: &Tokenizer, text: &str) -> Vec<u32> {
        let mut tokens = tokenizer.prompt(text);
        if self.is_encoder_decoder() {
            tokens.extend(self.eos.first());
        }
        tokens
    }

    /// Keeps sequences to at most `tokens`; an encoder-decoder, whose positions are relative, takes
    /// longer ones than its config says, if that is wanted.
    pub fn limit_context(&mut self, tokens: usize) {
        self.context = match self.start {
            Some(_) => tokens,
            None => self.context.min(tokens),
        };
    }

    /// How many tokens a prompt may have before a completion of `completion_tokens`: both share
    /// the context of a decoder, and each has the whole one of an encoder-decoder.
    pub fn prompt_room(&self, completion_tokens: usize) -> usize {
        if self.is_encoder_decoder() {
            self.context
        } else {
            self.context.saturating_sub(completion_tokens)
        }
    }
}

impl Config {
    /// What texts the model reads and writes.
    pub fn interface(&self) -> Interface {
        Interface {
            vocabulary: self.vocabulary,
            context: self.context,
            bos: self.bos,
            eos: self.eos.clone(),
            start: None,
        }
    }
}
