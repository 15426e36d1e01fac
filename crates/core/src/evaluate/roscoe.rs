//! The unsupervised scores of ROSCOE (Golovneva et al., ICLR 2023) over sentence vectors.
//!
//! h are the explanation's sentences, s those of the source (the claim and the evidence), r those
//! of the reference; a(x -> y) is the best (1 + cosine) / 2 of a sentence x with those of y.
//! CEC is `informativeness_step` with the reference in the place of the source.
//! Three quirks of the published code can be asked for ([`Roscoe::as_published`]).

use serde::{Deserialize, Serialize};

use super::cec::{Similarities, cosine};
use super::column::{Aggregate, Column, Statistic, Unscored};
use super::grounding::nearest_earlier;
use super::signature::Signature;

/// In the order of [`measure`].
pub(super) const COLUMNS: [Column; 11] = [
    column("roscoe_faithfulness_step"),
    column("roscoe_informativeness_step"),
    column("roscoe_informativeness_chain"),
    column("roscoe_repetition_step"),
    column("roscoe_redundancy"),
    column("roscoe_reasoning_alignment"),
    column("roscoe_external_hallucination"),
    column("roscoe_common_sense_error"),
    column("roscoe_missing_step"),
    column("roscoe_semantic_coverage_step"),
    column("roscoe_semantic_coverage_chain"),
];

const fn column(name: &'static str) -> Column {
    Column {
        name,
        title: name,
        shown: Some(name),
        aggregate: Aggregate::Mean,
    }
}

/// How ROSCOE's scores are computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Roscoe {
    /// As the published code has it: the scores of whole texts ("chain") are scaled twice, and so
    /// lie in 0.5 to 1.
    pub as_published: bool,
}

/// Sentence vectors of the three sides, and the vectors of the whole texts.
pub(super) struct Sides<'a> {
    pub(super) explanation: &'a [&'a [f32]],
    pub(super) source: &'a [&'a [f32]],
    pub(super) reference: &'a [&'a [f32]],
    pub(super) whole_explanation: &'a [f32],
    pub(super) whole_source: &'a [f32],
    pub(super) whole_reference: &'a [f32],
}

/// The eleven scores, in the order of [`COLUMNS`].
pub(super) fn measure(sides: &Sides<'_>, options: Roscoe) -> [Result<Statistic, Unscored>; 11] {
    let to = |from: &[&[f32]], onto: &[&[f32]]| -> Option<Vec<f64>> {
        let similarities = Similarities::new(from, onto).ok()?;
        let best = similarities.of_explanation.iter();
        Some(best.map(|(_, cosine)| scaled(*cosine)).collect())
    };
    let (h, s, r) = (sides.explanation, sides.source, sides.reference);
    let (h_to_s, s_to_h) = (to(h, s), to(s, h));
    let (h_to_r, r_to_h) = (to(h, r), to(r, h));
    let r_to_s = to(r, s);
    let chain = |a: &[f32], b: &[f32]| {
        let once = scaled(cosine(a, b));
        if options.as_published {
            scaled(once)
        } else {
            once
        }
    };
    // The published code takes a product of doubts over both sides, sentence by sentence.
    let doubts = |a: &Option<Vec<f64>>, b: &Option<Vec<f64>>| {
        let pairs = a.as_ref()?.iter().zip(b.as_ref()?);
        let most = pairs.map(|(a, b)| (1.0 - a) * (1.0 - b)).reduce(f64::max)?;
        Some(1.0 - most)
    };
    let nearest = nearest_earlier(h).into_iter().reduce(f64::max);
    let both = |a: Option<f64>, b: Option<f64>| Some(f64::midpoint(a?, b?));
    let is_whole = |side: &[&[f32]]| !side.is_empty() && !h.is_empty();
    let values = [
        h_to_s.as_deref().map(mean),
        both(h_to_s.as_deref().map(mean), s_to_h.as_deref().map(mean)),
        is_whole(s).then(|| chain(sides.whole_explanation, sides.whole_source)),
        nearest.map(|cosine| (1.0 - cosine) / 2.0),
        h_to_s.as_deref().map(least),
        h_to_r.as_deref().map(mean),
        doubts(&h_to_r, &h_to_s),
        doubts(&r_to_h, &r_to_s),
        r_to_h.as_deref().map(least),
        r_to_s
            .as_deref()
            .map(mean)
            .zip(h_to_s.as_deref().map(mean))
            .map(|(r, h)| 1.0 - (r - h).abs()),
        is_whole(r).then(|| chain(sides.whole_explanation, sides.whole_reference)),
    ];
    let reason = reason(sides);
    values.map(|value| value.map(Statistic::Value).ok_or_else(|| reason.clone()))
}

fn reason(sides: &Sides<'_>) -> Unscored {
    Unscored::new(if sides.explanation.is_empty() {
        "the explanation has no sentence"
    } else if sides.source.is_empty() {
        "neither claim nor evidence"
    } else if sides.reference.is_empty() {
        "the reference has no sentence"
    } else {
        "repetition needs two sentences in the explanation"
    })
}

fn scaled(cosine: f64) -> f64 {
    f64::midpoint(1.0, cosine)
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn least(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::INFINITY, f64::min)
}

pub(super) fn signature(
    column: &str,
    encoder: &str,
    sentences: &str,
    options: Roscoe,
) -> Signature {
    Signature::new(column)
        .with("encoder", encoder)
        .with("sentences", sentences)
        .with("cosine", "scaled")
        .with(
            "chain",
            if options.as_published {
                "scaled-twice"
            } else {
                "scaled"
            },
        )
        .with("over", "mean")
}

#[cfg(test)]
mod tests {
    use super::*;

    const X: [f32; 2] = [1.0, 0.0];
    const Y: [f32; 2] = [0.0, 1.0];

    fn values(sides: &Sides<'_>, as_published: bool) -> Vec<Option<f64>> {
        let all = measure(sides, Roscoe { as_published });
        let value = |said: Result<Statistic, Unscored>| match said {
            Ok(Statistic::Value(value)) => Some(value),
            _ => None,
        };
        all.into_iter().map(value).collect()
    }

    /// h = (x, y), s = (x), r = (x, x): by hand from the definitions.
    #[test]
    fn the_scores_follow_their_definitions() {
        let sides = Sides {
            explanation: &[&X, &Y],
            source: &[&X],
            reference: &[&X, &X],
            whole_explanation: &X,
            whole_source: &Y,
            whole_reference: &X,
        };
        let expected = [0.75, 0.875, 0.5, 0.5, 0.5, 0.75, 0.75, 1.0, 1.0, 0.75, 1.0];
        assert_eq!(values(&sides, false), expected.map(Some));
        let published = values(&sides, true);
        assert_eq!((published[2], published[10]), (Some(0.75), Some(1.0)));
    }

    #[test]
    fn what_needs_a_side_that_is_missing_is_unscored() {
        let sides = Sides {
            explanation: &[&X],
            source: &[],
            reference: &[&X],
            whole_explanation: &X,
            whole_source: &X,
            whole_reference: &X,
        };
        let found = values(&sides, false);
        assert_eq!((found[0], found[3], found[5]), (None, None, Some(1.0)));
    }
}
