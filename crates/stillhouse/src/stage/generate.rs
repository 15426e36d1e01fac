//! The student, and the base model before any training, label and explain the test split.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use serde_json::json;
use stillhouse_core::data::answer::vote;
use stillhouse_core::data::{PARAPHRASES, Paraphrase};
use stillhouse_core::evaluate::answer::{Change, Votes, changed};
use stillhouse_core::evaluate::{STUDENT, UNTRAINED, VOTE};
use stillhouse_core::event::{Event, Observer, tell};
use stillhouse_core::jsonl::{self, Log};
use stillhouse_core::prompt::{Prompt, Task};
use stillhouse_core::record::{Example, Outcome, Prediction, Split};
use stillhouse_core::run::{Inputs, Outputs, Run};
use stillhouse_core::{Error as CoreError, fs};
use stillhouse_student::generate::{Completion, generate};
use stillhouse_student::train::Method;
use stillhouse_student::{GenerateOptions, Model};

use crate::error::Result;
use crate::job::{self, Job};
use crate::stage::{options, trained_name};

/// What the student says to changed examples; a prediction's system is the change.
pub(crate) const CHANGED: &str = "changed.jsonl";
/// What the vote is over; a prediction's system is the sample's number.
pub(crate) const SAMPLES: &str = "samples.jsonl";

pub(crate) fn inputs(job: &Job<'_>, run: &Run, observe: &mut Observer<'_>) -> Result<Inputs> {
    let mut files = job::inputs(run, &["examples.jsonl", trained_name(job)])?;
    files.push(job.dataset_file.clone());
    files.push(job.base_input(observe)?);
    let student = &job.config.student;
    if student.again.changes.contains(&Change::Paraphrased) {
        files.push(run.input(PARAPHRASES)?);
    }
    let options = json!({
        "student": {
            "generate": options(&student.generate),
            "again": options(&student.again),
            "context_tokens": student.context_tokens,
        },
        "show_label": job.config.data.show_label,
    });
    Ok(Inputs { options, files })
}

pub(crate) fn work(job: &Job<'_>, folder: &Path, observe: &mut Observer<'_>) -> Result<Outputs> {
    let mut examples: Vec<Example> = jsonl::read(&job.path("examples.jsonl"))?;
    let untrained = job.untrained(&examples, observe)?;
    examples.retain(|e| e.split == Split::Test);

    let (log, answers) = Log::open::<Prediction>(&folder.join("finished.jsonl"))?;
    let mut said = Said { log, answers };
    if !said.answers.is_empty() {
        let what = format!("{} predictions", said.answers.len());
        tell(observe, Event::Resumed { what })?;
    }
    let student = &job.config.student;
    let first = asked(job, UNTRAINED);
    answer(job, &examples, &untrained, &first, &mut said, observe)?;
    let trained = trained(job, &untrained)?;
    drop(untrained);
    let second = asked(job, STUDENT);
    answer(job, &examples, &trained, &second, &mut said, observe)?;
    let n_samples = student.again.samples.unwrap_or(0);
    for number in 0..n_samples {
        let asked = Asked {
            system: number.to_string(),
            options: GenerateOptions {
                sampling: student.again.sampling(),
                ..student.generate.clone()
            },
            seed: job.config.seed.wrapping_add(1 + number as u64),
        };
        answer(job, &examples, &trained, &asked, &mut said, observe)?;
    }
    let paraphrases = paraphrases(job)?;
    for change in &student.again.changes {
        let seed = job.config.seed;
        let changed: Vec<Example> = examples
            .iter()
            .filter_map(|example| {
                let other = paraphrases.get(&example.id).map(String::as_str);
                changed(example, *change, other, seed)
            })
            .collect();
        let asked = asked(job, change.name());
        answer(job, &changed, &trained, &asked, &mut said, observe)?;
    }
    drop(said.log);

    let order = |p: &Prediction| {
        (
            p.system != STUDENT,
            examples.iter().position(|e| e.id == p.id),
        )
    };
    let of = |wanted: &dyn Fn(&str) -> bool| -> Vec<Prediction> {
        let all = said.answers.iter().filter(|p| wanted(&p.system));
        all.cloned().collect()
    };
    let mut predictions = of(&|system| system == STUDENT || system == UNTRAINED);
    predictions.sort_by_key(order);
    let dropped: usize = predictions
        .iter()
        .filter(|p| p.system == STUDENT)
        .map(|p| p.evidence_dropped)
        .sum();
    let mut outputs = Outputs::of(["predictions.jsonl"]);
    outputs.facts = json!({
        "evidence_dropped": dropped,
        "device": job.config.student.place()?.name(),
    });
    if n_samples > 0 {
        let mut samples = of(&|system| system.parse::<usize>().is_ok());
        let place = |p: &Prediction| examples.iter().position(|e| e.id == p.id);
        samples.sort_by_key(|p| (place(p), p.system.parse::<usize>().ok()));
        let (voted, votes) = vote_of(&samples);
        predictions.extend(voted);
        outputs.facts["votes"] = json!(votes);
        jsonl::write(&folder.join(SAMPLES), &samples)?;
        outputs.names.push(SAMPLES.into());
    }
    if !student.again.changes.is_empty() {
        let is_change = |system: &str| student.again.changes.iter().any(|c| c.name() == system);
        jsonl::write(&folder.join(CHANGED), of(&is_change))?;
        outputs.names.push(CHANGED.into());
    }
    jsonl::write(&folder.join("predictions.jsonl"), &predictions)?;
    fs::remove(&folder.join("finished.jsonl"))?;
    Ok(outputs)
}

