//! Where sentences that say nearly the same differ in a number or in a negation.

use serde::{Deserialize, Serialize};

use super::link::negators;
use super::number::numbers;

/// Sentences are compared from this cosine on.
pub const ALIGNED: f64 = 0.6;

/// Two aligned sentences and what differs in them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// Place of the explanation's sentence.
    pub explanation: usize,
    /// Place of the reference's sentence.
    pub reference: usize,
    /// How alike they are.
    pub cosine: f64,
    /// Their numbers are not the same.
    pub numbers: bool,
    /// One of them has one negation more.
    pub negation: bool,
}

/// What differs over all aligned sentences.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Differences {
    /// Sentences of the explanation with a partner.
    pub aligned: usize,
    /// Those that differ.
    pub found: Vec<Difference>,
    /// 1 - (number differences + negation differences) / (2 x aligned); none where nothing is aligned.
    pub fidelity: Option<f64>,
}

/// Looks at each sentence of the explanation beside its best partner (place and cosine), where
/// their cosine reaches [`ALIGNED`].
pub fn differences(
    explanation: &[String],
    reference: &[String],
    partners: &[(usize, f64)],
) -> Differences {
    let mut all = Differences::default();
    let mut n = 0;
    for (place, (sentence, &(partner, cosine))) in explanation.iter().zip(partners).enumerate() {
        let Some(other) = reference.get(partner).filter(|_| cosine >= ALIGNED) else {
            continue;
        };
        all.aligned += 1;
        let (of_numbers, of_negation) = (
            values(sentence) != values(other),
            negators(sentence) % 2 != negators(other) % 2,
        );
        n += usize::from(of_numbers) + usize::from(of_negation);
        if of_numbers || of_negation {
            all.found.push(Difference {
                explanation: place,
                reference: partner,
                cosine,
                numbers: of_numbers,
                negation: of_negation,
            });
        }
    }
    all.fidelity = (all.aligned > 0).then(|| 1.0 - n as f64 / (2 * all.aligned) as f64);
    all
}

fn values(sentence: &str) -> Vec<String> {
    let mut values: Vec<String> = numbers(sentence)
        .into_iter()
        .map(|number| number.value)
        .collect();
    values.sort();
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_negations_are_compared_in_aligned_sentences_only() {
        let text = |sentences: &[&str]| {
            sentences
                .iter()
                .map(|s| (*s).to_owned())
                .collect::<Vec<_>>()
        };
        let reference = text(&["It rose by 3 metres.", "They did not leave.", "It rained."]);
        let explanation = text(&["It rose by 4 metres.", "They left.", "It never rained."]);
        let found = differences(&explanation, &reference, &[(0, 0.9), (1, 0.7), (2, 0.5)]);
        assert_eq!(
            (found.aligned, found.found.len(), found.fidelity),
            (2, 2, Some(0.5))
        );
        assert!(found.found[0].numbers && found.found[1].negation);
        assert_eq!(differences(&[], &reference, &[]).fidelity, None);
    }
}
