//! Records to pages.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;
use stillhouse_core::data::Summary as DataSummary;
use stillhouse_core::evaluate::agreement::Agreement;
use stillhouse_core::evaluate::answer::Votes;
use stillhouse_core::evaluate::summary::MetricsFile;
use stillhouse_core::event::Observer;
use stillhouse_core::record::{Choice, Example, Judgement, Rationale, Reference, Scores, Split};
use stillhouse_core::report::{self, Dataset, Funnel, Report, Selected, StageTime};
use stillhouse_core::run::{Inputs, Manifest, Outputs, Run, Stage};
use stillhouse_core::select::{Input, SelectOptions, Similarity, Vectors, Wanted};
use stillhouse_core::{fs, jsonl};

use crate::error::Result;
use crate::job::{self, Job};
use crate::pipeline::Summary;
use crate::stage::{evaluate, judge, teacher};

const READ: [&str; 9] = [
    "examples.jsonl",
    "references.jsonl",
    "data.json",
    "rationales.jsonl",
    "selection.jsonl",
    "steps.jsonl",
    "predictions.jsonl",
    "metrics.json",
    "pairs.jsonl",
];

/// What some runs have besides.
const MAY_BE: [&str; 3] = [judge::FILE, evaluate::AGREEMENT, evaluate::CONSISTENCY];

pub(crate) fn inputs(_: &Job<'_>, run: &Run, _: &mut Observer<'_>) -> Result<Inputs> {
    // The pages quote the whole config.
    let mut files = job::inputs(run, &READ)?;
    files.extend(MAY_BE.iter().filter_map(|name| run.input(name).ok()));
    Ok(Inputs {
        options: run.manifest().config.clone(),
        files,
    })
}

pub(crate) fn work(job: &Job<'_>, folder: &Path, _: &mut Observer<'_>) -> Result<Outputs> {
    let report = gather(job)?;
    fs::write(&folder.join("report.md"), report::markdown(&report))?;
    fs::write(&folder.join("report.html"), report::html(&report))?;
    Ok(Outputs::of(["report.md", "report.html"]))
}

fn gather(job: &Job<'_>) -> Result<Report> {
    let read_all = |name| jsonl::read::<Example>(&job.path(name));
    let all = read_all("examples.jsonl")?;
    let data: DataSummary = fs::read_json(&job.path("data.json"))?;
    let own: Vec<Reference> = jsonl::read(&job.path("references.jsonl"))?;
    let rationales: Vec<Rationale> = jsonl::read(&job.path("rationales.jsonl"))?;
    let choices: Vec<Choice> = jsonl::read(&job.path("selection.jsonl"))?;
    let selection = Funnel::of(&rationales, &choices, &own);
    let selected = selected(job, &all, &rationales, &choices, &own)?;
    let dataset = counted(&data);
    let examples: Vec<Example> = all.into_iter().filter(|e| e.split == Split::Test).collect();
    let references = evaluate::references(job, &examples)?
        .into_iter()
        .map(|(id, explanations)| Reference {
            id,
            explanations,
            roles: BTreeMap::new(),
        })
        .collect();
    let manifest = Manifest::load(&job.path("manifest.json"))?;
    let fact = |stage: Stage, pointer: &str| {
        manifest
            .stages
            .get(&stage)
            .and_then(|record| record.facts.pointer(pointer))
            .cloned()
            .unwrap_or(Value::Null)
    };
    let (notes, warnings) = remarks(job, &data, &fact);
    let tables = tables(job, &manifest, &choices)?;
    let times = manifest
        .stages
        .iter()
        .filter(|(stage, _)| **stage != Stage::Report);
    Ok(Report {
        title: data.name,
        tool: concat!("stillhouse ", env!("CARGO_PKG_VERSION")).into(),
        seed: job.config.seed,
        facts: facts(job, &fact, selection.kept),
        config: job.given.to_toml(),
        dataset,
        selection: Some(selection),
        selected: Some(selected),
        steps: jsonl::read(&job.path("steps.jsonl"))?,
        metrics: fs::read_json(&job.path("metrics.json"))?,
        tables,
        pairs: jsonl::read(&job.path("pairs.jsonl"))?,
        examples,
        predictions: jsonl::read(&job.path("predictions.jsonl"))?,
        references,
        times: times
            .map(|(stage, record)| StageTime {
                stage: *stage,
                seconds: record.seconds,
            })
            .collect(),
        notes,
        warnings,
    })
}

