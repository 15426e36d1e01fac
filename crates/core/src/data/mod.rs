//! Reads a data set, checks it, and fixes its split.
//!
//! Knows the dataset file and the records; does not know prompts' tokens, teachers or students.
//! The source is read twice, in a stream: once to decide the splits, once to write, so that a
//! million records need little memory.

pub mod answer;
#[cfg(test)]
mod bad_input;
mod dataset;
mod field;
mod files;
#[cfg(test)]
mod known;
mod prepare;
mod read;
mod shape;
mod split;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use answer::{AnswerKind, AnswerOptions, Gold, Take};
pub use dataset::{CandidateFields, Dataset, Fields, Origin};
pub use field::{Joined, text_at};
pub use files::sha256;
pub use shape::Shape;
pub use split::{HoldOut, SplitOptions};

use crate::error::{Error, Result};
use crate::fs;
use crate::record::{Example, Reference, Split};
use prepare::prepare;

/// The stage's options: `[data]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DataOptions {
    /// The dataset file: what the fields mean, the labels, the prompt.
    pub dataset: PathBuf,
    /// The records: a file (JSONL, JSON, CSV, TSV or Parquet), or the folder of the files that
    /// the dataset file names; unset, they are fetched from where its `[from]` says.
    pub path: PathBuf,
    /// What is one example: a claim with all its evidence, or each claim-evidence pair.
    pub unit: Unit,
    /// How the examples are split into train, validation and test.
    pub split: SplitOptions,
    /// Put the gold label into the student's prompt (as the Causal Distillation paper does); it
    /// then only explains, and label metrics mean nothing.
    pub show_label: bool,
    /// Leave out records that cannot be used, and count them, instead of stopping at the first.
    pub skip_bad: bool,
}

/// What is one example.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// A claim with all of its evidence.
    #[default]
    Claim,
    /// A claim with one passage, which has a label of its own; all of a claim's pairs stay in
    /// one split.
    Evidence,
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

/// A claim in other words (`paraphrases.jsonl`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Paraphrase {
    /// The example's id.
    pub id: String,
    /// The claim in other words.
    pub claim: String,
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
    /// The label set; empty where answers are no labels.
    pub labels: Vec<String>,
    /// Examples by split and label; by kind of answer where answers are no labels.
    pub counts: BTreeMap<Split, BTreeMap<String, usize>>,
    /// Groups of near-duplicate claims; each is kept in one split.
    pub near_duplicate_groups: usize,
    /// Groups of near-duplicate claims that stand in several splits, since the source says so.
    #[serde(default)]
    pub near_duplicates_across: usize,
    /// Splits that are the source's own.
    #[serde(default)]
    pub official: Vec<Split>,
    /// What the user should know about the source.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// Records left out, by reason; empty unless `data.skip_bad`.
    pub skipped: BTreeMap<String, usize>,
    /// The first records left out: "line 731: ...".
    pub skipped_first: Vec<String>,
}

/// Everything that the stage hands on, for small data.
#[derive(Clone, Debug, Default, PartialEq)]
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

/// Reads the records at `options.path` as `dataset` describes them, all into memory.
pub fn load(dataset: &Dataset, options: &DataOptions, seed: u64) -> Result<Data> {
    let mut data = Data::default();
    let summary = read_each(dataset, options, seed, |example, reference, candidates| {
        data.examples.push(example);
        data.references.extend(reference);
        data.candidates.extend(candidates);
        Ok(())
    })?;
    data.summary = summary;
    Ok(data)
}

/// Reads the records at `options.path` and hands on each example, what is known about good
/// explanations of it, and its candidates, in the order of the source; none is kept.
pub fn read_each(
    dataset: &Dataset,
    options: &DataOptions,
    seed: u64,
    mut each: impl FnMut(Example, Option<Reference>, Vec<Candidate>) -> Result<()>,
) -> Result<Summary> {
    prepare(dataset, options, seed, |parsed| {
        each(parsed.example, parsed.reference, parsed.candidates)
    })
}

/// The files that [`save`] writes.
pub const FILES: [&str; 4] = [
    "examples.jsonl",
    "references.jsonl",
    "candidates.jsonl",
    "data.json",
];

