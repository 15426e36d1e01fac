//! Reads a data set, checks it, and fixes its split.
//!
//! Knows the dataset file and the records; does not know prompts' tokens, teachers or students.

mod dataset;
mod split;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use dataset::{CandidateFields, Dataset, Fields, text_at};
pub use split::SplitOptions;

use crate::error::{Error, Result};
use crate::record::{Example, Reference, Split};
use crate::{fs, jsonl};

/// The stage's options: `[data]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DataOptions {
    /// The dataset file: what the fields mean, the labels, the prompt.
    pub dataset: PathBuf,
    /// The records, one JSON object a line.
    pub path: PathBuf,
    /// How the examples are split into train, validation and test.
    pub split: SplitOptions,
    /// Put the gold label into the student's prompt (as the Causal Distillation paper does); it
    /// then only explains, and label metrics mean nothing.
    pub show_label: bool,
    /// Leave out records that cannot be used, and count them, instead of stopping at the first.
    pub skip_bad: bool,
}

/// One recorded candidate, as the data set holds it and without its role (`candidates.jsonl`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Candidate {
    /// The example's id.
    pub example: String,
    /// The label that it argues for; none where it is not in the label set.
    pub label: Option<String>,
    /// The justification.
    pub text: String,
}

/// What the stage found (`data.json`).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Summary {
    /// The data set's name.
    pub name: String,
    /// Its source and licence, as the dataset file says.
    pub source: String,
    /// SHA-256 of the records as they were read.
    pub sha256: String,
    /// The label set.
    pub labels: Vec<String>,
    /// Examples by split and label.
    pub counts: BTreeMap<Split, BTreeMap<String, usize>>,
    /// Groups of near-duplicate claims; each is kept in one split.
    pub near_duplicate_groups: usize,
    /// Records left out, by reason; empty unless `data.skip_bad`.
    pub skipped: BTreeMap<String, usize>,
    /// The first records left out: "line 731: ...".
    pub skipped_first: Vec<String>,
}

/// Everything that the stage hands on.
#[derive(Clone, Debug, PartialEq)]
pub struct Data {
    /// The examples with their split, in the order of the source.
    pub examples: Vec<Example>,
    /// What the data set itself knows about good explanations.
    pub references: Vec<Reference>,
    /// Candidates that the records hold, in the order of the source.
    pub candidates: Vec<Candidate>,
    /// Counts.
    pub summary: Summary,
}

/// Reads the records at `options.path` as `dataset` describes them.
pub fn load(dataset: &Dataset, options: &DataOptions, seed: u64) -> Result<Data> {
    check_shares(&options.split)?;
    let path = &options.path;
    let mut data = Data {
        examples: vec![],
        references: vec![],
        candidates: vec![],
        summary: Summary::default(),
    };
    let mut lines: HashMap<String, usize> = HashMap::new();
    jsonl::read_each(path, |line, record: Value| {
        let parsed = parse(dataset, &record).and_then(|parsed| {
            let id = parsed.0.id.clone();
            match lines.insert(id.clone(), line) {
                Some(first) => Err(Bad::new(
                    "duplicate id",
                    format!("id `{id}` was already used in line {first}; ids must be unique"),
                )),
                None => Ok(parsed),
            }
        });
        match parsed {
            Ok((example, reference, candidates)) => {
                data.examples.push(example);
                data.references.extend(reference);
                data.candidates.extend(candidates);
            }
            Err(bad) if options.skip_bad => {
                *data.summary.skipped.entry(bad.reason.into()).or_default() += 1;
                if data.summary.skipped_first.len() < 20 {
                    data.summary
                        .skipped_first
                        .push(format!("line {line}: {}", bad.what));
                }
            }
            Err(bad) => {
                let what = format!(
                    "{} (set data.skip_bad = true to leave such records out)",
                    bad.what
                );
                return Err(Error::record(path, line, what));
            }
        }
        Ok(())
    })?;
    if data.examples.is_empty() {
        return Err(Error::file(path, "holds no usable record"));
    }

    let summary = &mut data.summary;
    summary.near_duplicate_groups = split::assign(&mut data.examples, &options.split, seed);
    summary.name.clone_from(&dataset.name);
    summary.source.clone_from(&dataset.source);
    summary.labels = dataset.labels.keys().cloned().collect();
    summary.sha256 = fs::sha256(path)?;
    for example in &data.examples {
        *summary
            .counts
            .entry(example.split)
            .or_default()
            .entry(example.label.clone())
            .or_default() += 1;
    }
    for (split, name) in [
        (Split::Train, "train"),
        (Split::Validation, "validation"),
        (Split::Test, "test"),
    ] {
        if !summary.counts.contains_key(&split) {
            let what = format!(
                "{} examples leave none for the {name} split; give more examples or change data.split",
                data.examples.len()
            );
            return Err(Error::file(path, what));
        }
    }
    Ok(data)
}

