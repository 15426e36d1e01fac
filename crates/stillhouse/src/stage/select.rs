//! Candidates to the few that train the student.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use serde_json::json;
use stillhouse_core::evaluate::Embed;
use stillhouse_core::event::{Event, Observer, tell};
use stillhouse_core::fs;
use stillhouse_core::jsonl::{self, Log};
use stillhouse_core::record::{Choice, Example, Judgement, Rationale, Scores};
use stillhouse_core::run::{Inputs, Outputs, Run};
use stillhouse_core::select::{
    self, Coverage, Input, Question, Score, SelectOptions, Vectors, Wanted,
};
use stillhouse_student::Model;
use stillhouse_student::encoder::Encoder;

use crate::error::Result;
use crate::job::{self, Job};
use crate::likelihood::Scorer;
use crate::stage::options;

/// Examples that are scored together; a kill loses at most so many.
const TOGETHER: usize = 16;

pub(crate) fn inputs(job: &Job<'_>, run: &Run, observe: &mut Observer<'_>) -> Result<Inputs> {
    let own = &job.config.select;
    let mut files = job::inputs(run, &["examples.jsonl", "rationales.jsonl"])?;
    let mut options = json!({ "select": options(own) });
    if needs_judgements(own) {
        files.extend(job::inputs(run, &["judgements.jsonl"])?);
    }
    if let Some(path) = &own.scores {
        let hash = fs::sha256(&job.given.locate(path))?;
        files.push(("scores".to_owned(), hash));
    }
    if own.needs_encoder() {
        let encoder = job.encoder(observe)?;
        files.push(("encoder".to_owned(), encoder.fingerprint.clone()));
    }
    if Wanted::of(own).any() {
        files.push(job.dataset_file.clone());
        files.push(job.scorer_input(observe)?);
        options["show_label"] = job.config.data.show_label.into();
        options["context_tokens"] = json!(job.config.student.context_tokens);
    }
    Ok(Inputs { options, files })
}

fn needs_judgements(options: &SelectOptions) -> bool {
    options.method.plan().order.score() == Some(Score::Judge)
        || options.record.contains(&Score::Judge)
}

pub(crate) fn work(job: &Job<'_>, folder: &Path, observe: &mut Observer<'_>) -> Result<Outputs> {
    let own = &job.config.select;
    own.check()?;
    let examples: Vec<Example> = jsonl::read(&job.path("examples.jsonl"))?;
    let rationales: Vec<Rationale> = jsonl::read(&job.path("rationales.jsonl"))?;
    let judgements: Vec<Judgement> = if needs_judgements(own) {
        jsonl::read(&job.path("judgements.jsonl"))?
    } else {
        vec![]
    };
    let vectors = vectors(job, &rationales, observe)?;
    let mut input = Input {
        examples: &examples,
        rationales: &rationales,
        scores: &[],
        judgements: &judgements,
        vectors: &vectors,
    };
    let mut outputs = vec!["selection.jsonl"];
    let scores = scores(job, folder, &input, observe)?;
    if Wanted::of(own).any() {
        jsonl::write(&folder.join("scores.jsonl"), &scores)?;
        fs::remove(&folder.join("scored.jsonl"))?;
        outputs.push("scores.jsonl");
    }
    input.scores = &scores;
    let choices = select::choose(&input, own, job.config.seed)?;
    let coverage = select::coverage(&input, &choices);
    say(&input, &choices, &coverage, observe)?;
    jsonl::write(&folder.join("selection.jsonl"), &choices)?;
    let uncovered = select::uncovered(&examples, &choices);
    let unscored = scores.iter().filter(|s| s.unscored.is_some()).count();
    let facts = json!({ "uncovered": uncovered, "coverage": coverage, "unscored": unscored });
    Ok(Outputs {
        facts,
        ..Outputs::of(outputs)
    })
}

/// Embeddings of the candidates, where those are compared.
fn vectors(job: &Job<'_>, rationales: &[Rationale], observe: &mut Observer<'_>) -> Result<Vectors> {
    if !job.config.select.needs_encoder() {
        return Ok(Vectors::new());
    }
    let folder = job.encoder(observe)?.folder.clone();
    let mut encoder = Encoder::load(&folder, &job.config.evaluate.encoder)?;
    let texts: Vec<&str> = rationales.iter().map(|r| r.text.as_str()).collect();
    let units = encoder.embed(&texts, observe)?;
    Ok(rationales.iter().map(|r| r.id.clone()).zip(units).collect())
}

