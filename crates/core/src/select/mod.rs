//! Keeps a few good rationales of each example: pure functions over records.
//!
//! The rules stand in the order of `MoRSD` (arXiv 2509.23574): accuracy, diversity, and then the
//! number to keep. (Rationale Difficulty ranks between the last two, once a student's scores are
//! at hand; [`Rule::Difficulty`] is its place.) No rule sees a reference or a role.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::random::Random;
use crate::record::{Choice, Example, Outcome, Rationale, Rule, Split};
use crate::text::{jaccard, trigrams};

/// The stage's options: `[select]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SelectOptions {
    /// How candidates are chosen.
    pub method: Method,
}

/// The selectors; each carries its own options.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Method {
    /// Every candidate that has a text.
    All,
    /// `keep` candidates by lot: the baseline that any selector must beat.
    Random {
        /// Candidates to keep for each example.
        keep: usize,
    },
    /// Accuracy (the candidate's label equals the gold label), then diversity (near-duplicates
    /// dropped), then the first `keep` in the order of the candidates.
    Diverse {
        /// Candidates to keep for each example.
        keep: usize,
        /// A candidate is dropped when it shares this much of its word trigrams (Jaccard) with
        /// one kept before it.
        max_similarity: f64,
    },
}

impl Default for Method {
    fn default() -> Self {
        Self::Diverse {
            keep: 3,
            max_similarity: 0.5,
        }
    }
}

/// Decides on every candidate of the training and validation examples, in the order given.
pub fn choose(
    examples: &[Example],
    rationales: &[Rationale],
    options: &SelectOptions,
    seed: u64,
) -> Result<Vec<Choice>> {
    check(&options.method)?;
    let mut by_example: HashMap<&str, Vec<&Rationale>> = HashMap::new();
    for rationale in rationales {
        by_example
            .entry(&rationale.example)
            .or_default()
            .push(rationale);
    }
    let mut choices = Vec::new();
    for example in examples.iter().filter(|e| e.split != Split::Test) {
        let candidates = by_example.remove(example.id.as_str()).unwrap_or_default();
        choices.extend(decide(example, &candidates, &options.method, seed));
    }
    Ok(choices)
}

/// The training and validation examples of which no candidate was kept; they train nothing.
pub fn uncovered<'a>(examples: &'a [Example], choices: &[Choice]) -> Vec<&'a str> {
    let kept: HashSet<&str> = choices
        .iter()
        .filter(|c| c.kept)
        .map(|c| c.example.as_str())
        .collect();
    let open = examples
        .iter()
        .filter(|e| e.split != Split::Test && !kept.contains(e.id.as_str()));
    open.map(|e| e.id.as_str()).collect()
}

fn check(method: &Method) -> Result<()> {
    match method {
        Method::Random { keep: 0 } | Method::Diverse { keep: 0, .. } => Err(Error::option(
            "select.method.keep",
            "is 0, expected at least 1",
        )),
        Method::Diverse { max_similarity, .. }
            if !(0.0..=1.0).contains(max_similarity) || *max_similarity == 0.0 =>
        {
            Err(Error::option(
                "select.method.max_similarity",
                format!("is {max_similarity}, expected more than 0 and at most 1"),
            ))
        }
        _ => Ok(()),
    }
}

fn decide(example: &Example, candidates: &[&Rationale], method: &Method, seed: u64) -> Vec<Choice> {
    let mut verdicts: Vec<Option<(Rule, String)>> =
        candidates.iter().map(|c| unusable(c)).collect();
    let keep = match method {
        Method::All => candidates.len(),
        Method::Random { keep } => *keep,
        Method::Diverse {
            keep,
            max_similarity,
        } => {
            drop_wrong(example, candidates, &mut verdicts);
            drop_alike(candidates, *max_similarity, &mut verdicts);
            *keep
        }
    };

    let mut order: Vec<usize> = (0..candidates.len())
        .filter(|i| verdicts[*i].is_none())
        .collect();
    if matches!(method, Method::Random { .. }) {
        Random::new(seed, &example.id).shuffle(&mut order);
    }
    for index in order.into_iter().skip(keep) {
        verdicts[index] = Some((Rule::Keep, format!("{keep} are kept already")));
    }
    candidates
        .iter()
        .zip(verdicts)
        .map(|(candidate, verdict)| {
            let kept = verdict.is_none();
            let (rule, reason) = verdict.unwrap_or((Rule::Keep, "passed every rule".into()));
            Choice {
                rationale: candidate.id.clone(),
                example: example.id.clone(),
                kept,
                rule,
                reason,
                weight: f64::from(u8::from(kept)),
            }
        })
        .collect()
}

fn unusable(candidate: &Rationale) -> Option<(Rule, String)> {
    let reason = match candidate.outcome {
        Outcome::Ok | Outcome::Unparsable if candidate.text.trim().is_empty() => {
            "its text is empty"
        }
        Outcome::Ok | Outcome::Unparsable => return None,
        Outcome::Empty => "its text is empty",
        Outcome::Refused => "the teacher refused",
        Outcome::Truncated => "the answer was cut off",
        Outcome::WrongLanguage => "the answer is in another language",
        Outcome::Failed => "no answer came",
    };
    Some((Rule::Outcome, reason.into()))
}