/// Examples by label and split; by kind of answer, where answers are open.
fn counted(data: &DataSummary) -> Dataset {
    let mut counts: BTreeMap<String, [usize; 3]> = BTreeMap::new();
    for (split, labels) in &data.counts {
        for (label, n) in labels {
            counts.entry(label.clone()).or_default()[*split as usize] = *n;
        }
    }
    Dataset {
        name: data.name.clone(),
        counts,
    }
}

/// What some runs find out besides the metrics.
fn tables(job: &Job<'_>, manifest: &Manifest, choices: &[Choice]) -> Result<Vec<report::Table>> {
    let is_there = |name: &str| {
        let mut stages = manifest.stages.values();
        stages.any(|record| record.outputs.contains_key(name))
    };
    let mut tables = Vec::new();
    if is_there(judge::FILE) {
        let judgements: Vec<Judgement> = jsonl::read(&job.path(judge::FILE))?;
        tables.extend(report::judged(&judgements, choices));
    }
    if is_there(evaluate::AGREEMENT) {
        let found: Agreement = fs::read_json(&job.path(evaluate::AGREEMENT))?;
        tables.push(report::agreed(&found, "the judge"));
    }
    if is_there(evaluate::CONSISTENCY) {
        let found: MetricsFile = fs::read_json(&job.path(evaluate::CONSISTENCY))?;
        tables.push(report::consistent(&found));
    }
    Ok(tables)
}

/// What selection saw, from its own records and the scores that it left.
fn selected(
    job: &Job<'_>,
    examples: &[Example],
    rationales: &[Rationale],
    choices: &[Choice],
    references: &[Reference],
) -> Result<Selected> {
    let own = &job.config.select;
    let path = job.path("scores.jsonl");
    let scores: Vec<Scores> = if Wanted::of(own).any() {
        jsonl::read(&path)?
    } else {
        vec![]
    };
    // What would need embeddings again is compared by words here.
    let options = SelectOptions {
        similarity: Similarity::default(),
        ..own.clone()
    };
    let input = Input {
        examples,
        rationales,
        scores: &scores,
        judgements: &[],
        vectors: &Vectors::new(),
    };
    let seed = job.config.seed;
    Ok(Selected::of(&input, choices, &options, references, seed))
}

/// Short facts below the heading.
fn facts(
    job: &Job<'_>,
    fact: &impl Fn(Stage, &str) -> Value,
    kept: usize,
) -> Vec<(String, String)> {
    let student = &job.config.student;
    let number = |pointer: &str| fact(Stage::Train, pointer);
    let mut facts = vec![
        ("student".to_owned(), student.model.clone()),
        ("parameters".to_owned(), number("/parameters").to_string()),
        (
            "steps".to_owned(),
            format!("{}, best at {}", number("/steps"), number("/best_step")),
        ),
        (
            "trained on".to_owned(),
            number("/device").as_str().unwrap_or("cpu").to_owned(),
        ),
        (
            "products in".to_owned(),
            number("/precision").as_str().unwrap_or("f32").to_owned(),
        ),
        (
            "rationales".to_owned(),
            format!(
                "{} train, {} validation",
                number("/items/train"),
                number("/items/validation")
            ),
        ),
    ];
    let mut spent = fact(Stage::Teacher, "/spent");
    // What evaluate knows is of the whole run so far.
    if let Value::Object(later) = fact(Stage::Evaluate, "/spent") {
        let value = spent["value_of_rationales"].take();
        spent = Value::Object(later);
        spent["value_of_rationales"] = value;
    }
    facts.extend(teacher::spent_in_words(&spent, kept));
    if let (Some(first), Some(last)) = (
        number("/first_validation_loss").as_f64(),
        number("/validation_loss").as_f64(),
    ) {
        facts.push((
            "validation loss".to_owned(),
            format!("{first:.3} before, {last:.3} after"),
        ));
    }
    if let Some(cec) = number("/validation_cec").as_f64() {
        facts.push(("validation CEC".to_owned(), format!("{cec:.3}")));
    }
    if let Some((before, after)) = general_perplexity(fact) {
        facts.push((
            "perplexity of a general text".to_owned(),
            format!("{before:.1} before, {after:.1} after"),
        ));
    }
    facts
}

