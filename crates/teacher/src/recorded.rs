//! The recorded teacher: candidates that stand in a file, put into the form of a live answer.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use serde_json::Value;
use stillhouse_core::data::{Candidate, Dataset, text_at};
use stillhouse_core::random::Random;
use stillhouse_core::record::{Example, Outcome, Rationale};
use stillhouse_core::{Error, Result, jsonl};

use crate::{RecordedFields, TeacherOptions};

/// What the stage found.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The rationales, in the order of the examples.
    pub rationales: Vec<Rationale>,
    /// Candidates of examples that the data do not hold.
    pub n_unknown: usize,
    /// Examples without any candidate.
    pub bare: Vec<String>,
}

/// Reads candidates from a file of their own.
pub fn read_candidates(
    path: &Path,
    fields: &RecordedFields,
    dataset: &Dataset,
) -> Result<Vec<Candidate>> {
    let mut candidates = Vec::new();
    jsonl::read_each(path, |line, record: Value| {
        let text = |pointer: &str| {
            text_at(&record, pointer)
                .map_err(|what| Error::record(path, line, format!("{what}; see teacher.fields")))
        };
        let label = dataset.answer(&text(&fields.label)?).ok();
        candidates.push(Candidate {
            example: text(&fields.id)?,
            label,
            text: text(&fields.text)?,
        });
        Ok(())
    })?;
    Ok(candidates)
}

/// Shuffles each example's candidates by the seed and gives them the form of live answers.
///
/// The order in which a data set lists its candidates may tell what they are; after the shuffle
/// it tells nothing.
pub fn from_candidates(
    examples: &[Example],
    candidates: Vec<Candidate>,
    source: &str,
    options: &TeacherOptions,
    seed: u64,
) -> Found {
    let mut by_example: HashMap<&str, Vec<Candidate>> =
        examples.iter().map(|e| (e.id.as_str(), vec![])).collect();
    let mut n_unknown = 0;
    for candidate in candidates {
        match by_example.get_mut(candidate.example.as_str()) {
            Some(list) => list.push(candidate),
            None => n_unknown += 1,
        }
    }
    let mut found = Found {
        rationales: vec![],
        n_unknown,
        bare: vec![],
    };
    for example in examples {
        let mut list = by_example.remove(example.id.as_str()).unwrap_or_default();
        Random::new(seed, &format!("candidates of {}", example.id)).shuffle(&mut list);
        list.truncate(options.samples.unwrap_or(usize::MAX));
        if list.is_empty() {
            found.bare.push(example.id.clone());
        }
        found
            .rationales
            .extend(
                list.into_iter()
                    .enumerate()
                    .map(|(number, candidate)| Rationale {
                        id: format!("{}/{number}", example.id),
                        example: candidate.example,
                        outcome: outcome(&candidate.text, candidate.label.as_deref()),
                        label: candidate.label,
                        text: candidate.text,
                        label_was_shown: options.label_was_shown,
                        source: source.to_owned(),
                        prompt: None,
                        usage: None,
                    }),
            );
    }
    found
}

fn outcome(text: &str, label: Option<&str>) -> Outcome {
    match label {
        _ if text.trim().is_empty() => Outcome::Empty,
        Some(_) => Outcome::Ok,
        None => Outcome::Unparsable,
    }
}

/// Counts outcomes for the manifest.
impl Found {
    /// Rationales by how they ended.
    pub fn outcomes(&self) -> BTreeMap<Outcome, usize> {
        let mut counts = BTreeMap::new();
        for rationale in &self.rationales {
            *counts.entry(rationale.outcome).or_default() += 1;
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use stillhouse_core::data::Fields;
    use stillhouse_core::record::Split;

    use super::*;

    fn example(id: &str) -> Example {
        let (claim, label) = ("c".into(), "yes".into());
        Example {
            id: id.into(),
            claim,
            evidence: vec![],
            notes: vec![],
            label,
            strata: BTreeMap::new(),
            split: Split::Train,
        }
    }

    fn candidate(example: &str, text: &str) -> Candidate {
        Candidate {
            example: example.into(),
            label: Some("yes".into()),
            text: text.into(),
        }
    }

    #[test]
    fn candidates_are_shuffled_by_the_seed_and_none_is_lost() {
        let examples: Vec<Example> = (0..40).map(|n| example(&n.to_string())).collect();
        let recorded = |n: &Example| ["one", "two", "three"].map(|text| candidate(&n.id, text));
        let candidates: Vec<Candidate> = examples.iter().flat_map(recorded).collect();
        let ask = |seed| {
            from_candidates(
                &examples,
                candidates.clone(),
                "file",
                &TeacherOptions::default(),
                seed,
            )
        };
        let found = ask(7);
        assert_eq!(found, ask(7));
        assert_ne!(found, ask(8));
        assert_eq!(found.rationales.len(), 120);
        let first = found
            .rationales
            .iter()
            .filter(|r| r.id.ends_with("/0") && r.text == "one")
            .count();
        assert!((5..25).contains(&first), "{first} of 40 stayed first");
    }

    #[test]
    fn a_line_without_its_fields_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("explanations.jsonl");
        stillhouse_core::fs::write(&path, "{\"id\": 7, \"label\": \"yes\"}\n").unwrap();
        let dataset = Dataset {
            name: "test".into(),
            fields: Fields {
                id: "/id".into(),
                claim: "/claim".into(),
                label: "/label".into(),
                ..Fields::default()
            },
            labels: BTreeMap::from([("yes".into(), vec![]), ("no".into(), vec![])]),
            ..Dataset::default()
        };
        let error = read_candidates(&path, &RecordedFields::default(), &dataset).unwrap_err();
        let expected = "explanations.jsonl:1: `/text` is missing; see teacher.fields";
        assert!(error.to_string().contains(expected), "{error}");
    }

    #[test]
    fn what_does_not_fit_is_counted() {
        let candidates = vec![
            candidate("a", " "),
            candidate("z", "text"),
            Candidate {
                label: None,
                ..candidate("a", "text")
            },
        ];
        let found = from_candidates(
            &[example("a"), example("b")],
            candidates,
            "file",
            &TeacherOptions::default(),
            7,
        );
        assert_eq!(found.n_unknown, 1);
        assert_eq!(found.bare, ["b"]);
        assert_eq!(
            found.outcomes(),
            BTreeMap::from([(Outcome::Empty, 1), (Outcome::Unparsable, 1)])
        );
    }
}
