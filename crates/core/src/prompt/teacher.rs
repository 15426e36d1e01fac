//! What a teacher is asked, and how its answer is read: rationales and judgements.
//!
//! The templates are files with named holes; three for rationales and one for judgements come
//! with the program. The Causal Distillation paper shows the teacher claim, evidence and label
//! and asks for an explanation; it does not print its wording, so `explain` is ours. The
//! chain-of-thought templates ask in one turn what Kojima et al. (2022) ask in two.

use std::collections::BTreeMap;

use minijinja::{Environment, context};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{leading_label, wrong};
use crate::error::{Error, Result};
use crate::fs;
use crate::record::{Example, Outcome};

/// The templates that come with the program, by name.
pub const BUILT_IN: [(&str, &str); 3] = [
    ("explain", include_str!("explain.jinja")),
    ("zero-shot-cot", include_str!("zero-shot-cot.jinja")),
    ("few-shot-cot", include_str!("few-shot-cot.jinja")),
];

/// The rubric of the judge: what is rated from 1 to 10, and the question behind it.
pub const CRITERIA: [(&str, &str); 3] = [
    (
        "faithful",
        "does each of its statements follow from the evidence?",
    ),
    (
        "complete",
        "does it name every step between the evidence and the label?",
    ),
    (
        "causal",
        "does each cause come before its effect, none of them turned round?",
    ),
];

/// The form in which the answer is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// Plain text, with the label in a line of its own.
    #[default]
    Text,
    /// A JSON object that the end point holds to a schema.
    Json,
}

/// A worked example for a few-shot prompt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shot {
    /// The statement to be judged.
    pub claim: String,
    /// The given passages.
    pub evidence: Vec<String>,
    /// Its label.
    pub label: String,
    /// Why.
    pub rationale: String,
}

/// What a template is filled with besides the example.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Setting {
    /// Whether the gold label is shown to the teacher.
    pub show_label: bool,
    /// The form in which the answer is wanted.
    pub form: Form,
    /// The label set: names, and how else they may be spelt.
    pub labels: BTreeMap<String, Vec<String>>,
    /// Worked examples.
    pub shots: Vec<Shot>,
}

/// A compiled template for questions to a teacher.
#[derive(Debug)]
pub struct TeacherTemplate {
    environment: Environment<'static>,
    setting: Setting,
}

impl TeacherTemplate {
    /// Compiles `source`.
    pub fn new(source: &str, setting: Setting) -> Result<Self> {
        let mut environment = super::environment().map_err(of_teacher)?;
        environment
            .add_template_owned("prompt", source.trim_end().to_owned())
            .map_err(of_teacher)?;
        if source.contains("shots") && setting.shots.is_empty() {
            return Err(Error::option(
                "teacher.shots",
                "is not set, and the prompt shows worked examples: name a file of them",
            ));
        }
        Ok(Self {
            environment,
            setting,
        })
    }

    /// The question about one example.
    pub fn fill(&self, example: &Example) -> Result<String> {
        let label = self.setting.show_label.then_some(&example.label);
        let labels: Vec<String> = self.setting.labels.keys().cloned().collect();
        let shots = self.setting.shots.iter().map(|shot| {
            context! {
                claim => &shot.claim, evidence => &shot.evidence, label => &shot.label,
                rationale => &shot.rationale,
            }
        });
        let shots: Vec<minijinja::Value> = shots.collect();
        let form = match self.setting.form {
            Form::Text => "text",
            Form::Json => "json",
        };
        self.environment
            .get_template("prompt")
            .and_then(|template| {
                template.render(context! {
                    claim => &example.claim, evidence => &example.evidence, label, labels,
                    shots, form,
                })
            })
            .map_err(of_teacher)
    }

