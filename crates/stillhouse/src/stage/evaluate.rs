//! Predictions to metrics.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::json;
use stillhouse_core::evaluate::{self, EvaluateOptions, Input, MetricName};
use stillhouse_core::event::{Event, Observer, tell};
use stillhouse_core::record::{Example, Outcome, Prediction, Rationale, Reference, Split};
use stillhouse_core::run::{Inputs, Outputs, Run};
use stillhouse_core::{fs, jsonl};

use crate::error::Result;
use crate::job::{self, Job};
use crate::models::{Loaded, vectors_folder};
use crate::stage::options;

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
    Ok(Inputs {
        options: json!({ "evaluate": options(&job.config.evaluate), "show_label": job.config.data.show_label }),
        files,
    })
}

pub(crate) fn work(job: &Job<'_>, folder: &Path, observe: &mut Observer<'_>) -> Result<Outputs> {
    let mut examples: Vec<Example> = jsonl::read(&job.path("examples.jsonl"))?;
    let predictions: Vec<Prediction> = jsonl::read(&job.path("predictions.jsonl"))?;
    let train = examples.iter().filter(|e| e.split == Split::Train);
    let training_labels: Vec<String> = train.map(|e| e.label.clone()).collect();
    let training_labels: Vec<&str> = training_labels.iter().map(String::as_str).collect();
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
    let cache = vectors_folder(job.world.hub);
    let mut loaded = Loaded::new(&options, Some(&cache), |name| {
        let found = if name == options.encoder {
            job.encoder(observe)?
        } else {
            job.judge(name, observe)?
        };
        Ok(found.folder.clone())
    })?;
    let models = loaded.models();
    let evaluation = evaluate::evaluate(&input, &options, job.config.seed, models, observe)?;
    fs::write_json(&folder.join("metrics.json"), &evaluation.metrics)?;
    jsonl::write(&folder.join("pairs.jsonl"), &evaluation.pairs)?;
    Ok(Outputs::of(["metrics.json", "pairs.jsonl"]))
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
