//! One pair at a time: asks each metric that is wanted, and writes down what it says.
//!
//! A new metric is a file with columns, and one arm in [`Measure::pair`] and in
//! [`Measure::signature`].

use std::collections::BTreeMap;

use super::bootstrap::Bootstrap;
use super::cec::{self, Similarities};
use super::column::{Column, Statistic, Unscored};
use super::label::{self, Names};
use super::pair::{Alignment, PairRecord};
use super::signature::Signature;
use super::summary::Measured;
use super::system::System;
use super::vectors::Vectors;
use super::{EvaluateOptions, Input, MetricName, bleu, rouge, split_name};
use crate::record::{Example, Prediction};

/// What is needed to measure any pair.
pub(super) struct Measure<'a> {
    input: &'a Input<'a>,
    options: &'a EvaluateOptions,
    labels: Names,
    vectors: Option<Vectors>,
}

/// One metric's say on one pair: a statistic or a reason for each of its columns.
struct Said {
    statistics: Vec<Result<Statistic, Unscored>>,
    alignment: Option<Alignment>,
}

impl Said {
    fn scored(statistics: impl IntoIterator<Item = Statistic>) -> Self {
        Self {
            statistics: statistics.into_iter().map(Ok).collect(),
            alignment: None,
        }
    }

    fn unscored(metric: MetricName, reason: &Unscored) -> Self {
        let statistics = metric
            .columns()
            .iter()
            .map(|_| Err(reason.clone()))
            .collect();
        Self {
            statistics,
            alignment: None,
        }
    }
}

impl<'a> Measure<'a> {
    pub(super) fn new(
        input: &'a Input<'a>,
        options: &'a EvaluateOptions,
        vectors: Option<Vectors>,
    ) -> Self {
        let labels = Names::new(input.examples.iter().map(|example| example.label.as_str()));
        Self {
            input,
            options,
            labels,
            vectors,
        }
    }

    /// Every column of one system, and a record a pair.
    pub(super) fn system(&self, system: &System<'_>) -> (Vec<Measured>, Vec<PairRecord>) {
        let mut wanted: Vec<MetricName> = self.options.metrics.clone();
        wanted.sort_unstable();
        wanted.dedup();
        wanted.retain(|metric| {
            if metric.is_of_labels() {
                system.labels
            } else {
                system.explains
            }
        });

        let columns = wanted.iter().flat_map(|metric| metric.columns());
        let mut measured: Vec<Measured> = columns
            .map(|column| Measured {
                column: *column,
                items: Vec::new(),
            })
            .collect();
        let mut records = Vec::new();
        for example in self.input.examples {
            let mut record = PairRecord {
                id: example.id.clone(),
                system: system.name.clone(),
                metrics: BTreeMap::new(),
                unscored: BTreeMap::new(),
                alignment: None,
            };
            let mut at = 0;
            for metric in &wanted {
                let said = self.pair(*metric, example, system.prediction(&example.id));
                record.alignment = record.alignment.or(said.alignment);
                for statistic in said.statistics {
                    note(&mut record, &measured[at].column, &statistic);
                    measured[at].items.push(statistic);
                    at += 1;
                }
            }
            records.push(record);
        }
        (measured, records)
    }

    fn pair(&self, metric: MetricName, example: &Example, answer: Option<&Prediction>) -> Said {
        let Some(answer) = answer else {
            return Said::unscored(metric, &Unscored::new("no prediction"));
        };
        if metric.is_of_labels() {
            return match label::measure(&self.labels, &example.label, answer.label.as_deref()) {
                Some(statistic) => Said::scored([statistic]),
                None => Said::unscored(metric, &Unscored::new("no gold label")),
            };
        }
        let references = self.references(example);
        if references.is_empty() {
            return Said::unscored(metric, &Unscored::new("no reference"));
        }
        let text = answer.explanation.as_str();
        match metric {
            MetricName::Accuracy | MetricName::MacroF1 => Said::scored([]),
            MetricName::Bleu => Said {
                statistics: bleu::measure(text, &references).into(),
                alignment: None,
            },
            MetricName::Rouge => {
                Said::scored(rouge::measure(text, &references, self.options.stemmer))
            }
            MetricName::Cec => self.cec(text, &references),
        }
    }