/// The perplexity of a general text before and after training, where it was measured.
fn general_perplexity(fact: &impl Fn(Stage, &str) -> Value) -> Option<(f64, f64)> {
    let of = |when: &str| fact(Stage::Train, &format!("/general_perplexity/{when}")).as_f64();
    Some((of("before")?, of("after")?))
}

/// What a reader should know, and what should worry one.
fn remarks(
    job: &Job<'_>,
    data: &DataSummary,
    fact: &impl Fn(Stage, &str) -> Value,
) -> (Vec<String>, Vec<String>) {
    let (mut notes, mut warnings) = (Vec::new(), Vec::new());
    notes.push(format!("Source: {}.", data.source));
    if data.near_duplicate_groups > 0 {
        notes.push(format!(
            "{} groups of near-duplicate claims, each kept in one split.",
            data.near_duplicate_groups
        ));
    }
    if let Ok(votes) = serde_json::from_value::<Votes>(fact(Stage::Generate, "/votes")) {
        notes.push(format!(
            "The vote is over {} samples of each example: on average {:.0} % of them give the winning answer; {} of {} votes are ties, which the answer that came first wins.",
            job.config.student.again.samples.unwrap_or(0),
            100.0 * votes.agreement,
            votes.ties,
            votes.examples
        ));
    }
    if !job.dataset.answer.is_closed() {
        notes.push("Answers are open: accuracy is exact match of answers in their one spelling (numbers as numbers); there is no F1 and no majority answer.".into());
    }
    for (reason, n) in &data.skipped {
        warnings.push(format!("{n} records were left out: {reason}."));
    }
    let count = |stage, pointer: &str| fact(stage, pointer).as_u64().unwrap_or(0);
    let length = |stage, pointer: &str| fact(stage, pointer).as_array().map_or(0, Vec::len);
    for (stage, what) in [(Stage::Train, "training"), (Stage::Generate, "test")] {
        let n = count(stage, "/evidence_dropped");
        if n > 0 {
            warnings.push(format!("{n} evidence passages did not fit into the student's context and were left out of {what} prompts."));
        }
    }
    for (stage, pointer, what) in [
        (
            Stage::Train,
            "/too_long",
            "rationales were longer than the student's context and were left out",
        ),
        (
            Stage::Teacher,
            "/bare",
            "examples have no candidate rationale",
        ),
        (
            Stage::Select,
            "/uncovered",
            "training or validation examples have no usable rationale",
        ),
    ] {
        let n = length(stage, pointer);
        if n > 0 {
            warnings.push(format!("{n} {what}."));
        }
    }
    if let Some((before, after)) = general_perplexity(fact)
        && after > 2.0 * before
    {
        warnings.push(format!("The student lost language: a general text that it did not learn is {:.1} times as surprising as before (perplexity {before:.1}, now {after:.1}).", after / before));
    }
    if job.config.data.show_label {
        warnings.push("The student's prompt shows the gold label: label metrics mean nothing and are left out.".into());
    }
    (notes, warnings)
}

/// The last words of a run: the headline numbers, where they are there.
pub(crate) fn summary(job: &Job<'_>) -> Result<Summary> {
    let (metrics, page) = (job.path("metrics.json"), job.path("report.html"));
    let mut headline = String::new();
    if metrics.exists() {
        let metrics: MetricsFile = fs::read_json(&metrics)?;
        for name in ["accuracy", "macro_f1", "bleu", "rougeL", "cec"] {
            headline.push_str(&headline_of(&metrics, name));
        }
    }
    Ok(Summary {
        headline,
        page: page.exists().then_some(page),
    })
}

/// "cec        student 0.381 [0.362, 0.401]   untrained 0.270   copy-evidence 0.600 ..."
fn headline_of(metrics: &MetricsFile, name: &str) -> String {
    let mut cells = Vec::new();
    for system in &metrics.systems {
        if let Some(metric) = system.metrics.get(name)
            && let Some(value) = metric.value
        {
            let interval = metric.interval.filter(|_| cells.is_empty());
            let interval =
                interval.map_or(String::new(), |i| format!(" [{:.3}, {:.3}]", i.low, i.high));
            cells.push(format!("{} {value:.3}{interval}", system.system));
        }
    }
    if cells.is_empty() {
        String::new()
    } else {
        format!("{name:<10} {}\n", cells.join("   "))
    }
}