    /// The JSON schema of an answer, where one is wanted.
    pub fn schema(&self) -> Option<Value> {
        let text = json!({ "type": "string" });
        let labels: Vec<&String> = self.setting.labels.keys().collect();
        match (self.setting.form, self.setting.show_label) {
            (Form::Text, _) => None,
            (Form::Json, true) => Some(object(&json!({ "explanation": text }))),
            (Form::Json, false) => Some(object(
                &json!({ "explanation": text, "label": { "type": "string", "enum": labels } }),
            )),
        }
    }

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
        let label = part("label").and_then(|label| self.label(label));
        let rationale = part("explanation")
            .or_else(|| part("rationale"))
            .unwrap_or(text);
        (label, rationale.trim().to_owned())
    }

    fn read_text(&self, text: &str) -> (Option<String>, String) {
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

/// The question to a judge: the rubric over one explanation.
pub fn judge(example: &Example, label: &str, explanation: &str) -> Result<String> {
    let mut environment = super::environment().map_err(of_teacher)?;
    environment
        .add_template("judge", include_str!("judge.jinja").trim_end())
        .map_err(of_teacher)?;
    let criteria = CRITERIA.map(|(name, question)| context! { name, question });
    environment
        .get_template("judge")
        .and_then(|template| {
            template.render(context! {
                claim => &example.claim, evidence => &example.evidence, label, explanation,
                criteria => criteria.to_vec(),
            })
        })
        .map_err(of_teacher)
}

/// The JSON schema of a judgement.
pub fn judge_schema() -> Value {
    let rating = json!({ "type": "integer", "minimum": 1, "maximum": 10 });
    let properties: serde_json::Map<String, Value> = CRITERIA
        .iter()
        .map(|(name, _)| ((*name).to_owned(), rating.clone()))
        .collect();
    object(&properties.into())
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

/// The hash by which a prompt is known in records: SHA-256 of its text.
pub fn hash(prompt: &str) -> String {
    fs::sha256_of(prompt.as_bytes())
}

fn of_teacher(error: impl std::fmt::Display) -> Error {
    match wrong(error) {
        Error::Option { what, .. } => Error::option("teacher.prompt", what),
        other => other,
    }
}

fn object(properties: &Value) -> Value {
    let required: Vec<&String> = properties
        .as_object()
        .into_iter()
        .flat_map(|o| o.keys())
        .collect();
    json!({
        "type": "object", "properties": properties, "required": required,
        "additionalProperties": false,
    })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Split;

    fn example() -> Example {
        Example {
            id: "1".into(),
            claim: "ice melts".into(),
            evidence: vec!["it is warm".into(), "ice is cold".into()],
            label: "supported".into(),
            notes: vec![],
            strata: BTreeMap::new(),
            split: Split::Train,
        }
    }

    fn setting(show_label: bool, form: Form) -> Setting {
        let labels = [
            ("supported", vec!["SUPPORTS".to_owned()]),
            ("refuted", vec![]),
            ("not enough info", vec!["NEI".to_owned()]),
        ];
        Setting {
            show_label,
            form,
            labels: labels.map(|(name, all)| (name.to_owned(), all)).into(),
            shots: vec![Shot {
                claim: "sun heats".into(),
                evidence: vec!["light carries heat".into()],
                label: "supported".into(),
                rationale: "Because.".into(),
            }],
        }
    }

    #[test]
    fn every_template_shows_the_label_or_asks_for_it() {
        for (name, source) in BUILT_IN {
            for form in [Form::Text, Form::Json] {
                let fill = |show| {
                    TeacherTemplate::new(source, setting(show, form))
                        .unwrap()
                        .fill(&example())
                        .unwrap()
                };
                let (shown, hidden) = (fill(true), fill(false));
                assert!(shown.contains("supported"), "{name}");
                assert!(
                    hidden.contains("not enough info, refuted, supported"),
                    "{name}: {hidden}"
                );
                for prompt in [&shown, &hidden] {
                    assert!(prompt.contains("- it is warm\n- ice is cold\n"), "{name}");
                    assert!(!prompt.contains("\n\n\n"), "{name}: {prompt}");
                    assert_eq!(prompt.contains("JSON"), form == Form::Json, "{name}");
                }
            }
        }
    }

    #[test]
    fn an_answer_is_read_wherever_it_puts_its_label() {
        let template = TeacherTemplate::new(BUILT_IN[0].1, setting(false, Form::Text)).unwrap();
        let check = |answer: &str, expected: &str| {
            let (label, text, outcome) = template.parse(answer, &example());
            let found = format!("{} | {text} | {outcome:?}", label.unwrap_or_default());
            assert_eq!(found, expected);
        };
        check("Label: refuted\nIt is cold.", "refuted | It is cold. | Ok");
        check(
            "**Label:** Not enough info\n\nIt says little.",
            "not enough info | It says little. | Ok",
        );
        check(
            "Warm air rises.\nLabel: maybe supported?\nFinal answer: SUPPORTS.",
            "supported | Warm air rises.\nLabel: maybe supported? | Ok",
        );
        check(
            "Warmth melts ice. So the answer is refuted.",
            "refuted | Warmth melts ice. So the answer is refuted. | Ok",
        );
        check("Refuted. It is cold.", "refuted | It is cold. | Ok");
        check(
            "{\"label\": \"NEI\", \"explanation\": \"Who knows.\"}",
            "not enough info | Who knows. | Ok",
        );
        check(
            "```json\n{\"explanation\": \"So.\", \"label\": \"refuted\"}\n```",
            "refuted | So. | Ok",
        );
        check(
            "<think>refuted?</think>Label: supported\nYes.",
            "supported | Yes. | Ok",
        );
        check("<think>never ends", " |  | Empty");
        check("It is hard to say.", " | It is hard to say. | Unparsable");
        check("Label: refuted", "refuted |  | Empty");
        check(" \n", " |  | Empty");
    }

    #[test]
    fn a_shown_label_is_the_label_that_is_argued_for() {
        let template = TeacherTemplate::new(BUILT_IN[0].1, setting(true, Form::Text)).unwrap();
        let (label, text, outcome) = template.parse("Refuted? No: warmth melts.", &example());
        assert_eq!(
            (label.as_deref(), text.as_str(), outcome),
            (Some("supported"), "Refuted? No: warmth melts.", Outcome::Ok)
        );
    }

    #[test]
    fn a_judgement_is_three_numbers_from_1_to_10() {
        let check = |answer: &str, expected: &str| {
            let found = parse_judgement(answer)
                .map(|r| r.values().map(u8::to_string).collect::<Vec<_>>().join(" "));
            assert_eq!(found.unwrap_or_default(), expected, "{answer}");
        };
        check(r#"{"faithful": 7, "complete": 3, "causal": 10}"#, "10 3 7");
        check("- Faithful: 7/10\n- **Complete**: 3\nCausal = 9", "9 3 7");
        check(r#"{"faithful": 0, "complete": 3, "causal": 10}"#, "");
        check(r#"{"faithful": 7, "causal": 10}"#, "");
        check("I like it.", "");
        let prompt = judge(&example(), "supported", "Warmth melts.").unwrap();
        assert!(prompt.contains("Explanation: Warmth melts.\n"), "{prompt}");
        assert!(prompt.contains(r#""faithful", "complete", "causal", each"#));
    }

    #[test]
    fn what_a_template_lacks_is_named() {
        let bare = Setting::default();
        let error = TeacherTemplate::new(BUILT_IN[2].1, bare.clone()).unwrap_err();
        assert!(error.to_string().starts_with("teacher.shots: "), "{error}");
        let error = TeacherTemplate::new("{% for %}", bare).unwrap_err();
        assert!(error.to_string().starts_with("teacher.prompt: "), "{error}");
    }
}