fn check_shares(split: &SplitOptions) -> Result<()> {
    for (key, share) in [("validation", split.validation), ("test", split.test)] {
        if !(share > 0.0 && share < 1.0) {
            return Err(Error::option(
                format!("data.split.{key}"),
                format!("is {share}, expected a share between 0 and 1"),
            ));
        }
    }
    if split.validation + split.test >= 1.0 {
        return Err(Error::option(
            "data.split",
            "validation and test leave nothing to train on",
        ));
    }
    Ok(())
}

/// A record that cannot be used: a reason to count by, and the whole story.
struct Bad {
    reason: &'static str,
    what: String,
}

impl Bad {
    fn new(reason: &'static str, what: String) -> Self {
        Self { reason, what }
    }
}

fn parse(
    dataset: &Dataset,
    record: &Value,
) -> Result<(Example, Option<Reference>, Vec<Candidate>), Bad> {
    let field = |what| Bad::new("missing or wrong field", what);
    let unknown = |what| Bad::new("unknown label", what);
    let fields = &dataset.fields;

    let id = dataset::text_at(record, &fields.id).map_err(field)?;
    let claim = dataset::text_at(record, &fields.claim)
        .map_err(field)?
        .trim()
        .to_owned();
    if id.trim().is_empty() || claim.is_empty() {
        return Err(Bad::new(
            "empty id or claim",
            "the id or the claim is empty".into(),
        ));
    }
    let label = dataset::text_at(record, &fields.label).map_err(field)?;
    let label = dataset.label(&label).map_err(unknown)?.to_owned();
    let mut evidence = vec![];
    if let Some(pointer) = &fields.evidence {
        evidence = dataset::texts_at(record, pointer).map_err(field)?;
        evidence.retain(|text| !text.trim().is_empty());
        if evidence.is_empty() {
            return Err(Bad::new(
                "no evidence",
                format!("example `{id}` has no evidence at `{pointer}`"),
            ));
        }
    }
    let strata = fields
        .strata
        .iter()
        .map(|(name, pointer)| Ok((name.clone(), dataset::text_at(record, pointer)?)));
    let strata = strata.collect::<Result<_, String>>().map_err(field)?;

    let mut reference = None;
    let mut candidates = vec![];
    if let Some(pointers) = &dataset.candidates {
        let mut known = Reference {
            id: id.clone(),
            explanations: vec![],
            roles: BTreeMap::new(),
        };
        for candidate in dataset::list_at(record, &pointers.list).map_err(field)? {
            let text = dataset::text_at(candidate, &pointers.text).map_err(field)?;
            let label = dataset::text_at(candidate, &pointers.label).map_err(field)?;
            let label = dataset.label(&label).ok().map(str::to_owned);
            if let Some(pointer) = &pointers.role {
                let role = dataset::text_at(candidate, pointer).map_err(field)?;
                if Some(&role) == pointers.reference.as_ref() {
                    known.explanations.push(text.clone());
                }
                known.roles.insert(text.clone(), role);
            }
            candidates.push(Candidate {
                example: id.clone(),
                label,
                text,
            });
        }
        if pointers.reference.is_some() && known.explanations.is_empty() {
            let role = pointers.reference.as_deref().unwrap_or_default();
            return Err(Bad::new(
                "no reference",
                format!("example `{id}` has no candidate in the role `{role}`"),
            ));
        }
        reference = pointers.role.is_some().then_some(known);
    }
    let example = Example {
        id,
        claim,
        evidence,
        label,
        strata,
        split: Split::Train,
    };
    Ok((example, reference, candidates))
}

