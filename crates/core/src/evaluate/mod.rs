//! Metrics over predictions: pure functions over records; what embeds comes in through [`Embed`].
//!
//! Every metric is a file of its own: its [`Column`]s, a `measure` for one pair, and a signature.
//! Statistics are kept per example ([`mod@column`]); values, bootstrap intervals and paired
//! differences are computed from them afterwards ([`summary`]).
//! An example without a number is counted with its reason, never dropped and never NaN.

pub mod agreement;
pub mod answer;
pub mod assignment;
pub mod baseline;
pub mod bertscore;
pub mod bleu;
pub mod bootstrap;
pub mod cache;
pub mod causal;
pub mod cec;
pub mod chrf;
pub mod column;
pub mod compare;
pub mod contrast;
#[cfg(test)]
mod golden;
mod grounding;
pub mod judge;
pub mod label;
mod lcs;
mod links;
mod material;
mod measure;
pub mod meteor;
mod ngrams;
pub mod nli;
pub mod pair;
pub mod porter;
mod resample;
mod retained;
pub mod roscoe;
pub mod rouge;
mod sentences;
pub mod signature;
pub mod split;
pub mod statistics;
pub mod stress;
pub mod summary;
mod system;
pub mod table;
#[cfg(test)]
mod tests;
mod vectors;
pub mod wordnet;
pub mod words;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use self::bertscore::Bertscore;
use self::bleu::BleuOptions;
use self::bootstrap::Bootstrap;
use self::cec::Cosine;
use self::chrf::ChrfOptions;
use self::column::Column;
use self::compare::compare;
use self::judge::Judged;
use self::links::Causal;
use self::material::Material;
use self::measure::Measure;
use self::meteor::MeteorOptions;
use self::nli::Nli;
use self::pair::PairRecord;
use self::roscoe::Roscoe;
use self::summary::{Measured, MetricsFile, SystemMetrics};
use self::system::System;
use crate::error::{Error, Result};
use crate::event::{Event, Observer, tell};
use crate::record::{Example, Outcome, Prediction, Split};

/// The system that the others are compared with, where it is there.
pub const STUDENT: &str = "student";
/// The base model before any training, beside the student.
pub const UNTRAINED: &str = "untrained";

/// The student's answers by vote over samples.
pub const VOTE: &str = "student-vote";

/// Turns texts into unit vectors; implemented by the student package's encoder.
pub trait Embed {
    /// Name and revision for signatures: "all-MiniLM-L6-v2@53aa5117".
    fn name(&self) -> &str;

    /// One unit vector a text, in the order of the texts.
    fn embed(&mut self, texts: &[&str], observe: &mut Observer<'_>) -> Result<Vec<Vec<f32>>>;

    /// How many layers it has; layer 0 is the embeddings.
    fn n_layers(&self) -> usize {
        0
    }

    /// For each pair (explanation, reference), each token's best cosine with one of the other side,
    /// in the states after `layer` layers.
    fn match_tokens(
        &mut self,
        _pairs: &[(&str, &str)],
        _layer: usize,
        _observe: &mut Observer<'_>,
    ) -> Result<Vec<TokenMatch>> {
        let what = format!(
            "`{}` gives no vectors of tokens; leave out \"bertscore\"",
            self.name()
        );
        Err(Error::option("evaluate.metrics", what))
    }
}

/// Judges what one text says of another; implemented by the student package's classifier.
pub trait Entail {
    /// Name and revision for signatures.
    fn name(&self) -> &str;

    /// For each (premise, hypothesis) the probabilities of entailment, neutral and contradiction.
    fn judge(
        &mut self,
        pairs: &[(&str, &str)],
        observe: &mut Observer<'_>,
    ) -> Result<Vec<[f32; 3]>>;
}

/// The models behind the metrics; what no metric asks for need not be there.
#[derive(Default)]
pub struct Models<'a> {
    /// Needed where [`EvaluateOptions::needs_encoder`] says so.
    pub encoder: Option<&'a mut dyn Embed>,
    /// Needed for "nli".
    pub judge: Option<&'a mut dyn Entail>,
    /// Needed for "judge": what a large model says, asked before.
    pub judged: Option<&'a Judged>,
}

