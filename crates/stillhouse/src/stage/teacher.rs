//! Examples to candidate rationales.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use stillhouse_core::data::{self, Candidate};
use stillhouse_core::event::{Event, Observer, tell};
use stillhouse_core::prompt::teacher::{BUILT_IN, Setting, TeacherTemplate};
use stillhouse_core::record::{Example, Outcome, Rationale};
use stillhouse_core::run::{Inputs, Outputs, Plan, Run, Stage};
use stillhouse_core::{Error as CoreError, fs, jsonl};
use stillhouse_teacher::{
    AboutExamples, Access, Asked, Estimate, Kind, Ledger, Means, Price, Result as TeacherResult,
    Said, Setup, Spent, TeacherOptions, ask, ask_local, estimate_judge, estimate_tokens,
    from_candidates, rationales, read_candidates,
};

use crate::error::Result;
use crate::fingerprint;
use crate::job::{self, Job};
use crate::stage::data::located;
use crate::stage::judge;
use crate::stage::local::LocalTeacher;

type Count = Box<dyn Fn(&str) -> usize>;

pub(crate) fn inputs(job: &Job<'_>, run: &Run, observe: &mut Observer<'_>) -> Result<Inputs> {
    let teacher = &job.config.teacher;
    let mut files = job::inputs(run, &["examples.jsonl", "candidates.jsonl"])?;
    if let Some(path) = teacher
        .path
        .as_ref()
        .filter(|_| teacher.kind == Kind::Recorded)
    {
        files.push((
            "recorded rationales".into(),
            fs::sha256(&job.given.locate(path))?,
        ));
    }
    if teacher.kind != Kind::Recorded {
        files.push(job.dataset_file.clone());
        let (source, _) = template_source(job)?;
        files.push(("teacher prompt".into(), fs::sha256_of(source.as_bytes())));
        if teacher.kind == Kind::Model {
            let folder = LocalTeacher::folder(job, observe)?;
            files.push(("teacher model".into(), fingerprint::of_model(&folder)?));
        }
        if let Some(path) = &teacher.shots {
            files.push(("teacher shots".into(), fs::sha256(&job.given.locate(path))?));
        }
    }
    Ok(Inputs {
        options: json!({ "teacher": teacher.key() }),
        files,
    })
}

/// Finds what is wrong with the options before anything is done for them; the key is looked for
/// only when the stage is worked on, since a finished one needs none.
pub(crate) fn before_spending(job: &Job<'_>) -> Result<()> {
    let teacher = &job.config.teacher;
    teacher.check()?;
    if teacher.kind != Kind::Recorded {
        template(job)?;
    }
    Ok(())
}

pub(crate) fn work(job: &Job<'_>, folder: &Path, observe: &mut Observer<'_>) -> Result<Outputs> {
    match job.config.teacher.kind {
        Kind::Recorded => recorded(job, folder, observe),
        Kind::Http | Kind::Batch | Kind::Model => live(job, folder, observe),
    }
}

