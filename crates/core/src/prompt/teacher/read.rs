//! How a teacher's answer is read: label or answer, rationale, ratings.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{CRITERIA, TeacherTemplate};
use crate::data::answer::{STATES, Take, normalise};
use crate::data::{AnswerKind, AnswerOptions};
use crate::prompt::leading_label;
use crate::record::{Example, Outcome};

impl TeacherTemplate {
    /// Reads an answer about `example`: the label that it argues for, the rationale, and whether
    /// both were found.
    ///
    /// A shown label is the label that the rationale argues for.
    pub fn parse(&self, answer: &str, example: &Example) -> (Option<String>, String, Outcome) {
        let text = without_thoughts(answer).trim();
        if text.is_empty() {
            return (None, String::new(), Outcome::Empty);
        }
        let (label, rationale) = match as_json(text) {
            Some(object) => self.read_json(&object, text),
            None => self.read_text(text),
        };
        let label = if self.setting.show_label {
            Some(example.label.clone())
        } else {
            label
        };
        let outcome = match &label {
            None => Outcome::Unparsable,
            Some(_) if rationale.is_empty() => Outcome::Empty,
            Some(_) => Outcome::Ok,
        };
        (label, rationale, outcome)
    }

    fn read_json(&self, object: &Value, text: &str) -> (Option<String>, String) {
        let part = |key: &str| object.get(key).and_then(Value::as_str);
        let label = match self.setting.answer.kind {
            AnswerKind::Label => part("label").and_then(|label| self.label(label)),
            _ => ["answer", "label", "final_answer"]
                .iter()
                .find_map(|key| self.answer(object.get(*key)?)),
        };
        let rationale = part("explanation")
            .or_else(|| part("rationale"))
            .unwrap_or(text);
        (label, rationale.trim().to_owned())
    }

    /// An answer of a JSON object: a text or a number.
    fn answer(&self, value: &Value) -> Option<String> {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            Value::Bool(truth) => truth.to_string(),
            _ => return None,
        };
        let answer = &self.setting.answer;
        let whole = normalise(answer.kind, &text).ok();
        whole.or_else(|| {
            let stated = format!("{STATES} {text}");
            Some(answer.read(&stated, &self.setting.labels)?.answer)
        })
    }

    /// The answer that a text states, and the text without the statement.
    fn read_answer(&self, text: &str) -> (Option<String>, String) {
        let reader = reader(&self.setting.answer);
        // A line "Answer: 7" says it plainly; what follows such a mark may also be the whole
        // chain of thoughts, and then its end counts.
        let lines: Vec<&str> = text.lines().collect();
        for (at, line) in lines.iter().enumerate().rev() {
            let stated = after_marker(line).map(|value| value.trim_matches([' ', '*', '_']));
            if let Some(Ok(answer)) = stated.map(|value| normalise(reader.kind, value)) {
                let mut kept = lines.clone();
                kept.remove(at);
                return (Some(answer), kept.join("\n").trim().to_owned());
            }
        }
        let labels = &self.setting.labels;
        let is_of_words = matches!(reader.kind, AnswerKind::Text | AnswerKind::Letters);
        match reader.read(text, labels) {
            // Without a mark the whole text would be the answer.
            Some(found) if found.is_marked || !is_of_words => {
                let rationale = reader.explanation(text, labels);
                let rationale = rationale.trim_end_matches(['*', '#', '$', '\\', '\n', ' ']);
                (Some(found.answer), rationale.to_owned())
            }
            _ => (None, text.to_owned()),
        }
    }

    fn read_text(&self, text: &str) -> (Option<String>, String) {
        if self.setting.answer.kind != AnswerKind::Label {
            return self.read_answer(text);
        }
        if self.setting.show_label {
            return (None, text.to_owned());
        }
        // The last line that gives a label counts: a chain of thought may weigh others before.
        let lines: Vec<&str> = text.lines().collect();
        for (at, line) in lines.iter().enumerate().rev() {
            if let Some((label, rest)) = after_marker(line)
                .and_then(|value| leading_label(value, &self.spellings()))
                .and_then(|(spelling, rest)| Some((self.label(spelling)?, rest)))
            {
                let mut kept = lines.clone();
                kept[at] = rest;
                return (Some(label), kept.join("\n").trim().to_owned());
            }
        }
        let lower = text.to_lowercase();
        for marker in ["label is", "verdict is", "answer is"] {
            let found = lower
                .rfind(marker)
                .and_then(|at| text.get(at + marker.len()..))
                .and_then(|value| leading_label(value.trim_start_matches(':'), &self.spellings()))
                .and_then(|(spelling, _)| self.label(spelling));
            if found.is_some() {
                return (found, text.to_owned());
            }
        }
        match leading_label(text, &self.spellings()) {
            Some((spelling, rest)) => (self.label(spelling), rest.trim().to_owned()),
            None => (None, text.to_owned()),
        }
    }

    /// Every spelling of every label, the longest first: "not enough info" before "not".
    fn spellings(&self) -> Vec<&str> {
        let all = self.setting.labels.iter();
        let mut all: Vec<&str> = all
            .flat_map(|(name, others)| others.iter().chain([name]))
            .map(String::as_str)
            .collect();
        all.sort_by_key(|spelling| std::cmp::Reverse(spelling.len()));
        all
    }

    fn label(&self, spelling: &str) -> Option<String> {
        let is = |other: &String| other.eq_ignore_ascii_case(spelling.trim());
        let mut all = self.setting.labels.iter();
        all.find(|(name, others)| is(name) || others.iter().any(is))
            .map(|(name, _)| name.clone())
    }
}

