//! BLEU (Papineni et al. 2002) as sacrebleu computes it, and in the 0-1 form of Hugging Face's
//! `evaluate`.
//!
//! Both use the tokeniser of mteval-v13a.
//! Counts are kept per pair, and are added up for corpus BLEU.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::column::{Aggregate, Column, Statistic, Unscored};
use super::ngrams::{self, Words};
use super::signature::Signature;
use super::words::is_space;

const ORDER: usize = 4;

/// Sentence BLEU averaged over the examples, and corpus BLEU, in both forms.
pub(super) const COLUMNS: [Column; 4] = [
    Column {
        name: "bleu",
        title: "BLEU, mean of sentences (0 to 100)",
        shown: Some("bleu"),
        aggregate: Aggregate::Mean,
    },
    Column {
        name: "bleu_corpus",
        title: "BLEU of the corpus (0 to 100)",
        shown: None,
        aggregate: Aggregate::CorpusBleu,
    },
    Column {
        name: "bleu_hf",
        title: "BLEU as `evaluate` prints it, mean of sentences (0 to 1)",
        shown: Some("bleu_hf"),
        aggregate: Aggregate::Mean,
    },
    Column {
        name: "bleu_hf_corpus",
        title: "BLEU as `evaluate` prints it, of the corpus (0 to 1)",
        shown: None,
        aggregate: Aggregate::CorpusBleuHf,
    },
];

/// How BLEU counts, and what it makes of the counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BleuOptions {
    /// Whether case is forgotten.
    pub lowercase: bool,
    /// What sacrebleu's form makes of an order without a match.
    pub smooth: Smooth,
    /// Whether the 0-1 form adds 1 to the matches and the n-grams of every order.
    pub smooth_hf: bool,
}

/// What becomes of an order without a match (Chen and Cherry 2014), by sacrebleu's names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Smooth {
    /// BLEU is 0.
    None,
    /// So many matches are assumed; sacrebleu takes 0.1.
    Floor {
        /// The matches.
        value: f64,
    },
    /// So many are added to the matches and n-grams of every order above the first; sacrebleu
    /// takes 1.
    AddK {
        /// What is added.
        value: f64,
    },
    /// The first such order counts half a match, the next a quarter, and so on.
    #[default]
    Exp,
}

impl fmt::Display for Smooth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Floor { value } => write!(f, "floor[{value:.2}]"),
            Self::AddK { value } => write!(f, "add-k[{value:.2}]"),
            Self::Exp => f.write_str("exp"),
        }
    }
}

/// One pair's statistics, in the order of [`COLUMNS`].
pub(super) fn measure(
    explanation: &str,
    references: &[&str],
    options: &BleuOptions,
) -> [Result<Statistic, Unscored>; 4] {
    let tokens = Tokens::new(trim_end(explanation), trimmed(references), options);
    let sacre = tokens.counts(tokens.closest());
    let mut texts = std::iter::once(&explanation).chain(references);
    let hf = if texts.all(|text| trim_end(text) == *text) {
        Counts {
            reference_tokens: tokens.shortest(),
            ..sacre
        }
    } else {
        hf_counts(explanation, references, options)
    };
    [
        Ok(Statistic::Value(sacre.sentence())),
        Ok(Statistic::Bleu(sacre)),
        hf.hf().map(Statistic::Value).ok_or_else(|| {
            Unscored::new("the reference implementation divides by zero on an empty side")
        }),
        Ok(Statistic::Bleu(hf)),
    ]
}

/// What each column's number means, in sacrebleu's words.
pub(super) fn signature(column: &str, options: &BleuOptions) -> Signature {
    let hf = column.starts_with("bleu_hf");
    let corpus = column.ends_with("_corpus");
    let smooth = match (hf, options.smooth_hf) {
        (true, true) => "add-1".to_owned(),
        (true, false) => "none".to_owned(),
        (false, _) => options.smooth.to_string(),
    };
    Signature::new(column)
        .with("case", if options.lowercase { "lc" } else { "mixed" })
        .with("eff", if hf || corpus { "no" } else { "yes" })
        .with("tok", "13a")
        .with("smooth", smooth)
        .with("scale", if hf { "1" } else { "100" })
        .with("over", if corpus { "corpus" } else { "sentences" })
        .with("like", if hf { "evaluate-0.4" } else { "sacrebleu-2.6" })
}

/// Matches and totals by n-gram order, and both lengths in tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counts {
    /// Clipped matches of 1-grams to 4-grams.
    pub matches: [u64; ORDER],
    /// N-grams of the explanation.
    pub totals: [u64; ORDER],
    /// Tokens of the explanation.
    pub explanation_tokens: u64,
    /// Tokens of the reference that counts for length.
    pub reference_tokens: u64,
    /// What they are counted for.
    pub options: BleuOptions,
}

