//! How likely a model finds given completions after given prompts.
//!
//! What asks have in common at their beginning is read once: a question with all its candidates,
//! a rationale with the answers after each of its steps. Nothing is padded, and the output head
//! works only where a token is foretold, a few rows at a time.

use std::fmt;

use stillhouse_core::event::{Event, Observer, tell};

use crate::batch::{Packed, Reading};
use crate::error::{Error, Result};
use crate::model::Model;
use crate::ops;
use crate::shared::{Count, Read};

/// What is to be scored: pieces of a completion after a prompt.
///
/// Prompt and pieces are tokenised each by itself, as in training, and stand one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// What the model reads first; nothing for a text by itself.
    pub prompt: String,
    /// The pieces of the completion, such as a rationale and the answer after it.
    pub pieces: Vec<String>,
    /// Whether the last piece alone is scored: those before it are read, and have no tokens in the
    /// [`Score`].
    pub last_only: bool,
}

impl Ask {
    /// A completion in one piece.
    pub fn new(prompt: impl Into<String>, completion: impl Into<String>) -> Self {
        Self {
            prompt: prompt.into(),
            pieces: vec![completion.into()],
            last_only: false,
        }
    }
}

/// What a model thinks of one token, given all before it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Token {
    /// Its id.
    pub id: u32,
    /// The natural logarithm of its probability.
    pub log_probability: f32,
    /// 1 and how many tokens have a greater logit.
    pub rank: u32,
}

/// What a model thinks of a completion; no end token is added to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    /// The tokens of each piece that is scored.
    ///
    /// After an empty prompt, and without a token that begins every text, the first token has no
    /// probability and is left out.
    pub pieces: Vec<Vec<Token>>,
}

impl Score {
    /// The tokens of all pieces.
    pub fn tokens(&self) -> impl Iterator<Item = &Token> {
        self.pieces.iter().flatten()
    }

    /// The natural logarithm of the probability of all tokens together.
    pub fn log_likelihood(&self) -> f64 {
        self.tokens().map(|t| f64::from(t.log_probability)).sum()
    }

    /// The exponential of the mean negative log-probability.
    pub fn perplexity(&self) -> f64 {
        (-self.log_likelihood() / self.tokens().count() as f64).exp()
    }
}

/// Why an ask has no score.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unscored {
    /// The completion has no token that something stands before.
    Empty,
    /// Prompt and completion do not fit into the model's context.
    TooLong {
        /// How many tokens the model would have to read.
        tokens: usize,
        /// How many it can.
        context: usize,
    },
    /// The model's numbers are not finite.
    NotFinite,
}

impl fmt::Display for Unscored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "the completion has no token to score"),
            Self::TooLong { tokens, context } => {
                write!(f, "has {tokens} tokens, the context is {context}")
            }
            Self::NotFinite => write!(f, "the model's numbers are not finite"),
        }
    }
}

/// How completions are scored; the numbers do not depend on it but for rounding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScoreOptions {
    /// How many tokens go through the model at once, or one ask where it has more.
    pub tokens_at_once: usize,
}

impl Default for ScoreOptions {
    fn default() -> Self {
        Self {
            tokens_at_once: 2048,
        }
    }
}

