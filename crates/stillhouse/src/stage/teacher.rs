//! Examples to candidate rationales.

use std::path::Path;

use serde_json::json;
use stillhouse_core::data::Candidate;
use stillhouse_core::event::{Event, Observer, tell};
use stillhouse_core::record::Example;
use stillhouse_core::run::{Inputs, Outputs, Run};
use stillhouse_core::{Error as CoreError, fs, jsonl};
use stillhouse_teacher::{from_candidates, read_candidates};

use crate::error::Result;
use crate::job::{self, Job};
use crate::stage::options;

pub(crate) fn inputs(job: &Job<'_>, run: &Run, _: &mut Observer<'_>) -> Result<Inputs> {
    let mut files = job::inputs(run, &["examples.jsonl", "candidates.jsonl"])?;
    if let Some(path) = &job.config.teacher.path {
        files.push((
            "recorded rationales".into(),
            fs::sha256(&job.given.locate(path))?,
        ));
    }
    Ok(Inputs {
        options: json!({ "teacher": options(&job.config.teacher) }),
        files,
    })
}

pub(crate) fn work(job: &Job<'_>, folder: &Path, observe: &mut Observer<'_>) -> Result<Outputs> {
    let teacher = &job.config.teacher;
    let examples: Vec<Example> = jsonl::read(&job.path("examples.jsonl"))?;
    let (candidates, place): (Vec<Candidate>, _) = match &teacher.path {
        Some(path) => (
            read_candidates(&job.given.locate(path), &teacher.fields, &job.dataset)?,
            path,
        ),
        None => (
            jsonl::read(&job.path("candidates.jsonl"))?,
            &job.config.data.path,
        ),
    };
    let source = place.file_name().unwrap_or_default().to_string_lossy();
    let found = from_candidates(&examples, candidates, &source, teacher, job.config.seed);
    if found.rationales.is_empty() {
        let what = "holds no rationale for any example; set teacher.path, or [candidates] in the dataset file";
        return Err(CoreError::file(job.given.locate(place), what).into());
    }
    let text = format!(
        "{} candidates for {} examples",
        found.rationales.len(),
        examples.len() - found.bare.len()
    );
    tell(observe, Event::Note { text })?;
    if found.n_unknown > 0 {
        let text = format!(
            "{} recorded rationales belong to no example of the data",
            found.n_unknown
        );
        tell(observe, Event::Warning { text })?;
    }
    if let Some(first) = found.bare.first() {
        let text = format!(
            "{} examples have no candidate; the first is `{first}`",
            found.bare.len()
        );
        tell(observe, Event::Warning { text })?;
    }
    jsonl::write(&folder.join("rationales.jsonl"), &found.rationales)?;
    let facts =
        json!({ "outcomes": found.outcomes(), "unknown": found.n_unknown, "bare": found.bare });
    Ok(Outputs {
        facts,
        ..Outputs::of(["rationales.jsonl"])
    })
}