/// Counts in sacrebleu's manner: white space at the end goes before tokenising; of several
/// references the one closest in length counts, the shorter one on a tie.
pub fn sacre_counts(explanation: &str, references: &[&str], options: &BleuOptions) -> Counts {
    let tokens = Tokens::new(trim_end(explanation), trimmed(references), options);
    tokens.counts(tokens.closest())
}

/// Counts in the manner of `evaluate`: the shortest reference counts for length.
pub fn hf_counts(explanation: &str, references: &[&str], options: &BleuOptions) -> Counts {
    let tokens = Tokens::new(explanation, references.iter().copied(), options);
    tokens.counts(tokens.shortest())
}

fn trimmed<'a>(texts: &[&'a str]) -> impl Iterator<Item = &'a str> {
    texts.iter().map(|text| trim_end(text))
}

/// Both sides of a pair.
struct Tokens<'a> {
    explanation: Vec<String>,
    references: Vec<Vec<String>>,
    options: &'a BleuOptions,
}

impl<'a> Tokens<'a> {
    fn new<'b>(
        explanation: &str,
        references: impl Iterator<Item = &'b str>,
        options: &'a BleuOptions,
    ) -> Self {
        let tokens = |text: &str| {
            if options.lowercase {
                tokens_13a(&text.to_lowercase())
            } else {
                tokens_13a(text)
            }
        };
        Self {
            explanation: tokens(explanation),
            references: references.map(tokens).collect(),
            options,
        }
    }

    /// The length closest to the explanation's, the shorter one on a tie; 0 without a reference.
    fn closest(&self) -> u64 {
        let n = self.explanation.len();
        let lengths = self.references.iter().map(Vec::len);
        let closest = lengths.min_by_key(|m| (m.abs_diff(n), *m));
        closest.unwrap_or(0) as u64
    }

    fn shortest(&self) -> u64 {
        let lengths = self.references.iter().map(Vec::len);
        lengths.min().unwrap_or(0) as u64
    }

    fn counts(&self, reference_tokens: u64) -> Counts {
        let mut words = Words::default();
        let mut references = Vec::new();
        for tokens in &self.references {
            let numbers = tokens.iter().map(|token| words.learn(token));
            references.push(numbers.collect::<Vec<u32>>());
        }
        let references: Vec<&[u32]> = references.iter().map(Vec::as_slice).collect();
        let numbers: Vec<u32> = self.explanation.iter().map(|t| words.number(t)).collect();
        let matches = ngrams::matches(&numbers, &references, ORDER);
        Counts {
            matches: std::array::from_fn(|order| matches[order]),
            totals: std::array::from_fn(|order| ngrams::total(numbers.len(), order + 1)),
            explanation_tokens: numbers.len() as u64,
            reference_tokens,
            options: *self.options,
        }
    }
}

impl Counts {
    /// Adds another pair's counts.
    pub fn add(&mut self, other: &Self) {
        for order in 0..ORDER {
            self.matches[order] += other.matches[order];
            self.totals[order] += other.totals[order];
        }
        self.explanation_tokens += other.explanation_tokens;
        self.reference_tokens += other.reference_tokens;
        self.options = other.options;
    }

    /// Sentence BLEU, 0 to 100: orders that the text is too short for are left out.
    pub fn sentence(&self) -> f64 {
        self.sacre(true)
    }

    /// Corpus BLEU, 0 to 100: all four orders.
    pub fn corpus(&self) -> f64 {
        self.sacre(false)
    }

    /// sacrebleu's `compute_bleu`, step by step.
    fn sacre(&self, effective_order: bool) -> f64 {
        if self.matches.iter().all(|n| *n == 0) {
            return 0.0;
        }
        let smooth = self.options.smooth;
        let mut precisions = [0.0; ORDER];
        let (mut orders, mut halving) = (ORDER, 1.0);
        for (order, precision) in precisions.iter_mut().enumerate() {
            let (mut matches, mut total) = (self.matches[order] as f64, self.totals[order] as f64);
            if let (Smooth::AddK { value }, 1..) = (smooth, order) {
                matches += value;
                total += value;
            }
            if total == 0.0 {
                break;
            }
            if effective_order {
                orders = order + 1;
            }
            *precision = match smooth {
                _ if matches != 0.0 => 100.0 * matches / total,
                Smooth::Exp => {
                    halving *= 2.0;
                    100.0 / (halving * total)
                }
                Smooth::Floor { value } => 100.0 * value / total,
                Smooth::None | Smooth::AddK { .. } => return 0.0,
            };
        }
        let precisions = &precisions[..orders];
        if precisions.contains(&0.0) {
            return 0.0;
        }
        let logs: f64 = precisions.iter().map(|precision| precision.ln()).sum();
        self.brevity_penalty() * (logs / orders as f64).exp()
    }

