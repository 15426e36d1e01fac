//! Metrics over predictions: pure functions over records; what embeds comes in through [`Embed`].
//!
//! Every metric is a file of its own: its [`Column`]s, a `measure` for one pair, and a signature.
//! Statistics are kept per example ([`mod@column`]); values, bootstrap intervals and paired
//! differences are computed from them afterwards ([`summary`]).
//! An example without a number is counted with its reason, never dropped and never NaN.

pub mod baseline;
pub mod bleu;
pub mod bootstrap;
pub mod cec;
pub mod column;
#[cfg(test)]
mod golden;
pub mod label;
mod measure;
pub mod pair;
pub mod porter;
pub mod rouge;
pub mod signature;
pub mod split;
pub mod summary;
mod system;
#[cfg(test)]
mod tests;
mod vectors;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use self::bootstrap::Bootstrap;
use self::cec::Cosine;
use self::column::Column;
use self::measure::Measure;
use self::pair::PairRecord;
use self::summary::{MetricsFile, SystemMetrics};
use self::system::System;
use self::vectors::Vectors;
use crate::error::{Error, Result};
use crate::event::{Event, Observer, tell};
use crate::record::{Example, Outcome, Prediction, Split};

/// The system that the others are compared with, where it is there.
pub const STUDENT: &str = "student";
/// The base model before any training, beside the student.
pub const UNTRAINED: &str = "untrained";

/// Turns texts into unit vectors; implemented by the student package's encoder.
pub trait Embed {
    /// Name and revision for signatures: "all-MiniLM-L6-v2@53aa5117".
    fn name(&self) -> &str;

    /// One unit vector a text, in the order of the texts.
    fn embed(&mut self, texts: &[&str], observe: &mut Observer<'_>) -> Result<Vec<Vec<f32>>>;
}

/// What to measure, and how (`[evaluate]`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EvaluateOptions {
    /// The metrics, by name: "accuracy", "`macro_f1`", "bleu", "rouge", "cec".
    pub metrics: Vec<MetricName>,
    /// The sentence encoder behind "cec": a folder or a hub id.
    pub encoder: String,
    /// What "cec" makes of a cosine: "raw" (as in the paper's Eq. 2), "clipped" at 0, or "scaled" to (1 + cosine) / 2.
    pub cosine: Cosine,
    /// Whether "rouge" stems words (Porter, as nltk does); off as in Hugging Face's `evaluate`.
    pub stemmer: bool,
    /// Bootstrap resamples behind each 95 % interval; at least 100.
    pub resamples: usize,
}

impl Default for EvaluateOptions {
    fn default() -> Self {
        Self {
            metrics: MetricName::ALL.to_vec(),
            encoder: "sentence-transformers/all-MiniLM-L6-v2".to_owned(),
            cosine: Cosine::default(),
            stemmer: false,
            resamples: 2000,
        }
    }
}

impl EvaluateOptions {
    /// Whether [`evaluate`] must be given an embedder.
    pub fn needs_encoder(&self) -> bool {
        self.metrics.contains(&MetricName::Cec)
    }

    fn check(&self) -> Result<()> {
        if self.resamples < 100 {
            let what = format!(
                "{} is too few for a 95 % interval; use 100 or more",
                self.resamples
            );
            return Err(Error::option("evaluate.resamples", what));
        }
        Ok(())
    }
}

/// The metrics that can be asked for; most give several columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MetricName {
    /// Share of right labels.
    Accuracy,
    /// F1 a label, averaged over the gold labels.
    #[serde(rename = "macro_f1")]
    MacroF1,
    /// BLEU of sentences and of the corpus, in sacrebleu's form and in that of `evaluate`.
    Bleu,
    /// ROUGE-1, ROUGE-2, ROUGE-L and ROUGE-Lsum.
    Rouge,
    /// Coherence of explanations, symmetric and in both directions.
    Cec,
}

impl MetricName {
    /// All metrics, in the order in which reports show them.
    pub const ALL: [Self; 5] = [
        Self::Accuracy,
        Self::MacroF1,
        Self::Bleu,
        Self::Rouge,
        Self::Cec,
    ];

    /// The numbers that it gives for each system.
    pub fn columns(self) -> &'static [Column] {
        match self {
            Self::Accuracy => &label::ACCURACY,
            Self::MacroF1 => &label::MACRO_F1,
            Self::Bleu => &bleu::COLUMNS,
            Self::Rouge => &rouge::COLUMNS,
            Self::Cec => &cec::COLUMNS,
        }
    }

    /// Whether it looks at labels; the others look at explanations.
    pub fn is_of_labels(self) -> bool {
        matches!(self, Self::Accuracy | Self::MacroF1)
    }
}

/// What is evaluated.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// The examples of the split to evaluate, with their gold labels.
    pub examples: &'a [Example],
    /// The gold labels of the training split, for the majority baseline.
    pub training_labels: &'a [&'a str],
    /// Reference explanations by example; the first is the main one.
    pub references: &'a BTreeMap<String, Vec<String>>,
    /// What every system says; a system lacks a prediction at the price of an unscored example.
    pub predictions: &'a [Prediction],
    /// Sentences of texts that are split already, by text; the others are split by [`split`].
    pub sentences: &'a BTreeMap<String, Vec<String>>,
}

