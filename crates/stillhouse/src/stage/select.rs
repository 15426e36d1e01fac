//! Candidates to the few that train the student.

use std::path::Path;

use serde_json::json;
use stillhouse_core::event::{Event, Observer, tell};
use stillhouse_core::record::{Example, Rationale};
use stillhouse_core::report::Funnel;
use stillhouse_core::run::{Inputs, Outputs, Run};
use stillhouse_core::{jsonl, select};

use crate::error::Result;
use crate::job::{self, Job};
use crate::stage::options;

pub(crate) fn inputs(job: &Job<'_>, run: &Run, _: &mut Observer<'_>) -> Result<Inputs> {
    let files = job::inputs(run, &["examples.jsonl", "rationales.jsonl"])?;
    Ok(Inputs {
        options: json!({ "select": options(&job.config.select) }),
        files,
    })
}

pub(crate) fn work(job: &Job<'_>, folder: &Path, observe: &mut Observer<'_>) -> Result<Outputs> {
    let examples: Vec<Example> = jsonl::read(&job.path("examples.jsonl"))?;
    let rationales: Vec<Rationale> = jsonl::read(&job.path("rationales.jsonl"))?;
    let choices = select::choose(&examples, &rationales, &job.config.select, job.config.seed)?;
    // The known roles are not looked up: no stage before evaluate opens them.
    let funnel = Funnel::of(&rationales, &choices, &[]);
    let dropped: Vec<String> = funnel
        .dropped
        .iter()
        .map(|(rule, n)| format!("{n} by {rule:?}").to_lowercase())
        .collect();
    let text = format!(
        "kept {} of {} candidates; dropped {}",
        funnel.kept,
        funnel.candidates,
        dropped.join(", ")
    );
    tell(observe, Event::Note { text })?;
    if funnel.label_was_shown {
        let text =
            "the teacher was shown the gold label, so the accuracy filter means nothing".into();
        tell(observe, Event::Warning { text })?;
    }
    let uncovered = select::uncovered(&examples, &choices);
    if let Some(first) = uncovered.first() {
        let text = format!(
            "{} examples have no usable rationale and train nothing; the first is `{first}`",
            uncovered.len()
        );
        tell(observe, Event::Warning { text })?;
    }
    jsonl::write(&folder.join("selection.jsonl"), &choices)?;
    Ok(Outputs {
        facts: json!({ "uncovered": uncovered }),
        ..Outputs::of(["selection.jsonl"])
    })
}
