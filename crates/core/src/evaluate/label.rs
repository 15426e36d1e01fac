//! Label accuracy and macro-F1.
//!
//! An answer without a label that could be read counts as wrong, and so does a label outside the
//! gold labels; both are also counted apart, in [`Labels`].

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::column::{Aggregate, Column, Statistic};
use super::signature::Signature;

/// Share of right labels.
pub(super) const ACCURACY: [Column; 1] = [Column {
    name: "accuracy",
    title: "Label accuracy (0 to 1)",
    shown: Some("correct"),
    aggregate: Aggregate::Mean,
}];

/// F1 a label, averaged over the labels.
pub(super) const MACRO_F1: [Column; 1] = [Column {
    name: "macro_f1",
    title: "Label F1, mean over labels (0 to 1)",
    shown: None,
    aggregate: Aggregate::MacroF1,
}];

pub(super) fn signature(column: &str) -> Signature {
    let over = if column == "macro_f1" {
        "gold_labels"
    } else {
        "mean"
    };
    Signature::new(column)
        .with("over", over)
        .with("no_label", "wrong")
}

/// The place of the gold label and of the predicted one in a list of names ([`Names`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    pub(super) gold: usize,
    pub(super) predicted: Option<usize>,
}

impl Pair {
    /// Whether the labels are the same.
    pub fn is_correct(&self) -> bool {
        self.predicted == Some(self.gold)
    }
}

/// Label names, in alphabetical order.
#[derive(Clone, Debug, Default)]
pub struct Names(Vec<String>);

impl Names {
    /// The names of a gold set.
    pub fn new<'a>(gold: impl IntoIterator<Item = &'a str>) -> Self {
        let names: BTreeSet<&str> = gold.into_iter().collect();
        Self(names.into_iter().map(str::to_owned).collect())
    }

    /// A pair of labels; a predicted label that is no gold label is like none at all.
    pub fn pair(&self, gold: &str, predicted: Option<&str>) -> Option<Pair> {
        let place = |name: &str| self.0.iter().position(|known| known == name);
        Some(Pair {
            gold: place(gold)?,
            predicted: predicted.and_then(place),
        })
    }
}

/// The statistic of one example.
pub(super) fn measure(names: &Names, gold: &str, predicted: Option<&str>) -> Option<Statistic> {
    names.pair(gold, predicted).map(Statistic::Label)
}

/// Counts of one label.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    gold: usize,
    predicted: usize,
    correct: usize,
}

impl Tally {
    /// 2 x correct / (gold + predicted), which is the harmonic mean of precision and recall.
    fn f1(self) -> f64 {
        2.0 * self.correct as f64 / (self.gold + self.predicted) as f64
    }
}

fn tally<'a>(pairs: impl Iterator<Item = &'a Pair>) -> Vec<Tally> {
    let mut tallies: Vec<Tally> = Vec::new();
    for pair in pairs {
        let most = pair.predicted.unwrap_or(0).max(pair.gold);
        if tallies.len() <= most {
            tallies.resize(most + 1, Tally::default());
        }
        tallies[pair.gold].gold += 1;
        if let Some(predicted) = pair.predicted {
            tallies[predicted].predicted += 1;
            tallies[predicted].correct += usize::from(pair.is_correct());
        }
    }
    tallies
}

/// F1 a label, averaged over the labels that are gold in these pairs; `None` without pairs.
pub fn macro_f1<'a>(pairs: impl Iterator<Item = &'a Pair>) -> Option<f64> {
    let tallies = tally(pairs);
    let gold: Vec<f64> = tallies
        .iter()
        .filter(|t| t.gold > 0)
        .map(|t| t.f1())
        .collect();
    (!gold.is_empty()).then(|| gold.iter().sum::<f64>() / gold.len() as f64)
}