/// What came out.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// For `metrics.json`.
    pub metrics: MetricsFile,
    /// For `pairs.jsonl`: system by system, examples in the order of the input.
    pub pairs: Vec<PairRecord>,
}

/// Measures every system and the baselines.
///
/// `embedder` is needed where [`EvaluateOptions::needs_encoder`] says so; each different sentence
/// is embedded once.
pub fn evaluate(
    input: &Input<'_>,
    options: &EvaluateOptions,
    seed: u64,
    embedder: Option<&mut dyn Embed>,
    observe: &mut Observer<'_>,
) -> Result<Evaluation> {
    options.check()?;
    let systems = system::gather(input, seed, observe)?;
    let vectors = match (options.needs_encoder(), embedder) {
        (false, _) => None,
        (true, Some(embedder)) => Some(Vectors::new(
            texts(input, &systems),
            input.sentences,
            embedder,
            observe,
        )?),
        (true, None) => {
            let what = "\"cec\" needs a sentence encoder and none was given";
            return Err(Error::option("evaluate.metrics", what));
        }
    };
    let measure = Measure::new(input, options, vectors);
    let bootstrap = Bootstrap {
        resamples: options.resamples,
        seed,
    };

    let mut pairs = Vec::new();
    let mut columns = Vec::new();
    for (n, system) in systems.iter().enumerate() {
        let (of_system, records) = measure.system(system);
        pairs.extend(records);
        columns.push(of_system);
        tell(
            observe,
            Event::Progress {
                unit: "systems".to_owned(),
                done: n + 1,
                total: systems.len(),
            },
        )?;
    }

    let sign = |column: &Column, n, unscored| measure.signature(column, n, unscored, &bootstrap);
    let summaries = systems.iter().zip(&columns).map(|(system, columns)| {
        let metrics = columns.iter().map(|measured| {
            let metric = measured.metric(&bootstrap, |n, unscored| {
                sign(&measured.column, n, unscored)
            });
            (measured.column.name.to_owned(), metric)
        });
        summarise(input, system, metrics.collect())
    });
    let summaries = summaries.collect();

    let mut differences = Vec::new();
    let first = systems
        .iter()
        .position(|system| system.name == STUDENT)
        .unwrap_or(0);
    for (other, name) in systems.iter().enumerate().filter(|(at, _)| *at != first) {
        for ours in &columns[first] {
            let theirs = columns[other]
                .iter()
                .find(|theirs| theirs.column.name == ours.column.name);
            if let Some(theirs) = theirs {
                let names = (systems[first].name.as_str(), name.name.as_str());
                differences.push(ours.minus(theirs, names, &bootstrap));
            }
        }
        tell(
            observe,
            Event::Progress {
                unit: "differences".to_owned(),
                done: other,
                total: systems.len() - 1,
            },
        )?;
    }

    let metrics = MetricsFile {
        version: summary::VERSION,
        split: measure.split().to_owned(),
        n_examples: input.examples.len(),
        seed,
        resamples: options.resamples,
        systems: summaries,
        differences,
    };
    Ok(Evaluation { metrics, pairs })
}

/// Every text whose sentences will be compared.
fn texts<'a>(input: &'a Input<'_>, systems: &'a [System<'_>]) -> impl Iterator<Item = &'a str> {
    input.examples.iter().flat_map(move |example| {
        let references = input
            .references
            .get(&example.id)
            .into_iter()
            .flatten()
            .map(String::as_str);
        let explanations = systems
            .iter()
            .filter(|system| system.explains)
            .filter_map(|system| Some(system.prediction(&example.id)?.explanation.as_str()));
        references.chain(explanations)
    })
}

/// What is said of a system beside its metrics.
fn summarise(
    input: &Input<'_>,
    system: &System<'_>,
    metrics: BTreeMap<String, summary::Metric>,
) -> SystemMetrics {
    let answers = || {
        input
            .examples
            .iter()
            .map(|example| (example, system.prediction(&example.id)))
    };
    let labels = system.labels.then(|| {
        let given = answers().filter_map(|(example, answer)| Some((example, answer?)));
        label::Labels::of(
            given.map(|(example, answer)| (example.label.as_str(), answer.label.as_deref())),
        )
    });
    let mut outcomes = BTreeMap::new();
    if !system.is_baseline() {
        for (_, answer) in answers() {
            let name = answer.map_or("missing", |answer| outcome_name(answer.outcome));
            *outcomes.entry(name.to_owned()).or_default() += 1;
        }
    }
    let words: Vec<usize> = answers()
        .filter_map(|(_, answer)| Some(answer?.explanation.split_whitespace().count()))
        .filter(|n| *n > 0)
        .collect();
    let mean_words =
        (!words.is_empty()).then(|| words.iter().sum::<usize>() as f64 / words.len() as f64);
    SystemMetrics {
        system: system.name.clone(),
        metrics,
        labels,
        outcomes,
        mean_words,
    }
}

fn outcome_name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Ok => "ok",
        Outcome::Unparsable => "unparsable",
        Outcome::Empty => "empty",
        Outcome::Refused => "refused",
        Outcome::Truncated => "truncated",
        Outcome::WrongLanguage => "wrong_language",
        Outcome::Failed => "failed",
    }
}

fn split_name(split: Split) -> &'static str {
    match split {
        Split::Train => "train",
        Split::Validation => "validation",
        Split::Test => "test",
    }
}
