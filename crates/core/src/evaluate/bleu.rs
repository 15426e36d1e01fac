//! BLEU (Papineni et al. 2002) as sacrebleu computes it, and in the 0-1 form of Hugging Face's
//! `evaluate`.
//!
//! Both use the tokeniser of mteval-v13a.
//! Counts are kept per pair, and are added up for corpus BLEU.

use std::collections::HashMap;

use super::column::{Aggregate, Column, Statistic, Unscored};
use super::signature::Signature;

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

/// One pair's statistics, in the order of [`COLUMNS`].
pub(super) fn measure(explanation: &str, references: &[&str]) -> [Result<Statistic, Unscored>; 4] {
    let sacre = sacre_counts(explanation, references);
    let hf = hf_counts(explanation, references);
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
pub(super) fn signature(column: &str) -> Signature {
    let hf = column.starts_with("bleu_hf");
    let corpus = column.ends_with("_corpus");
    Signature::new(column)
        .with("case", "mixed")
        .with("eff", if hf || corpus { "no" } else { "yes" })
        .with("tok", "13a")
        .with("smooth", if hf { "none" } else { "exp" })
        .with("scale", if hf { "1" } else { "100" })
        .with("over", if corpus { "corpus" } else { "sentences" })
        .with("like", if hf { "evaluate-0.4" } else { "sacrebleu-2.6" })
}

/// Matches and totals by n-gram order, and both lengths in tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Clipped matches of 1-grams to 4-grams.
    pub matches: [u64; ORDER],
    /// N-grams of the explanation.
    pub totals: [u64; ORDER],
    /// Tokens of the explanation.
    pub explanation_tokens: u64,
    /// Tokens of the reference that counts for length.
    pub reference_tokens: u64,
}

/// Counts in sacrebleu's manner: white space at the end goes before tokenising; of several
/// references the one closest in length counts, the shorter one on a tie.
pub fn sacre_counts(explanation: &str, references: &[&str]) -> Counts {
    let explanation = tokens_13a(trim_end(explanation));
    let references: Vec<_> = references
        .iter()
        .map(|text| tokens_13a(trim_end(text)))
        .collect();
    let n = explanation.len();
    let length = references
        .iter()
        .map(Vec::len)
        .min_by_key(|m| (m.abs_diff(n), *m));
    counts(&explanation, &references, length.unwrap_or(0))
}

/// Counts in the manner of `evaluate`: the shortest reference counts for length.
pub fn hf_counts(explanation: &str, references: &[&str]) -> Counts {
    let explanation = tokens_13a(explanation);
    let references: Vec<_> = references.iter().map(|text| tokens_13a(text)).collect();
    let length = references.iter().map(Vec::len).min();
    counts(&explanation, &references, length.unwrap_or(0))
}

fn counts(explanation: &[String], references: &[Vec<String>], reference_tokens: usize) -> Counts {
    let mut counts = Counts {
        explanation_tokens: explanation.len() as u64,
        reference_tokens: reference_tokens as u64,
        ..Counts::default()
    };
    for order in 1..=ORDER {
        let mut allowed: HashMap<&[String], u64> = HashMap::new();
        for reference in references {
            for (ngram, count) in ngrams(reference, order) {
                let most = allowed.entry(ngram).or_default();
                *most = count.max(*most);
            }
        }
        for (ngram, count) in ngrams(explanation, order) {
            counts.totals[order - 1] += count;
            counts.matches[order - 1] += count.min(allowed.get(ngram).copied().unwrap_or(0));
        }
    }
    counts
}

fn ngrams(tokens: &[String], order: usize) -> HashMap<&[String], u64> {
    let mut counts = HashMap::new();
    for ngram in tokens.windows(order) {
        *counts.entry(ngram).or_default() += 1;
    }
    counts
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
    }

    /// Sentence BLEU, 0 to 100: exponential smoothing, orders that the text is too short for left out.
    pub fn sentence(&self) -> f64 {
        self.sacre(true)
    }

    /// Corpus BLEU, 0 to 100: exponential smoothing, all four orders.
    pub fn corpus(&self) -> f64 {
        self.sacre(false)
    }

    fn sacre(&self, effective_order: bool) -> f64 {
        if self.matches.iter().all(|n| *n == 0) {
            return 0.0;
        }
        let (mut log_sum, mut orders, mut halving) = (0.0, 0, 1.0);
        for (matches, total) in self.matches.iter().zip(self.totals) {
            if total == 0 {
                break;
            }
            orders += 1;
            let matches = if *matches == 0 {
                halving *= 2.0;
                1.0 / halving
            } else {
                *matches as f64
            };
            log_sum += (100.0 * matches / total as f64).ln();
        }
        if orders < ORDER && !effective_order {
            return 0.0;
        }
        self.brevity_penalty() * (log_sum / f64::from(orders as u32)).exp()
    }

    /// BLEU from 0 to 1 without smoothing, as `evaluate` computes it; `None` where it raises.
    pub fn hf(&self) -> Option<f64> {
        if self.explanation_tokens == 0 || self.reference_tokens == 0 {
            return None;
        }
        if self.matches.contains(&0) {
            return Some(0.0);
        }
        let logs = self
            .matches
            .iter()
            .zip(self.totals)
            .map(|(m, t)| (*m as f64 / t as f64).ln());
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

/// What Python takes for white space: Unicode's, and four control characters.
fn is_space(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{1c}'..='\u{1f}')
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
        assert_eq!(
            sacre_counts("one two three four", &references).reference_tokens,
            5
        );
        assert_eq!(
            hf_counts("one two three four", &references).reference_tokens,
            1
        );
        assert_eq!(
            sacre_counts("one two three", &references).reference_tokens,
            1
        );
    }

    fn check(text: &str, expected: &str) {
        assert_eq!(tokens_13a(text).join(" "), expected);
    }
}