/// The tokens of two texts, and how well each is met on the other side.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TokenMatch {
    /// The explanation's tokens.
    pub explanation: TokenSide,
    /// The reference's tokens.
    pub reference: TokenSide,
}

/// One side of a [`TokenMatch`]; the three lists are of the same length.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TokenSide {
    /// Token ids, special tokens among them.
    pub ids: Vec<u32>,
    /// Whether the tokenizer put the token around the text.
    pub is_special: Vec<bool>,
    /// The best cosine with a token of the other side, special tokens among those.
    pub best: Vec<f32>,
}

/// What to measure, and how (`[evaluate]`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EvaluateOptions {
    /// The metrics, by name.
    pub metrics: Vec<MetricName>,
    /// The encoder behind "bertscore", "cec" and what follows them: a folder or a hub id.
    pub encoder: String,
    /// What "cec" makes of a cosine: "raw" (as in the paper's Eq. 2), "clipped" at 0, or "scaled" to (1 + cosine) / 2.
    pub cosine: Cosine,
    /// Whether "rouge" stems words (Porter, as nltk does); off as in Hugging Face's `evaluate`.
    pub stemmer: bool,
    /// How "bleu" counts.
    pub bleu: BleuOptions,
    /// How "chrf" counts.
    pub chrf: ChrfOptions,
    /// How "meteor" counts.
    pub meteor: MeteorOptions,
    /// How "bertscore" compares tokens.
    pub bertscore: Bertscore,
    /// How "causal" finds and compares links.
    pub causal: Causal,
    /// How "roscoe" scores whole texts.
    pub roscoe: Roscoe,
    /// The inference model behind "nli".
    pub nli: Nli,
    /// Bootstrap resamples behind each 95 % interval; at least 100.
    pub resamples: usize,
}

impl Default for EvaluateOptions {
    fn default() -> Self {
        Self {
            metrics: MetricName::DEFAULT.to_vec(),
            encoder: "sentence-transformers/all-MiniLM-L6-v2".to_owned(),
            cosine: Cosine::default(),
            stemmer: false,
            bleu: BleuOptions::default(),
            chrf: ChrfOptions::default(),
            meteor: MeteorOptions::default(),
            bertscore: Bertscore::default(),
            causal: Causal::default(),
            roscoe: Roscoe::default(),
            nli: Nli::default(),
            resamples: 2000,
        }
    }
}

impl EvaluateOptions {
    /// Whether [`evaluate`] must be given an embedder.
    pub fn needs_encoder(&self) -> bool {
        self.metrics.iter().any(|metric| metric.needs_encoder())
    }

    fn check(&self) -> Result<()> {
        if self.resamples < 100 {
            let what = format!(
                "{} is too few for a 95 % interval; use 100 or more",
                self.resamples
            );
            return Err(Error::option("evaluate.resamples", what));
        }
        self.chrf.check("evaluate.chrf")
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
    /// METEOR as nltk computes it.
    Meteor,
    /// chrF of sentences and of the corpus.
    Chrf,
    /// Tokens of explanation and reference matched by their vectors.
    Bertscore,
    /// Coherence of explanations, symmetric and in both directions.
    Cec,
    /// How much of an explanation rests on the evidence.
    Grounding,
    /// How much of an explanation repeats itself.
    Repetition,
    /// Causal links covered, missed, turned round and denied, and CEC weighted by fidelity.
    Causal,
    /// Numbers, dates and names of the reference that are kept.
    Retention,
    /// The scores of ROSCOE over sentence vectors.
    Roscoe,
    /// What an inference model says of explanation, evidence, reference and label.
    Nli,
    /// What a large model says that is asked to rate explanations (`[teacher.judge]`).
    Judge,
}

impl MetricName {
    /// All metrics, in the order in which reports show them.
    pub const ALL: [Self; 15] = [
        Self::Accuracy,
        Self::MacroF1,
        Self::Bleu,
        Self::Rouge,
        Self::Meteor,
        Self::Chrf,
        Self::Bertscore,
        Self::Cec,
        Self::Grounding,
        Self::Repetition,
        Self::Causal,
        Self::Retention,
        Self::Roscoe,
        Self::Nli,
        Self::Judge,
    ];

