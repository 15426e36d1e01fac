//! ROUGE-1, ROUGE-2, ROUGE-L and ROUGE-Lsum (Lin 2004) as the Python package `rouge_score`
//! computes them.
//!
//! Its words are runs of ASCII letters and digits after lower-casing: other scripts give none,
//! and an accented letter splits a word.

use std::collections::HashMap;

use super::column::{Aggregate, Column, Statistic};
use super::pair::Triple;
use super::porter;
use super::signature::Signature;

/// F1 of each kind; precision and recall stand in `pairs.jsonl`.
pub(super) const COLUMNS: [Column; 4] = [
    column("rouge1", "ROUGE-1, F1 (0 to 1)"),
    column("rouge2", "ROUGE-2, F1 (0 to 1)"),
    column("rougeL", "ROUGE-L, F1 (0 to 1)"),
    column("rougeLsum", "ROUGE-Lsum, F1 (0 to 1)"),
];

const fn column(name: &'static str, title: &'static str) -> Column {
    Column {
        name,
        title,
        shown: Some(name),
        aggregate: Aggregate::Mean,
    }
}

/// One pair's statistics, in the order of [`COLUMNS`].
pub(super) fn measure(explanation: &str, references: &[&str], stemmer: bool) -> [Statistic; 4] {
    let best = best_scores(explanation, references, stemmer);
    [best.rouge1, best.rouge2, best.rouge_l, best.rouge_lsum].map(Statistic::Triple)
}

/// Of several references the one with the highest F1 counts, for each kind by itself.
pub fn best_scores(explanation: &str, references: &[&str], stemmer: bool) -> Scores {
    let each = references
        .iter()
        .map(|reference| scores(explanation, reference, stemmer));
    let best = each.reduce(|a, b| Scores {
        rouge1: better(a.rouge1, b.rouge1),
        rouge2: better(a.rouge2, b.rouge2),
        rouge_l: better(a.rouge_l, b.rouge_l),
        rouge_lsum: better(a.rouge_lsum, b.rouge_lsum),
    });
    best.unwrap_or_default()
}

fn better(a: Triple, b: Triple) -> Triple {
    if b.f1 > a.f1 { b } else { a }
}

pub(super) fn signature(column: &str, stemmer: bool) -> Signature {
    Signature::new(column)
        .with("case", "lc")
        .with("stem", if stemmer { "porter-nltk" } else { "no" })
        .with("value", "f1")
        .with("over", "mean")
        .with("like", "rouge_score-0.1.2")
}

/// The four kinds for one pair.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Scores {
    /// Shared words.
    pub rouge1: Triple,
    /// Shared word pairs.
    pub rouge2: Triple,
    /// Longest common subsequence of the whole texts.
    pub rouge_l: Triple,
    /// Union of the longest common subsequences, line by line.
    pub rouge_lsum: Triple,
}

/// All four kinds for one explanation and one reference; an empty side gives zeros.
pub fn scores(explanation: &str, reference: &str, stemmer: bool) -> Scores {
    let words = tokens(explanation, stemmer);
    let expected = tokens(reference, stemmer);
    let lines = |text: &str| -> Vec<Vec<String>> {
        text.split('\n').map(|line| tokens(line, stemmer)).collect()
    };
    let rouge_l = triple(subsequence(&words, &expected), words.len(), expected.len());
    // Two single lines have one subsequence, and it never counts a word twice.
    let is_one_line = !explanation.contains('\n') && !reference.contains('\n');
    Scores {
        rouge1: of_ngrams(&words, &expected, 1),
        rouge2: of_ngrams(&words, &expected, 2),
        rouge_l,
        rouge_lsum: if is_one_line {
            rouge_l
        } else {
            of_lines(&lines(explanation), &lines(reference))
        },
    }
}

/// Lower-case runs of `a-z0-9`, those longer than three letters stemmed if asked for.
pub fn tokens(text: &str, stemmer: bool) -> Vec<String> {
    text.to_lowercase()
        .split(|c: char| !matches!(c, 'a'..='z' | '0'..='9'))
        .filter(|word| !word.is_empty())
        .map(|word| {
            if stemmer && word.len() > 3 {
                porter::stem(word)
            } else {
                word.to_owned()
            }
        })
        .collect()
}