/// Reads a judgement: a rating from 1 to 10 for each criterion, or nothing where one is missing.
pub fn parse_judgement(answer: &str) -> Option<BTreeMap<String, u8>> {
    let text = without_thoughts(answer).trim();
    let object = as_json(text);
    let rating = |name: &str| -> Option<u8> {
        let written = match &object {
            Some(object) => object.get(name)?.as_u64()?,
            // "Faithful: 7/10", as a judge without a schema writes.
            None => text.lines().find_map(|line| {
                let line = line.trim_start_matches(|c: char| !c.is_alphabetic());
                let rest = line.get(name.len()..).filter(|_| {
                    line.get(..name.len())
                        .is_some_and(|head| head.eq_ignore_ascii_case(name))
                })?;
                let rest = rest.trim_start_matches(|c: char| !c.is_ascii_digit());
                let end = rest
                    .find(|c: char| !c.is_ascii_digit())
                    .unwrap_or(rest.len());
                rest[..end].parse().ok()
            })?,
        };
        (1..=10).contains(&written).then_some(written as u8)
    };
    CRITERIA
        .iter()
        .map(|(name, _)| Some(((*name).to_owned(), rating(name)?)))
        .collect()
}

/// How the answer of a model is read that was asked to state it: after the marks that models
/// like, whatever rule the data set has for its own texts.
fn reader(answer: &AnswerOptions) -> AnswerOptions {
    let liked = ["final answer is", "\\boxed{"].map(str::to_owned);
    AnswerOptions {
        take: Take::Last,
        marks: answer.marks.iter().cloned().chain(liked).collect(),
        ..answer.clone()
    }
}

/// What follows the thoughts of a reasoning model that writes them into its answer.
fn without_thoughts(answer: &str) -> &str {
    match answer.trim_start().strip_prefix("<think>") {
        Some(rest) => rest.split_once("</think>").map_or("", |(_, after)| after),
        None => answer,
    }
}

/// The object that a text is, with or without a fence around it.
fn as_json(text: &str) -> Option<Value> {
    let inner = text
        .strip_prefix("```json")
        .or_else(|| text.strip_prefix("```"))
        .map_or(text, |rest| rest.trim_end().trim_end_matches("```"));
    let value: Value = serde_json::from_str(inner.trim()).ok()?;
    value.is_object().then_some(value)
}

/// What follows "Label:", "Verdict:" or "Answer:" at the head of a line.
fn after_marker(line: &str) -> Option<&str> {
    let start = line.trim_start_matches(|c: char| !c.is_alphanumeric());
    ["label", "verdict", "answer", "final answer", "final label"]
        .iter()
        .find_map(|marker| {
            let head = start.get(..marker.len())?;
            let rest = start[marker.len()..].trim_start_matches(['*', '_', ' ']);
            let rest = rest.strip_prefix(':')?;
            head.eq_ignore_ascii_case(marker).then_some(rest)
        })
}
