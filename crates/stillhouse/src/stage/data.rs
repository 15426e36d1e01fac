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

pub(crate) fn inputs(job: &Job<'_>, _: &Run, _: &mut Observer<'_>) -> Result<Inputs> {
    inputs_of(job)
}

pub(crate) fn inputs_of(job: &Job<'_>) -> Result<Inputs> {
    let records = fs::sha256(&job.given.locate(&job.config.data.path))?;
    let files = vec![job.dataset_file.clone(), ("records".into(), records)];
    Ok(Inputs {
        options: json!({ "data": options(&job.config.data) }),
        files,
    })
}

pub(crate) fn work(job: &Job<'_>, folder: &Path, observe: &mut Observer<'_>) -> Result<Outputs> {
    let options = DataOptions {
        path: job.given.locate(&job.config.data.path),
        ..job.config.data.clone()
    };
    let data = data::load(&job.dataset, &options, job.config.seed)?;
    let counts: Vec<String> = data
        .summary
        .counts
        .iter()
        .map(|(split, labels)| {
            format!("{} {split:?}", labels.values().sum::<usize>()).to_lowercase()
        })
        .collect();
    tell(
        observe,
        Event::Note {
            text: format!("{} examples: {}", data.examples.len(), counts.join(", ")),
        },
    )?;
    if !data.summary.skipped.is_empty() {
        let reasons: Vec<String> = data
            .summary
            .skipped
            .iter()
            .map(|(reason, n)| format!("{n} x {reason}"))
            .collect();
        let text = format!(
            "records left out: {}; first: {}",
            reasons.join(", "),
            data.summary.skipped_first[0]
        );
        tell(observe, Event::Warning { text })?;
    }
    Ok(Outputs::of(data.save(folder)?))
}