    /// CEC against the reference that it is highest for.
    fn cec(&self, text: &str, references: &[&str]) -> Said {
        let vectors = self
            .vectors
            .as_ref()
            .expect("evaluate embeds before it measures CEC");
        let (sentences, of_text) = vectors.of(text);
        let mut best: Option<(cec::Cec, Alignment)> = None;
        let mut reason = None;
        for reference in references {
            let (expected, of_reference) = vectors.of(reference);
            match Similarities::new(&of_text, &of_reference) {
                Err(unscored) => reason = Some(unscored),
                Ok(similarities) => {
                    let score = similarities.cec(self.options.cosine);
                    if best
                        .as_ref()
                        .is_none_or(|(best, _)| score.symmetric > best.symmetric)
                    {
                        best = Some((score, similarities.alignment(&sentences, &expected)));
                    }
                }
            }
        }
        match (best, reason) {
            (Some((score, alignment)), _) => Said {
                alignment: Some(alignment),
                ..Said::scored(score.statistics())
            },
            (None, Some(reason)) => Said::unscored(MetricName::Cec, &reason),
            (None, None) => Said::unscored(MetricName::Cec, &Unscored::new("no reference")),
        }
    }

    fn references(&self, example: &Example) -> Vec<&str> {
        self.input
            .references
            .get(&example.id)
            .into_iter()
            .flatten()
            .map(String::as_str)
            .collect()
    }

    /// The split of the examples; "mixed" if there are several.
    pub(super) fn split(&self) -> &'static str {
        let mut splits = self.input.examples.iter().map(|example| example.split);
        match splits.next() {
            Some(first) if splits.all(|split| split == first) => split_name(first),
            Some(_) => "mixed",
            None => "none",
        }
    }

    /// What a column's number means, for so many scored and unscored examples.
    pub(super) fn signature(
        &self,
        column: &Column,
        n: usize,
        unscored: usize,
        bootstrap: &Bootstrap,
    ) -> Signature {
        let metric = MetricName::ALL
            .into_iter()
            .find(|metric| {
                metric
                    .columns()
                    .iter()
                    .any(|known| known.name == column.name)
            })
            .expect("every column belongs to a metric");
        let own = match metric {
            MetricName::Accuracy | MetricName::MacroF1 => label::signature(column.name),
            MetricName::Bleu => bleu::signature(column.name),
            MetricName::Rouge => rouge::signature(column.name, self.options.stemmer),
            MetricName::Cec => {
                let vectors = self.vectors.as_ref();
                let encoder = vectors.map_or("none", |vectors| vectors.encoder.as_str());
                let splitter = vectors.map_or("none", |vectors| vectors.splitter.as_str());
                cec::signature(column.name, encoder, self.options.cosine, splitter)
            }
        };
        let mut first = vec![("split", self.split().to_owned()), ("n", n.to_string())];
        if unscored > 0 {
            first.push(("unscored", unscored.to_string()));
        }
        if !metric.is_of_labels() {
            first.push(("refs", self.reference_counts()));
        }
        own.after(&first)
            .with("interval", "percentile-95")
            .with("resamples", bootstrap.resamples)
            .with("seed", bootstrap.seed)
    }

    /// How many references an example has: "1", or "1-3".
    fn reference_counts(&self) -> String {
        let counts = || {
            self.input
                .examples
                .iter()
                .map(|e| self.references(e).len())
                .filter(|n| *n > 0)
        };
        match (counts().min(), counts().max()) {
            (Some(least), Some(most)) if least < most => format!("{least}-{most}"),
            (Some(least), _) => least.to_string(),
            _ => "0".to_owned(),
        }
    }
}

/// Puts a statistic into a pair's record, or the reason for which there is none.
fn note(record: &mut PairRecord, column: &Column, statistic: &Result<Statistic, Unscored>) {
    let Some(key) = column.shown else { return };
    match statistic {
        Ok(statistic) => {
            record.metrics.insert(key.to_owned(), statistic.shown());
        }
        Err(reason) => {
            record.metrics.insert(key.to_owned(), None);
            record.unscored.insert(key.to_owned(), reason.to_string());
        }
    }
}