/// How a system is asked, each time in the same way.
fn asked(job: &Job<'_>, system: &str) -> Asked {
    Asked {
        system: system.to_owned(),
        options: job.config.student.generate.clone(),
        seed: job.config.seed,
    }
}

/// Complains of a change that the data set does not allow.
pub(crate) fn check(job: &Job<'_>) -> Result<()> {
    let wants = job
        .config
        .student
        .again
        .changes
        .contains(&Change::Paraphrased);
    if wants && job.dataset.fields.paraphrase.is_none() {
        let what =
            "asks for \"paraphrased\", and the dataset file names no `paraphrase` in [fields]";
        return Err(CoreError::option("student.again.changes", what).into());
    }
    Ok(())
}

/// The claims in other words, by example.
fn paraphrases(job: &Job<'_>) -> Result<HashMap<String, String>> {
    let changes = &job.config.student.again.changes;
    if !changes.contains(&Change::Paraphrased) {
        return Ok(HashMap::new());
    }
    let all: Vec<Paraphrase> = jsonl::read(&job.path(PARAPHRASES))?;
    Ok(all.into_iter().map(|one| (one.id, one.claim)).collect())
}

/// The answer of most samples of each example, as the first of them explains it; where none could
/// be read, the first sample. `samples` stand together by example.
fn vote_of(samples: &[Prediction]) -> (Vec<Prediction>, Votes) {
    let groups = || samples.chunk_by(|a, b| a.id == b.id);
    let label = |p: &Prediction| p.label.clone();
    let voted = groups().map(|group| {
        let winner = vote(group.iter().map(|p| p.label.as_deref())).map(str::to_owned);
        let first = group
            .iter()
            .find(|p| label(p) == winner)
            .unwrap_or(&group[0]);
        Prediction {
            system: VOTE.to_owned(),
            ..first.clone()
        }
    });
    let votes = groups().map(|group| group.iter().map(|p| p.label.as_deref()).collect());
    (voted.collect(), Votes::of(votes))
}

/// The student of this run: a whole model, or the base model under its adapter.
pub(crate) fn trained(job: &Job<'_>, base: &Model) -> Result<Model> {
    let folder = job.path(trained_name(job));
    match job.config.student.train.method {
        Method::Lora => Ok(base.clone().without_adapter().with_adapter(&folder)?),
        Method::Full => {
            let mut model = Model::load(&folder)?.on(&job.config.student.place()?);
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

/// Who is asked, and how.
pub(crate) struct Asked {
    pub(crate) system: String,
    pub(crate) options: GenerateOptions,
    pub(crate) seed: u64,
}

/// What was said so far, also before a stop or a kill.
pub(crate) struct Said {
    pub(crate) log: Log,
    pub(crate) answers: Vec<Prediction>,
}

/// Lets one system answer the examples that it has not answered yet.
pub(crate) fn answer(
    job: &Job<'_>,
    examples: &[Example],
    model: &Model,
    asked: &Asked,
    so_far: &mut Said,
    observe: &mut Observer<'_>,
) -> Result<()> {
    let system = &asked.system;
    let done: HashSet<&str> = so_far
        .answers
        .iter()
        .filter(|p| p.system == *system)
        .map(|p| p.id.as_str())
        .collect();
    let open: Vec<&Example> = examples
        .iter()
        .filter(|e| !done.contains(e.id.as_str()))
        .collect();
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
                system: system.clone(),
                label,
                explanation,
                outcome,
                completion: whole,
                evidence_dropped: prompts[index].evidence_dropped,
            };
            so_far.log.push(&prediction)?;
            so_far.answers.push(prediction);
            Ok(())
        };
        generate(
            model,
            &texts,
            &asked.options,
            asked.seed,
            observe,
            &mut keep,
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn most_samples_decide_and_the_first_of_them_explains() {
        let sample = |id: &str, system: usize, label: Option<&str>| Prediction {
            id: id.into(),
            system: system.to_string(),
            label: label.map(str::to_owned),
            explanation: format!("{id}{system}"),
            outcome: Outcome::Ok,
            completion: String::new(),
            evidence_dropped: 0,
        };
        let (voted, votes) = vote_of(&[
            sample("a", 0, Some("3")),
            sample("a", 1, Some("4")),
            sample("a", 2, Some("4")),
            sample("b", 0, None),
            sample("b", 1, Some("7")),
            sample("b", 2, Some("5")),
            sample("c", 0, None),
        ]);
        let shown = voted.iter().map(|p| {
            let label = p.label.as_deref().unwrap_or("none");
            format!("{} {} {label} {}", p.id, p.system, p.explanation)
        });
        assert_eq!(
            shown.collect::<Vec<_>>(),
            [
                "a student-vote 4 a1",
                "b student-vote 7 b1",
                "c student-vote none c0"
            ]
        );
        assert_eq!((votes.examples, votes.ties), (2, 1));
    }
}
