//! The recorded teacher: candidates that stand in a file, put into the form of a live answer.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use serde_json::Value;
use stillhouse_core::Result;
use stillhouse_core::data::{Candidate, Dataset, text_at};
use stillhouse_core::random::Random;
use stillhouse_core::record::{Example, Outcome, Rationale};
use stillhouse_core::table::{self, Format, TableOptions};

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

/// Reads candidates from a table of their own: JSONL, JSON, CSV, TSV or Parquet, as its name says;
/// of any other name, JSONL.
pub fn read_candidates(
    path: &Path,
    fields: &RecordedFields,
    dataset: &Dataset,
) -> Result<Vec<Candidate>> {
    let table = TableOptions {
        format: Some(Format::of(path).unwrap_or(Format::Jsonl)),
        ..TableOptions::default()
    };
    let mut candidates = Vec::new();
    table::read_each(path, &table, |place, row| {
        let record = Value::Object(row);
        let text = |field: &str| {
            text_at(&record, field)
                .map_err(|what| place.error(format!("{what}; see teacher.fields")))
        };
        let whole = text(&fields.text)?;
        let (label, text_of) = if fields.label.is_empty() {
            dataset.stated(&whole)
        } else {
            (dataset.answer(&text(&fields.label)?).ok(), whole)
        };
        candidates.push(Candidate {
            example: text(&fields.id)?,
            label,
            text: text_of,
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
    use stillhouse_core::data::{AnswerKind, AnswerOptions, Fields};
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
    fn a_table_of_any_form_is_read_and_an_answer_may_stand_in_its_text() {
        let dataset = Dataset {
            answer: AnswerOptions {
                kind: AnswerKind::Number,
                ..AnswerOptions::default()
            },
            ..Dataset::default()
        };
        let check = |name: &str, contents: &str, label: &str| {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join(name);
            stillhouse_core::fs::write(&path, contents).unwrap();
            let fields = RecordedFields {
                id: "nr".into(),
                label: label.into(),
                text: "why".into(),
            };
            let found = read_candidates(&path, &fields, &dataset).unwrap();
            let shown = found.iter().map(|c| {
                let label = c.label.as_deref().unwrap_or("none");
                format!("{} {label} {}", c.example, c.text)
            });
            shown.collect::<Vec<_>>().join(" | ")
        };
        let csv = "nr,why\n7,3 + 4 = 7. The answer is 7.\n8,unclear\n";
        assert_eq!(check("a.csv", csv, ""), "7 7 3 + 4 = 7. | 8 none unclear");
        assert_eq!(check("a.tsv", "nr\tn\twhy\n7\t7.0\tso\n", "n"), "7 7 so");
        let json = r#"[{"nr": 7, "why": "so", "n": 5}]"#;
        assert_eq!(check("a.json", json, "/n"), "7 5 so");
        let jsonl = r#"{"nr": 7, "why": "so", "n": "five"}"#;
        assert_eq!(check("answers.log", jsonl, "n"), "7 none so");
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
