//! The only place where prompts and completions are made and read.
//!
//! Training, validation and generation call the same functions, so what the student learns is
//! what it is asked. A prompt is a template (minijinja) over `claim`, `evidence`, `notes` and
//! `label`, on request inside the model's own chat template. A completion is the label, a full
//! stop, and the explanation: the label stands first, so that a caller who wants the verdict
//! alone can stop after it. Reasoning sets have it the other way round, or ask for both apart
//! ([`Order`]).

pub mod chat;
mod order;
pub mod teacher;

use std::collections::BTreeMap;

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, UndefinedBehavior, Value, context};

use crate::data::AnswerOptions;
use crate::error::{Error, Result};
use crate::record::{EvidenceNote, Example, Outcome};
use chat::ChatTemplate;
pub use order::{Order, Task};

/// A compiled prompt template.
#[derive(Debug)]
pub struct Template {
    environment: Environment<'static>,
    options: TemplateOptions,
}

/// How prompts and completions are made.
#[derive(Debug, Default)]
pub struct TemplateOptions {
    /// The gold label stands in the prompt, and the completion is the explanation alone.
    pub show_label: bool,
    /// What the completion says first.
    pub order: Order,
    /// Factual prompts say that they are, since there are counterfactual ones.
    pub names_factual: bool,
    /// How an answer is read.
    pub answer: AnswerOptions,
    /// The label set, where answers are labels.
    pub labels: BTreeMap<String, Vec<String>>,
    /// The model's own chat template.
    pub chat: Option<ChatTemplate>,
}

/// A prompt that fits, and what had to be left out for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    /// The template, filled.
    pub text: String,
    /// Evidence passages left out, from the end.
    pub evidence_dropped: usize,
}

fn wrong(error: impl std::fmt::Display) -> Error {
    Error::option("prompt", error.to_string())
}

fn environment() -> Result<Environment<'static>, minijinja::Error> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    // As in chat templates: a line that holds only a tag leaves no empty line.
    let syntax = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build();
    environment.set_syntax(syntax?);
    Ok(environment)
}

impl Template {
    /// Compiles `source`; with `show_label` the gold label is put into the prompt, and the
    /// completion is the explanation alone.
    pub fn new(source: &str, show_label: bool) -> Result<Self> {
        Self::with(
            source,
            TemplateOptions {
                show_label,
                ..TemplateOptions::default()
            },
        )
    }

    /// Compiles `source` with all that is to be known about completions.
    pub fn with(source: &str, options: TemplateOptions) -> Result<Self> {
        let mut environment = environment().map_err(wrong)?;
        environment
            .add_template_owned("prompt", source.trim_end().to_owned())
            .map_err(wrong)?;
        Ok(Self {
            environment,
            options,
        })
    }