/// Scores each ask; the result at a place is that of the ask at this place.
///
/// ```no_run
/// use std::path::Path;
/// use stillhouse_student::Model;
/// use stillhouse_student::score::{Ask, ScoreOptions, score};
///
/// let model = Model::load(Path::new("student"))?;
/// let asks = ["Yes.", "No."].map(|answer| Ask::new("Does ice float? ", answer));
/// let mut silent = |_| std::ops::ControlFlow::Continue(());
/// for score in score(&model, &asks, &ScoreOptions::default(), &mut silent)? {
///     println!("{:?}", score.map(|score| score.perplexity()));
/// }
/// # Ok::<(), stillhouse_student::Error>(())
/// ```
///
/// # Panics
/// Never: only asks that were read are put in order.
pub fn score(
    model: &Model,
    asks: &[Ask],
    options: &ScoreOptions,
    observe: &mut Observer<'_>,
) -> Result<Vec<Result<Score, Unscored>>> {
    let texts: Vec<Result<Text, Unscored>> = asks.iter().map(|ask| Text::new(model, ask)).collect();
    let mut order: Vec<usize> = (0..asks.len()).filter(|&i| texts[i].is_ok()).collect();
    let text = |i: usize| texts[i].as_ref().expect("only these are in the order");
    // Those that begin alike come together.
    order.sort_by_key(|&i| text(i).read());
    let mut scores: Vec<Result<Score, Unscored>> = texts
        .iter()
        .map(|text| Err(text.as_ref().err().copied().unwrap_or(Unscored::Empty)))
        .collect();
    let network = model.network.plain();
    let (mut done, total) = (asks.len() - order.len(), asks.len());
    let mut rest = &order[..];
    while !rest.is_empty() {
        let n = n_at_once(rest.iter().map(|&i| text(i).read()), options.tokens_at_once);
        let (now, later) = rest.split_at(n);
        let sequences: Vec<Read<'_>> = now.iter().map(|&i| text(i).read()).collect();
        let packed = Packed::reading(&sequences, true);
        let mut targets = Vec::new();
        for (&i, rows) in now.iter().zip(packed.layout.sequences()) {
            targets.extend(text(i).targets().map(|(at, id)| (rows.start + at, id)));
        }
        let found = ops::head_scores(network.states(&packed), network.head(), &targets);
        let mut tokens = targets.iter().zip(found).map(|(&(_, id), scored)| Token {
            id,
            log_probability: scored.log_probability,
            rank: scored.rank,
        });
        for &i in now {
            scores[i] = text(i).score(&mut tokens);
        }
        (done, rest) = (done + n, later);
        let unit = "completions".to_owned();
        tell(observe, Event::Progress { unit, done, total })?;
    }
    Ok(scores)
}

/// How many of these sequences, one at least, are at most `most` rows.
fn n_at_once<'a>(sequences: impl Iterator<Item = Read<'a>>, most: usize) -> usize {
    let mut count = Count::default();
    let fits = |read: &Read<'a>| {
        count.add(*read, true);
        count.rows() <= most
    };
    sequences.take_while(fits).count().max(1)
}

/// An ask in tokens.
struct Text {
    /// What an encoder reads; empty where there is none.
    source: Vec<u32>,
    /// What the decoder reads and foretells: prompt and completion, where no encoder reads the prompt.
    tokens: Vec<u32>,
    /// The first token to score: where the completion, or its last piece alone, begins; at 1 where
    /// there is nothing before it.
    first: usize,
    /// Where each piece ends.
    ends: Vec<usize>,
}

impl Text {
    fn new(model: &Model, ask: &Ask) -> Result<Self, Unscored> {
        let Reading { source, mut tokens } = model.reading(&ask.prompt);
        let mut first = tokens.len().max(1);
        let mut ends = Vec::with_capacity(ask.pieces.len());
        for piece in &ask.pieces {
            if ask.last_only {
                first = tokens.len().max(1);
            }
            tokens.extend(model.tokenizer().completion(piece));
            ends.push(tokens.len());
        }
        if tokens.len() <= first {
            return Err(Unscored::Empty);
        }
        // Nothing stands after the last token.
        let longest = source.len().max(tokens.len() - 1);
        let context = model.context_tokens();
        if longest > context {
            return Err(Unscored::TooLong {
                tokens: longest,
                context,
            });
        }
        Ok(Self {
            source,
            tokens,
            first,
            ends,
        })
    }

