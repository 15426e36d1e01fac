//! METEOR (Lavie and Agarwal 2007) as nltk 3.10 computes it, which is what Hugging Face's
//! `evaluate` calls: words that are equal, then equal stems, then synonyms; greedy from the end.
//!
//! It is not the METEOR 1.5 of Java: that one knows paraphrases and weighs function words, and its
//! scores cannot be compared with these.

use std::borrow::Cow;
use std::fmt;

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use super::column::{Aggregate, Column, Statistic, Unscored};
use super::signature::Signature;
use super::words::{is_space, words};
use super::{porter, wordnet};

/// One number a pair, and their mean.
pub const COLUMNS: [Column; 1] = [Column {
    name: "meteor",
    title: "METEOR (0 to 1)",
    shown: Some("meteor"),
    aggregate: Aggregate::Mean,
}];

/// How METEOR counts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MeteorOptions {
    /// How much precision counts against recall in their mean; 0.9 makes recall count nine times.
    pub alpha: f64,
    /// How steeply the penalty grows with the share of chunks.
    pub beta: f64,
    /// The largest penalty for words in another order.
    pub gamma: f64,
    /// What a word is.
    pub tokens: Tokens,
    /// How synonyms are looked up.
    pub synonyms: Synonyms,
}

impl Default for MeteorOptions {
    fn default() -> Self {
        Self {
            alpha: 0.9,
            beta: 3.0,
            gamma: 0.5,
            tokens: Tokens::default(),
            synonyms: Synonyms::default(),
        }
    }
}

/// What METEOR takes for a word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tokens {
    /// The words of each sentence by nltk's tokeniser.
    #[default]
    Words,
    /// The same over the whole text: full stops inside it stay with their words.
    PreserveLine,
    /// What stands between white space, as in nltk before 3.6.5.
    Whitespace,
}

/// How METEOR looks up synonyms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Synonyms {
    /// By stem, as nltk does: most are lost ("larg" is no word), and scores compare with others'.
    #[default]
    ByStem,
    /// By the words as they stand: "big" and "large" match.
    BySurface,
}

impl fmt::Display for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Words => "nltk-words",
            Self::PreserveLine => "nltk-line",
            Self::Whitespace => "space",
        })
    }
}

impl fmt::Display for Synonyms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ByStem => "by-stem",
            Self::BySurface => "by-surface",
        })
    }
}

/// A text and its sentences; [`Tokens`] says which of them is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Text<'a> {
    /// The text as it is.
    pub whole: &'a str,
    /// Its sentences.
    pub sentences: &'a [String],
}

/// One pair's statistic; of several references the one with the highest score counts.
pub fn measure(
    explanation: Text<'_>,
    references: &[Text<'_>],
    options: &MeteorOptions,
) -> Result<Statistic, Unscored> {
    score(explanation, references, options)
        .map(Statistic::Value)
        .ok_or_else(|| Unscored::new("no reference"))
}

/// What the number means, in sacrebleu's manner; `splitter` says where sentences end.
pub fn signature(column: &str, options: &MeteorOptions, splitter: &str) -> Signature {
    let mut signature = Signature::new(column)
        .with("alpha", options.alpha)
        .with("beta", options.beta)
        .with("gamma", options.gamma)
        .with("case", "lc")
        .with("tok", options.tokens);
    if options.tokens == Tokens::Words {
        signature = signature.with("splitter", splitter);
    }
    signature
        .with("stem", "porter-nltk")
        .with("synonyms", format!("wordnet-3.0-{}", options.synonyms))
        .with("over", "mean")
        .with("like", "nltk-3.10")
}

/// The highest METEOR over the references; `None` without a reference, 0 for an empty side.
pub fn score(
    explanation: Text<'_>,
    references: &[Text<'_>],
    options: &MeteorOptions,
) -> Option<f64> {
    let tokens = tokens(explanation, options.tokens);
    references
        .iter()
        .map(|reference| of_tokens(&tokens, &self::tokens(*reference, options.tokens), options))
        .reduce(f64::max)
}

/// The lower-case words of a text.
pub fn tokens(text: Text<'_>, tokens: Tokens) -> Vec<String> {
    let tokens: Vec<String> = match tokens {
        Tokens::Words => text.sentences.iter().flat_map(|s| words(s)).collect(),
        Tokens::PreserveLine => words(text.whole),
        Tokens::Whitespace => {
            let words = text.whole.split(is_space).filter(|word| !word.is_empty());
            words.map(str::to_owned).collect()
        }
    };
    tokens.iter().map(|token| token.to_lowercase()).collect()
}

/// METEOR of lower-case words against those of one reference.
///
/// ```
/// use stillhouse_core::evaluate::meteor::{MeteorOptions, of_tokens};
/// let words = ["heat".to_owned(), "melts".to_owned(), "ice".to_owned()];
/// let score = of_tokens(&words, &words, &MeteorOptions::default());
/// assert!((score - (1.0 - 0.5 / 27.0)).abs() < 1e-12); // one chunk of three words
/// ```
pub fn of_tokens(words: &[String], expected: &[String], options: &MeteorOptions) -> f64 {
    let mut pairs = align(words, expected, options.synonyms);
    if pairs.is_empty() {
        return 0.0;
    }
    pairs.sort_unstable();
    let adjoin = |pair: &[(usize, usize)]| (pair[0].0 + 1, pair[0].1 + 1) == pair[1];
    let chunks = pairs.len() - pairs.windows(2).filter(|pair| adjoin(pair)).count();
    let matches = pairs.len() as f64;
    let (precision, recall) = (
        matches / words.len() as f64,
        matches / expected.len() as f64,
    );
    let MeteorOptions {
        alpha, beta, gamma, ..
    } = options;
    let mean = precision * recall / (alpha * precision + (1.0 - alpha) * recall);
    let penalty = gamma * (chunks as f64 / matches).powf(*beta);
    (1.0 - penalty) * mean
}

/// A word that has no partner yet, and its place.
type Left<'a> = (usize, Cow<'a, str>);

/// Places in the explanation and in the reference of the words that match, in three stages; each
/// sees what the one before left over.
fn align(words: &[String], expected: &[String], synonyms: Synonyms) -> Vec<(usize, usize)> {
    let mut pairs = Vec::new();
    let (mut left, mut free) = (places(words), places(expected));
    stage(&mut left, &mut free, &mut pairs, false);

    let (mut left_stems, mut free_stems) = (stems(&left), stems(&free));
    stage(&mut left_stems, &mut free_stems, &mut pairs, false);

    match synonyms {
        Synonyms::ByStem => stage(&mut left_stems, &mut free_stems, &mut pairs, true),
        Synonyms::BySurface => {
            keep(&mut left, &left_stems);
            keep(&mut free, &free_stems);
            stage(&mut left, &mut free, &mut pairs, true);
        }
    }
    pairs
}

fn places(words: &[String]) -> Vec<Left<'_>> {
    let words = words.iter().map(|word| Cow::from(word.as_str()));
    words.enumerate().collect()
}