    /// What is asked for one by one: label and rationale together, or each with a prompt of its
    /// own.
    pub fn tasks(&self) -> &'static [Task] {
        match self.options.order {
            Order::TwoPrompts if self.options.show_label => &[Task::Rationale],
            Order::TwoPrompts => &[Task::Label, Task::Rationale],
            Order::AnswerFirst | Order::RationaleFirst => &[Task::Whole],
        }
    }

    /// What a completion says first.
    pub fn order(&self) -> Order {
        self.options.order
    }

    /// Fills the template with the first `n_evidence` passages, for the first of its tasks.
    pub fn fill(&self, example: &Example, n_evidence: usize) -> Result<String> {
        self.fill_for(self.tasks()[0], example, n_evidence)
    }

    /// Fills the template with the first `n_evidence` passages.
    pub fn fill_for(&self, task: Task, example: &Example, n_evidence: usize) -> Result<String> {
        let label = self.options.show_label.then_some(&example.label);
        let evidence = &example.evidence[..n_evidence.min(example.evidence.len())];
        let notes = &example.notes[..n_evidence.min(example.notes.len())];
        let note = |note: &EvidenceNote| {
            let votes = note.votes.iter().map(|(label, n)| (label.clone(), *n));
            context! { label => note.label.clone(), votes => votes.collect::<Value>() }
        };
        let notes: Vec<Value> = notes.iter().map(note).collect();
        let text = self
            .environment
            .get_template("prompt")
            .and_then(|template| {
                template.render(
                    context! { claim => &example.claim, evidence => evidence.to_vec(), notes, label },
                )
            })
            .map_err(wrong)?;
        let text = format!("{}{text}", task.prefix(&self.options));
        match &self.options.chat {
            Some(chat) => chat.fill(&text),
            None => Ok(text),
        }
    }

    /// The longest prompt that `fits` accepts, leaving out evidence from the end; `None` when
    /// not even the claim alone fits.
    pub fn fit(
        &self,
        example: &Example,
        fits: impl Fn(&str) -> Result<bool>,
    ) -> Result<Option<Prompt>> {
        self.fit_for(self.tasks()[0], example, fits)
    }

    /// The same for one of several tasks.
    pub fn fit_for(
        &self,
        task: Task,
        example: &Example,
        fits: impl Fn(&str) -> Result<bool>,
    ) -> Result<Option<Prompt>> {
        for n_evidence in (0..=example.evidence.len()).rev() {
            let text = self.fill_for(task, example, n_evidence)?;
            if fits(&text)? {
                return Ok(Some(Prompt {
                    text,
                    evidence_dropped: example.evidence.len() - n_evidence,
                }));
            }
        }
        Ok(None)
    }

    /// What the student should answer to the first of the tasks.
    pub fn completion(&self, label: &str, explanation: &str) -> String {
        self.completion_for(self.tasks()[0], label, explanation)
    }

    /// What the student should answer.
    pub fn completion_for(&self, task: Task, label: &str, explanation: &str) -> String {
        let text = order::completion(&self.options, task, label, explanation.trim());
        // A chat template ends in the break after which the answer begins.
        match self.options.chat {
            Some(_) => text,
            None => format!(" {text}"),
        }
    }

    /// A rationale and the words that announce an answer: what stands between the prompt and
    /// [`answered`](Self::answered) where the likelihood of the answer is asked for. Without a
    /// rationale the words alone.
    pub fn reasoned(&self, rationale: &str) -> String {
        let states = crate::data::answer::STATES;
        let text = match rationale.trim() {
            "" => states.to_owned(),
            rationale => format!("{rationale} {states}"),
        };
        match self.options.chat {
            Some(_) => text,
            None => format!(" {text}"),
        }
    }

    /// The answer after [`reasoned`](Self::reasoned).
    pub fn answered(&self, label: &str) -> String {
        format!(" {label}")
    }

    /// The pieces of a completion that gives an answer without a rationale, as a student trained
    /// on these completions would say it.
    pub fn answered_at_once(&self, label: &str) -> Vec<String> {
        match self.options.order {
            Order::RationaleFirst => vec![self.reasoned(""), self.answered(label)],
            Order::AnswerFirst | Order::TwoPrompts if self.options.chat.is_some() => {
                vec![label.to_owned()]
            }
            Order::AnswerFirst | Order::TwoPrompts => vec![self.answered(label)],
        }
    }

    /// Whether the prompt shows the gold label.
    pub fn shows_label(&self) -> bool {
        self.options.show_label
    }

    /// How an answer is read, and the spellings of the label set.
    pub fn answers(&self) -> (&AnswerOptions, &BTreeMap<String, Vec<String>>) {
        (&self.options.answer, &self.options.labels)
    }

    /// Reads a completion: its label (none where the prompt showed it), its explanation, and how
    /// it ended. Without a label the whole text counts as the explanation.
    pub fn parse(&self, completion: &str, labels: &[&str]) -> (Option<String>, String, Outcome) {
        self.parse_for(self.tasks()[0], completion, labels)
    }

    /// The same for one of several tasks.
    pub fn parse_for(
        &self,
        task: Task,
        completion: &str,
        labels: &[&str],
    ) -> (Option<String>, String, Outcome) {
        let text = completion.trim();
        if text.is_empty() {
            return (None, String::new(), Outcome::Empty);
        }
        if self.options.show_label || task == Task::Rationale {
            return (None, text.to_owned(), Outcome::Ok);
        }
        match order::read(&self.options, task, text, labels) {
            Some((label, explanation)) => (Some(label), explanation, Outcome::Ok),
            None => (None, text.to_owned(), Outcome::Unparsable),
        }
    }
}

