//! Predictions to metrics.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use serde_json::{Value, json};
use stillhouse_core::evaluate::agreement::{
    Agreement, AgreementOptions, RatingRecord, Ratings, Scored, agree,
};
use stillhouse_core::evaluate::judge::Judged;
use stillhouse_core::evaluate::pair::PairRecord;
use stillhouse_core::evaluate::summary::MetricsFile;
use stillhouse_core::evaluate::{self, EvaluateOptions, Input, MetricName, Models, STUDENT, VOTE};
use stillhouse_core::event::{Event, Observer, tell};
use stillhouse_core::record::{
    Example, Judgement, Outcome, Prediction, Rationale, Reference, Split,
};
use stillhouse_core::run::{Inputs, Outputs, Run};
use stillhouse_core::{fs, jsonl};

use crate::error::Result;
use crate::job::{self, Job};
use crate::models::{Loaded, vectors_folder};
use crate::stage::{generate, judge, options, teacher};

pub(crate) fn inputs(job: &Job<'_>, run: &Run, observe: &mut Observer<'_>) -> Result<Inputs> {
    let mut files = job::inputs(
        run,
        &[
            "examples.jsonl",
            "references.jsonl",
            "rationales.jsonl",
            "predictions.jsonl",
        ],
    )?;
    if job.config.evaluate.needs_encoder() {
        files.push(("encoder".into(), job.encoder(observe)?.fingerprint.clone()));
    }
    let options_of = &job.config.evaluate;
    if let (true, Some(name)) = (
        options_of.metrics.contains(&MetricName::Nli),
        &options_of.nli.model,
    ) {
        let judge = job.judge(name, observe)?.fingerprint.clone();
        files.push(("nli".into(), judge));
    }
    let again = &job.config.student.again;
    if !again.changes.is_empty() {
        files.push(run.input(generate::CHANGED)?);
    }
    let mut options = json!({
        "evaluate": options(&job.config.evaluate),
        "show_label": job.config.data.show_label,
    });
    if wants_judge(job) {
        let teacher = &job.config.teacher;
        options["judge"] = json!([teacher.judge, teacher.model, teacher.base_url]);
    }
    Ok(Inputs { options, files })
}

/// Whether a judge is to rate what the systems say.
pub(crate) fn wants_judge(job: &Job<'_>) -> bool {
    job.config.evaluate.metrics.contains(&MetricName::Judge)
}

/// What the judge says of each explanation, and how the metrics agree with it.
pub(crate) const JUDGED: &str = "judged.jsonl";
pub(crate) const AGREEMENT: &str = "agreement.json";
/// The student's answers to changed examples beside those to the examples themselves.
pub(crate) const CONSISTENCY: &str = "consistency.json";

