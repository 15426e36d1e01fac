//! ROUGE-1, ROUGE-2, ROUGE-L and ROUGE-Lsum (Lin 2004) as the Python package `rouge_score`
//! computes them.
//!
//! Its words are runs of ASCII letters and digits after lower-casing: other scripts give none,
//! and an accented letter splits a word.

use super::column::{Aggregate, Column, Statistic, Unscored};
use super::ngrams::{self, UNKNOWN, Words};
use super::pair::Triple;
use super::signature::Signature;
use super::{lcs, porter};

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
pub(super) fn measure(
    explanation: &str,
    references: &[&str],
    stemmer: bool,
) -> [Result<Statistic, Unscored>; 4] {
    let best = best_scores(explanation, references, stemmer);
    let kinds = [
        Some(best.rouge1),
        Some(best.rouge2),
        best.rouge_l,
        best.rouge_lsum,
    ];
    kinds.map(|kind| {
        kind.map(Statistic::Triple)
            .ok_or_else(|| Unscored::new("both texts are too long for a common subsequence"))
    })
}

/// Of several references the one with the highest F1 counts, for each kind by itself.
pub fn best_scores(explanation: &str, references: &[&str], stemmer: bool) -> Scores {
    let explanation = Lines::new(explanation, stemmer);
    let each = references
        .iter()
        .map(|reference| explanation.against(&Lines::new(reference, stemmer)));
    let best = each.reduce(|a, b| Scores {
        rouge1: better(a.rouge1, b.rouge1),
        rouge2: better(a.rouge2, b.rouge2),
        rouge_l: a.rouge_l.zip(b.rouge_l).map(|(a, b)| better(a, b)),
        rouge_lsum: a.rouge_lsum.zip(b.rouge_lsum).map(|(a, b)| better(a, b)),
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
    /// Longest common subsequence of the whole texts; `None` where both are too long for it.
    pub rouge_l: Option<Triple>,
    /// Union of the longest common subsequences, line by line; likewise.
    pub rouge_lsum: Option<Triple>,
}

/// All four kinds for one explanation and one reference; an empty side gives zeros.
pub fn scores(explanation: &str, reference: &str, stemmer: bool) -> Scores {
    Lines::new(explanation, stemmer).against(&Lines::new(reference, stemmer))
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

/// The words of a text, and where each of its lines ends.
struct Lines {
    words: Vec<String>,
    ends: Vec<usize>,
}

impl Lines {
    fn new(text: &str, stemmer: bool) -> Self {
        let (mut words, mut ends) = (Vec::new(), Vec::new());
        for line in text.split('\n') {
            words.extend(tokens(line, stemmer));
            ends.push(words.len());
        }
        Self { words, ends }
    }

    fn of<'a>(&self, numbers: &'a [u32]) -> Vec<&'a [u32]> {
        let mut start = 0;
        let lines = self.ends.iter().map(|end| {
            let line = &numbers[start..*end];
            start = *end;
            line
        });
        lines.collect()
    }

    fn against(&self, reference: &Self) -> Scores {
        let mut numbers = Words::default();
        let expected: Vec<u32> = reference.words.iter().map(|w| numbers.learn(w)).collect();
        let words: Vec<u32> = self.words.iter().map(|w| numbers.number(w)).collect();

        let matches = ngrams::matches(&words, &[&expected], 2);
        let of_ngrams = |order: usize| {
            let total = |words: &[u32]| ngrams::total(words.len(), order) as usize;
            triple(matches[order - 1] as usize, total(&words), total(&expected))
        };
        let of_length = |hits| triple(hits, words.len(), expected.len());
        let rouge_l = lcs::length(&words, &expected).map(of_length);
        Scores {
            rouge1: of_ngrams(1),
            rouge2: of_ngrams(2),
            rouge_l,
            // Two single lines have one subsequence, and it never counts a word twice.
            rouge_lsum: if self.ends.len() == 1 && reference.ends.len() == 1 {
                rouge_l
            } else {
                let lines = self.of(&words);
                hits_of_lines(&lines, &reference.of(&expected)).map(of_length)
            },
        }
    }
}

/// ROUGE-Lsum: for each line of the reference the union of its common subsequences with the
/// explanation's lines; a word counts at most as often as it stands on either side.
fn hits_of_lines(lines: &[&[u32]], expected: &[&[u32]]) -> Option<usize> {
    let unions = lcs::union(lines, expected)?;
    let n_words = expected.iter().copied().flatten().max();
    let mut left = vec![0u32; n_words.map_or(0, |last| *last as usize + 1)];
    for word in lines.iter().copied().flatten() {
        if *word != UNKNOWN {
            left[*word as usize] += 1;
        }
    }
    let mut hits = 0;
    for (line, marks) in expected.iter().zip(unions) {
        // What stands in the reference cannot be marked more often than it stands there.
        for (word, _) in line.iter().zip(marks).filter(|(_, is_in)| *is_in) {
            let left = &mut left[*word as usize];
            hits += usize::from(*left > 0);
            *left = left.saturating_sub(1);
        }
    }
    Some(hits)
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
        let f1 = |kind: Option<Triple>| kind.map(|triple| triple.f1);
        let found = (f1(scores.rouge_l), f1(scores.rouge_lsum));
        assert_eq!(found, (Some(0.5), Some(1.0)));
    }

    fn check(text: &str, stemmer: bool, expected: &str) {
        assert_eq!(tokens(text, stemmer).join(" "), expected);
    }
}
