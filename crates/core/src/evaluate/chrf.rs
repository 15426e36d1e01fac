//! chrF (Popović 2015) and chrF++ (Popović 2017) as sacrebleu computes them: how many n-grams of
//! characters, and for chrF++ of words too, an explanation shares with its reference.

use serde::{Deserialize, Serialize};

use super::column::{Aggregate, Column, Statistic, Unscored};
use super::ngrams::{self, Words};
use super::signature::Signature;
use super::words::is_space;
use crate::error::{Error, Result};

/// The most orders that are counted, of characters and words together.
pub const MOST_ORDERS: usize = 8;

/// The mean of the examples, and the value of the corpus.
pub const COLUMNS: [Column; 2] = [
    Column {
        name: "chrf",
        title: "chrF, mean of sentences (0 to 100)",
        shown: Some("chrf"),
        aggregate: Aggregate::Mean,
    },
    Column {
        name: "chrf_corpus",
        title: "chrF of the corpus (0 to 100)",
        shown: None,
        aggregate: Aggregate::CorpusChrf,
    },
];

/// What chrF counts, with sacrebleu's defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ChrfOptions {
    /// The longest n-gram of characters.
    pub char_order: usize,
    /// The longest n-gram of words: 0 is chrF, 2 is chrF++.
    pub word_order: usize,
    /// How many times as much recall counts as precision.
    pub beta: u32,
    /// Whether case is forgotten.
    pub lowercase: bool,
    /// Whether white space is a character.
    pub whitespace: bool,
}

impl Default for ChrfOptions {
    fn default() -> Self {
        Self {
            char_order: 6,
            word_order: 0,
            beta: 2,
            lowercase: false,
            whitespace: false,
        }
    }
}

impl ChrfOptions {
    /// Refuses orders that are not counted; `key` is the options' name in the config.
    pub fn check(&self, key: &str) -> Result<()> {
        let orders = self.char_order.saturating_add(self.word_order);
        if (1..=MOST_ORDERS).contains(&orders) {
            return Ok(());
        }
        let what = format!("char_order and word_order give {orders}; use 1 to {MOST_ORDERS}");
        Err(Error::option(key, what))
    }
}

/// One pair's statistics, in the order of [`COLUMNS`].
pub fn measure(
    explanation: &str,
    references: &[&str],
    options: &ChrfOptions,
) -> [Result<Statistic, Unscored>; 2] {
    match counts(explanation, references, options) {
        Some(counts) => [
            Ok(Statistic::Value(counts.score())),
            Ok(Statistic::Chrf(counts)),
        ],
        None => [(); 2].map(|()| Err(Unscored::new("no reference"))),
    }
}

/// What each column's number means, in sacrebleu's words.
pub fn signature(column: &str, options: &ChrfOptions) -> Signature {
    let is_corpus = column.ends_with("_corpus");
    Signature::new(column)
        .with("case", if options.lowercase { "lc" } else { "mixed" })
        .with("eff", "yes")
        .with("nc", options.char_order)
        .with("nw", options.word_order)
        .with("space", if options.whitespace { "yes" } else { "no" })
        .with("beta", options.beta)
        .with("scale", "100")
        .with("over", if is_corpus { "corpus" } else { "sentences" })
        .with("like", "sacrebleu-2.6")
}

/// N-grams by order, those of characters first; orders that are not counted are 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Clipped matches.
    pub matches: [u64; MOST_ORDERS],
    /// N-grams of the explanation, where the reference has any.
    pub explanation: [u64; MOST_ORDERS],
    /// N-grams of the reference.
    pub reference: [u64; MOST_ORDERS],
    /// How many times as much recall counts as precision.
    pub beta: u32,
}

/// The counts against the reference with the highest score, the first one on a tie; `None`
/// without a reference.
pub fn counts(explanation: &str, references: &[&str], options: &ChrfOptions) -> Option<Counts> {
    let explanation = Symbols::new(explanation, options);
    let mut best: Option<(f64, Counts)> = None;
    for reference in references {
        let counts = explanation.against(&Symbols::new(reference, options), options);
        let score = counts.score();
        if best.is_none_or(|(best, _)| score > best) {
            best = Some((score, counts));
        }
    }
    best.map(|(_, counts)| counts)
}

impl Counts {
    /// Adds another pair's counts.
    pub fn add(&mut self, other: &Self) {
        for order in 0..MOST_ORDERS {
            self.matches[order] += other.matches[order];
            self.explanation[order] += other.explanation[order];
            self.reference[order] += other.reference[order];
        }
        self.beta = other.beta;
    }