/// What a model says of the candidates: from the file of an earlier run, from an earlier sitting,
/// and for the rest from the model itself.
fn scores(
    job: &Job<'_>,
    folder: &Path,
    input: &Input<'_>,
    observe: &mut Observer<'_>,
) -> Result<Vec<Scores>> {
    let own = &job.config.select;
    let wanted = Wanted::of(own);
    if !wanted.any() {
        return Ok(vec![]);
    }
    if wanted.response {
        let what = "needs the ranks of tokens, which students do not give yet";
        return Err(stillhouse_core::Error::option("select.method", what).into());
    }
    let mut known: HashMap<String, Scores> = HashMap::new();
    if let Some(path) = &own.scores {
        let read: Vec<Scores> = jsonl::read(&job.given.locate(path))?;
        known.extend(read.into_iter().map(|s| (s.rationale.clone(), s)));
        known.retain(|_, scores| wanted.is_met_by(scores));
    }
    let (mut log, sitting) = Log::open::<Scores>(&folder.join("scored.jsonl"))?;
    known.extend(sitting.into_iter().map(|s| (s.rationale.clone(), s)));

    let questions = select::to_score(input, own);
    let mut open: Vec<Question<'_>> = questions.clone();
    for question in &mut open {
        question.candidates.retain(|c| !known.contains_key(&c.id));
    }
    open.retain(|question| !question.candidates.is_empty());
    if !open.is_empty() {
        let model = job.scorer(input.examples, observe)?;
        let mut done = 0;
        let total = open.iter().map(|q| q.candidates.len()).sum();
        for questions in open.chunks(TOGETHER) {
            for scores in score(job, questions, wanted, &model, observe)? {
                log.push(&scores)?;
                known.insert(scores.rationale.clone(), scores);
            }
            done += questions.iter().map(|q| q.candidates.len()).sum::<usize>();
            let unit = "candidates".to_owned();
            tell(observe, Event::Progress { unit, done, total })?;
        }
    }
    let in_order = questions.iter().flat_map(|q| &q.candidates);
    Ok(in_order.filter_map(|c| known.remove(&c.id)).collect())
}

/// One chunk.
pub(crate) fn score(
    job: &Job<'_>,
    questions: &[Question<'_>],
    wanted: Wanted,
    model: &Model,
    observe: &mut Observer<'_>,
) -> Result<Vec<Scores>> {
    let over_options = job.config.select.over_options;
    let mut scorer = Scorer(model);
    Ok(select::score(
        questions,
        &job.template,
        wanted,
        over_options,
        &mut scorer,
        observe,
    )?)
}

/// What a reader should know at once.
fn say(
    input: &Input<'_>,
    choices: &[Choice],
    coverage: &Coverage,
    observe: &mut Observer<'_>,
) -> Result<()> {
    let kept = choices.iter().filter(|c| c.kept).count();
    let rules: BTreeSet<_> = choices.iter().filter(|c| !c.kept).map(|c| c.rule).collect();
    let count = |rule| choices.iter().filter(|c| !c.kept && c.rule == rule).count();
    let dropped: Vec<String> = rules
        .iter()
        .map(|rule| format!("{} by {rule:?}", count(*rule)).to_lowercase())
        .collect();
    let text = format!(
        "kept {kept} of {} candidates; dropped {}",
        choices.len(),
        dropped.join(", ")
    );
    tell(observe, Event::Note { text })?;
    let text = format!(
        "{} candidates are right, {} repeat one before them; {} of {} examples keep a rationale",
        coverage.right, coverage.duplicates, coverage.covered, coverage.examples
    );
    tell(observe, Event::Note { text })?;
    if input.rationales.iter().any(|r| r.label_was_shown) {
        let text =
            "the teacher was shown the gold label, so the accuracy filter means nothing".into();
        tell(observe, Event::Warning { text })?;
    }
    let uncovered = select::uncovered(input.examples, choices);
    if let Some(first) = uncovered.first() {
        let text = format!(
            "{} examples have no usable rationale and train nothing ({} have no candidate, {} no right one); the first is `{first}`",
            uncovered.len(),
            coverage.bare,
            coverage.never_right
        );
        tell(observe, Event::Warning { text })?;
    }
    let unscored = input.scores.iter().filter(|s| s.unscored.is_some());
    if let Some(first) = unscored.clone().next() {
        let text = format!(
            "{} candidates could not be scored; the first is `{}`: {}",
            unscored.count(),
            first.rationale,
            first.unscored.as_deref().unwrap_or_default()
        );
        tell(observe, Event::Warning { text })?;
    }
    Ok(())
}
