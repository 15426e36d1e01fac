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

use super::wrong;
use crate::data::{AnswerKind, AnswerOptions};
use crate::error::{Error, Result};
use crate::fs;
use crate::record::Example;

mod read;

pub use read::parse_judgement;

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
    /// How an answer is read, where it is no label.
    pub answer: AnswerOptions,
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
        let expected = expected(self.setting.answer.kind);
        self.environment
            .get_template("prompt")
            .and_then(|template| {
                template.render(context! {
                    claim => &example.claim, evidence => &example.evidence, label, labels,
                    expected, shots, form,
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
            (Form::Json, false) => Some(object(&match self.setting.answer.kind {
                AnswerKind::Label => json!({
                    "explanation": text, "label": { "type": "string", "enum": labels }
                }),
                AnswerKind::YesNo => json!({
                    "explanation": text, "answer": { "type": "string", "enum": ["yes", "no"] }
                }),
                _ => json!({ "explanation": text, "answer": text }),
            })),
        }
    }
}

/// What the last line of an answer must state; nothing where that is a label.
fn expected(kind: AnswerKind) -> Option<&'static str> {
    match kind {
        AnswerKind::Label => None,
        AnswerKind::Number => Some("a number, in digits"),
        AnswerKind::Option => Some("the letter of one answer choice"),
        AnswerKind::YesNo => Some("yes or no"),
        AnswerKind::Date => Some("a date as MM/DD/YYYY"),
        AnswerKind::Text => Some("the answer in as few words as it can be said"),
        AnswerKind::Letters => Some("the letters alone"),
    }
}

/// The question to a judge: the rubric over one explanation.
pub fn judge(example: &Example, label: &str, explanation: &str) -> Result<String> {
    let mut environment = super::environment().map_err(of_teacher)?;
    environment
        .add_template("judge", include_str!("judge.jinja").trim_end())
        .map_err(of_teacher)?;
    // Without evidence there is a question, and what is generally known.
    let source = if example.evidence.is_empty() {
        "the question and what is generally known"
    } else {
        "the evidence"
    };
    let criteria = CRITERIA.map(|(name, question)| {
        let question = question.replace("the evidence", source);
        context! { name, question }
    });
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Outcome, Split};

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
            answer: AnswerOptions::default(),
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

    fn question(kind: AnswerKind, show_label: bool, form: Form) -> TeacherTemplate {
        let answer = AnswerOptions {
            kind,
            ..AnswerOptions::default()
        };
        let setting = Setting {
            show_label,
            form,
            answer,
            ..Setting::default()
        };
        TeacherTemplate::new(BUILT_IN[0].1, setting).unwrap()
    }

    #[test]
    fn an_answer_that_is_no_label_is_read_by_its_kind() {
        use AnswerKind::{Date, Letters, Number, Option, Text, YesNo};
        let check = |kind, answer: &str, expected: &str| {
            let template = question(kind, false, Form::Text);
            let (label, text, outcome) = template.parse(answer, &example());
            let found = format!("{} | {text} | {outcome:?}", label.unwrap_or_default());
            assert_eq!(found, expected);
        };
        check(
            Number,
            "3 + 4 = 7, of 9.\nThe answer is 7.",
            "7 | 3 + 4 = 7, of 9. | Ok",
        );
        check(
            Number,
            "3 + 4 = 7.\n**Answer:** $7.00",
            "7 | 3 + 4 = 7. | Ok",
        );
        check(Number, "So $x = 7$.\n\\boxed{7}", "7 | So $x = 7$. | Ok");
        check(
            Number,
            "The answer is 7. 3 + 4 = 7 is why.",
            "7 | 3 + 4 = 7 is why. | Ok",
        );
        check(
            Number,
            "Answer: 3 and 4 make 7",
            "7 | Answer: 3 and 4 make 7 | Ok",
        );
        check(
            Number,
            "{\"explanation\": \"3 + 4\", \"answer\": 7}",
            "7 | 3 + 4 | Ok",
        );
        check(
            Number,
            "{\"explanation\": \"3 + 4\", \"answer\": \"7 hens\"}",
            "7 | 3 + 4 | Ok",
        );
        check(Number, "Nobody knows.", " | Nobody knows. | Unparsable");
        check(
            Option,
            "Sand is dry.\nFinal answer: (B)",
            "B | Sand is dry. | Ok",
        );
        check(
            Option,
            "Sand is dry.\nAnswer: (B) lake",
            "B | Sand is dry.\nAnswer: (B) lake | Ok",
        );
        check(
            YesNo,
            "A fish lives long. So the answer is yes.",
            "yes | A fish lives long. | Ok",
        );
        check(
            Date,
            "A day later.\nThe answer is May 1, 2021.",
            "05/01/2021 | A day later. | Ok",
        );
        check(
            Text,
            "It is big. The answer is \"Blue whale\".",
            "blue whale | It is big. | Ok",
        );
        check(
            Text,
            "A blue whale is big.",
            " | A blue whale is big. | Unparsable",
        );
        check(Letters, "n, a.\nAnswer: n a", "na | n, a. | Ok");
        check(Number, "The answer is 7.", "7 |  | Empty");
    }

    #[test]
    fn a_question_asks_for_its_kind_of_answer() {
        let fill = |kind, show, form| question(kind, show, form).fill(&example()).unwrap();
        let prompt = fill(AnswerKind::Number, false, Form::Text);
        assert!(
            prompt.starts_with("Question: ice melts\nEvidence:\n- it is warm\n"),
            "{prompt}"
        );
        let last = "\nEnd with a line \"The answer is X.\", where X is a number, in digits.";
        assert!(prompt.trim_end().ends_with(last), "{prompt}");
        let prompt = fill(AnswerKind::YesNo, true, Form::Json);
        assert!(prompt.contains("\nAnswer: supported\n"), "{prompt}");
        assert!(
            prompt.trim_end().ends_with("with the key \"explanation\"."),
            "{prompt}"
        );
        let schema = question(AnswerKind::YesNo, false, Form::Json).schema();
        assert!(schema.unwrap().to_string().contains(r#"["yes","no"]"#));
        let bare = Example {
            evidence: vec![],
            ..example()
        };
        for (name, source) in BUILT_IN {
            let shots = setting(false, Form::Text).shots;
            let of = |kind| {
                let answer = AnswerOptions {
                    kind,
                    ..AnswerOptions::default()
                };
                let setting = Setting {
                    answer,
                    shots: shots.clone(),
                    ..Setting::default()
                };
                TeacherTemplate::new(source, setting)
                    .unwrap()
                    .fill(&bare)
                    .unwrap()
            };
            let prompt = of(AnswerKind::Option);
            assert!(
                prompt.contains("Question: ice melts\n") && !prompt.contains("\n\n\n"),
                "{name}: {prompt}"
            );
        }
        let prompt = judge(&bare, "7", "3 + 4 = 7.").unwrap();
        assert!(
            prompt.starts_with("Question: ice melts\nAnswer: 7\nExplanation: 3 + 4 = 7.\n")
                && !prompt.contains("evidence;")
                && prompt.contains("follow from the question"),
            "{prompt}"
        );
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