fn drop_wrong(
    example: &Example,
    candidates: &[&Rationale],
    verdicts: &mut [Option<(Rule, String)>],
) {
    for (candidate, verdict) in candidates.iter().zip(verdicts) {
        if verdict.is_none() && candidate.label.as_ref() != Some(&example.label) {
            let found = candidate
                .label
                .as_deref()
                .unwrap_or("none of the label set");
            *verdict = Some((
                Rule::Accuracy,
                format!("its label is {found}, the gold label is {}", example.label),
            ));
        }
    }
}

fn drop_alike(
    candidates: &[&Rationale],
    max_similarity: f64,
    verdicts: &mut [Option<(Rule, String)>],
) {
    let mut kept: Vec<(&str, _)> = Vec::new();
    for (candidate, verdict) in candidates.iter().zip(verdicts) {
        if verdict.is_some() {
            continue;
        }
        let grams = trigrams(&candidate.text);
        let close = kept
            .iter()
            .map(|(id, other)| (*id, jaccard(&grams, other)))
            .find(|(_, s)| *s >= max_similarity);
        match close {
            Some((id, similarity)) => {
                let reason = format!("shares {similarity:.2} of its word trigrams with {id}");
                *verdict = Some((Rule::Diversity, reason));
            }
            None => kept.push((&candidate.id, grams)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn example(id: &str, split: Split) -> Example {
        let (claim, label) = ("c".into(), "yes".into());
        Example {
            id: id.into(),
            claim,
            evidence: vec![],
            notes: vec![],
            label,
            strata: BTreeMap::new(),
            split,
        }
    }

    fn rationale(example: &str, number: usize, label: Option<&str>, text: &str) -> Rationale {
        Rationale {
            id: format!("{example}/{number}"),
            example: example.into(),
            label: label.map(Into::into),
            text: text.into(),
            outcome: if text.is_empty() {
                Outcome::Empty
            } else {
                Outcome::Ok
            },
            label_was_shown: false,
            source: "test".into(),
            prompt: None,
            usage: None,
        }
    }

    /// Lines of "label text", one candidate each, against the rules that decide them.
    fn check(method: &Method, candidates: &str, expected: &str) {
        let parse = |(n, line): (usize, &str)| {
            let (label, text) = line.trim().split_once(' ').unwrap();
            rationale(
                "a",
                n,
                (label != "-").then_some(label),
                text.trim_matches('_'),
            )
        };
        let rationales: Vec<Rationale> = candidates.lines().enumerate().map(parse).collect();
        let options = SelectOptions {
            method: method.clone(),
        };
        let choices = choose(&[example("a", Split::Train)], &rationales, &options, 7).unwrap();
        let rules: Vec<String> = choices
            .iter()
            .map(|c| {
                if c.kept {
                    "kept".into()
                } else {
                    format!("{:?}", c.rule)
                }
            })
            .collect();
        assert_eq!(rules.join(" "), expected);
    }

    #[test]
    fn rules_apply_in_order_and_the_first_that_drops_is_named() {
        let diverse = |keep| Method::Diverse {
            keep,
            max_similarity: 0.5,
        };
        let five = "yes ice melts because it is warm\nno the sun went out\nyes ice melts because it is very warm\nyes __\nyes heat breaks the bonds of the crystal";
        check(&diverse(3), five, "kept Accuracy Diversity Outcome kept");
        check(&diverse(1), five, "kept Accuracy Diversity Outcome Keep");
        check(&Method::All, five, "kept kept kept Outcome kept");
        check(
            &diverse(2),
            "- no label at all\nno wrong label here",
            "Accuracy Accuracy",
        );
        // A near-duplicate of a wrong candidate is no near-duplicate of a kept one.
        check(
            &diverse(2),
            "no ice melts because it is warm\nyes ice melts because it is warm",
            "Accuracy kept",
        );
    }

    #[test]
    fn the_test_split_is_never_selected_from_and_bare_examples_are_counted() {
        let examples = [
            example("a", Split::Train),
            example("b", Split::Test),
            example("c", Split::Validation),
        ];
        let rationales = [
            rationale("a", 0, Some("no"), "x"),
            rationale("b", 0, Some("yes"), "y"),
        ];
        let choices = choose(&examples, &rationales, &SelectOptions::default(), 7).unwrap();
        assert_eq!(choices.len(), 1);
        assert_eq!(choices[0].rule, Rule::Accuracy);
        assert_eq!(uncovered(&examples, &choices), ["a", "c"]);
    }

    proptest! {
        #[test]
        fn a_selection_is_a_subset_of_the_right_size(keep in 1usize..5, texts in proptest::collection::vec("[a-c ]{0,12}", 0..9), seed in 0u64..99) {
            let rationales: Vec<Rationale> =
                texts.iter().enumerate().map(|(n, text)| rationale("a", n, Some("yes"), text.trim())).collect();
            for method in [Method::Random { keep }, Method::Diverse { keep, max_similarity: 0.5 }] {
                let options = SelectOptions { method };
                let choices = choose(&[example("a", Split::Train)], &rationales, &options, seed).unwrap();
                prop_assert_eq!(choices.len(), texts.len());
                prop_assert!(choices.iter().filter(|c| c.kept).count() <= keep);
                prop_assert_eq!(&choose(&[example("a", Split::Train)], &rationales, &options, seed).unwrap(), &choices);
            }
        }
    }
}
