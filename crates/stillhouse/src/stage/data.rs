//! Records to examples.

use std::path::Path;

use serde_json::json;
use stillhouse_core::data::{self, DataOptions};
use stillhouse_core::event::{Event, Observer, tell};
use stillhouse_core::fs;
use stillhouse_core::run::{Inputs, Outputs, Run};

use crate::error::Result;
use crate::job::Job;
use crate::stage::options;

pub(crate) fn inputs(job: &Job<'_>, _: &Run, observe: &mut Observer<'_>) -> Result<Inputs> {
    inputs_of(job, observe)
}

pub(crate) fn inputs_of(job: &Job<'_>, observe: &mut Observer<'_>) -> Result<Inputs> {
    let located = located(job, observe)?;
    let records = data::sha256(&job.dataset, &located)?;
    let mut files = vec![job.dataset_file.clone(), ("records".into(), records)];
    if let Some(path) = &located.split.ids {
        files.push(("split lists".into(), fs::sha256(path)?));
    }
    Ok(Inputs {
        options: json!({ "data": options(&job.config.data) }),
        files,
    })
}

/// The options with their paths where they lead.
pub(crate) fn located(job: &Job<'_>, observe: &mut Observer<'_>) -> Result<DataOptions> {
    let mut options = job.config.data.clone();
    job.records(observe)?.clone_into(&mut options.path);
    options.split.ids = options.split.ids.map(|path| job.given.locate(&path));
    Ok(options)
}

pub(crate) fn work(job: &Job<'_>, folder: &Path, observe: &mut Observer<'_>) -> Result<Outputs> {
    let summary = data::save(
        &job.dataset,
        &located(job, observe)?,
        job.config.seed,
        folder,
    )?;
    let counts: Vec<String> = summary
        .counts
        .iter()
        .map(|(split, labels)| {
            format!("{} {split:?}", labels.values().sum::<usize>()).to_lowercase()
        })
        .collect();
    let n: usize = summary.counts.values().flat_map(|c| c.values()).sum();
    let text = format!("{n} examples: {}", counts.join(", "));
    tell(observe, Event::Note { text })?;
    for text in &summary.warnings {
        let text = text.clone();
        tell(observe, Event::Warning { text })?;
    }
    if !summary.skipped.is_empty() {
        let reasons: Vec<String> = summary
            .skipped
            .iter()
            .map(|(reason, n)| format!("{n} x {reason}"))
            .collect();
        let first = summary.skipped_first.first();
        let first = first.map_or(String::new(), |first| format!("; first: {first}"));
        let text = format!("records left out: {}{first}", reasons.join(", "));
        tell(observe, Event::Warning { text })?;
    }
    let mut outputs = Outputs::of(data::FILES);
    if job.dataset.fields.paraphrase.is_some() {
        outputs.names.push(data::PARAPHRASES.into());
    }
    Ok(outputs)
}