impl Data {
    /// Writes the stage's records into `folder` and returns their names.
    pub fn save(&self, folder: &Path) -> Result<Vec<&'static str>> {
        jsonl::write(&folder.join("examples.jsonl"), &self.examples)?;
        jsonl::write(&folder.join("references.jsonl"), &self.references)?;
        jsonl::write(&folder.join("candidates.jsonl"), &self.candidates)?;
        fs::write_json(&folder.join("data.json"), &self.summary)?;
        Ok(vec![
            "examples.jsonl",
            "references.jsonl",
            "candidates.jsonl",
            "data.json",
        ])
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn dataset() -> Dataset {
        let pointers = CandidateFields {
            list: "/rationales".into(),
            text: "/text".into(),
            label: "/label".into(),
            role: Some("/role".into()),
            reference: Some("good".into()),
        };
        Dataset {
            name: "test".into(),
            source: String::new(),
            fields: Fields {
                id: "/id".into(),
                claim: "/claim".into(),
                evidence: Some("/evidence".into()),
                label: "/label".into(),
                strata: BTreeMap::new(),
            },
            labels: BTreeMap::from([
                ("supported".into(), vec!["SUPPORTS".into()]),
                ("refuted".into(), vec![]),
            ]),
            candidates: Some(pointers),
            prompt: "{{ claim }}".into(),
        }
    }

    fn record(id: usize) -> Value {
        json!({"id": id, "claim": format!("claim number {id}"), "evidence": ["e"], "label": "SUPPORTS", "rationales": [
            {"role": "good", "label": "supported", "text": "because"},
            {"role": "bad", "label": "Refuted", "text": "since"},
        ]})
    }

    fn load_lines(lines: &[String], skip_bad: bool) -> Result<Data> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("claims.jsonl");
        fs::write(&path, lines.join("\n")).unwrap();
        load(
            &dataset(),
            &DataOptions {
                path,
                skip_bad,
                ..Default::default()
            },
            7,
        )
    }

    fn check(change: impl Fn(&mut Value), expected: &str) {
        let mut lines: Vec<String> = (0..30).map(|id| record(id).to_string()).collect();
        let mut bad = record(30);
        change(&mut bad);
        lines.push(bad.to_string());
        let error = load_lines(&lines, false).unwrap_err().to_string();
        assert!(
            error.contains(&format!("claims.jsonl:31: {expected}")),
            "{error}"
        );
        let data = load_lines(&lines, true).unwrap();
        assert_eq!(data.examples.len(), 30);
        assert_eq!(data.summary.skipped.values().sum::<usize>(), 1);
        assert!(data.summary.skipped_first[0].contains(expected));
    }

    #[test]
    fn a_bad_record_is_an_error_with_its_place_or_a_counted_skip() {
        check(
            |r| r["id"] = json!("7"),
            "id `7` was already used in line 8",
        );
        check(
            |r| r["label"] = json!("MAYBE"),
            "label `MAYBE` is not one of: refuted, SUPPORTS",
        );
        check(
            |r| r["evidence"] = json!([]),
            "example `30` has no evidence",
        );
        check(
            |r| r["evidence"] = json!(["", " "]),
            "example `30` has no evidence",
        );
        check(
            |r| r["claim"] = json!(["a"]),
            "`/claim` is a list, expected a text",
        );
        check(
            |r| r["rationales"][0]["role"] = json!("other"),
            "example `30` has no candidate in the role `good`",
        );
        check(
            |r| r["rationales"] = Value::Null,
            "`/rationales` is null, expected a list",
        );
    }

    #[test]
    fn roles_and_references_stay_out_of_examples_and_candidates() {
        let lines: Vec<String> = (0..30).map(|id| record(id).to_string()).collect();
        let data = load_lines(&lines, false).unwrap();
        assert_eq!(data.references[3].explanations, ["because"]);
        assert_eq!(data.references[3].roles["since"], "bad");
        assert_eq!(
            data.candidates[1],
            Candidate {
                example: "0".into(),
                label: Some("refuted".into()),
                text: "since".into()
            }
        );
        let seen = serde_json::to_string(&(&data.examples, &data.candidates)).unwrap();
        assert!(!seen.contains("good") && !seen.contains("bad"));
    }

    #[test]
    fn too_few_examples_for_three_splits_are_an_error() {
        let error = load_lines(&[record(1).to_string()], false)
            .unwrap_err()
            .to_string();
        assert!(error.contains("leave none for the"), "{error}");
        assert!(
            load_lines(&[], false)
                .unwrap_err()
                .to_string()
                .contains("holds no usable record")
        );
    }
}