pub(crate) fn work(job: &Job<'_>, folder: &Path, observe: &mut Observer<'_>) -> Result<Outputs> {
    let mut examples: Vec<Example> = jsonl::read(&job.path("examples.jsonl"))?;
    let predictions: Vec<Prediction> = jsonl::read(&job.path("predictions.jsonl"))?;
    let train = examples.iter().filter(|e| e.split == Split::Train);
    let training_labels: Vec<String> = train.map(|e| e.label.clone()).collect();
    let mut training_labels: Vec<&str> = training_labels.iter().map(String::as_str).collect();
    let is_open = !job.dataset.answer.is_closed();
    if is_open {
        // The most frequent number is no floor.
        training_labels.clear();
    }
    examples.retain(|e| e.split == Split::Test);
    let references = references(job, &examples)?;
    let input = Input {
        examples: &examples,
        training_labels: &training_labels,
        references: &references,
        predictions: &predictions,
        sentences: &BTreeMap::new(),
    };

    let mut options: EvaluateOptions = job.config.evaluate.clone();
    if job.config.data.show_label {
        options.metrics.retain(|metric| !metric.is_of_labels());
        let text =
            "the student's prompt shows the label (data.show_label), so label metrics are left out"
                .into();
        tell(observe, Event::Note { text })?;
    }
    if is_open {
        options
            .metrics
            .retain(|metric| *metric != MetricName::MacroF1);
    }
    let mut facts = Value::Null;
    let judgements = if wants_judge(job) {
        let ledger = teacher::open_ledger(job)?;
        let given: Vec<Prediction> = predictions
            .iter()
            .filter(|p| p.system != VOTE)
            .cloned()
            .collect();
        let judgements = judge::predictions(job, &examples, &given, &ledger, observe)?;
        facts = teacher::spent_in_all(job, &ledger)?;
        judgements
    } else {
        vec![]
    };
    let judged = judged(&judgements, &predictions);
    let cache = vectors_folder(job.world.hub);
    let mut loaded = Loaded::new(&options, Some(&cache), |name| {
        let found = if name == options.encoder {
            job.encoder(observe)?
        } else {
            job.judge(name, observe)?
        };
        Ok(found.folder.clone())
    })?;
    let mut models = loaded.models();
    models.judged = Some(&judged).filter(|_| wants_judge(job));
    let seed = job.config.seed;
    let mut evaluation = evaluate::evaluate(&input, &options, seed, models, observe)?;
    if is_open {
        // A table of every number against every number says nothing.
        for system in &mut evaluation.metrics.systems {
            system.labels = None;
        }
    }
    fs::write_json(&folder.join("metrics.json"), &evaluation.metrics)?;
    jsonl::write(&folder.join("pairs.jsonl"), &evaluation.pairs)?;
    let mut outputs = Outputs::of(["metrics.json", "pairs.jsonl"]);
    if wants_judge(job) {
        outputs.facts = json!({ "spent": facts });
        jsonl::write(&folder.join(JUDGED), &judgements)?;
        outputs.names.push(JUDGED.into());
        if let Some(found) = agreement(&judged, &predictions, &evaluation.pairs, &options, seed)? {
            fs::write_json(&folder.join(AGREEMENT), &found)?;
            outputs.names.push(AGREEMENT.into());
        }
    }
    if !job.config.student.again.changes.is_empty() {
        let changed: Vec<Prediction> = jsonl::read(&job.path(generate::CHANGED))?;
        let unchanged = Unchanged::new(&examples, &predictions);
        let found = unchanged.compare(&changed, &options, seed, loaded.models(), observe)?;
        fs::write_json(&folder.join(CONSISTENCY), &found)?;
        outputs.names.push(CONSISTENCY.into());
    }
    Ok(outputs)
}

/// Ratings by example and system.
fn judged(judgements: &[Judgement], predictions: &[Prediction]) -> Judged {
    let by_name: HashMap<&str, &Judgement> = judgements
        .iter()
        .map(|judgement| (judgement.rationale.as_str(), judgement))
        .collect();
    let rated = predictions.iter().filter_map(|prediction| {
        let name = judge::name_of(&prediction.id, &prediction.system);
        let ratings = by_name.get(name.as_str())?.ratings.clone();
        Some(((prediction.id.clone(), prediction.system.clone()), ratings))
    });
    Judged {
        model: judgements
            .first()
            .map_or(String::new(), |j| j.source.clone()),
        of: rated.collect(),
    }
}

/// How the metrics agree with the judge; nothing where it rated nothing.
fn agreement(
    judged: &Judged,
    predictions: &[Prediction],
    pairs: &[PairRecord],
    options: &EvaluateOptions,
    seed: u64,
) -> Result<Option<Agreement>> {
    let rated = judged.of.iter().filter(|(_, ratings)| !ratings.is_empty());
    let records = rated.map(|((id, system), ratings)| {
        let sum: f64 = ratings.values().copied().map(f64::from).sum();
        RatingRecord {
            id: id.clone(),
            system: Some(system.clone()),
            rating: Some(sum / ratings.len() as f64),
        }
    });
    let ratings = Ratings::new(records, &[])?;
    if ratings.n_candidates() == 0 {
        return Ok(None);
    }
    // The judge agrees with itself.
    let mut pairs = pairs.to_vec();
    for pair in &mut pairs {
        pair.metrics.retain(|name, _| !name.starts_with("judge"));
    }
    let words = predictions.iter().map(|p| {
        let n = p.explanation.split_whitespace().count();
        ((p.id.clone(), p.system.clone()), n)
    });
    let scored = Scored {
        pairs: &pairs,
        words: &words.collect(),
    };
    let options = AgreementOptions {
        resamples: options.resamples,
        seed,
    };
    Ok(Some(agree(scored, &ratings, options)?))
}

