//! CEC, coherence of explanations (arXiv 2505.19511, Eq. 2 and Algorithm 1): every sentence is
//! compared with every sentence of the other side, and takes its best cosine.
//!
//! The paper calls the mean over the explanation's sentences coverage; it is a precision (what is
//! said is supported), and the mean over the reference's sentences is the recall.
//! Equation 2 is the mean of both.
//!
//! Cause and effect may be reversed, sentences repeated or reordered, and CEC hardly notices:
//! it measures topic coverage.

use serde::{Deserialize, Serialize};

use super::assignment;
use super::column::{Aggregate, Column, Unscored};
use super::pair::{Aligned, Alignment, Triple};
use super::signature::Signature;

/// The symmetric score, both directions and their harmonic mean; then what keeps a score honest.
pub(super) const COLUMNS: [Column; 6] = [
    column("cec", "CEC (Eq. 2, mean of both directions)"),
    column("cec_precision", "CEC, explanation to reference (precision)"),
    column("cec_recall", "CEC, reference to explanation (recall)"),
    column("cec_f1", "CEC, F1 of both directions"),
    column("cec_assigned", "CEC, each sentence with one partner"),
    column("cec_above_floor", "CEC above the random-pair floor"),
];

const fn column(name: &'static str, title: &'static str) -> Column {
    Column {
        name,
        title,
        shown: Some(name),
        aggregate: Aggregate::Mean,
    }
}

/// What is made of a cosine before it is averaged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cosine {
    /// Nothing: -1 to 1.
    #[default]
    Raw,
    /// Below 0 becomes 0.
    Clipped,
    /// (1 + cosine) / 2: 0 to 1, and every score moves up; never compare it with a raw one.
    Scaled,
}

impl Cosine {
    pub(super) fn of(self, cosine: f64) -> f64 {
        match self {
            Self::Raw => cosine,
            Self::Clipped => cosine.max(0.0),
            Self::Scaled => f64::midpoint(1.0, cosine),
        }
    }

    /// Its name in the config and in signatures.
    pub fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Clipped => "clipped",
            Self::Scaled => "scaled",
        }
    }
}

/// The plain cosine of every pair of sentences, and the best partner of each.
///
/// Other metrics over sentences (grounding, repetition, one-to-one assignment) start from it too.
#[derive(Clone, Debug, PartialEq)]
pub struct Similarities {
    /// `[explanation sentence][reference sentence]`, each in -1..=1.
    pub cosines: Vec<Vec<f64>>,
    /// Best partner and its cosine for each sentence of the explanation.
    pub of_explanation: Vec<(usize, f64)>,
    /// Best partner and its cosine for each sentence of the reference.
    pub of_reference: Vec<(usize, f64)>,
}

impl Similarities {
    /// Compares unit vectors; an empty side has no score, with the reason.
    pub fn new(explanation: &[&[f32]], reference: &[&[f32]]) -> Result<Self, Unscored> {
        if explanation.is_empty() {
            return Err(Unscored::new("the explanation has no sentence"));
        }
        if reference.is_empty() {
            return Err(Unscored::new("the reference has no sentence"));
        }
        let cosines: Vec<Vec<f64>> = explanation
            .iter()
            .map(|a| reference.iter().map(|b| cosine(a, b)).collect())
            .collect();
        Ok(Self::from_cosines(cosines))
    }

    /// Takes a matrix that has at least one row and one column.
    fn from_cosines(cosines: Vec<Vec<f64>>) -> Self {
        let of_explanation = cosines
            .iter()
            .map(|row| best(row.iter().copied()))
            .collect();
        let n_reference = cosines.first().map_or(0, Vec::len);
        let of_reference = (0..n_reference)
            .map(|j| best(cosines.iter().map(|row| row[j])))
            .collect();
        Self {
            cosines,
            of_explanation,
            of_reference,
        }
    }

    /// Precision over the explanation's sentences, recall over the reference's.
    pub fn cec(&self, mode: Cosine) -> Cec {
        let mean = |best: &[(usize, f64)]| {
            best.iter().map(|(_, cosine)| mode.of(*cosine)).sum::<f64>() / best.len() as f64
        };
        let (precision, recall) = (mean(&self.of_explanation), mean(&self.of_reference));
        Cec {
            symmetric: f64::midpoint(precision, recall),
            triple: Triple::new(precision, recall),
        }
    }

    /// Eq. 2 where a sentence may answer one sentence only: the matching with the highest sum, over
    /// the sentences of either side; a sentence without a partner counts 0.
    ///
    /// Unlike the plain score it falls when sentences are repeated.
    pub fn assigned(&self, mode: Cosine) -> f64 {
        let gains = self.cosines.iter();
        let gains: Vec<Vec<f64>> = gains
            .map(|row| row.iter().map(|cosine| mode.of(*cosine)).collect())
            .collect();
        let (sum, _) = assignment::best(&gains);
        let over = |n: usize| sum / n as f64;
        f64::midpoint(
            over(self.of_explanation.len()),
            over(self.of_reference.len()),
        )
    }

