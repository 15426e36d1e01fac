//! Evaluates a file of predictions, without a run: `stillhouse evaluate`.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use stillhouse_core::evaluate::summary::MetricsFile;
use stillhouse_core::evaluate::{self, Embed, EvaluateOptions, Evaluation, Input, STUDENT};
use stillhouse_core::event::Observer;
use stillhouse_core::record::{Example, Outcome, Prediction, Split};
use stillhouse_core::{Error as CoreError, jsonl};
use stillhouse_student::encoder::Encoder;

use crate::HubOptions;
use crate::error::Result;

/// The files to evaluate, and how.
#[derive(Clone, Debug)]
pub struct Files {
    /// Predictions, one JSON object a line: `id`, `prediction`, and optionally the rest of
    /// [`FIELDS`].
    pub predictions: PathBuf,
    /// References of their own, by `id`, where the predictions carry none.
    pub references: Option<PathBuf>,
    /// The metrics.
    pub options: EvaluateOptions,
    /// The seed of the bootstrap and of the random-pair floor.
    pub seed: u64,
}

/// The fields of a line, for help and errors.
pub const FIELDS: &str = "id, prediction, reference or references, system, evidence, claim, label, \
    gold_label, prediction_sentences, reference_sentences";

/// One line of either file; every field but `id` may be missing.
#[derive(Debug, Deserialize)]
struct Line {
    id: Id,
    #[serde(default)]
    prediction: Option<String>,
    #[serde(default)]
    reference: Option<String>,
    #[serde(default)]
    references: Vec<String>,
    #[serde(default)]
    system: Option<String>,
    #[serde(default)]
    evidence: Vec<String>,
    #[serde(default)]
    claim: String,
    #[serde(default)]
    label: Option<String>,
    #[serde(default)]
    gold_label: Option<String>,
    #[serde(default)]
    prediction_sentences: Option<Vec<String>>,
    #[serde(default)]
    reference_sentences: Option<Vec<String>>,
}

/// An id: a text or a whole number.
#[derive(Debug, Deserialize)]
#[serde(try_from = "serde_json::Value")]
struct Id(String);

impl TryFrom<serde_json::Value> for Id {
    type Error = String;

    fn try_from(value: serde_json::Value) -> Result<Self, String> {
        match value {
            serde_json::Value::String(text) => Ok(Self(text)),
            serde_json::Value::Number(number) => Ok(Self(number.to_string())),
            other => Err(format!("`id` is {other}, expected a text or a number")),
        }
    }
}

/// What the lines of both files come to.
#[derive(Default)]
struct Gathered {
    examples: Vec<Example>,
    places: HashMap<String, usize>,
    references: BTreeMap<String, Vec<String>>,
    predictions: Vec<Prediction>,
    sentences: BTreeMap<String, Vec<String>>,
    has_gold: bool,
}

/// Measures every system of the files beside the baselines that the files allow.
pub fn evaluate(files: &Files, hub: &HubOptions, observe: &mut Observer<'_>) -> Result<Evaluation> {
    let mut gathered = Gathered::default();
    jsonl::read_each(&files.predictions, |line, record: Line| {
        gathered.prediction(&files.predictions, line, record)
    })?;
    if let Some(path) = &files.references {
        jsonl::read_each(path, |line, record: Line| {
            gathered.reference(path, line, record)
        })?;
    }
    if gathered.predictions.is_empty() {
        return Err(CoreError::file(&files.predictions, "holds no prediction").into());
    }
    if gathered.references.is_empty() {
        let what = format!(
            "holds no reference; give them in `reference`, or in a second file. Fields: {FIELDS}"
        );
        return Err(CoreError::file(&files.predictions, what).into());
    }

    let mut options = files.options.clone();
    if !gathered.has_gold {
        options.metrics.retain(|metric| !metric.is_of_labels());
    }
    let mut encoder = None;
    if options.needs_encoder() {
        let folder = crate::pull(&options.encoder, hub, &mut |_| {})?;
        encoder = Some(Encoder::load(&folder, &options.encoder)?);
    }
    let input = Input {
        examples: &gathered.examples,
        training_labels: &[],
        references: &gathered.references,
        predictions: &gathered.predictions,
        sentences: &gathered.sentences,
    };
    let embedder = encoder.as_mut().map(|encoder| encoder as &mut dyn Embed);
    Ok(evaluate::evaluate(
        &input, &options, files.seed, embedder, observe,
    )?)
}

