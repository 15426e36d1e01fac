//! What else the similarities of sentences say: how much of an explanation rests on the evidence,
//! and how much of it repeats itself.
//!
//! Both take the best plain cosine of each sentence, like [`super::cec`], in another matrix.

use super::cec::{Cosine, Similarities, cosine};
use super::column::{Aggregate, Column, Statistic, Unscored};
use super::signature::Signature;

/// Mean over the explanation's sentences of the best cosine with a sentence of the evidence.
pub(super) const GROUNDING: [Column; 1] = [Column {
    name: "grounding",
    title: "Grounding, explanation to evidence",
    shown: Some("grounding"),
    aggregate: Aggregate::Mean,
}];

/// Mean over the sentences after the first of the best cosine with an earlier one; lower is better.
pub(super) const REPETITION: [Column; 1] = [Column {
    name: "repetition",
    title: "Repetition within the explanation (lower is better)",
    shown: Some("repetition"),
    aggregate: Aggregate::Mean,
}];

/// How well the evidence supports each sentence; the sentences without support are the low ones.
pub(super) fn grounding(
    explanation: &[&[f32]],
    evidence: &[&[f32]],
    mode: Cosine,
) -> Result<(Statistic, Vec<f64>), Unscored> {
    if evidence.is_empty() {
        return Err(Unscored::new("no evidence"));
    }
    let similarities = Similarities::new(explanation, evidence)?;
    let best = similarities
        .of_explanation
        .iter()
        .map(|(_, cosine)| *cosine);
    let value = Statistic::Value(similarities.cec(mode).triple.precision);
    Ok((value, best.collect()))
}

/// How near each sentence comes to one before it.
pub(super) fn repetition(explanation: &[&[f32]], mode: Cosine) -> Result<Statistic, Unscored> {
    let nearest = nearest_earlier(explanation);
    if nearest.is_empty() {
        return Err(Unscored::new(
            "repetition needs two sentences in the explanation",
        ));
    }
    let sum: f64 = nearest.iter().map(|cosine| mode.of(*cosine)).sum();
    Ok(Statistic::Value(sum / nearest.len() as f64))
}

/// For each sentence after the first, the best cosine with an earlier one.
pub(super) fn nearest_earlier(sentences: &[&[f32]]) -> Vec<f64> {
    let later = sentences.iter().enumerate().skip(1);
    later
        .map(|(at, sentence)| {
            let earlier = sentences[..at].iter().map(|other| cosine(sentence, other));
            earlier.fold(f64::NEG_INFINITY, f64::max)
        })
        .collect()
}

pub(super) fn signature(column: &str, encoder: &str, mode: Cosine, sentences: &str) -> Signature {
    Signature::new(column)
        .with("encoder", encoder)
        .with("sentences", sentences)
        .with("cosine", mode.name())
        .with("over", "mean")
}

#[cfg(test)]
mod tests {
    use super::*;

    const X: [f32; 2] = [1.0, 0.0];
    const Y: [f32; 2] = [0.0, 1.0];

    #[test]
    fn only_a_sentence_that_came_before_is_repeated() {
        let value = |sentences: &[&[f32]]| repetition(sentences, Cosine::Raw);
        assert_eq!(value(&[&X, &Y, &X]), Ok(Statistic::Value(0.5)));
        assert_eq!(value(&[&X, &Y]), Ok(Statistic::Value(0.0)));
        assert!(
            value(&[&X])
                .unwrap_err()
                .to_string()
                .contains("two sentences")
        );
    }

    #[test]
    fn a_sentence_without_evidence_stands_out() {
        let (value, each) = grounding(&[&X, &Y], &[&X], Cosine::Raw).unwrap();
        assert_eq!((value, each), (Statistic::Value(0.5), vec![1.0, 0.0]));
        let reason = grounding(&[&X], &[], Cosine::Raw).unwrap_err().to_string();
        assert_eq!(reason, "no evidence");
    }
}