    /// chrF, 0 to 100: F of the mean precision and recall over the orders that both sides have.
    pub fn score(&self) -> f64 {
        let (mut precision, mut recall, mut orders) = (0.0, 0.0, 0.0);
        for order in 0..MOST_ORDERS {
            let (n, m) = (self.explanation[order], self.reference[order]);
            if n > 0 && m > 0 {
                precision += self.matches[order] as f64 / n as f64;
                recall += self.matches[order] as f64 / m as f64;
                orders += 1.0;
            }
        }
        if precision + recall == 0.0 {
            return 0.0;
        }
        let (precision, recall) = (precision / orders, recall / orders);
        let factor = f64::from(self.beta).powi(2);
        100.0 * ((1.0 + factor) * precision * recall / (factor * precision + recall))
    }
}

/// A text as characters and, where they count, words.
struct Symbols {
    chars: Vec<u32>,
    words: Vec<String>,
}

impl Symbols {
    fn new(text: &str, options: &ChrfOptions) -> Self {
        let lower = options.lowercase.then(|| text.to_lowercase());
        let text = lower.as_deref().unwrap_or(text);
        let is_counted = |c: &char| options.whitespace || !is_space(*c);
        Self {
            chars: text.chars().filter(is_counted).map(u32::from).collect(),
            words: if options.word_order > 0 {
                words(text)
            } else {
                Vec::new()
            },
        }
    }

    fn against(&self, reference: &Self, options: &ChrfOptions) -> Counts {
        let mut counts = Counts {
            beta: options.beta,
            ..Counts::default()
        };
        let char_orders = options.char_order.min(MOST_ORDERS);
        counts.count(0..char_orders, &self.chars, &reference.chars);

        let mut numbers = Words::default();
        let learned: Vec<u32> = reference.words.iter().map(|w| numbers.learn(w)).collect();
        let words: Vec<u32> = self.words.iter().map(|w| numbers.number(w)).collect();
        let last = (char_orders + options.word_order).min(MOST_ORDERS);
        counts.count(char_orders..last, &words, &learned);
        counts
    }
}

impl Counts {
    /// Fills some orders from the symbols of both sides.
    fn count(&mut self, orders: std::ops::Range<usize>, text: &[u32], reference: &[u32]) {
        let matches = ngrams::matches(text, &[reference], orders.len());
        for (n, (order, matches)) in orders.zip(matches).enumerate() {
            self.matches[order] = matches;
            self.reference[order] = ngrams::total(reference.len(), n + 1);
            if self.reference[order] > 0 {
                self.explanation[order] = ngrams::total(text.len(), n + 1);
            }
        }
    }
}

/// The words of chrF++: one mark of punctuation comes off the end, or else off the beginning.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    for word in text.split(is_space).filter(|word| !word.is_empty()) {
        let is_mark = |c: char| c.is_ascii_punctuation();
        let parts = match word.strip_suffix(is_mark) {
            Some("") => (word, ""),
            Some(rest) => word.split_at(rest.len()),
            None => word.split_at(usize::from(word.starts_with(is_mark))),
        };
        let parts = [parts.0, parts.1].into_iter();
        words.extend(parts.filter(|part| !part.is_empty()).map(str::to_owned));
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_lose_one_mark_at_an_end() {
        let check = |text, expected| assert_eq!(words(text).join(" "), expected);
        check("(hi) (hi . ... \"why?\"", "(hi ) ( hi . .. . \"why? \"");
        check("\u{201c}so\u{201d}, it's", "\u{201c}so\u{201d} , it's");
    }

    #[test]
    fn a_text_equals_itself_and_an_empty_one_has_nothing() {
        check("heat melts ice", &["heat  melts\tice"], 100.0);
        check("", &["heat"], 0.0);
        check("heat", &[""], 0.0);
        check("", &[""], 0.0);
        check("a", &["b"], 0.0);
    }

    #[test]
    fn of_several_references_the_best_counts() {
        check("heat", &["ice", "heat", "sea"], 100.0);
        assert_eq!(counts("heat", &[], &ChrfOptions::default()), None);
    }

    #[test]
    fn orders_beyond_those_that_are_counted_are_refused() {
        let options = ChrfOptions {
            word_order: 3,
            ..ChrfOptions::default()
        };
        let error = options.check("evaluate.chrf").unwrap_err();
        let expected = "evaluate.chrf: char_order and word_order give 9; use 1 to 8";
        assert_eq!(error.to_string(), expected);
    }

    fn check(text: &str, references: &[&str], expected: f64) {
        let counts = counts(text, references, &ChrfOptions::default()).unwrap();
        assert!((counts.score() - expected).abs() < 1e-12, "{text:?}");
    }
}