/// The label that `text` begins with, whatever its case and quoting, and what follows it.
fn leading_label<'a, 't>(text: &'t str, labels: &[&'a str]) -> Option<(&'a str, &'t str)> {
    let is_mark = |c: char| c.is_whitespace() || "*_\"'`([{:#".contains(c);
    let start = text.trim_start_matches(is_mark);
    let starts_with = |label: &&&str| {
        let head = start.get(..label.len());
        let boundary = !start[head.map_or(0, str::len)..].starts_with(char::is_alphanumeric);
        head.is_some_and(|head| head.eq_ignore_ascii_case(label)) && boundary
    };
    let label = labels
        .iter()
        .filter(starts_with)
        .max_by_key(|label| label.len())?;
    let rest = &start[label.len()..];
    Some((
        label,
        rest.trim_start_matches(|c: char| is_mark(c) || ".,;)]}-\u{2013}\u{2014}".contains(c)),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEMPLATE: &str = "Claim: {{ claim }}\nEvidence:\n{% for e in evidence %}- {{ e }}\n{% endfor %}Verdict:{% if label %} {{ label }}{% endif %}\n";

    fn example() -> Example {
        Example {
            id: "1".into(),
            claim: "ice {{ melts }}".into(),
            evidence: vec!["it is warm".into(), "it is very warm".into()],
            label: "supported".into(),
            ..Example::default()
        }
    }

    #[test]
    fn a_completion_is_a_label_then_an_explanation() {
        let check = |completion: &str, expected: &str| {
            let template = Template::new(TEMPLATE, false).unwrap();
            let (label, text, outcome) = template.parse(
                completion,
                &["supported", "refuted", "not enough info", "not"],
            );
            assert_eq!(
                format!("{} | {text} | {outcome:?}", label.unwrap_or_default()),
                expected
            );
        };
        check(
            " refuted. The trial had no control group.",
            "refuted | The trial had no control group. | Ok",
        );
        check(
            "Refuted: no control group",
            "refuted | no control group | Ok",
        );
        check(
            "**Not Enough Info** - unclear",
            "not enough info | unclear | Ok",
        );
        check("not. Really", "not | Really | Ok");
        check("supported", "supported |  | Ok");
        check("supportedly so", " | supportedly so | Unparsable");
        check("I cannot tell.", " | I cannot tell. | Unparsable");
        check(" \n", " |  | Empty");
        check("été", " | été | Unparsable");
    }

    #[test]
    fn what_is_made_is_read() {
        let template = Template::new(TEMPLATE, false).unwrap();
        let (label, text, outcome) = template.parse(
            &template.completion("refuted", " Because. "),
            &["refuted", "supported"],
        );
        assert_eq!(
            (label.as_deref(), text.as_str(), outcome),
            (Some("refuted"), "Because.", Outcome::Ok)
        );
    }

    #[test]
    fn a_template_is_filled_and_claims_are_no_templates() {
        let text = Template::new(TEMPLATE, false)
            .unwrap()
            .fill(&example(), 2)
            .unwrap();
        assert_eq!(
            text,
            "Claim: ice {{ melts }}\nEvidence:\n- it is warm\n- it is very warm\nVerdict:"
        );
        let shown = Template::new(TEMPLATE, true).unwrap();
        assert!(
            shown
                .fill(&example(), 0)
                .unwrap()
                .ends_with("Verdict: supported")
        );
        assert_eq!(shown.completion("supported", "Because."), " Because.");
    }

    #[test]
    fn evidence_is_left_out_from_the_end_until_it_fits() {
        let template = Template::new(TEMPLATE, false).unwrap();
        let check = |limit: usize, expected: Option<usize>| {
            let prompt = template
                .fit(&example(), |text| Ok(text.len() <= limit))
                .unwrap();
            assert_eq!(prompt.map(|p| p.evidence_dropped), expected);
        };
        check(1000, Some(0));
        check(60, Some(1));
        check(41, Some(2));
        check(10, None);
    }

    #[test]
    fn a_broken_template_names_its_line() {
        let error = Template::new("{{ claim }}\n{% for %}", false)
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("prompt: ") && error.contains("prompt:2"),
            "{error}"
        );
        let unknown = Template::new("{{ clam }}", false).unwrap();
        assert!(unknown.fill(&example(), 0).is_err());
    }
}
