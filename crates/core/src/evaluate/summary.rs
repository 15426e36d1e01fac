//! `metrics.json`: each metric of each system with its interval, and the paired differences.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::bootstrap::Interval;
use super::column::{Column, Statistic, Unscored};
use super::compare::Tests;
use super::contrast::Contrast;
use super::label::Labels;
use super::resample::Table;
use super::signature::Signature;

/// The version of the form of `metrics.json`.
///
/// 2 added `bca` and `tests` to differences and `contrast` to systems; files of version 1 are read as they are.
pub const VERSION: u32 = 2;

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
    /// The CEC paper's test of CEC against `BERTScore`, where both were measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contrast: Option<Contrast>,
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
    /// Its bias-corrected and accelerated 95 % bootstrap interval, over the same resamples.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bca: Option<Interval>,
    /// Tests of the difference; none for a metric of the corpus, or below two examples.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tests: Option<Tests>,
}

/// One column of one system, example by example in the order of the input.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) column: Column,
    pub(super) items: Vec<Result<Statistic, Unscored>>,
}

impl Measured {
    /// Value, interval and counts, from the column's table and its resampled values; `sign` gets
    /// the number of scored and unscored examples.
    pub(super) fn metric(
        &self,
        table: &Table,
        resampled: &[Option<f64>],
        sign: impl Fn(&Column, usize, usize) -> Signature,
    ) -> Metric {
        let mut unscored = BTreeMap::new();
        for reason in self.items.iter().filter_map(|item| item.as_ref().err()) {
            *unscored.entry(reason.to_string()).or_default() += 1;
        }
        let n = table.n();
        Metric {
            value: table.value(),
            interval: Interval::of(resampled.iter().copied().flatten().collect()),
            n,
            signature: sign(&self.column, n, self.items.len() - n),
            unscored,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_version_1_is_read() {
        let old = r#"{"version":1,"split":"test","n_examples":2,"seed":7,"resamples":200,
            "systems":[{"system":"student","metrics":{"cec":{"value":0.5,
            "interval":{"low":0.4,"high":0.6},"n":2,"signature":"cec|n:2|stillhouse:0.1.0"}}}],
            "differences":[{"metric":"cec","system":"student","minus":"untrained","value":0.1,
            "interval":{"low":0.05,"high":0.2},"excludes_zero":true,"n":2}]}"#;
        let read: MetricsFile = serde_json::from_str(old).unwrap();
        assert_eq!((read.version, read.differences[0].n), (1, 2));
        assert_eq!(
            (&read.differences[0].bca, &read.differences[0].tests),
            (&None, &None)
        );
    }
}
