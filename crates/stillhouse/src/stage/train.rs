//! Selected rationales to a student.

use std::collections::HashMap;
use std::path::Path;

use serde_json::{Value, json};
use stillhouse_core::event::{Event, Observer, tell};
use stillhouse_core::record::{Choice, Example, Rationale, Split};
use stillhouse_core::run::{Inputs, Outputs, Run};
use stillhouse_core::{Error as CoreError, jsonl};
use stillhouse_student::train::{Method, train};
use stillhouse_student::{Item, Model};

use crate::error::Result;
use crate::job::{self, Job};
use crate::memory;
use crate::stage::{generate, options, trained_name};

pub(crate) fn inputs(job: &Job<'_>, run: &Run, observe: &mut Observer<'_>) -> Result<Inputs> {
    let mut files = job::inputs(
        run,
        &["examples.jsonl", "rationales.jsonl", "selection.jsonl"],
    )?;
    files.push(job.dataset_file.clone());
    files.push(job.base_input(observe)?);
    let mut student = options(&job.config.student);
    if let Value::Object(table) = &mut student {
        table.remove("generate");
        table.remove("again");
    }
    Ok(Inputs {
        options: json!({ "student": student, "show_label": job.config.data.show_label }),
        files,
    })
}

pub(crate) fn work(job: &Job<'_>, folder: &Path, observe: &mut Observer<'_>) -> Result<Outputs> {
    let examples: Vec<Example> = jsonl::read(&job.path("examples.jsonl"))?;
    let model = job.untrained(&examples, observe)?;
    let items = items(job, &examples, &model)?;
    for text in items.warnings() {
        tell(observe, Event::Warning { text })?;
    }
    for (split, list) in [
        ("training", &items.train),
        ("validation", &items.validation),
    ] {
        if list.is_empty() {
            let what = format!(
                "no rationale is left for the {split} split; see selection.jsonl for the reasons"
            );
            return Err(CoreError::file(job.path("selection.jsonl"), what).into());
        }
    }
    let test: Vec<&Example> = examples.iter().filter(|e| e.split == Split::Test).collect();
    for task in job.template.tasks() {
        generate::prompts(job, *task, &test, &model)?;
    }
    let trained = train(
        model,
        &items.train,
        &items.validation,
        &job.config.student.train,
        job.config.seed,
        folder,
        job.world.clock,
        observe,
    )?;
    let facts = json!({
        "parameters": trained.model.n_parameters(),
        "steps": trained.steps,
        "best_step": trained.best_step,
        "first_validation_loss": trained.first_validation_loss,
        "validation_loss": trained.validation_loss,
        "precision": trained.precision,
        "items": { "train": items.train.len(), "validation": items.validation.len() },
        "memory": memory::estimate(job, observe)?,
        "evidence_dropped": items.evidence_dropped,
        "too_long": items.too_long,
    });
    let mut names = vec![trained_name(job), "steps.jsonl"];
    let options = &job.config.student.train;
    if options.method == Method::Lora && options.merge {
        names.push("model");
    }
    Ok(Outputs {
        facts,
        ..Outputs::of(names)
    })
}

/// What the student learns, and what did not fit into its context.
struct Items {
    train: Vec<Item>,
    validation: Vec<Item>,
    /// Evidence passages left out, over all items.
    evidence_dropped: usize,
    /// Rationales that do not fit even without evidence.
    too_long: Vec<String>,
}

impl Items {
    fn warnings(&self) -> Vec<String> {
        let mut texts = Vec::new();
        if self.evidence_dropped > 0 {
            texts.push(format!(
                "{} evidence passages were left out of too long prompts, from the end",
                self.evidence_dropped
            ));
        }
        if let Some(first) = self.too_long.first() {
            texts.push(format!("{} rationales are longer than the student's context and were left out; the first is `{first}`", self.too_long.len()));
        }
        texts
    }
}

fn items(job: &Job<'_>, examples: &[Example], model: &Model) -> Result<Items> {
    let rationales: Vec<Rationale> = jsonl::read(&job.path("rationales.jsonl"))?;
    let choices: Vec<Choice> = jsonl::read(&job.path("selection.jsonl"))?;
    let examples: HashMap<&str, &Example> = examples.iter().map(|e| (e.id.as_str(), e)).collect();
    let rationales: HashMap<&str, &Rationale> =
        rationales.iter().map(|r| (r.id.as_str(), r)).collect();
    let mut items = Items {
        train: vec![],
        validation: vec![],
        evidence_dropped: 0,
        too_long: vec![],
    };
    for choice in choices.iter().filter(|choice| choice.kept) {
        let lost = |what: &str| {
            CoreError::file(
                job.path("selection.jsonl"),
                format!("names {what}, which is in no record; run again from select with --redo"),
            )
        };
        let rationale = rationales
            .get(choice.rationale.as_str())
            .ok_or_else(|| lost(&choice.rationale))?;
        let example = examples
            .get(choice.example.as_str())
            .ok_or_else(|| lost(&choice.example))?;
        let label = rationale.label.as_ref().unwrap_or(&example.label);
        for task in job.template.tasks() {
            let completion = job.template.completion_for(*task, label, &rationale.text);
            let room = model
                .interface()
                .prompt_room(model.completion_tokens(&completion));
            let fits = |text: &str| Ok(model.prompt_tokens(text) <= room);
            let Some(prompt) = job.template.fit_for(*task, example, fits)? else {
                items.too_long.push(rationale.id.clone());
                continue;
            };
            items.evidence_dropped += prompt.evidence_dropped;
            let item = Item {
                id: rationale.id.clone(),
                prompt: prompt.text,
                completion,
                weight: choice.weight,
            };
            match example.split {
                Split::Train => items.train.push(item),
                Split::Validation => items.validation.push(item),
                Split::Test => {}
            }
        }
    }
    Ok(items)
}
