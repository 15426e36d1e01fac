//! Answers of reasoning sets: accuracy with an interval, and how steady the answers are.
//!
//! Answers are compared in the one spelling that `data::answer` gives them, which also holds the
//! vote of self-consistency. Nothing here knows models.

use serde::{Deserialize, Serialize};

use crate::data::answer::vote;
use crate::random::{Random, hash};
use crate::record::Example;

/// The two-sided 95 % quantile of the standard normal distribution.
const Z: f64 = 1.959_963_984_540_054;

/// A share of successes with its 95 % interval (Wilson 1927): within 0 and 1 also for few.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Share {
    /// Of how many.
    pub n: usize,
    /// How many succeeded.
    pub successes: usize,
    /// The share.
    pub value: f64,
    /// The interval's ends.
    pub interval: [f64; 2],
}

impl Share {
    /// `successes` of `n`; none of nothing.
    pub fn of(successes: usize, n: usize) -> Option<Self> {
        if n == 0 {
            return None;
        }
        let (count, value) = (n as f64, successes as f64 / n as f64);
        let centre = value + Z * Z / (2.0 * count);
        let spread = Z * (value * (1.0 - value) / count + Z * Z / (4.0 * count * count)).sqrt();
        let scale = 1.0 + Z * Z / count;
        let ends = [(centre - spread) / scale, (centre + spread) / scale];
        Some(Self {
            n,
            successes,
            value,
            interval: ends.map(|end| end.clamp(0.0, 1.0)),
        })
    }
}

/// How many answers are right.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accuracy {
    /// Right answers; one that could not be read is wrong.
    pub share: Share,
    /// Answers that could not be read.
    pub unreadable: usize,
}

/// The accuracy of answers beside their gold ones.
///
/// # Examples
///
/// ```
/// use stillhouse_core::evaluate::answer::accuracy;
///
/// let found = accuracy([("7", Some("7")), ("8", Some("9")), ("B", None)]).unwrap();
/// assert_eq!((found.share.successes, found.share.n, found.unreadable), (1, 3, 1));
/// ```
pub fn accuracy<'a>(
    pairs: impl IntoIterator<Item = (&'a str, Option<&'a str>)>,
) -> Option<Accuracy> {
    let (mut n, mut right, mut unreadable) = (0, 0, 0);
    for (gold, answer) in pairs {
        n += 1;
        right += usize::from(answer == Some(gold));
        unreadable += usize::from(answer.is_none());
    }
    Some(Accuracy {
        share: Share::of(right, n)?,
        unreadable,
    })
}

/// A change to an example that should not change its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// The evidence stands in another order.
    Reordered,
    /// Full stops at the end, quotes and dashes are written otherwise.
    Repunctuated,
    /// The claim is said in other words, where the data set has them.
    Paraphrased,
}

impl Change {
    /// Its word, in configs and records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Reordered => "reordered",
            Self::Repunctuated => "repunctuated",
            Self::Paraphrased => "paraphrased",
        }
    }
}

/// The example under a change; `None` where nothing can change: a single passage has no order, and
/// without a `paraphrase` nothing is said in other words.
pub fn changed(
    example: &Example,
    change: Change,
    paraphrase: Option<&str>,
    seed: u64,
) -> Option<Example> {
    let mut other = example.clone();
    match change {
        Change::Reordered => {
            let mut order: Vec<usize> = (0..example.evidence.len()).collect();
            let seed = hash(example.id.as_bytes(), seed);
            let mut random = Random::new(seed, "reordered");
            if order
                .iter()
                .all(|i| example.evidence[*i] == example.evidence[0])
            {
                return None;
            }
            while order
                .iter()
                .map(|i| &example.evidence[*i])
                .eq(&example.evidence)
            {
                random.shuffle(&mut order);
            }
            other.evidence = order.iter().map(|i| example.evidence[*i].clone()).collect();
            if !example.notes.is_empty() {
                other.notes = order.iter().map(|i| example.notes[*i].clone()).collect();
            }
        }
        Change::Repunctuated => {
            other.claim = repunctuated(&example.claim);
            for passage in &mut other.evidence {
                *passage = repunctuated(passage);
            }
        }
        Change::Paraphrased => paraphrase?.clone_into(&mut other.claim),
    }
    (other != *example).then_some(other)
}

