//! What the student learns: items, what objectives know of them, and what did not fit.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;

use serde_json::Value;
use stillhouse_core::evaluate::causal::{Lexicon, Source, Width, perturb};
use stillhouse_core::evaluate::split;
use stillhouse_core::event::Observer;
use stillhouse_core::prompt::{Order, Task};
use stillhouse_core::record::{Choice, Example, Outcome, Rationale, Rule, Split};
use stillhouse_core::text::least_alike;
use stillhouse_core::{Error as CoreError, jsonl};
use stillhouse_student::objective::{Hints, Objectives, Part, TeacherToken};
use stillhouse_student::{Item, Model};

use crate::error::Result;
use crate::job::Job;
use crate::models::{Loaded, vectors_folder};

/// The items of one split, each with its hints.
#[derive(Default)]
pub(super) struct Taught {
    pub(super) items: Vec<Item>,
    pub(super) hints: Vec<Hints>,
}

/// What the student learns, and what did not fit into its context.
#[derive(Default)]
pub(super) struct Lessons {
    pub(super) train: Taught,
    pub(super) validation: Taught,
    /// The kept rationales of the validation examples.
    pub(super) references: BTreeMap<String, Vec<String>>,
    /// Evidence passages left out, over all items.
    pub(super) evidence_dropped: usize,
    /// Rationales that do not fit even without evidence.
    pub(super) too_long: Vec<String>,
}

impl Lessons {
    pub(super) fn warnings(&self) -> Vec<String> {
        let mut texts = Vec::new();
        if self.evidence_dropped > 0 {
            texts.push(format!(
                "{} evidence passages were left out of too long prompts, from the end",
                self.evidence_dropped
            ));
        }
        if let Some(first) = self.too_long.first() {
            texts.push(format!("{} rationales are longer than the student's context and were left out; the first is `{first}`", self.too_long.len()));
        }
        texts
    }
}

/// Complains of objectives that need another order of answer and rationale.
pub(crate) fn check_order(job: &Job<'_>) -> Result<()> {
    let objectives = &job.config.student.train.objectives;
    let order = job.template.order();
    let needs = |name: &str, wanted: Order, word: &str| {
        if order == wanted {
            return Ok(());
        }
        let key = format!("student.train.objectives.{name}");
        let what = format!("needs a dataset file whose order is \"{word}\"");
        Err(CoreError::option(key, what))
    };
    if objectives.two_prompts.is_some() {
        needs("two_prompts", Order::TwoPrompts, "two-prompts")?;
    }
    // Before the rationale the answer does not depend on it.
    if objectives.consistency.is_some() {
        needs("consistency", Order::RationaleFirst, "rationale-first")?;
    }
    if objectives.counterfactual.is_some() {
        needs("counterfactual", Order::RationaleFirst, "rationale-first")?;
    }
    Ok(())
}

/// Fills the prompts of all chosen rationales, and gathers what the objectives ask for.
pub(super) fn lessons(
    job: &Job<'_>,
    examples: &[Example],
    model: &Model,
    observe: &mut Observer<'_>,
) -> Result<Lessons> {
    let rationales: Vec<Rationale> = jsonl::read(&job.path("rationales.jsonl"))?;
    let choices: Vec<Choice> = jsonl::read(&job.path("selection.jsonl"))?;
    let examples: HashMap<&str, &Example> = examples.iter().map(|e| (e.id.as_str(), e)).collect();
    let by_id: HashMap<&str, &Rationale> = rationales.iter().map(|r| (r.id.as_str(), r)).collect();
    let wanted = Wanted::new(job, &choices, &by_id, observe)?;
    let mut lessons = Lessons::default();
    let is_used = |choice: &&Choice| choice.kept || wanted.wrong.contains(&choice.rationale);
    for choice in choices.iter().filter(is_used) {
        let lost = |what: &str| {
            CoreError::file(
                job.path("selection.jsonl"),
                format!("names {what}, which is in no record; run again from select with --redo"),
            )
        };
        let rationale = by_id
            .get(choice.rationale.as_str())
            .ok_or_else(|| lost(&choice.rationale))?;
        let example = examples
            .get(choice.example.as_str())
            .ok_or_else(|| lost(&choice.example))?;
        if example.split == Split::Test || !(choice.kept || example.split == Split::Train) {
            continue;
        }
        let label = rationale.label.as_ref().unwrap_or(&example.label);
        let tasks = if choice.kept {
            job.template.tasks()
        } else {
            &[Task::Counterfactual]
        };
        for task in tasks {
            let completion = job.template.completion_for(*task, label, &rationale.text);
            let room = model
                .interface()
                .prompt_room(model.completion_tokens(&completion));
            let fits = |text: &str| Ok(model.prompt_tokens(text) <= room);
            let Some(prompt) = job.template.fit_for(*task, example, fits)? else {
                lessons.too_long.push(rationale.id.clone());
                continue;
            };
            lessons.evidence_dropped += prompt.evidence_dropped;
            let hints = wanted.hints(job, *task, choice, rationale, label, &completion);
            let item = Item {
                id: rationale.id.clone(),
                prompt: prompt.text,
                completion,
                weight: if choice.kept { choice.weight } else { 1.0 },
            };
            let taught = match example.split {
                Split::Train => &mut lessons.train,
                Split::Validation => &mut lessons.validation,
                Split::Test => continue,
            };
            taught.items.push(item);
            taught.hints.push(hints);
        }
        if example.split == Split::Validation {
            let texts = lessons.references.entry(example.id.clone()).or_default();
            texts.push(rationale.text.clone());
        }
    }
    Ok(lessons)
}