    /// Those that are measured unless others are asked for.
    pub const DEFAULT: [Self; 12] = [
        Self::Accuracy,
        Self::MacroF1,
        Self::Bleu,
        Self::Rouge,
        Self::Meteor,
        Self::Chrf,
        Self::Bertscore,
        Self::Cec,
        Self::Grounding,
        Self::Repetition,
        Self::Causal,
        Self::Retention,
    ];

    /// The numbers that it gives for each system.
    pub fn columns(self) -> &'static [Column] {
        match self {
            Self::Accuracy => &label::ACCURACY,
            Self::MacroF1 => &label::MACRO_F1,
            Self::Bleu => &bleu::COLUMNS,
            Self::Rouge => &rouge::COLUMNS,
            Self::Meteor => &meteor::COLUMNS,
            Self::Chrf => &chrf::COLUMNS,
            Self::Bertscore => &bertscore::COLUMNS,
            Self::Cec => &cec::COLUMNS,
            Self::Grounding => &grounding::GROUNDING,
            Self::Repetition => &grounding::REPETITION,
            Self::Causal => &links::COLUMNS,
            Self::Retention => &retained::COLUMNS,
            Self::Roscoe => &roscoe::COLUMNS,
            Self::Nli => &nli::COLUMNS,
            Self::Judge => &judge::COLUMNS,
        }
    }

    /// Whether it looks at labels; the others look at explanations.
    pub fn is_of_labels(self) -> bool {
        matches!(self, Self::Accuracy | Self::MacroF1)
    }

    /// Whether it compares an explanation with references.
    pub fn is_of_references(self) -> bool {
        !(self.is_of_labels()
            || matches!(
                self,
                Self::Grounding | Self::Repetition | Self::Nli | Self::Judge
            ))
    }

    /// Whether it compares the vectors of sentences, and so needs them.
    fn needs_vectors(self) -> bool {
        matches!(
            self,
            Self::Cec | Self::Grounding | Self::Repetition | Self::Causal | Self::Roscoe
        )
    }

    fn needs_encoder(self) -> bool {
        self.needs_vectors() || self == Self::Bertscore
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

impl<'a> Input<'a> {
    /// The references of an example, the main one first.
    fn references_of(&self, example: &Example) -> impl Iterator<Item = &'a str> + use<'a> {
        let known = self.references.get(&example.id);
        known.into_iter().flatten().map(String::as_str)
    }
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
/// Each different sentence is embedded once, over all systems.
pub fn evaluate(
    input: &Input<'_>,
    options: &EvaluateOptions,
    seed: u64,
    models: Models<'_>,
    observe: &mut Observer<'_>,
) -> Result<Evaluation> {
    options.check()?;
    let systems = system::gather(input, seed, observe)?;
    let material = Material::gather(input, &systems, options, models, observe)?;
    let measure = Measure::new(input, options, &material);
    let bootstrap = Bootstrap {
        resamples: options.resamples,
        seed,
    };

    let mut pairs = Vec::new();
    let mut columns = Vec::new();
    for (n, system) in systems.iter().enumerate() {
        let (of_system, records) = measure.system(n, system);
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

    let first = systems
        .iter()
        .position(|system| system.name == STUDENT)
        .unwrap_or(0);
    let names = systems.iter().map(|system| system.name.as_str());
    let named: Vec<(&str, Vec<Measured>)> = names.zip(columns).collect();
    let compared = compare(&named, first, &bootstrap, |column, n, unscored| {
        measure.signature(column, n, unscored, &bootstrap)
    });
    let summaries = systems.iter().zip(&named).zip(compared.metrics);
    let summaries = summaries.map(|((system, (_, columns)), metrics)| {
        let names = columns.iter().map(|column| column.column.name.to_owned());
        let mut summary = summarise(input, system, names.zip(metrics).collect());
        if !system.is_baseline() {
            summary.contrast = contrast::of_paper(&pairs, &system.name, seed);
        }
        summary
    });

    let metrics = MetricsFile {
        version: summary::VERSION,
        split: measure.split().to_owned(),
        n_examples: input.examples.len(),
        seed,
        resamples: options.resamples,
        systems: summaries.collect(),
        differences: compared.differences,
    };
    Ok(Evaluation { metrics, pairs })
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
        contrast: None,
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