/// The same words: a full stop at the end comes or goes, quotes and dashes take their other form.
fn repunctuated(text: &str) -> String {
    let other = |c: char| match c {
        '"' => '\u{201d}',
        '\u{201c}' | '\u{201d}' => '"',
        '\'' => '\u{2019}',
        '\u{2018}' | '\u{2019}' => '\'',
        '\u{2013}' | '\u{2014}' => '-',
        c => c,
    };
    let text: String = text.trim_end().chars().map(other).collect();
    match text.strip_suffix('.') {
        Some(rest) => rest.to_owned(),
        None if text.ends_with(char::is_alphanumeric) => text + ".",
        None => text,
    }
}

/// How samples of one example's answers voted, over all examples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Votes {
    /// Examples with at least one answer that could be read.
    pub examples: usize,
    /// Of these, how many have several answers with the most votes; the one that came first wins.
    pub ties: usize,
    /// The mean share of an example's samples that give the winning answer.
    pub agreement: f64,
}

impl Votes {
    /// Counts the votes; each example has its samples' answers in their order.
    pub fn of<'a>(examples: impl IntoIterator<Item = Vec<Option<&'a str>>>) -> Self {
        let mut votes = Self::default();
        for answers in examples {
            let Some(winner) = vote(answers.iter().copied()) else {
                continue;
            };
            let count = |name: &str| answers.iter().filter(|a| **a == Some(name)).count();
            let most = count(winner);
            let is_rival = |other: &str| other != winner && count(other) == most;
            votes.examples += 1;
            votes.ties += usize::from(answers.iter().flatten().any(|other| is_rival(other)));
            votes.agreement += most as f64 / answers.len() as f64;
        }
        votes.agreement /= votes.examples.max(1) as f64;
        votes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::EvidenceNote;

    #[test]
    fn the_interval_is_wilsons() {
        // statsmodels 0.15: proportion_confint(count, n, method="wilson").
        let check = |successes, n, low: f64, high: f64| {
            let [a, b] = Share::of(successes, n).unwrap().interval;
            assert!((a - low).abs() < 1e-9 && (b - high).abs() < 1e-9, "{a} {b}");
        };
        check(0, 10, 0.0, 0.277_532_799_862_889_2);
        check(8, 10, 0.490_162_471_536_641_8, 0.943_317_848_545_624_7);
        check(50, 100, 0.403_831_530_365_995_6, 0.596_168_469_634_004_4);
        assert_eq!(Share::of(0, 0), None);
    }

    fn example(evidence: &[&str]) -> Example {
        Example {
            id: "7".into(),
            claim: "Ice \"melts\".".into(),
            evidence: evidence.iter().map(|e| (*e).to_owned()).collect(),
            notes: evidence
                .iter()
                .map(|e| EvidenceNote {
                    label: Some((*e).to_owned()),
                    ..EvidenceNote::default()
                })
                .collect(),
            ..Example::default()
        }
    }

    #[test]
    fn a_change_keeps_the_words_and_always_changes_something() {
        let before = example(&["a", "b", "c."]);
        for seed in 0..50 {
            let after = changed(&before, Change::Reordered, None, seed).unwrap();
            assert_ne!(after.evidence, before.evidence);
            let labels = after.notes.iter().map(|note| note.label.clone().unwrap());
            assert!(labels.eq(after.evidence.iter().cloned()));
        }
        assert_eq!(changed(&example(&["a"]), Change::Reordered, None, 7), None);
        assert_eq!(changed(&example(&[]), Change::Reordered, None, 7), None);
        assert_eq!(
            changed(&example(&["a", "a"]), Change::Reordered, None, 7),
            None
        );
        let after = changed(&before, Change::Repunctuated, None, 7).unwrap();
        assert_eq!(after.claim, "Ice \u{201d}melts\u{201d}");
        assert_eq!(after.evidence, ["a.", "b.", "c"]);
        let after = changed(&before, Change::Paraphrased, Some("Ice thaws."), 7).unwrap();
        assert_eq!(after.claim, "Ice thaws.");
        assert_eq!(changed(&before, Change::Paraphrased, None, 7), None);
    }

    #[test]
    fn votes_are_counted_with_their_ties() {
        let votes = Votes::of([
            vec![Some("a"), Some("b"), Some("a"), None],
            vec![Some("b"), Some("a"), None, None],
            vec![None, None],
        ]);
        let expected = Votes {
            examples: 2,
            ties: 1,
            agreement: 0.375,
        };
        assert_eq!(votes, expected);
    }
}