    /// What the model reads.
    fn read(&self) -> Read<'_> {
        Read {
            source: &self.source,
            tokens: &self.tokens[..self.tokens.len() - 1],
        }
    }

    /// The tokens to score, each with the place that foretells it.
    fn targets(&self) -> impl Iterator<Item = (usize, u32)> + '_ {
        (self.first..self.tokens.len()).map(|at| (at - 1, self.tokens[at]))
    }

    /// Takes the scores of its own tokens.
    fn score(&self, tokens: &mut impl Iterator<Item = Token>) -> Result<Score, Unscored> {
        let mut begin = self.first;
        let pieces: Vec<Vec<Token>> = self
            .ends
            .iter()
            .map(|&end| {
                let n = end.saturating_sub(begin);
                begin = begin.max(end);
                tokens.take(n).collect()
            })
            .collect();
        let mut all = pieces.iter().flatten();
        if all.any(|token| !token.log_probability.is_finite()) {
            return Err(Unscored::NotFinite);
        }
        Ok(Score { pieces })
    }
}

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

/// Scores one completion, where none at all is no mistake; [`score`] is for many.
pub fn log_likelihood(model: &Model, prompt: &str, completion: &str) -> Result<Likelihood> {
    let ask = Ask::new(prompt, completion);
    let mut silent = |_| std::ops::ControlFlow::Continue(());
    let scores = score(model, &[ask], &ScoreOptions::default(), &mut silent)?;
    let tokens = match scores.into_iter().next() {
        Some(Ok(score)) => score.pieces.concat(),
        Some(Err(Unscored::Empty)) | None => Vec::new(),
        Some(Err(why)) => {
            return Err(Error::Item {
                id: completion.to_owned(),
                what: why.to_string(),
            });
        }
    };
    Ok(Likelihood {
        tokens: tokens.iter().map(|token| token.id).collect(),
        log_probabilities: tokens.iter().map(|token| token.log_probability).collect(),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use serde_json::{Value as Json, json};
    use stillhouse_core::fs;

    use super::*;
    use crate::model::ArchitectureOptions;

    fn model() -> Model {
        let options = ArchitectureOptions {
            hidden_size: 16,
            layers: 2,
            heads: 4,
            kv_heads: 2,
            intermediate_size: 24,
            vocabulary: 259,
            context: 80,
        };
        Model::random(&options, std::iter::once("abc"), 1).unwrap()
    }

    fn scores(asks: &[Ask], tokens_at_once: usize) -> Vec<Result<Score, Unscored>> {
        let mut silent = |_| std::ops::ControlFlow::Continue(());
        score(
            &model(),
            asks,
            &ScoreOptions { tokens_at_once },
            &mut silent,
        )
        .unwrap()
    }

    fn asks() -> Vec<Ask> {
        let rationale = ["It is lighter. ", "So it floats. "];
        let chain = |n: usize| Ask {
            prompt: "Does ice float? ".to_owned(),
            pieces: [&rationale[..n], &["Yes"]]
                .concat()
                .into_iter()
                .map(str::to_owned)
                .collect(),
            last_only: false,
        };
        let mut asks = vec![chain(0), chain(2), chain(1)];
        asks.push(Ask::new("Does iron float? ", "No, it sinks."));
        asks.push(Ask::new("Does ice float? ", "No"));
        asks.push(Ask::new("Does ice float? ", "No"));
        asks.push(Ask::new("", "Alone"));
        asks
    }

    #[test]
    fn together_the_scores_are_those_of_each_alone() {
        let asks = asks();
        for tokens_at_once in [1, 60, 1000] {
            let together = scores(&asks, tokens_at_once);
            for (ask, found) in asks.iter().zip(together) {
                let expected = scores(std::slice::from_ref(ask), 1000).remove(0).unwrap();
                let found = found.unwrap();
                assert_eq!(found.pieces.len(), ask.pieces.len());
                let lengths = |score: &Score| score.pieces.iter().map(Vec::len).collect::<Vec<_>>();
                let bytes: Vec<usize> = ask.pieces.iter().map(String::len).collect();
                assert_eq!(lengths(&found), bytes, "a byte is a token here");
                for (a, b) in found.tokens().zip(expected.tokens()) {
                    assert_eq!((a.id, a.rank), (b.id, b.rank));
                    assert!((a.log_probability - b.log_probability).abs() < 1e-5);
                }
            }
        }
    }

    #[test]
    fn the_last_piece_alone_has_the_numbers_that_it_has_among_all() {
        let all = asks();
        let last = all.iter().cloned().map(|ask| Ask {
            last_only: true,
            ..ask
        });
        let last: Vec<Ask> = last.collect();
        for (whole, alone) in scores(&all, 60).into_iter().zip(scores(&last, 60)) {
            let (whole, alone) = (whole.unwrap(), alone.unwrap());
            let n = alone.pieces.len() - 1;
            assert_eq!(n + 1, whole.pieces.len());
            assert!(alone.pieces[..n].iter().all(Vec::is_empty));
            assert_eq!(alone.pieces[n].len(), whole.pieces[n].len());
            for (a, b) in alone.pieces[n].iter().zip(&whole.pieces[n]) {
                assert_eq!((a.id, a.rank), (b.id, b.rank));
                assert!((a.log_probability - b.log_probability).abs() < 1e-5);
            }
        }
        let nothing = Ask {
            pieces: vec!["It floats.".to_owned(), String::new()],
            ..last[0].clone()
        };
        let found = scores(&[nothing], 60).remove(0);
        assert_eq!(found, Err(Unscored::Empty));
    }

    /// Both sides' numbers carry the rounding of f32 through a few layers; the golden ones are f64.
    #[test]
    fn the_numbers_are_those_of_pytorch() {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures");
        let texts = fs::read_text(&fixtures.join("scores/texts.jsonl")).unwrap();
        let ask = |line: &str| {
            let row: Json = serde_json::from_str(line).unwrap();
            Ask::new(
                row["prompt"].as_str().unwrap(),
                row["completion"].as_str().unwrap(),
            )
        };
        let asks: Vec<Ask> = texts.lines().map(ask).collect();
        let golden: BTreeMap<String, Vec<Json>> =
            fs::read_json(&fixtures.join("scores/golden.json")).unwrap();
        for (name, expected) in &golden {
            let model = Model::load(&fixtures.join("decoders").join(name)).unwrap();
            let mut silent = |_| std::ops::ControlFlow::Continue(());
            let found = score(&model, &asks, &ScoreOptions::default(), &mut silent).unwrap();
            assert_eq!(found.len(), expected.len());
            for (score, row) in found.into_iter().zip(expected) {
                let score = score.unwrap();
                let ids: Vec<u32> = score.tokens().map(|token| token.id).collect();
                let ranks: Vec<u32> = score.tokens().map(|token| token.rank).collect();
                assert_eq!(json!(ids), row["token_ids"], "{name}");
                assert_eq!(json!(ranks), row["ranks"], "{name}");
                let expected: Vec<f32> = serde_json::from_value(row["logprobs"].clone()).unwrap();
                for (token, expected) in score.tokens().zip(expected) {
                    assert!(
                        (token.log_probability - expected).abs() < 2e-5,
                        "{name}: {token:?}"
                    );
                }
                let ratio = score.perplexity() / row["perplexity"].as_f64().unwrap();
                assert!((ratio - 1.0).abs() < 1e-5, "{name}: {ratio}");
            }
        }
    }

    #[test]
    fn what_cannot_be_scored_says_why_and_the_others_are_scored() {
        let long = "x".repeat(90);
        let asks = [
            Ask::new("Does ice float? ", ""),
            Ask::new("Does ice float? ", "Yes"),
            Ask::new("Does ice float? ", &long[..]),
            Ask::new(&long[..], "Yes"),
        ];
        let found = scores(&asks, 1000);
        let why = |at: usize| found[at].as_ref().unwrap_err().to_string();
        assert_eq!(why(0), "the completion has no token to score");
        assert_eq!(found[1].as_ref().unwrap().tokens().count(), 3);
        assert_eq!(why(2), "has 106 tokens, the context is 80");
        assert_eq!(why(3), "has 93 tokens, the context is 80");
        assert!(scores(&[], 10).is_empty());
    }
}
