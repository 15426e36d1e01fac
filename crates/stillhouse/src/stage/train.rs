//! Selected rationales to a student.

mod judge;
mod lessons;

use std::path::Path;

use serde_json::{Value, json};
use stillhouse_core::event::{Event, Observer, tell};
use stillhouse_core::record::{Example, Split};
use stillhouse_core::run::{Inputs, Outputs, Run};
use stillhouse_core::{Error as CoreError, fs, jsonl};
use stillhouse_student::Model;
use stillhouse_student::language::perplexity;
use stillhouse_student::train::{Criterion, Material, Method, train_with};

use crate::error::Result;
use crate::job::{self, Job};
use crate::memory;
use crate::stage::{generate, options, trained_name};

pub(crate) use self::lessons::check_order;

pub(crate) fn inputs(job: &Job<'_>, run: &Run, observe: &mut Observer<'_>) -> Result<Inputs> {
    let train = &job.config.student.train;
    let mut names = vec!["examples.jsonl", "rationales.jsonl", "selection.jsonl"];
    if train.objectives.top_k.is_some() {
        names.push("logprobs.jsonl");
    }
    let mut files = job::inputs(run, &names)?;
    files.push(job.dataset_file.clone());
    files.push(job.base_input(observe)?);
    if train.objectives.teacher.is_some() {
        let found = job.local_teacher(observe)?.fingerprint.clone();
        files.push(("teacher model".into(), found));
    }
    if let Some(path) = &train.general_text {
        let path = job.given.locate(path);
        files.push(("general text".into(), fs::sha256(&path)?));
    }
    let is_judged = train.choose_by == Criterion::Cec;
    if is_judged || train.objectives.semantic.is_some() {
        let found = job.encoder(observe)?.fingerprint.clone();
        files.push(("encoder".into(), found));
    }
    let mut student = options(&job.config.student);
    if let Value::Object(table) = &mut student {
        // Where it is trained is no part of what is trained.
        table.remove("device");
        if !is_judged {
            table.remove("generate");
            table.remove("again");
        }
    }
    let cosine = is_judged.then_some(job.config.evaluate.cosine);
    Ok(Inputs {
        options: json!({
            "student": student,
            "show_label": job.config.data.show_label,
            "cosine": cosine,
        }),
        files,
    })
}

pub(crate) fn work(job: &Job<'_>, folder: &Path, observe: &mut Observer<'_>) -> Result<Outputs> {
    let examples: Vec<Example> = jsonl::read(&job.path("examples.jsonl"))?;
    let model = job.untrained(&examples, observe)?;
    let options = &job.config.student.train;
    let lessons = lessons::lessons(job, &examples, &model, observe)?;
    for text in lessons.warnings() {
        tell(observe, Event::Warning { text })?;
    }
    for (split, list) in [
        ("training", &lessons.train),
        ("validation", &lessons.validation),
    ] {
        if list.items.is_empty() {
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
    let general = match &options.general_text {
        Some(path) => Some(fs::read_text(&job.given.locate(path))?),
        None => None,
    };
    let fluency = |model: &Model| match &general {
        Some(text) => perplexity(model, text),
        None => Ok(None),
    };
    let perplexity_before = fluency(&model)?;
    let judge = match options.choose_by {
        Criterion::Loss => None,
        Criterion::Cec => {
            let references = lessons.references.clone();
            Some(judge::judge(job, &examples, references, &model, observe)?)
        }
    };
    let teacher = match &options.objectives.teacher {
        Some(_) => Some(Model::load(&job.local_teacher(observe)?.folder)?),
        None => None,
    };
    let material = Material {
        train: &lessons.train.items,
        hints: &lessons.train.hints,
        validation: &lessons.validation.items,
        validation_hints: &lessons.validation.hints,
        teacher,
        judge,
        memory: Some(&held_memory),
    };
    let (seed, clock) = (job.config.seed, job.world.clock);
    let trained = train_with(model, material, options, seed, folder, clock, observe)?;
    let perplexity_after = fluency(&trained.model)?;
    let facts = json!({
        "parameters": trained.model.n_parameters(),
        "steps": trained.steps,
        "best_step": trained.best_step,
        "first_validation_loss": trained.first_validation_loss,
        "validation_loss": trained.validation_loss,
        "validation_cec": trained.validation_cec,
        "general_perplexity": { "before": perplexity_before, "after": perplexity_after },
        "device": job.config.student.place()?.name(),
        "precision": trained.precision,
        "items": { "train": lessons.train.items.len(), "validation": lessons.validation.items.len() },
        "memory": memory::estimate(job, observe)?,
        "evidence_dropped": lessons.evidence_dropped,
        "too_long": lessons.too_long,
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

/// Bytes of memory that this process holds, where the system says so.
fn held_memory() -> Option<u64> {
    let status = fs::read_text(Path::new("/proc/self/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes * 1024)
}