    /// The best partners with the sentences that they stand for.
    pub fn alignment(&self, explanation: &[String], reference: &[String]) -> Alignment {
        let aligned = |sentences: &[String], best: &[(usize, f64)]| {
            let pairs = sentences.iter().zip(best);
            pairs
                .map(|(sentence, &(best, cosine))| Aligned {
                    sentence: sentence.clone(),
                    best,
                    cosine,
                })
                .collect()
        };
        Alignment {
            explanation: aligned(explanation, &self.of_explanation),
            reference: aligned(reference, &self.of_reference),
        }
    }
}

/// One pair's scores.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cec {
    /// Eq. 2.
    pub symmetric: f64,
    /// Both directions and F1.
    pub triple: Triple,
}

impl Cec {
    /// How far the score lies above what two explanations of different claims reach, on a scale
    /// where that floor is 0 and 1 stays 1: (score - floor) / (1 - floor).
    pub fn above(self, floor: f64) -> f64 {
        (self.symmetric - floor) / (1.0 - floor)
    }
}

pub(super) fn signature(
    column: &str,
    encoder: &str,
    cosine: Cosine,
    sentences: &str,
    floor: Option<f64>,
) -> Signature {
    let signature = Signature::new(column)
        .with("encoder", encoder)
        .with("sentences", sentences)
        .with("cosine", cosine.name());
    let signature = match floor {
        Some(floor) if column == "cec_above_floor" => {
            signature.with("floor", format!("{floor:.4}"))
        }
        _ => signature,
    };
    signature.with("over", "mean")
}

/// The cosine of two unit vectors, summed in double precision; rounding never leaves -1..=1.
pub(super) fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let product: f64 = a
        .iter()
        .zip(b)
        .map(|(x, y)| f64::from(*x) * f64::from(*y))
        .sum();
    product.clamp(-1.0, 1.0)
}

/// The place and value of the maximum; the first one on a tie.
fn best(values: impl Iterator<Item = f64>) -> (usize, f64) {
    let mut best = (0, f64::NEG_INFINITY);
    for (place, value) in values.enumerate() {
        if value > best.1 {
            best = (place, value);
        }
    }
    best
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "these cosines are exact")]
mod tests {
    use super::*;

    #[test]
    fn repeated_sentences_are_free_and_missing_ones_cost_recall() {
        let (x, y) = ([1.0f32, 0.0], [0.0f32, 1.0]);
        let cec = |a: &[&[f32]], b: &[&[f32]]| Similarities::new(a, b).unwrap().cec(Cosine::Raw);
        let repeated = cec(&[&x, &x, &y], &[&x, &y]);
        assert_eq!((repeated.symmetric, repeated.triple.f1), (1.0, 1.0));
        let missing = cec(&[&x], &[&x, &y]);
        assert_eq!(
            (missing.triple.precision, missing.triple.recall),
            (1.0, 0.5)
        );
        assert_eq!(missing.symmetric, 0.75);
    }

    #[test]
    fn with_one_partner_each_a_repeated_sentence_costs() {
        let (x, y) = ([1.0f32, 0.0], [0.0f32, 1.0]);
        let similarities = Similarities::new(&[&x, &x], &[&x, &y]).unwrap();
        assert_eq!(similarities.cec(Cosine::Raw).symmetric, 0.75);
        assert_eq!(similarities.assigned(Cosine::Raw), 0.5);
    }

    #[test]
    fn modes_change_the_cosine_and_not_the_partners() {
        let (x, away) = ([1.0f32, 0.0], [-1.0f32, 0.0]);
        let opposed = Similarities::new(&[&x], &[&away]).unwrap();
        let score = |mode| opposed.cec(mode).symmetric;
        assert_eq!(
            [
                score(Cosine::Raw),
                score(Cosine::Clipped),
                score(Cosine::Scaled)
            ],
            [-1.0, 0.0, 0.0]
        );
        assert_eq!(opposed.cec(Cosine::Raw).triple.f1, 0.0);
        assert_eq!(opposed.of_explanation, [(0, -1.0)]);
    }

    #[test]
    fn an_empty_side_is_unscored_with_the_reason() {
        let x = [1.0f32, 0.0];
        let reason = |a: &[&[f32]], b: &[&[f32]]| Similarities::new(a, b).unwrap_err().to_string();
        assert_eq!(reason(&[], &[&x]), "the explanation has no sentence");
        assert_eq!(reason(&[&x], &[]), "the reference has no sentence");
    }
}
