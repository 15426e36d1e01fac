//! What a student must beat, or at least be shown beside: three systems that learn nothing.

use std::collections::BTreeMap;

use crate::random::Random;
use crate::record::{Example, Outcome, Prediction};

/// Says the evidence again; gives no label.
pub const COPY_EVIDENCE: &str = "copy-evidence";
/// Gives the reference of another claim: the floor that two explanations of different claims reach.
pub const OTHER_REFERENCE: &str = "other-reference";
/// Gives the most frequent label of the training split; explains nothing.
pub const MAJORITY_LABEL: &str = "majority-label";

/// All names that belong to baselines.
pub const NAMES: [&str; 3] = [COPY_EVIDENCE, OTHER_REFERENCE, MAJORITY_LABEL];

/// The evidence sentences of each example, joined by spaces.
pub fn copy_evidence(examples: &[Example]) -> Vec<Prediction> {
    let with_evidence = examples
        .iter()
        .filter(|example| !example.evidence.is_empty());
    with_evidence
        .map(|example| explain(&example.id, COPY_EVIDENCE, example.evidence.join(" ")))
        .collect()
}

/// The main reference of another example, each used once: one random cycle through all examples
/// that have a reference (Sattolo 1986), so that none meets its own. Nothing below two examples.
pub fn other_reference(
    examples: &[Example],
    references: &BTreeMap<String, Vec<String>>,
    seed: u64,
) -> Vec<Prediction> {
    let mut known: Vec<(&str, &String)> = examples
        .iter()
        .filter_map(|example| Some((example.id.as_str(), references.get(&example.id)?.first()?)))
        .collect();
    // The order of the input must not decide who gets whose.
    known.sort_unstable();
    known.dedup();
    if known.len() < 2 {
        return Vec::new();
    }
    let mut random = Random::new(seed, "other-reference");
    let mut order: Vec<usize> = (0..known.len()).collect();
    for last in (1..order.len()).rev() {
        order.swap(last, random.below(last));
    }
    let pairs = known.iter().zip(order);
    pairs
        .map(|((id, _), from)| explain(id, OTHER_REFERENCE, known[from].1.clone()))
        .collect()
}

/// The label that most training examples have; on a tie the first by name.
pub fn majority_label(examples: &[Example], training_labels: &[&str]) -> Vec<Prediction> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for label in training_labels {
        *counts.entry(label).or_default() += 1;
    }
    let Some((label, _)) = counts.iter().rev().max_by_key(|(_, count)| **count) else {
        return Vec::new();
    };
    let predictions = examples.iter().map(|example| Prediction {
        id: example.id.clone(),
        system: MAJORITY_LABEL.to_owned(),
        label: Some((*label).to_owned()),
        explanation: String::new(),
        outcome: Outcome::Ok,
        completion: (*label).to_owned(),
        evidence_dropped: 0,
    });
    predictions.collect()
}

fn explain(id: &str, system: &str, explanation: String) -> Prediction {
    Prediction {
        id: id.to_owned(),
        system: system.to_owned(),
        label: None,
        completion: explanation.clone(),
        explanation,
        outcome: Outcome::Ok,
        evidence_dropped: 0,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::record::Split;

    fn example(id: &str) -> Example {
        Example {
            id: id.to_owned(),
            claim: String::new(),
            evidence: vec!["One.".to_owned(), "Two.".to_owned()],
            notes: vec![],
            label: "supported".to_owned(),
            strata: BTreeMap::new(),
            split: Split::Test,
        }
    }

    proptest! {
        #[test]
        fn nobody_gets_the_own_reference_and_each_is_used_once(n in 2usize..40, seed in 0u64..1000) {
            let examples: Vec<Example> = (0..n).map(|i| example(&i.to_string())).collect();
            let references: BTreeMap<String, Vec<String>> =
                examples.iter().map(|e| (e.id.clone(), vec![e.id.clone()])).collect();
            let given = other_reference(&examples, &references, seed);
            prop_assert!(given.iter().all(|p| p.id != p.explanation));
            let mut used: Vec<&str> = given.iter().map(|p| p.explanation.as_str()).collect();
            used.sort_unstable();
            used.dedup();
            prop_assert_eq!(used.len(), n);
            let reversed: Vec<Example> = examples.iter().rev().cloned().collect();
            prop_assert_eq!(other_reference(&reversed, &references, seed), given);
        }
    }

    #[test]
    fn one_reference_has_no_other() {
        let references = BTreeMap::from([("a".to_owned(), vec!["x".to_owned()])]);
        assert!(other_reference(&[example("a"), example("b")], &references, 1).is_empty());
    }

    #[test]
    fn the_majority_is_that_of_the_training_labels_and_ties_go_to_the_first_name() {
        let label = |labels: &[&str]| {
            majority_label(&[example("a")], labels)
                .first()
                .and_then(|p| p.label.clone())
        };
        assert_eq!(label(&["x", "y", "y"]).as_deref(), Some("y"));
        assert_eq!(label(&["y", "x"]).as_deref(), Some("x"));
        assert_eq!(label(&[]), None);
    }

    #[test]
    fn the_copy_is_the_evidence_joined() {
        assert_eq!(copy_evidence(&[example("a")])[0].explanation, "One. Two.");
    }
}