/// What [`save`] writes besides where the dataset file names a field for it.
pub const PARAPHRASES: &str = "paraphrases.jsonl";

/// Reads the records at `options.path` and writes examples, references, candidates and the
/// summary into `folder`, record by record.
pub fn save(dataset: &Dataset, options: &DataOptions, seed: u64, folder: &Path) -> Result<Summary> {
    let mut examples = Lines::create(&folder.join(FILES[0]))?;
    let mut references = Lines::create(&folder.join(FILES[1]))?;
    let mut candidates = Lines::create(&folder.join(FILES[2]))?;
    let paraphrases = dataset.fields.paraphrase.as_ref();
    let paraphrases = paraphrases.map(|_| Lines::create(&folder.join(PARAPHRASES)));
    let mut paraphrases = paraphrases.transpose()?;
    let summary = prepare(dataset, options, seed, |parsed| {
        examples.push(&parsed.example)?;
        if let (Some(lines), Some(claim)) = (&mut paraphrases, parsed.paraphrase) {
            let id = parsed.example.id.clone();
            lines.push(&Paraphrase { id, claim })?;
        }
        parsed
            .reference
            .iter()
            .try_for_each(|r| references.push(r))?;
        parsed
            .candidates
            .iter()
            .try_for_each(|c| candidates.push(c))
    })?;
    for lines in [examples, references, candidates]
        .into_iter()
        .chain(paraphrases)
    {
        lines.writer.finish()?;
    }
    fs::write_json(&folder.join(FILES[3]), &summary)?;
    Ok(summary)
}

/// A JSONL file in the making.
struct Lines {
    path: PathBuf,
    writer: fs::Writer,
    line: Vec<u8>,
}

impl Lines {
    fn create(path: &Path) -> Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            writer: fs::Writer::create(path)?,
            line: vec![],
        })
    }

    fn push(&mut self, record: &impl Serialize) -> Result<()> {
        self.line.clear();
        serde_json::to_writer(&mut self.line, record)
            .map_err(|e| Error::file(&self.path, format!("a record cannot be written: {e}")))?;
        self.line.push(b'\n');
        let written = self.writer.write_all(&self.line);
        written.map_err(|e| Error::io(&self.path, e))
    }
}

/// The word for a split.
pub fn name_of(split: Split) -> &'static str {
    match split {
        Split::Train => "train",
        Split::Validation => "validation",
        Split::Test => "test",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn dataset() -> Dataset {
        let pointers = CandidateFields {
            list: "/rationales".into(),
            text: "/text".into(),
            label: Some("/label".into()),
            role: Some("/role".into()),
            reference: Some("good".into()),
        };
        Dataset {
            name: "test".into(),
            fields: Fields {
                id: "/id".into(),
                claim: "/claim".into(),
                evidence: Some("/evidence".into()),
                label: "/label".into(),
                ..Fields::default()
            },
            labels: BTreeMap::from([
                ("supported".into(), vec!["SUPPORTS".into()]),
                ("refuted".into(), vec![]),
            ]),
            candidates: Some(pointers),
            prompt: "{{ claim }}".into(),
            ..Dataset::default()
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
    fn claims_in_other_words_have_a_file_of_their_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("claims.jsonl");
        let lines = (0..30).map(|id| {
            let mut record = record(id);
            record["other"] = if id == 3 { "said otherwise" } else { "" }.into();
            record.to_string()
        });
        fs::write(&path, lines.collect::<Vec<_>>().join("\n")).unwrap();
        let mut dataset = dataset();
        dataset.fields.paraphrase = Some("other".into());
        let options = DataOptions {
            path,
            ..DataOptions::default()
        };
        save(&dataset, &options, 7, folder.path()).unwrap();
        let found = fs::read_text(&folder.path().join(PARAPHRASES)).unwrap();
        assert_eq!(found, "{\"id\":\"3\",\"claim\":\"said otherwise\"}\n");
        let examples = fs::read_text(&folder.path().join("examples.jsonl")).unwrap();
        assert!(!examples.contains("otherwise"));
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
