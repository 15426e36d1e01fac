//! The records of `pairs.jsonl`: what each metric says of one explanation.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::causal::{Comparison, Finding, Retention};

/// One example and one system (`pairs.jsonl`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PairRecord {
    /// The example's id.
    pub id: String,
    /// Who speaks.
    pub system: String,
    /// Each metric's value; null where there is none, with the reason in `unscored`.
    pub metrics: BTreeMap<String, Option<PairValue>>,
    /// Why a metric has no value here.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub unscored: BTreeMap<String, String>,
    /// Which sentence answers which, where sentences were compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alignment: Option<Alignment>,
    /// What became of each causal link, with the sentences that state it, where links were compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub links: Option<Vec<Finding>>,
    /// Which numbers, dates and names of the reference are kept, and which are lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<Retention>,
}

impl PairRecord {
    /// A metric's value as one number: F1 of a triple, 0 or 1 of a truth.
    pub fn number(&self, metric: &str) -> Option<f64> {
        match self.metrics.get(metric)?.as_ref()? {
            PairValue::Truth(truth) => Some(f64::from(u8::from(*truth))),
            PairValue::Number(number) => Some(*number),
            PairValue::Triple(triple) => Some(triple.f1),
            PairValue::Links(links) => links.fidelity,
        }
    }
}

/// A value of one metric for one pair.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum PairValue {
    /// Right or wrong.
    Truth(bool),
    /// A number.
    Number(f64),
    /// Precision, recall and F1.
    Triple(Triple),
    /// How causal links agree.
    Links(Links),
}

/// How the causal links of an explanation agree with those of its reference.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Links {
    /// Links found in the reference.
    pub reference_links: usize,
    /// Links found in the explanation.
    pub prediction_links: usize,
    /// Reference links that the explanation keeps.
    pub covered: usize,
    /// Reference links that it does not mention.
    pub missing: usize,
    /// Its links that the reference has nothing like.
    pub unsupported: usize,
    /// Reference links that it turns round.
    pub reversed: usize,
    /// Reference links that one text states and the other denies.
    pub contradicted: usize,
    /// Reference steps that it jumps over.
    pub skipped: usize,
    /// Covered of all reference links; null without one.
    pub recall: Option<f64>,
    /// Explanation links that cover one, of all its links; null without one.
    pub precision: Option<f64>,
    /// Covered of covered, reversed and contradicted; null where nothing was judged.
    pub fidelity: Option<f64>,
}

/// Precision (what of the explanation is in the reference), recall (what of the reference is in
/// the explanation) and their harmonic mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Triple {
    /// Of the explanation.
    pub precision: f64,
    /// Of the reference.
    pub recall: f64,
    /// The harmonic mean; 0 where either is not above 0.
    pub f1: f64,
}

impl Triple {
    /// Adds F1 to precision and recall.
    pub fn new(precision: f64, recall: f64) -> Self {
        let f1 = if precision > 0.0 && recall > 0.0 {
            2.0 * precision * recall / (precision + recall)
        } else {
            0.0
        };
        Self {
            precision,
            recall,
            f1,
        }
    }
}

impl From<Links> for Comparison {
    /// The counts without what became of each link.
    fn from(links: Links) -> Self {
        Self {
            reference_links: links.reference_links,
            prediction_links: links.prediction_links,
            covered: links.covered,
            missing: links.missing,
            unsupported: links.unsupported,
            reversed: links.reversed,
            contradicted: links.contradicted,
            skipped: links.skipped,
            recall: links.recall,
            precision: links.precision,
            fidelity: links.fidelity,
            ..Self::default()
        }
    }
}

/// Which sentence of the other side comes closest to each sentence.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alignment {
    /// The explanation's sentences; `best` counts in `reference` from 0.
    pub explanation: Vec<Aligned>,
    /// The reference's sentences; `best` counts in `explanation` from 0.
    pub reference: Vec<Aligned>,
}

/// One sentence and its best partner.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Aligned {
    /// The sentence.
    pub sentence: String,
    /// Its best partner's place on the other side; the first one on a tie.
    pub best: usize,
    /// Their plain cosine, whatever the mode of the metric.
    pub cosine: f64,
}