fn stems(words: &[Left<'_>]) -> Vec<Left<'static>> {
    let stems = words
        .iter()
        .map(|(at, word)| (*at, Cow::from(porter::stem(word))));
    stems.collect()
}

/// Keeps the words that are among `others`, by place.
fn keep(words: &mut Vec<Left<'_>>, others: &[Left<'_>]) {
    let mut others = others.iter().map(|(at, _)| *at).peekable();
    words.retain(|(at, _)| others.next_if_eq(at).is_some());
}

/// From the last word to the first: each takes the last free word of the reference that is equal
/// to it or, if asked for, to one of its synonyms.
fn stage(
    left: &mut Vec<Left<'_>>,
    free: &mut Vec<Left<'_>>,
    pairs: &mut Vec<(usize, usize)>,
    with_synonyms: bool,
) {
    let mut places: FxHashMap<&str, Vec<usize>> = FxHashMap::default();
    for (at, (_, word)) in free.iter().enumerate() {
        places.entry(word).or_default().push(at);
    }
    let mut is_taken = vec![false; free.len()];
    let mut is_matched = vec![false; left.len()];
    for (n, (at, word)) in left.iter().enumerate().rev() {
        let mut best = places.get(word.as_ref()).and_then(|p| p.last()).copied();
        if with_synonyms {
            wordnet::synonyms(word, |name| {
                best = best.max(places.get(name).and_then(|p| p.last()).copied());
            });
        }
        if let Some(place) = best {
            let (at_reference, word) = &free[place];
            places.entry(word).or_default().pop();
            pairs.push((*at, *at_reference));
            (is_matched[n], is_taken[place]) = (true, true);
        }
    }
    retain_unmarked(left, &is_matched);
    retain_unmarked(free, &is_taken);
}

fn retain_unmarked(words: &mut Vec<Left<'_>>, marks: &[bool]) {
    let mut marks = marks.iter();
    words.retain(|_| marks.next() == Some(&false));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_match_then_stems_then_synonyms_of_stems() {
        let by_stem = MeteorOptions::default();
        let by_surface = MeteorOptions {
            synonyms: Synonyms::BySurface,
            ..by_stem
        };
        check("ice", "ice", &by_stem, 0.5);
        check("flooded", "floods", &by_stem, 0.5);
        check("kid", "child", &by_stem, 0.5);
        check("big", "large", &by_stem, 0.0);
        check("big", "large", &by_surface, 0.5);
        check("", "ice", &by_stem, 0.0);
        check("ice", "", &by_stem, 0.0);
        check(
            "heat melts ice",
            "heat melts ice",
            &by_stem,
            1.0 - 0.5 / 27.0,
        );
    }

    #[test]
    fn the_last_free_word_is_taken() {
        // Two chunks: the first "the" takes the second one of the reference.
        let options = MeteorOptions::default();
        let expected = 2.0 / 2.0 * (2.0 / 4.0) / (0.9 + 0.1 * 0.5);
        check("the sea", "the sea the coast", &options, expected * 0.5);
    }

    #[test]
    fn of_several_references_the_best_counts() {
        let options = MeteorOptions::default();
        let whole = |whole| Text {
            whole,
            sentences: &[],
        };
        let options = MeteorOptions {
            tokens: Tokens::Whitespace,
            ..options
        };
        let found = score(whole("ice"), &[whole("sea"), whole("ice")], &options);
        assert_eq!(found, Some(0.5));
        assert_eq!(score(whole("ice"), &[], &options), None);
    }

    fn check(text: &str, reference: &str, options: &MeteorOptions, expected: f64) {
        let words = |text: &str| {
            text.split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let found = of_tokens(&words(text), &words(reference), options);
        assert!((found - expected).abs() < 1e-12, "{text}: {found}");
    }
}