/// What the objectives ask for, gathered over all rationales.
struct Wanted<'a> {
    objectives: &'a Objectives,
    /// The two rationales of each example that should agree.
    paired: HashSet<String>,
    /// The counterfactual ones.
    wrong: HashSet<String>,
    embeddings: HashMap<String, Vec<f32>>,
    /// The teacher's tokens as the end point gave them.
    said: HashMap<String, Value>,
    lexicon: Lexicon,
}

impl<'a> Wanted<'a> {
    fn new(
        job: &'a Job<'_>,
        choices: &[Choice],
        rationales: &HashMap<&str, &Rationale>,
        observe: &mut Observer<'_>,
    ) -> Result<Self> {
        let objectives = &job.config.student.train.objectives;
        let mut wanted = Self {
            objectives,
            paired: HashSet::new(),
            wrong: HashSet::new(),
            embeddings: HashMap::new(),
            said: HashMap::new(),
            lexicon: Lexicon::new(Width::Core),
        };
        let mut kept: BTreeMap<&str, Vec<&Rationale>> = BTreeMap::new();
        for choice in choices.iter().filter(|choice| choice.kept) {
            if let Some(rationale) = rationales.get(choice.rationale.as_str()) {
                kept.entry(&choice.example).or_default().push(rationale);
            }
        }
        if objectives.consistency.is_some() {
            for of_one in kept.values() {
                let texts: Vec<&str> = of_one.iter().map(|r| r.text.as_str()).collect();
                if let Some((a, b)) = least_alike(&texts) {
                    wanted
                        .paired
                        .extend([of_one[a].id.clone(), of_one[b].id.clone()]);
                }
            }
        }
        if objectives.counterfactual.is_some() {
            // No more wrong ones than right ones.
            let mut left: BTreeMap<&str, usize> = kept
                .iter()
                .map(|(id, of_one)| (*id, of_one.len()))
                .collect();
            for choice in choices.iter().filter(|choice| is_wrong(choice, rationales)) {
                if let Some(n) = left.get_mut(choice.example.as_str()).filter(|n| **n > 0) {
                    *n -= 1;
                    wanted.wrong.insert(choice.rationale.clone());
                }
            }
        }
        if objectives.semantic.is_some() {
            let all: Vec<&Rationale> = kept.values().flatten().copied().collect();
            let texts: Vec<&str> = all.iter().map(|r| r.text.as_str()).collect();
            let cache = vectors_folder(job.world.hub);
            let mut options = job.config.evaluate.clone();
            options.metrics = vec![stillhouse_core::evaluate::MetricName::Cec];
            let mut loaded = Loaded::new(&options, Some(&cache), |_| {
                Ok(job.encoder(&mut *observe)?.folder.clone())
            })?;
            let models = loaded.models();
            let encoder = models.encoder.expect("CEC has an encoder");
            let vectors = encoder.embed(&texts, observe)?;
            let ids = all.iter().map(|r| r.id.clone());
            wanted.embeddings = ids.zip(vectors).collect();
        }
        if objectives.top_k.is_some() {
            let lines: Vec<Value> = jsonl::read(&job.path("logprobs.jsonl"))?;
            let said = lines.into_iter().filter_map(|line| {
                let id = line["rationale"].as_str()?.to_owned();
                Some((id, line["logprobs"]["content"].clone()))
            });
            wanted.said = said.collect();
        }
        Ok(wanted)
    }

    fn hints(
        &self,
        job: &Job<'_>,
        task: Task,
        choice: &Choice,
        rationale: &Rationale,
        label: &str,
        completion: &str,
    ) -> Hints {
        let (answer, explanation) = spans(task, label, rationale.text.trim(), completion);
        let part = match task {
            Task::Whole => Part::Whole,
            Task::Label => Part::Label,
            Task::Rationale => Part::Rationale,
            Task::Counterfactual => Part::Counterfactual,
        };
        let is_paired = self.paired.contains(&rationale.id);
        let unit = if self.objectives.two_prompts.is_some() {
            Some(rationale.id.clone())
        } else if is_paired || self.objectives.counterfactual.is_some() {
            Some(choice.example.clone())
        } else {
            None
        };
        let explains = explanation.is_some() && choice.kept;
        let embedding = self.embeddings.get(&rationale.id).filter(|_| explains);
        let said = self.said.get(&rationale.id).filter(|_| explains);
        Hints {
            unit,
            part,
            is_paired,
            teacher_tokens: said.map_or_else(Vec::new, |said| {
                let start = explanation.as_ref().map_or(0, |span| span.start);
                teacher_tokens(said, rationale.text.trim(), start)
            }),
            perturbed: if explains {
                self.perturbed(job, task, rationale, label)
            } else {
                Vec::new()
            },
            embedding: embedding.cloned().unwrap_or_default(),
            answer,
            explanation,
        }
    }