fn recorded(job: &Job<'_>, folder: &Path, observe: &mut Observer<'_>) -> Result<Outputs> {
    let teacher = &job.config.teacher;
    let examples: Vec<Example> = jsonl::read(&job.path("examples.jsonl"))?;
    let place = match &teacher.path {
        Some(path) => job.given.locate(path),
        None => job.records(observe)?.to_owned(),
    };
    let candidates: Vec<Candidate> = if teacher.path.is_some() {
        read_candidates(&place, &teacher.fields, &job.dataset)?
    } else {
        jsonl::read(&job.path("candidates.jsonl"))?
    };
    let source = place.file_name().unwrap_or_default().to_string_lossy();
    let found = from_candidates(&examples, candidates, &source, teacher, job.config.seed);
    if found.rationales.is_empty() {
        let what = "holds no rationale for any example; set teacher.path, or [candidates] in the dataset file";
        return Err(CoreError::file(place, what).into());
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
    warn_of_bare(&found.bare, observe)?;
    jsonl::write(&folder.join("rationales.jsonl"), &found.rationales)?;
    let mut outputs = Outputs::of(["rationales.jsonl"]);
    outputs.facts =
        json!({ "outcomes": found.outcomes(), "unknown": found.n_unknown, "bare": found.bare });
    if judge::wants_rationales(job) {
        let ledger = open_ledger(job)?;
        judge::rationales(job, &examples, &found.rationales, &ledger, folder, observe)?;
        outputs.names.push(judge::FILE.into());
        outputs.facts["spent"] = spent_in_all(job, &ledger)?;
    }
    Ok(outputs)
}

fn warn_of_bare(bare: &[String], observe: &mut Observer<'_>) -> Result<()> {
    if let Some(first) = bare.first() {
        let text = format!(
            "{} examples have no candidate; the first is `{first}`",
            bare.len()
        );
        tell(observe, Event::Warning { text })?;
    }
    Ok(())
}

/// Asks what is missing in the ledger, and writes what is there as rationales.
fn live(job: &Job<'_>, folder: &Path, observe: &mut Observer<'_>) -> Result<Outputs> {
    let teacher = &job.config.teacher;
    let examples: Vec<Example> = jsonl::read(&job.path("examples.jsonl"))?;
    let template = template(job)?;
    let local = match teacher.kind {
        Kind::Model => Some(LocalTeacher::load(job, observe)?),
        _ => None,
    };
    let access = match &local {
        Some(local) => local.access(),
        None => Access::from_vars(teacher, job.world.vars)?,
    };
    for end_point in access.in_clear() {
        let text = format!(
            "the key goes to {} over http, readable on the way; https would hide it",
            end_point.base_url
        );
        tell(observe, Event::Warning { text })?;
    }
    let (count, _) = counter(job, observe)?;
    let ledger = open_ledger(job)?;
    let setup = Setup {
        options: teacher,
        access: &access,
        count: &*count,
        seed: job.config.seed,
        clock: job.world.clock,
        purpose: "rationale",
    };
    let questions = AboutExamples::new(&examples, &template, teacher);
    let asked = match &local {
        Some(local) => {
            let mut speak =
                |prompts: &[String],
                 seed: u64,
                 observe: &mut Observer<'_>,
                 each: &mut dyn FnMut(usize, Said) -> TeacherResult<()>| {
                    local.speak(prompts, seed, observe, each)
                };
            ask_local(&questions, &ledger, &setup, &mut speak, observe)?
        }
        None => ask(&questions, &ledger, &setup, observe)?,
    };
    drop(local);
    say_what_came("rationales", &asked, observe)?;

    let mut found: Vec<Rationale> = Vec::new();
    let mut logprobs = fs::Writer::create(&folder.join("logprobs.jsonl"))?;
    rationales(
        &questions,
        &ledger,
        teacher,
        &access,
        &mut |rationale, answer| {
            if let Some(logprobs_of) = answer.and_then(|answer| answer.logprobs) {
                let line = json!({ "rationale": rationale.id, "logprobs": logprobs_of });
                writeln!(logprobs, "{line}")
                    .map_err(|e| CoreError::io(folder.join("logprobs.jsonl"), e))?;
            }
            found.push(rationale);
            Ok(())
        },
    )?;
    jsonl::write(&folder.join("rationales.jsonl"), &found)?;
    let mut outputs = Outputs::of(["rationales.jsonl"]);
    if teacher.sampling.top_logprobs.is_some() {
        logprobs.finish()?;
        outputs.names.push("logprobs.jsonl".into());
    }
    if judge::wants_rationales(job) {
        judge::rationales(job, &examples, &found, &ledger, folder, observe)?;
        outputs.names.push(judge::FILE.into());
    }
    outputs.facts = facts(job, &examples, &access, &found, &ledger.spent()?, &asked);
    let bare: Vec<String> =
        serde_json::from_value(outputs.facts["bare"].clone()).unwrap_or_default();
    warn_of_bare(&bare, observe)?;
    Ok(outputs)
}

/// Counts for the manifest and the report.
fn facts(
    job: &Job<'_>,
    examples: &[Example],
    access: &Access,
    found: &[Rationale],
    spent: &Spent,
    asked: &Asked,
) -> Value {
    let mut outcomes = std::collections::BTreeMap::<Outcome, usize>::new();
    let mut usable = std::collections::BTreeSet::new();
    for rationale in found {
        *outcomes.entry(rationale.outcome).or_default() += 1;
        if rationale.outcome == Outcome::Ok {
            usable.insert(rationale.example.as_str());
        }
    }
    let teacher = &job.config.teacher;
    let wanted = examples
        .iter()
        .filter(|e| teacher.splits.contains(&e.split));
    let bare: Vec<&str> = wanted
        .map(|e| e.id.as_str())
        .filter(|id| !usable.contains(id))
        .collect();
    let value: f64 = found.iter().filter_map(|r| r.usage?.cost).sum();
    let mut spent = spent_facts(spent, price(job, access));
    spent["value_of_rationales"] = value.into();
    json!({
        "outcomes": outcomes,
        "bare": bare,
        "model": teacher.model,
        "end_point": access.identity(),
        "label_was_shown": teacher.show_label,
        "from_ledger": asked.from_ledger,
        "failed_tries": asked.faults,
        "spent": spent,
    })
}

fn price(job: &Job<'_>, access: &Access) -> Option<Price> {
    let teacher = &job.config.teacher;
    let judge = teacher.judge.as_ref();
    let model = match teacher.kind {
        Kind::Recorded => judge.and_then(|judge| judge.model.as_ref()),
        _ => None,
    };
    let model = model.or(teacher.model.as_ref());
    let given = judge
        .and_then(|judge| judge.price.as_ref())
        .filter(|_| teacher.kind == Kind::Recorded);
    let given = given.or(teacher.price.as_ref());
    stillhouse_teacher::price_of(given, model.map_or("", String::as_str), access)
}

/// What the run has spent so far, whatever for.
pub(crate) fn spent_in_all(job: &Job<'_>, ledger: &Ledger) -> Result<Value> {
    let access = Access::from_vars(&job.config.teacher, job.world.vars)?;
    Ok(spent_facts(&ledger.spent()?, price(job, &access)))
}

fn spent_facts(spent: &Spent, price: Option<Price>) -> Value {
    let cost = |purpose: &str| spent.cost_by_purpose.get(purpose).copied().unwrap_or(0.0);
    json!({
        "currency": price.map(|price| price.currency),
        "answers": spent.answers,
        "requests": spent.requests,
        "prompt_tokens": spent.prompt_tokens,
        "completion_tokens": spent.completion_tokens,
        "rationales": cost("rationale"),
        "judgements": cost("judgement"),
        "lost_at_most": spent.lost_cost,
        "losses": spent.losses,
    })
}

/// What was spent, for the head of the report: by purpose, and by kept rationale.
pub(crate) fn spent_in_words(spent: &Value, kept: usize) -> Vec<(String, String)> {
    let number = |key: &str| spent[key].as_f64().unwrap_or(0.0);
    if spent.is_null() {
        return vec![];
    }
    let count = |key: &str| spent[key].as_u64().unwrap_or(0);
    let tokens = format!(
        "{} answers in {} requests, {} + {} tokens",
        count("answers"),
        count("requests"),
        count("prompt_tokens"),
        count("completion_tokens"),
    );
    let mut rows = vec![("asked".to_owned(), tokens)];
    if let Some(currency) = spent["currency"].as_str() {
        let mut cost = vec![format!(
            "{:.4} {currency} for rationales",
            number("rationales")
        )];
        if number("judgements") > 0.0 {
            cost.push(format!("{:.4} for judgements", number("judgements")));
        }
        if number("lost_at_most") > 0.0 {
            cost.push(format!(
                "at most {:.4} for lost answers",
                number("lost_at_most")
            ));
        }
        rows.push(("spent".to_owned(), cost.join(", ")));
        // By what the answers cost whoever asked for them: another run may have paid.
        let all = number("value_of_rationales") + number("judgements");
        if all > 0.0 && kept > 0 {
            let each = format!("{:.6} {currency}", all / kept as f64);
            rows.push(("a kept rationale".to_owned(), each));
        }
    }
    let losses: Vec<String> = spent["losses"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(kind, n)| format!("{n} {kind}"))
        .collect();
    if !losses.is_empty() {
        rows.push(("lost answers".to_owned(), losses.join(", ")));
    }
    rows
}

pub(crate) fn say_what_came(what: &str, asked: &Asked, observe: &mut Observer<'_>) -> Result<()> {
    let came = asked.wanted - asked.from_ledger - asked.failed.len();
    let text = format!(
        "{} {what}: {} from the ledger, {came} asked now",
        asked.wanted - asked.failed.len(),
        asked.from_ledger
    );
    tell(observe, Event::Note { text })?;
    if !asked.faults.is_empty() {
        let faults: Vec<String> = asked
            .faults
            .iter()
            .map(|(kind, n)| format!("{n} {kind}"))
            .collect();
        let text = format!("tries that failed: {}", faults.join(", "));
        tell(observe, Event::Note { text })?;
    }
    if let Some((first, sample, why)) = asked.failed.first() {
        let text = format!(
            "{} {what} did not come; the first is sample {sample} of `{first}`: {why}",
            asked.failed.len()
        );
        tell(observe, Event::Warning { text })?;
    }
    Ok(())
}

/// What asking would take, where the stage would be worked on.
pub(crate) fn estimate(job: &Job<'_>, stages: &[(Stage, Plan)]) -> Result<Option<Estimate>> {
    let teacher = &job.config.teacher;
    let would_work = stages.contains(&(Stage::Teacher, Plan::Begin))
        || stages.contains(&(Stage::Teacher, Plan::Continue));
    if matches!(teacher.kind, Kind::Recorded | Kind::Model) || !would_work {
        return Ok(None);
    }
    before_spending(job)?;
    // The data stage may not have run: its work on the examples is a pure function.
    let mut quiet = |_| std::ops::ControlFlow::Continue(());
    let options = located(job, &mut quiet)?;
    let examples = data::load(&job.dataset, &options, job.config.seed)?.examples;
    let template = template(job)?;
    let access = Access::from_vars(teacher, job.world.vars)?;
    let (count, counted) = counter(job, &mut quiet)?;
    let ledger = Ledger::look(&ledger_path(job))?;
    let questions = AboutExamples::new(&examples, &template, teacher);
    let means = Means {
        ledger: ledger.as_ref(),
        access: &access,
        count: &*count,
        counted: &counted,
    };
    let mut estimate = stillhouse_teacher::estimate(&questions, teacher, &means)?;
    if let Some(judge) = teacher.judge.as_ref().filter(|judge| judge.rationales) {
        let judged = estimate_judge(&examples, &questions, &estimate, teacher, judge, &means)?;
        estimate.judge = Some(Box::new(judged));
    }
    Ok(Some(estimate))
}

/// Counts tokens with the teacher's tokenizer, or by a rule of thumb that says so.
pub(crate) fn counter(job: &Job<'_>, observe: &mut Observer<'_>) -> Result<(Count, String)> {
    let Some(name) = &job.config.teacher.tokenizer else {
        let counted = "estimated within 10 % for English; set teacher.tokenizer to count";
        return Ok((Box::new(estimate_tokens), counted.into()));
    };
    let located = job.given.locate(Path::new(name));
    let folder = if located.is_dir() {
        located
    } else {
        let mut note = |text: &str| {
            let text = text.to_owned();
            let _ = observe(Event::Note { text });
        };
        stillhouse_hub::find(name, job.world.hub, &mut note)?.folder
    };
    let count = stillhouse_student::count::counter(&folder)?;
    Ok((
        Box::new(count),
        format!("counted with the tokenizer of {name}"),
    ))
}

fn template(job: &Job<'_>) -> Result<TeacherTemplate> {
    let teacher: &TeacherOptions = &job.config.teacher;
    let (source, path) = template_source(job)?;
    let shots = match &teacher.shots {
        Some(path) => jsonl::read(&job.given.locate(path))?,
        None => vec![],
    };
    let setting = Setting {
        show_label: teacher.show_label,
        form: teacher.form,
        labels: job.dataset.labels.clone(),
        answer: job.dataset.answer.clone(),
        shots,
    };
    let template = TeacherTemplate::new(&source, setting);
    Ok(match path {
        // The file is the place, where there is one.
        Some(path) => template.map_err(|e| CoreError::file(path, e.to_string()))?,
        None => template?,
    })
}

/// The template's text, and its file if it is one of the user's.
fn template_source(job: &Job<'_>) -> Result<(String, Option<PathBuf>)> {
    let name = &job.config.teacher.prompt;
    if let Some((_, source)) = BUILT_IN.iter().find(|(known, _)| known == name) {
        return Ok(((*source).to_owned(), None));
    }
    let path = job.given.locate(Path::new(name));
    if !path.is_file() {
        let known: Vec<&str> = BUILT_IN.iter().map(|(known, _)| *known).collect();
        let what = format!(
            "`{name}` is neither a file nor one of: {}",
            known.join(", ")
        );
        return Err(CoreError::option("teacher.prompt", what).into());
    }
    Ok((fs::read_text(&path)?, Some(path)))
}

/// The ledger of the options, or the one beside the run directory, which its neighbours share.
pub(crate) fn ledger_path(job: &Job<'_>) -> PathBuf {
    match &job.config.teacher.ledger {
        Some(path) => job.given.locate(path),
        None => job.config.out.with_file_name("ledger.sqlite"),
    }
}

/// The ledger, with this run's work in it.
pub(crate) fn open_ledger(job: &Job<'_>) -> Result<Ledger> {
    let run = job.config.out.to_string_lossy();
    Ok(Ledger::open(&ledger_path(job), &run)?)
}
