//! What `metrics.json` says of a difference's tests.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::evaluate::bootstrap::Interval;
use crate::evaluate::signature::Signature;

/// Two-sided tests of one mean difference, and its size.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tests {
    /// Student's paired t test.
    pub t: TRecord,
    /// Wilcoxon's signed-rank test.
    pub wilcoxon: WilcoxonRecord,
    /// The paired permutation test.
    pub permutation: PermutationRecord,
    /// How large the difference is.
    pub effect: EffectRecord,
    /// The permutation test's p-value, corrected for the number of metrics.
    pub adjusted: AdjustedRecord,
    /// Why a number is null.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub undefined: BTreeMap<String, String>,
    /// What was computed, and how.
    pub signature: Signature,
}

/// Student's paired t test.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TRecord {
    /// Mean difference over its standard error; null where all differences are the same.
    pub t: Option<f64>,
    /// Degrees of freedom.
    pub df: usize,
    /// The p-value; null where all differences are 0.
    pub p: Option<f64>,
    /// The 95 % interval of the mean difference.
    pub interval: Option<Interval>,
}

/// Wilcoxon's signed-rank test; differences of 0 are left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WilcoxonRecord {
    /// The smaller sum of ranks.
    pub w: f64,
    /// The p-value; null where all differences are 0.
    pub p: Option<f64>,
    /// `exact`, `all-signs` or `asymptotic`.
    pub method: String,
}

/// The paired permutation test.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PermutationRecord {
    /// The p-value.
    pub p: f64,
    /// How many choices of signs it rests on, the observed one among them.
    pub choices: usize,
    /// Whether these are all that there are.
    pub exact: bool,
}

/// Effect sizes; null where what stands below the line does not vary.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EffectRecord {
    /// Over the SD of the differences.
    pub d_z: Option<f64>,
    /// Over the mean SD of both systems.
    pub d_av: Option<f64>,
    /// `d_av` with Hedges' correction, n - 1 degrees of freedom.
    pub g_av: Option<f64>,
}

/// A p-value, corrected for its family: the metrics that are tested between the same two systems.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdjustedRecord {
    /// How many metrics the family has.
    pub family: usize,
    /// Holm's: the chance of one false alarm among them.
    pub holm: f64,
    /// Benjamini and Hochberg's: the share of false alarms among the alarms.
    pub bh: f64,
}
