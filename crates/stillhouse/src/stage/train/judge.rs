//! How good the student's own explanations of the validation split are, while it learns.

use std::collections::BTreeMap;

use stillhouse_core::evaluate::{self, Input, MetricName, STUDENT};
use stillhouse_core::event::Observer;
use stillhouse_core::record::{Example, Outcome, Prediction};
use stillhouse_student::Model;
use stillhouse_student::generate::{Completion, generate};
use stillhouse_student::train::Judge;

use crate::error::Result;
use crate::job::Job;
use crate::models::{Loaded, vectors_folder};
use crate::stage::generate;

/// Generates for the validation examples that have a kept rationale, and compares by CEC with
/// these; a text that cannot be compared counts 0.
///
/// The data set's own references stay closed: no stage before evaluate opens them.
pub(super) fn judge<'a>(
    job: &'a Job<'_>,
    examples: &[Example],
    references: BTreeMap<String, Vec<String>>,
    model: &Model,
    observe: &mut Observer<'_>,
) -> Result<Box<Judge<'a>>> {
    let is_watched = |example: &&Example| references.contains_key(&example.id);
    let examples: Vec<Example> = examples.iter().filter(is_watched).cloned().collect();
    let all: Vec<&Example> = examples.iter().collect();
    let tasks = job.template.tasks();
    let task = tasks[tasks.len() - 1];
    let prompts = generate::prompts(job, task, &all, model)?;
    let prompts: Vec<String> = prompts.into_iter().map(|prompt| prompt.text).collect();
    let mut options = job.config.evaluate.clone();
    options.metrics = vec![MetricName::Cec];
    options.resamples = 100;
    let cache = vectors_folder(job.world.hub);
    let mut loaded = Loaded::new(&options, Some(&cache), |_| {
        Ok(job.encoder(&mut *observe)?.folder.clone())
    })?;
    let labels: Vec<String> = job
        .dataset
        .label_set()
        .iter()
        .map(|l| (*l).to_owned())
        .collect();
    Ok(Box::new(move |student, observe| {
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        let mut said = vec![String::new(); prompts.len()];
        let mut keep = |index: usize, completion: Completion| {
            said[index] = completion.text;
            Ok(())
        };
        let (generating, seed) = (&job.config.student.generate, job.config.seed);
        generate(student, &prompts, generating, seed, observe, &mut keep)?;
        let predictions = examples.iter().zip(said).map(|(example, completion)| {
            let (_, explanation, _) = job.template.parse_for(task, &completion, &labels);
            Prediction {
                id: example.id.clone(),
                system: STUDENT.to_owned(),
                label: None,
                explanation,
                outcome: Outcome::Ok,
                completion,
                evidence_dropped: 0,
            }
        });
        let predictions: Vec<Prediction> = predictions.collect();
        let input = Input {
            examples: &examples,
            training_labels: &[],
            references: &references,
            predictions: &predictions,
            sentences: &BTreeMap::new(),
        };
        let found = evaluate::evaluate(&input, &options, seed, loaded.models(), observe)?;
        let system = found.metrics.system(STUDENT);
        let cec = system.and_then(|system| system.metrics.get("cec"));
        Ok(cec.and_then(|cec| Some(cec.value? * cec.n as f64 / examples.len() as f64)))
    }))
}
