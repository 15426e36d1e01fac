//! The student, and the base model before any training, label and explain the test split.

use std::collections::HashMap;
use std::path::Path;

use serde_json::json;
use stillhouse_core::evaluate::{STUDENT, UNTRAINED};
use stillhouse_core::event::{Event, Observer, tell};
use stillhouse_core::jsonl::{self, Log};
use stillhouse_core::prompt::{Prompt, Task};
use stillhouse_core::record::{Example, Outcome, Prediction, Split};
use stillhouse_core::run::{Inputs, Outputs, Run};
use stillhouse_core::{Error as CoreError, fs};
use stillhouse_student::Model;
use stillhouse_student::generate::{Completion, generate};
use stillhouse_student::train::Method;

use crate::error::Result;
use crate::job::{self, Job};
use crate::stage::{options, trained_name};

pub(crate) fn inputs(job: &Job<'_>, run: &Run, observe: &mut Observer<'_>) -> Result<Inputs> {
    let mut files = job::inputs(run, &["examples.jsonl", trained_name(job)])?;
    files.push(job.dataset_file.clone());
    files.push(job.base_input(observe)?);
    let student = &job.config.student;
    let options = json!({
        "student": { "generate": options(&student.generate), "context_tokens": student.context_tokens },
        "show_label": job.config.data.show_label,
    });
    Ok(Inputs { options, files })
}

pub(crate) fn work(job: &Job<'_>, folder: &Path, observe: &mut Observer<'_>) -> Result<Outputs> {
    let mut examples: Vec<Example> = jsonl::read(&job.path("examples.jsonl"))?;
    let untrained = job.untrained(&examples, observe)?;
    examples.retain(|e| e.split == Split::Test);

    let (mut log, mut predictions) = Log::open::<Prediction>(&folder.join("finished.jsonl"))?;
    if !predictions.is_empty() {
        let what = format!(
            "{} of {} predictions",
            predictions.len(),
            2 * examples.len()
        );
        tell(observe, Event::Resumed { what })?;
    }
    let mut say = |system: &str, model: &Model, observe: &mut Observer<'_>| {
        answer(
            job,
            &examples,
            system,
            model,
            &mut log,
            &mut predictions,
            observe,
        )
    };
    say(UNTRAINED, &untrained, observe)?;
    say(STUDENT, &trained(job, untrained)?, observe)?;
    drop(log);

    let order = |p: &Prediction| {
        (
            p.system != STUDENT,
            examples.iter().position(|e| e.id == p.id),
        )
    };
    predictions.sort_by_key(order);
    jsonl::write(&folder.join("predictions.jsonl"), &predictions)?;
    fs::remove(&folder.join("finished.jsonl"))?;
    let dropped: usize = predictions
        .iter()
        .filter(|p| p.system == STUDENT)
        .map(|p| p.evidence_dropped)
        .sum();
    Ok(Outputs {
        facts: json!({ "evidence_dropped": dropped }),
        ..Outputs::of(["predictions.jsonl"])
    })
}

/// The student of this run: a whole model, or the base model under its adapter.
pub(crate) fn trained(job: &Job<'_>, base: Model) -> Result<Model> {
    let folder = job.path(trained_name(job));
    match job.config.student.train.method {
        Method::Lora => Ok(base.without_adapter().with_adapter(&folder)?),
        Method::Full => {
            let mut model = Model::load(&folder)?;
            model.limit_context(base.context_tokens());
            Ok(model)
        }
    }
}

/// The prompts of examples, each with room for the longest completion; training asks for them
/// too, so that what cannot be generated is known before hours are spent.
pub(crate) fn prompts(
    job: &Job<'_>,
    task: Task,
    examples: &[&Example],
    model: &Model,
) -> Result<Vec<Prompt>> {
    let (context, most) = (
        model.context_tokens(),
        job.config.student.generate.max_new_tokens,
    );
    let room = model.interface().prompt_room(most);
    let of = |example: &&Example| {
        let prompt = job
            .template
            .fit_for(task, example, |text| Ok(model.prompt_tokens(text) <= room))?;
        let crowded = || CoreError::Example {
            id: example.id.clone(),
            what: format!(
                "its claim alone leaves no room for {most} new tokens in a context of {context}; \
                 lower student.generate.max_new_tokens"
            ),
        };
        Ok(prompt.ok_or_else(crowded)?)
    };
    examples.iter().map(of).collect()
}

/// Lets one system answer the examples that it has not answered yet.
pub(crate) fn answer(
    job: &Job<'_>,
    examples: &[Example],
    system: &str,
    model: &Model,
    log: &mut Log,
    predictions: &mut Vec<Prediction>,
    observe: &mut Observer<'_>,
) -> Result<()> {
    let is_done = |id: &str| predictions.iter().any(|p| p.system == system && p.id == id);
    let open: Vec<&Example> = examples.iter().filter(|e| !is_done(&e.id)).collect();
    let labels = job.dataset.label_set();
    // Where label and rationale are asked for apart, the labels come first and wait here.
    let mut said: HashMap<usize, (Option<String>, Outcome, String)> = HashMap::new();
    for (index, task) in job.template.tasks().iter().enumerate() {
        let is_last = index + 1 == job.template.tasks().len();
        let prompts = prompts(job, *task, &open, model)?;
        let texts: Vec<String> = prompts.iter().map(|p| p.text.clone()).collect();
        let mut keep = |index: usize, completion: Completion| {
            if completion.sample > 0 {
                return Ok(());
            }
            let text = &completion.text;
            let (mut label, explanation, mut outcome) =
                job.template.parse_for(*task, text, &labels);
            if completion.is_truncated && outcome == Outcome::Ok {
                outcome = Outcome::Truncated;
            }
            if !is_last {
                said.insert(index, (label, outcome, completion.text));
                return Ok(());
            }
            let mut whole = completion.text;
            if let Some((before, how, text)) = said.remove(&index) {
                label = before;
                whole = format!("{text}\n{whole}");
                if label.is_none() {
                    outcome = how;
                }
            }
            let prediction = Prediction {
                id: open[index].id.clone(),
                system: system.to_owned(),
                label,
                explanation,
                outcome,
                completion: whole,
                evidence_dropped: prompts[index].evidence_dropped,
            };
            log.push(&prediction)?;
            predictions.push(prediction);
            Ok(())
        };
        generate(
            model,
            &texts,
            &job.config.student.generate,
            job.config.seed,
            observe,
            &mut keep,
        )?;
    }
    Ok(())
}
