//! The judge: a teacher that rates rationales, and what systems say of the test.

use std::path::Path;

use stillhouse_core::event::Observer;
use stillhouse_core::jsonl;
use stillhouse_core::record::{Example, Judgement, Prediction, Rationale};
use stillhouse_core::{Error as CoreError, Result as CoreResult};
use stillhouse_teacher::{
    AboutRationales, Access, JudgeOptions, Ledger, Setup, as_judge, ask, judgements,
};

use crate::error::Result;
use crate::job::Job;
use crate::stage::teacher::{counter, say_what_came};

/// The judgements of rationales.
pub(crate) const FILE: &str = "judgements.jsonl";

pub(crate) fn wants_rationales(job: &Job<'_>) -> bool {
    let judge = job.config.teacher.judge.as_ref();
    judge.is_some_and(|judge| judge.rationales)
}

/// The judge of the config, where the metric "judge" needs one.
pub(crate) fn required<'j>(job: &'j Job<'_>) -> CoreResult<&'j JudgeOptions> {
    job.config.teacher.judge.as_ref().ok_or_else(|| {
        let what = "is not set, and evaluate.metrics asks for \"judge\"";
        CoreError::option("teacher.judge", what)
    })
}

/// Rates rationales, and writes what came of it.
pub(crate) fn rationales(
    job: &Job<'_>,
    examples: &[Example],
    rationales: &[Rationale],
    ledger: &Ledger,
    folder: &Path,
    observe: &mut Observer<'_>,
) -> Result<()> {
    let judged = rate(job, examples, rationales, ledger, observe)?;
    Ok(jsonl::write(&folder.join(FILE), &judged)?)
}

/// Rates what systems say of examples; the judgement of each is named `example/system`.
pub(crate) fn predictions(
    job: &Job<'_>,
    examples: &[Example],
    predictions: &[Prediction],
    ledger: &Ledger,
    observe: &mut Observer<'_>,
) -> Result<Vec<Judgement>> {
    let gold = |id: &str| {
        examples
            .iter()
            .find(|e| e.id == id)
            .map(|e| e.label.clone())
    };
    let as_rationale = |prediction: &Prediction| {
        let is_blank = prediction.explanation.trim().is_empty();
        let shown = job.config.data.show_label;
        (!is_blank).then(|| Rationale {
            id: name_of(&prediction.id, &prediction.system),
            example: prediction.id.clone(),
            // An explanation is for the label that stands beside it.
            label: if shown {
                gold(&prediction.id)
            } else {
                prediction.label.clone()
            },
            text: prediction.explanation.clone(),
            outcome: stillhouse_core::record::Outcome::Ok,
            label_was_shown: shown,
            source: prediction.system.clone(),
            prompt: None,
            usage: None,
        })
    };
    let given: Vec<Rationale> = predictions.iter().filter_map(as_rationale).collect();
    rate(job, examples, &given, ledger, observe)
}

/// The name under which a prediction is judged.
pub(crate) fn name_of(example: &str, system: &str) -> String {
    format!("{example}/{system}")
}

fn rate(
    job: &Job<'_>,
    examples: &[Example],
    rationales: &[Rationale],
    ledger: &Ledger,
    observe: &mut Observer<'_>,
) -> Result<Vec<Judgement>> {
    let teacher = &job.config.teacher;
    let access = Access::from_vars(teacher, job.world.vars)?;
    let (options, access) = as_judge(teacher, required(job)?, &access);
    let (count, _) = counter(job, observe)?;
    let questions = AboutRationales::new(examples, rationales, &options);
    let setup = Setup {
        options: &options,
        access: &access,
        count: &*count,
        seed: job.config.seed,
        clock: job.world.clock,
        purpose: "judgement",
    };
    let asked = ask(&questions, ledger, &setup, observe)?;
    say_what_came("judgements", &asked, observe)?;
    Ok(judgements(&questions, ledger, &options, &access)?)
}
