//! `metrics.json`: each metric of each system with its interval, and the paired differences.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::bootstrap::{Bootstrap, Interval};
use super::column::{Column, Statistic, Unscored};
use super::label::Labels;
use super::signature::Signature;

/// The version of the form of `metrics.json`.
pub const VERSION: u32 = 1;

/// Everything that was measured (`metrics.json`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetricsFile {
    /// The version of this form.
    pub version: u32,
    /// The split that the examples belong to.
    pub split: String,
    /// How many examples there are to explain.
    pub n_examples: usize,
    /// The seed of the resamples and of the baselines.
    pub seed: u64,
    /// How many resamples each interval rests on.
    pub resamples: usize,
    /// The systems: those of the predictions in their order, then the baselines.
    pub systems: Vec<SystemMetrics>,
    /// The student against each other system, metric by metric.
    pub differences: Vec<Difference>,
}

impl MetricsFile {
    /// A system by name.
    pub fn system(&self, name: &str) -> Option<&SystemMetrics> {
        self.systems.iter().find(|system| system.system == name)
    }
}

/// One system's numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SystemMetrics {
    /// Its name.
    pub system: String,
    /// Each metric by name; a system without labels or without explanations lacks those metrics.
    pub metrics: BTreeMap<String, Metric>,
    /// Its labels against the gold labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<Labels>,
    /// How its answers ended, by outcome; `missing` counts examples without an answer.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub outcomes: BTreeMap<String, usize>,
    /// Words an explanation, split at white space, over those that are not empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean_words: Option<f64>,
}

/// One metric of one system.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metric {
    /// The value over the scored examples; null if there are none.
    pub value: Option<f64>,
    /// The 95 % percentile bootstrap interval; null below two scored examples.
    pub interval: Option<Interval>,
    /// How many examples were scored.
    pub n: usize,
    /// How many were not, by reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub unscored: BTreeMap<String, usize>,
    /// What the number means.
    pub signature: Signature,
}

/// One system minus another, over the examples that are scored in both.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Difference {
    /// The metric.
    pub metric: String,
    /// The system whose value stands first.
    pub system: String,
    /// The system whose value is taken off.
    pub minus: String,
    /// The difference; null if no example is scored in both.
    pub value: Option<f64>,
    /// Its 95 % paired bootstrap interval.
    pub interval: Option<Interval>,
    /// Whether 0 lies outside of the interval; null without one.
    pub excludes_zero: Option<bool>,
    /// How many examples are scored in both.
    pub n: usize,
}

/// One column of one system, example by example in the order of the input.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) column: Column,
    pub(super) items: Vec<Result<Statistic, Unscored>>,
}

impl Measured {
    /// Value, interval and counts; `sign` gets the number of scored and unscored examples.
    pub(super) fn metric(
        &self,
        bootstrap: &Bootstrap,
        sign: impl Fn(usize, usize) -> Signature,
    ) -> Metric {
        let scored: Vec<&Statistic> = self
            .items
            .iter()
            .filter_map(|item| item.as_ref().ok())
            .collect();
        let mut unscored = BTreeMap::new();
        for reason in self.items.iter().filter_map(|item| item.as_ref().err()) {
            *unscored.entry(reason.to_string()).or_default() += 1;
        }
        Metric {
            value: self.column.aggregate.over(scored.iter().copied()),
            interval: bootstrap.interval(self.column.aggregate, &scored),
            n: scored.len(),
            signature: sign(scored.len(), self.items.len() - scored.len()),
            unscored,
        }
    }

    /// This column minus that of another system.
    pub(super) fn minus(
        &self,
        other: &Self,
        names: (&str, &str),
        bootstrap: &Bootstrap,
    ) -> Difference {
        let both = self.items.iter().zip(&other.items);
        let (a, b): (Vec<&Statistic>, Vec<&Statistic>) = both
            .filter_map(|(a, b)| Some((a.as_ref().ok()?, b.as_ref().ok()?)))
            .unzip();
        let aggregate = self.column.aggregate;
        let values = (
            aggregate.over(a.iter().copied()),
            aggregate.over(b.iter().copied()),
        );
        let interval = bootstrap.difference(aggregate, &a, &b);
        Difference {
            metric: self.column.name.to_owned(),
            system: names.0.to_owned(),
            minus: names.1.to_owned(),
            value: values.0.zip(values.1).map(|(a, b)| a - b),
            interval,
            excludes_zero: interval.map(|interval| interval.excludes_zero()),
            n: a.len(),
        }
    }
}