fn triple(hits: usize, words: usize, expected: usize) -> Triple {
    Triple::new(
        hits as f64 / words.max(1) as f64,
        hits as f64 / expected.max(1) as f64,
    )
}

fn of_ngrams(words: &[String], expected: &[String], order: usize) -> Triple {
    let mut left: HashMap<&[String], usize> = HashMap::new();
    for ngram in expected.windows(order) {
        *left.entry(ngram).or_default() += 1;
    }
    let mut hits = 0;
    for ngram in words.windows(order) {
        if let Some(n) = left.get_mut(ngram).filter(|n| **n > 0) {
            *n -= 1;
            hits += 1;
        }
    }
    let count = |tokens: &[String]| (tokens.len() + 1).saturating_sub(order);
    triple(hits, count(words), count(expected))
}

/// The length of the longest common subsequence.
fn subsequence(a: &[String], b: &[String]) -> usize {
    let mut row = vec![0usize; b.len() + 1];
    for x in a {
        let mut diagonal = 0;
        for (j, y) in b.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = if x == y {
                diagonal + 1
            } else {
                above.max(row[j])
            };
            diagonal = above;
        }
    }
    row[b.len()]
}

/// ROUGE-Lsum: for each line of the reference the union of its common subsequences with the
/// explanation's lines; a word counts at most as often as it stands on either side.
fn of_lines(lines: &[Vec<String>], expected: &[Vec<String>]) -> Triple {
    let mut left = count_words(lines);
    let mut left_expected = count_words(expected);
    let mut hits = 0;
    for line in expected {
        let mut in_union = vec![false; line.len()];
        for other in lines {
            mark_subsequence(line, other, &mut in_union);
        }
        for (word, _) in line.iter().zip(&in_union).filter(|(_, is_in)| **is_in) {
            let (Some(n), Some(m)) = (left.get_mut(word), left_expected.get_mut(word)) else {
                continue;
            };
            if *n > 0 && *m > 0 {
                *n -= 1;
                *m -= 1;
                hits += 1;
            }
        }
    }
    let total = |lines: &[Vec<String>]| lines.iter().map(Vec::len).sum();
    triple(hits, total(lines), total(expected))
}

fn count_words(lines: &[Vec<String>]) -> HashMap<&String, usize> {
    let mut counts = HashMap::new();
    for word in lines.iter().flatten() {
        *counts.entry(word).or_default() += 1;
    }
    counts
}

/// Marks the words of `line` on one longest common subsequence with `other`: the one that a
/// backward walk finds which goes up on a tie, as the reference implementation does.
fn mark_subsequence(line: &[String], other: &[String], marks: &mut [bool]) {
    let width = other.len() + 1;
    let mut table = vec![0u32; (line.len() + 1) * width];
    for (i, x) in line.iter().enumerate() {
        for (j, y) in other.iter().enumerate() {
            table[(i + 1) * width + j + 1] = if x == y {
                table[i * width + j] + 1
            } else {
                table[i * width + j + 1].max(table[(i + 1) * width + j])
            };
        }
    }
    let (mut i, mut j) = (line.len(), other.len());
    while i > 0 && j > 0 {
        if line[i - 1] == other[j - 1] {
            marks[i - 1] = true;
            i -= 1;
            j -= 1;
        } else if table[i * width + j - 1] > table[(i - 1) * width + j] {
            j -= 1;
        } else {
            i -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_runs_of_ascii_letters_and_digits() {
        check("It's 3.5 %, CO2!", false, "it s 3 5 co2");
        check("L'\u{e9}t\u{e9} tr\u{e8}s", false, "l t tr s");
        check("\u{6d77}\u{5e73}\u{9762}", false, "");
        check(
            "floods were flooding the cities",
            true,
            "flood were flood the citi",
        );
    }

    #[test]
    fn line_breaks_count_for_lsum_alone() {
        let scores = scores("a b\nc d", "c d\na b", false);
        assert_eq!((scores.rouge_l.f1, scores.rouge_lsum.f1), (0.5, 1.0));
    }

    fn check(text: &str, stemmer: bool, expected: &str) {
        assert_eq!(tokens(text, stemmer).join(" "), expected);
    }
}