/// How a system's labels stand against the gold labels.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Labels {
    /// Each gold label by name.
    pub labels: BTreeMap<String, LabelScore>,
    /// Gold label, then what was predicted instead or rightly, then how often; `null` stands for
    /// no label.
    pub confusion: BTreeMap<String, BTreeMap<String, usize>>,
    /// Answers in which no label could be read; they count as wrong.
    pub no_label: usize,
    /// Answers with a label that is no gold label; they count as wrong.
    pub other_label: usize,
}

/// One label's precision, recall and F1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LabelScore {
    /// How often it is the gold label.
    pub gold: usize,
    /// How often it was predicted.
    pub predicted: usize,
    /// How often both.
    pub correct: usize,
    /// Correct of predicted; null if never predicted.
    pub precision: Option<f64>,
    /// Correct of gold.
    pub recall: Option<f64>,
    /// Their harmonic mean; 0 if nothing is correct.
    pub f1: f64,
}

impl Labels {
    /// Counts pairs of gold and predicted labels.
    pub fn of<'a>(pairs: impl IntoIterator<Item = (&'a str, Option<&'a str>)>) -> Self {
        let pairs: Vec<_> = pairs.into_iter().collect();
        let names = Names::new(pairs.iter().map(|(gold, _)| *gold));
        let known: Vec<Pair> = pairs
            .iter()
            .filter_map(|(g, p)| names.pair(g, *p))
            .collect();
        let mut labels = Self::default();
        for (name, tally) in names.0.iter().zip(tally(known.iter())) {
            let share = |n: usize| (n > 0).then(|| tally.correct as f64 / n as f64);
            labels.labels.insert(
                name.clone(),
                LabelScore {
                    gold: tally.gold,
                    predicted: tally.predicted,
                    correct: tally.correct,
                    precision: share(tally.predicted),
                    recall: share(tally.gold),
                    f1: tally.f1(),
                },
            );
        }
        for (gold, predicted) in pairs {
            match predicted {
                None => labels.no_label += 1,
                Some(name) if !names.0.iter().any(|known| known == name) => labels.other_label += 1,
                Some(_) => {}
            }
            let row = labels.confusion.entry(gold.to_owned()).or_default();
            *row.entry(predicted.unwrap_or("null").to_owned())
                .or_default() += 1;
        }
        labels
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_without_a_label_is_wrong_and_counted() {
        check("a/a b/b", "accuracy 1.0000 macro_f1 1.0000 none 0 other 0");
        check("a/a b/-", "accuracy 0.5000 macro_f1 0.5000 none 1 other 0");
        check("a/a b/c", "accuracy 0.5000 macro_f1 0.5000 none 0 other 1");
        check(
            "a/a a/b b/b",
            "accuracy 0.6667 macro_f1 0.6667 none 0 other 0",
        );
        check(
            "a/a a/a a/a b/a",
            "accuracy 0.7500 macro_f1 0.4286 none 0 other 0",
        );
        check("a/- b/-", "accuracy 0.0000 macro_f1 0.0000 none 2 other 0");
    }

    /// Pairs as `gold/predicted`, `-` for no label.
    fn check(pairs: &str, expected: &str) {
        let pairs: Vec<(&str, Option<&str>)> = pairs
            .split(' ')
            .map(|pair| pair.split_once('/').unwrap())
            .map(|(gold, predicted)| (gold, (predicted != "-").then_some(predicted)))
            .collect();
        let names = Names::new(pairs.iter().map(|(gold, _)| *gold));
        let items: Vec<Statistic> = pairs
            .iter()
            .map(|(g, p)| measure(&names, g, *p).unwrap())
            .collect();
        let labels = Labels::of(pairs);
        let found = format!(
            "accuracy {:.4} macro_f1 {:.4} none {} other {}",
            Aggregate::Mean.over(items.iter()).unwrap(),
            Aggregate::MacroF1.over(items.iter()).unwrap(),
            labels.no_label,
            labels.other_label,
        );
        assert_eq!(found, expected);
    }
}
