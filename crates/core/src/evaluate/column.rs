//! What every metric has in common: statistics per example first, a value over any set of them
//! after, so that means, corpus scores and bootstraps come from the same numbers.

use std::fmt;

use super::bleu;
use super::chrf;
use super::label;
use super::pair::{PairValue, Triple};

/// One number that is reported for each system.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Its key in `metrics.json`.
    pub name: &'static str,
    /// Its name for people, with its range.
    pub title: &'static str,
    /// Its key in `pairs.jsonl`, where a single pair has such a number.
    pub shown: Option<&'static str>,
    /// How the examples' statistics become one value.
    pub aggregate: Aggregate,
}

/// How the examples' statistics become one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aggregate {
    /// The mean; of a [`Triple`], the mean of F1.
    Mean,
    /// F1 a label, averaged over the gold labels.
    MacroF1,
    /// Corpus BLEU, 0 to 100.
    CorpusBleu,
    /// Corpus BLEU in the 0-1 form.
    CorpusBleuHf,
    /// Corpus chrF, 0 to 100.
    CorpusChrf,
}

/// What is kept of one example for one column.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Statistic {
    /// A number.
    Value(f64),
    /// Precision, recall and F1.
    Triple(Triple),
    /// Gold and predicted label.
    Label(label::Pair),
    /// Counts that are added up over the corpus.
    Bleu(bleu::Counts),
    /// Likewise.
    Chrf(chrf::Counts),
}

/// Why one example has no number: counted by reason, and left out of the value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unscored(String);

impl Unscored {
    /// An example without a number, and why.
    pub fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

impl fmt::Display for Unscored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Statistic {
    /// What `pairs.jsonl` shows of it.
    pub(super) fn shown(&self) -> Option<PairValue> {
        match self {
            Self::Value(value) => Some(PairValue::Number(*value)),
            Self::Triple(triple) => Some(PairValue::Triple(*triple)),
            Self::Label(pair) => Some(PairValue::Truth(pair.is_correct())),
            Self::Bleu(_) | Self::Chrf(_) => None,
        }
    }

    pub(super) fn value(&self) -> f64 {
        match self {
            Self::Value(value) => *value,
            Self::Triple(triple) => triple.f1,
            Self::Label(pair) => f64::from(u8::from(pair.is_correct())),
            Self::Bleu(counts) => counts.sentence(),
            Self::Chrf(counts) => counts.score(),
        }
    }
}

impl Aggregate {
    /// The value over some statistics; `None` where there is none, never NaN.
    pub fn over<'a>(self, statistics: impl Iterator<Item = &'a Statistic>) -> Option<f64> {
        match self {
            Self::Mean => {
                let (sum, n) =
                    statistics.fold((0.0, 0usize), |(sum, n), s| (sum + s.value(), n + 1));
                (n > 0).then(|| sum / n as f64)
            }
            Self::MacroF1 => label::macro_f1(statistics.filter_map(|s| match s {
                Statistic::Label(pair) => Some(pair),
                _ => None,
            })),
            Self::CorpusBleu => counts(statistics).map(|counts| counts.corpus()),
            Self::CorpusBleuHf => counts(statistics).and_then(|counts| counts.hf()),
            Self::CorpusChrf => {
                let mut total: Option<chrf::Counts> = None;
                for statistic in statistics {
                    if let Statistic::Chrf(counts) = statistic {
                        total.get_or_insert_default().add(counts);
                    }
                }
                total.map(|total| total.score())
            }
        }
    }
}

fn counts<'a>(statistics: impl Iterator<Item = &'a Statistic>) -> Option<bleu::Counts> {
    let mut total: Option<bleu::Counts> = None;
    for statistic in statistics {
        if let Statistic::Bleu(counts) = statistic {
            total.get_or_insert_default().add(counts);
        }
    }
    total
}