/// Writes each metric of each pair, one JSON object a line.
pub fn save_pairs(path: &Path, evaluation: &Evaluation) -> Result<()> {
    Ok(jsonl::write(path, &evaluation.pairs)?)
}

impl Gathered {
    fn prediction(
        &mut self,
        path: &Path,
        number: usize,
        line: Line,
    ) -> stillhouse_core::Result<()> {
        let text = line.prediction.clone().ok_or_else(|| {
            CoreError::record(
                path,
                number,
                format!("`prediction` is missing. Fields: {FIELDS}"),
            )
        })?;
        let id = line.id.0.clone();
        let system = line.system.clone().unwrap_or_else(|| STUDENT.to_owned());
        if self
            .predictions
            .iter()
            .rev()
            .any(|p| p.id == id && p.system == system)
        {
            let what = format!(
                "id `{id}` of system `{system}` stands twice; ids must be unique in a system"
            );
            return Err(CoreError::record(path, number, what));
        }
        self.predictions.push(Prediction {
            id,
            system,
            label: line.label.clone(),
            completion: text.clone(),
            outcome: if text.trim().is_empty() {
                Outcome::Empty
            } else {
                Outcome::Ok
            },
            explanation: text.clone(),
            evidence_dropped: 0,
        });
        self.give_sentences(path, number, &text, line.prediction_sentences.clone())?;
        self.reference(path, number, line)
    }

    /// Takes what a line says of its example: reference, evidence, gold label.
    fn reference(&mut self, path: &Path, number: usize, line: Line) -> stillhouse_core::Result<()> {
        let id = line.id.0;
        let place = *self.places.entry(id.clone()).or_insert_with(|| {
            self.examples.push(Example {
                id: id.clone(),
                claim: line.claim,
                evidence: vec![],
                notes: vec![],
                label: String::new(),
                strata: BTreeMap::new(),
                split: Split::Test,
            });
            self.examples.len() - 1
        });
        let example = &mut self.examples[place];
        if example.evidence.is_empty() {
            example.evidence = line.evidence;
        }
        if let Some(gold) = line.gold_label {
            self.has_gold = true;
            example.label = gold;
        }
        let references: Vec<String> = line.reference.into_iter().chain(line.references).collect();
        if let (Some(first), Some(sentences)) = (references.first(), line.reference_sentences) {
            let first = first.clone();
            self.give_sentences(path, number, &first, Some(sentences))?;
        }
        if references.is_empty() {
            return Ok(());
        }
        match self.references.get(&id) {
            Some(known) if *known != references => Err(CoreError::record(
                path,
                number,
                format!("id `{id}` has another reference in an earlier line"),
            )),
            Some(_) => Ok(()),
            None => {
                self.references.insert(id, references);
                Ok(())
            }
        }
    }

    fn give_sentences(
        &mut self,
        path: &Path,
        number: usize,
        text: &str,
        sentences: Option<Vec<String>>,
    ) -> stillhouse_core::Result<()> {
        let Some(sentences) = sentences else {
            return Ok(());
        };
        match self.sentences.insert(text.to_owned(), sentences.clone()) {
            Some(earlier) if earlier != sentences => Err(CoreError::record(
                path,
                number,
                "the same text was split into other sentences in an earlier line",
            )),
            _ => Ok(()),
        }
    }
}

/// A table with a column a system: each metric's value with its interval.
pub fn table(metrics: &MetricsFile) -> String {
    let names: Vec<&String> = {
        let mut names: Vec<&String> = metrics
            .systems
            .iter()
            .flat_map(|system| system.metrics.keys())
            .collect();
        names.sort();
        names.dedup();
        names
    };
    let cell = |system: &evaluate::summary::SystemMetrics, name: &String| {
        let metric = system.metrics.get(name)?;
        let value = metric.value?;
        let interval = metric
            .interval
            .map_or(String::new(), |i| format!(" [{:.3}, {:.3}]", i.low, i.high));
        Some(format!("{value:.4}{interval}"))
    };
    let mut text = format!("{:<16}", "metric");
    for system in &metrics.systems {
        write!(text, " {:>26}", system.system).expect("writing to a String cannot fail");
    }
    for name in names {
        write!(text, "\n{name:<16}").expect("writing to a String cannot fail");
        for system in &metrics.systems {
            let shown = cell(system, name).unwrap_or_else(|| "-".into());
            write!(text, " {shown:>26}").expect("writing to a String cannot fail");
        }
    }
    text.push('\n');
    text
}
