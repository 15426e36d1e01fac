//! How a student speaks: what a user may choose.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::ops::AtRest;
use crate::options::Base;

/// How a token is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Sampling {
    /// The likeliest one; of equals the first.
    Greedy {},
    /// Drawn by the seed, from what is left by `top_k` and then by `top_p`.
    Random {
        /// Below 1 the likely ones gain, above 1 the unlikely.
        #[serde(default = "one")]
        temperature: f64,
        /// Only so many of the likeliest tokens; all where left out.
        #[serde(default)]
        top_k: Option<usize>,
        /// Only the likeliest tokens that together reach this probability.
        #[serde(default = "one")]
        top_p: f64,
    },
    /// The likeliest of the texts that are found by going on from the `beams` likeliest beginnings.
    Beam {
        /// How many beginnings are kept.
        beams: usize,
        /// Texts are compared by their log-probability over their length to this power.
        #[serde(default = "one")]
        length_penalty: f64,
        /// When the search ends.
        #[serde(default)]
        early_stopping: EarlyStopping,
    },
}

/// When a search among beams ends, as transformers' `early_stopping` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EarlyStopping {
    /// When the best beginning, at its present length, is worse than the worst of the ended texts
    /// (`False` there).
    #[default]
    Likely,
    /// As soon as `beams` texts have ended (`True` there).
    Full,
    /// When the best beginning cannot get better than the worst of the ended texts (`"never"` there).
    Sure,
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
    /// How a token is chosen: "greedy", "random" with `temperature`, `top_k` and `top_p`, or "beam"
    /// with `beams`, `length_penalty` and `early_stopping`.
    pub sampling: Sampling,
    /// Completions a prompt, which share what was computed for it: so many draws, or the best of the
    /// beams.
    pub n: usize,
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
    /// How the weights that a token reads rest while the student speaks, the output head among them:
    /// "f32", "bf16", "int8" or "nf4".
    /// Fewer bytes are read faster; other than in f32 the texts may differ a little.
    /// Weights that training left at rest (`student.train.base`) stay as they are.
    pub weights: Base,
    /// How many completions or beams go on at once, but at least those of one prompt; the texts do
    /// not depend on it.
    pub batch_size: usize,
}

impl Default for GenerateOptions {
    fn default() -> Self {
        Self {
            max_new_tokens: 160,
            sampling: Sampling::Greedy {},
            n: 1,
            repetition_penalty: 1.2,
            no_repeat_ngram: Some(3),
            penalise_prompt: false,
            stop: Vec::new(),
            weights: Base::F32,
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
        let most = match self.sampling {
            Sampling::Greedy {} => 1,
            Sampling::Random { .. } => usize::MAX,
            Sampling::Beam { beams, .. } => beams,
        };
        match self.sampling {
            Sampling::Random { temperature, .. } if !is_positive(temperature) => wrong(
                "sampling.temperature",
                format!("{temperature} is not above 0"),
            ),
            Sampling::Random { top_k: Some(0), .. } => {
                wrong("sampling.top_k", "0 is not above 0".to_owned())
            }
            Sampling::Random { top_p, .. } if !(is_positive(top_p) && top_p <= 1.0) => wrong(
                "sampling.top_p",
                format!("{top_p} is not above 0 and at most 1"),
            ),
            Sampling::Beam { beams: 0, .. } => {
                wrong("sampling.beams", "0 is not above 0".to_owned())
            }
            Sampling::Beam { length_penalty, .. } if !length_penalty.is_finite() => wrong(
                "sampling.length_penalty",
                format!("{length_penalty} is not finite"),
            ),
            _ if self.n == 0 || self.n > most => wrong(
                "n",
                match self.n {
                    0 => "0 is not above 0".to_owned(),
                    n => format!("{n} completions, of which this sampling finds {most}"),
                },
            ),
            _ => Ok(()),
        }
    }

    /// How the weights rest while the student speaks.
    pub(super) fn at_rest(&self) -> AtRest {
        self.weights.at_rest(true)
    }

    /// How many texts of one prompt go on at once.
    pub(super) fn width(&self) -> usize {
        match self.sampling {
            Sampling::Beam { beams, .. } => beams,
            _ => self.n,
        }
    }
}