    fn perturbed(
        &self,
        job: &Job<'_>,
        task: Task,
        rationale: &Rationale,
        label: &str,
    ) -> Vec<String> {
        let Some(options) = &self.objectives.contrast else {
            return Vec::new();
        };
        let sentences = split::sentences(&rationale.text);
        let source = Source {
            id: &rationale.id,
            sentences: &sentences,
            others: &[],
            paraphrase: None,
        };
        let kinds = options.perturbations.iter();
        let changed = kinds.filter_map(|kind| {
            let changed = perturb(*kind, &source, &self.lexicon, job.config.seed)?;
            let text = changed.sentences.join(" ");
            Some(job.template.completion_for(task, label, &text))
        });
        changed.collect()
    }
}

/// A readable rationale for another answer.
fn is_wrong(choice: &Choice, rationales: &HashMap<&str, &Rationale>) -> bool {
    choice.rule == Rule::Accuracy
        && !choice.kept
        && rationales
            .get(choice.rationale.as_str())
            .is_some_and(|r| r.outcome == Outcome::Ok && r.label.is_some())
}

/// The bytes of the answer and of the explanation in a completion.
fn spans(
    task: Task,
    label: &str,
    explanation: &str,
    completion: &str,
) -> (Option<Range<usize>>, Option<Range<usize>>) {
    let said = match task {
        Task::Label => None,
        _ if explanation.is_empty() => None,
        _ => completion
            .find(explanation)
            .map(|at| at..at + explanation.len()),
    };
    let (before, after) = said
        .as_ref()
        .map_or((completion.len(), completion.len()), |span| {
            (span.start, span.end)
        });
    let in_tail = completion[after..].rfind(label).map(|at| after + at);
    let answer = in_tail.or_else(|| completion[..before].find(label));
    (answer.map(|at| at..at + label.len()), said)
}

/// The teacher's tokens inside `text`, which stands at byte `start` of the completion; a space before it belongs to its first token.
fn teacher_tokens(content: &Value, text: &str, start: usize) -> Vec<TeacherToken> {
    let empty = Vec::new();
    let content = content.as_array().unwrap_or(&empty);
    let word = |token: &Value| token["token"].as_str().unwrap_or_default().to_owned();
    let whole: String = content.iter().map(word).collect();
    let Some(at) = whole.find(text) else {
        return Vec::new();
    };
    let mut begin = 0;
    let mut found = Vec::new();
    for token in content {
        let text_of = word(token);
        let end = begin + text_of.len();
        if begin + 1 >= at && end <= at + text.len() && begin + start >= at {
            let top = token["top_logprobs"].as_array().unwrap_or(&empty);
            let top = top.iter().filter_map(|one| {
                let text = one["token"].as_str()?.to_owned();
                Some((text, one["logprob"].as_f64()?))
            });
            found.push(TeacherToken {
                start: begin + start - at,
                text: text_of,
                top: top.collect(),
            });
        }
        begin = end;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn answer_and_explanation_are_found_in_every_order() {
        let check = |task, label: &str, text: &str, completion: &str, expected: [&str; 2]| {
            let (answer, explanation) = spans(task, label, text, completion);
            let show = |span: Option<Range<usize>>| span.map_or("", |span| &completion[span]);
            assert_eq!(
                [show(answer.clone()), show(explanation)],
                expected,
                "{completion}"
            );
            answer
        };
        let text = "3 + 4 = 7, yes.";
        let last = check(
            Task::Whole,
            "7",
            text,
            " 3 + 4 = 7, yes. The answer is 7.",
            ["7", text],
        );
        assert_eq!(last.unwrap().start, 31);
        let first = check(Task::Whole, "7", text, " 7. 3 + 4 = 7, yes.", ["7", text]);
        assert_eq!(first.unwrap().start, 1);
        check(Task::Label, "7", text, " 7", ["7", ""]);
        check(Task::Rationale, "no", text, " 3 + 4 = 7, yes.", ["", text]);
    }

    #[test]
    fn the_teachers_tokens_move_to_where_the_student_says_them() {
        let token = |text: &str| json!({"token": text, "logprob": -0.1, "top_logprobs": [{"token": text, "logprob": -0.1}]});
        let content = json!([
            token("no"),
            token("."),
            token(" It"),
            token(" sinks"),
            token(".\n")
        ]);
        let found = teacher_tokens(&content, "It sinks.", 9);
        let found: Vec<(usize, &str)> = found.iter().map(|t| (t.start, t.text.as_str())).collect();
        // " refuted. It sinks.": the last token holds more than the text.
        assert_eq!(found, [(8, " It"), (11, " sinks")]);
        assert!(teacher_tokens(&content, "It floats.", 9).is_empty());
    }
}