    /// BLEU from 0 to 1, as `evaluate` computes it; `None` where it raises.
    pub fn hf(&self) -> Option<f64> {
        if self.explanation_tokens == 0 || self.reference_tokens == 0 {
            return None;
        }
        let more = u64::from(self.options.smooth_hf);
        if more == 0 && self.matches.contains(&0) {
            return Some(0.0);
        }
        let logs = self
            .matches
            .iter()
            .zip(self.totals)
            .map(|(m, t)| ((m + more) as f64 / (t + more) as f64).ln());
        Some(self.brevity_penalty() * (logs.sum::<f64>() / ORDER as f64).exp())
    }

    fn brevity_penalty(&self) -> f64 {
        if self.explanation_tokens >= self.reference_tokens {
            1.0
        } else if self.explanation_tokens == 0 {
            0.0
        } else {
            (1.0 - self.reference_tokens as f64 / self.explanation_tokens as f64).exp()
        }
    }
}

/// The tokens of mteval-v13a, as sacrebleu writes its rules: entities, then punctuation apart,
/// except `.` and `,` between digits, and `-` unless it follows a digit.
pub fn tokens_13a(text: &str) -> Vec<String> {
    let mut text = text
        .replace("<skipped>", "")
        .replace("-\n", "")
        .replace('\n', " ");
    if text.contains('&') {
        text = text
            .replace("&quot;", "\"")
            .replace("&amp;", "&")
            .replace("&lt;", "<")
            .replace("&gt;", ">");
    }
    let mut spaced = String::with_capacity(2 * text.len());
    for c in format!(" {text} ").chars() {
        if matches!(c, '{'..='~' | '['..='`' | ' '..='&' | '('..='+' | ':'..='@' | '/') {
            spaced.extend([' ', c, ' ']);
        } else {
            spaced.push(c);
        }
    }
    let is_stop = |c| matches!(c, '.' | ',');
    let is_digit = |c: char| c.is_ascii_digit();
    // Each rule consumes the two characters that it matches, as a regular expression would.
    let spaced = pairs(
        &spaced,
        |a, b| !is_digit(a) && is_stop(b),
        |a, b| [a, ' ', b, ' '],
    );
    let spaced = pairs(
        &spaced,
        |a, b| is_stop(a) && !is_digit(b),
        |a, b| [' ', a, ' ', b],
    );
    let spaced = pairs(
        &spaced,
        |a, b| is_digit(a) && b == '-',
        |a, b| [a, ' ', b, ' '],
    );
    spaced
        .split(is_space)
        .filter(|token| !token.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Rewrites each pair of neighbours that `fits`, from the left, without overlap.
fn pairs(
    text: &str,
    fits: impl Fn(char, char) -> bool,
    rewrite: impl Fn(char, char) -> [char; 4],
) -> String {
    let mut out = String::with_capacity(2 * text.len());
    let mut chars = text.chars().peekable();
    while let Some(a) = chars.next() {
        match chars.peek() {
            Some(&b) if fits(a, b) => {
                chars.next();
                out.extend(rewrite(a, b));
            }
            _ => out.push(a),
        }
    }
    out
}

fn trim_end(text: &str) -> &str {
    text.trim_end_matches(is_space)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_those_of_mteval_13a() {
        check("Heat melts ice.", "Heat melts ice .");
        check("1,000.5 units, i.e. 3.5%", "1,000.5 units , i . e . 3.5 %");
        check("2-3 well-known", "2 - 3 well-known");
        check("R&amp;D &lt; &quot;x&quot;", "R & D < \" x \"");
        check("it's f(x)", "it's f ( x )");
        check("evapo-\nration\nx", "evaporation x");
        check("a.,b", "a . , b");
        check(" \t ", "");
    }

    #[test]
    fn several_references_count_by_the_closest_or_the_shortest_length() {
        let references = ["one two three four five", "one"];
        let options = BleuOptions::default();
        assert_eq!(
            sacre_counts("one two three four", &references, &options).reference_tokens,
            5
        );
        assert_eq!(
            hf_counts("one two three four", &references, &options).reference_tokens,
            1
        );
        assert_eq!(
            sacre_counts("one two three", &references, &options).reference_tokens,
            1
        );
    }

    #[test]
    fn both_forms_are_counted_as_if_alone() {
        let options = BleuOptions::default();
        for (text, reference) in [
            ("ice floats", "the ice floats on"),
            ("ice-\n", "ice-"),
            ("ice-", "ice-\n"),
            ("ice \n", " ice"),
        ] {
            let expected = [
                sacre_counts(text, &[reference, "ice"], &options),
                hf_counts(text, &[reference, "ice"], &options),
            ];
            let [_, sacre, _, hf] = measure(text, &[reference, "ice"], &options);
            let found = [sacre.unwrap(), hf.unwrap()];
            assert_eq!(found, expected.map(Statistic::Bleu), "{text:?}");
        }
    }

    fn check(text: &str, expected: &str) {
        assert_eq!(tokens_13a(text).join(" "), expected);
    }
}