/// The student's answers to the unchanged test, in the place of gold labels and references.
struct Unchanged {
    examples: Vec<Example>,
    explanations: BTreeMap<String, Vec<String>>,
}

/// An answer that could not be read is an answer of its own.
const NO_LABEL: &str = "(none)";

impl Unchanged {
    fn new(examples: &[Example], predictions: &[Prediction]) -> Self {
        let of_student = predictions.iter().filter(|p| p.system == STUDENT);
        let of_student: HashMap<&str, &Prediction> =
            of_student.map(|p| (p.id.as_str(), p)).collect();
        let answered = |example: &Example| {
            let label = of_student.get(example.id.as_str())?.label.clone();
            Some(Example {
                label: label.unwrap_or(NO_LABEL.into()),
                ..example.clone()
            })
        };
        let explanations = of_student
            .values()
            .filter(|p| !p.explanation.trim().is_empty())
            .map(|p| (p.id.clone(), vec![p.explanation.clone()]));
        Self {
            examples: examples.iter().filter_map(answered).collect(),
            explanations: explanations.collect(),
        }
    }

    /// How often the label is the same under each change, and CEC between the explanations.
    fn compare(
        &self,
        changed: &[Prediction],
        options: &EvaluateOptions,
        seed: u64,
        models: Models<'_>,
        observe: &mut Observer<'_>,
    ) -> Result<MetricsFile> {
        let named = changed.iter().map(|prediction| Prediction {
            label: Some(prediction.label.clone().unwrap_or(NO_LABEL.into())),
            ..prediction.clone()
        });
        let named: Vec<Prediction> = named.collect();
        let input = Input {
            examples: &self.examples,
            training_labels: &[],
            references: &self.explanations,
            predictions: &named,
            sentences: &BTreeMap::new(),
        };
        let wanted = [MetricName::Accuracy, MetricName::Cec];
        let options = EvaluateOptions {
            metrics: options
                .metrics
                .iter()
                .copied()
                .filter(|metric| wanted.contains(metric))
                .collect(),
            ..options.clone()
        };
        let mut found = evaluate::evaluate(&input, &options, seed, models, observe)?.metrics;
        let is_change = |name: &str| named.iter().any(|p| p.system == name);
        found.systems.retain(|system| is_change(&system.system));
        found.differences.clear();
        for system in &mut found.systems {
            system.labels = None;
        }
        Ok(found)
    }
}

/// The reference explanations: the data set's own, else the teacher's for the gold label.
pub(crate) fn references(
    job: &Job<'_>,
    examples: &[Example],
) -> Result<BTreeMap<String, Vec<String>>> {
    let own: Vec<Reference> = jsonl::read(&job.path("references.jsonl"))?;
    let mut references: BTreeMap<String, Vec<String>> = own
        .into_iter()
        .filter(|r| !r.explanations.is_empty())
        .map(|r| (r.id, r.explanations))
        .collect();
    let rationales: Vec<Rationale> = jsonl::read(&job.path("rationales.jsonl"))?;
    for example in examples {
        if !references.contains_key(&example.id) {
            let is_usable = |r: &&Rationale| {
                r.example == example.id
                    && r.outcome == Outcome::Ok
                    && r.label.as_ref() == Some(&example.label)
            };
            if let Some(rationale) = rationales.iter().find(is_usable) {
                references.insert(example.id.clone(), vec![rationale.text.clone()]);
            }
        }
    }
    Ok(references)
}
