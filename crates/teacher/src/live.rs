//! The questions about examples, and their answers as rationales.

use stillhouse_core::prompt::teacher::{TeacherTemplate, hash};
use stillhouse_core::record::{Example, Outcome, Rationale, Usage};

use crate::access::Access;
use crate::answer::{self, Answer};
use crate::error::Result;
use crate::ledger::Ledger;
use crate::options::TeacherOptions;
use crate::request::{Question, Questions, Request};

/// A question about each example of the wanted splits.
#[derive(Debug)]
pub struct AboutExamples<'a> {
    examples: Vec<&'a Example>,
    template: &'a TeacherTemplate,
    system: Option<&'a str>,
}

impl<'a> AboutExamples<'a> {
    /// The questions about those of `examples` that are in the wanted splits.
    pub fn new(
        examples: &'a [Example],
        template: &'a TeacherTemplate,
        options: &'a TeacherOptions,
    ) -> Self {
        let wanted = examples
            .iter()
            .filter(|e| options.splits.contains(&e.split));
        Self {
            examples: wanted.collect(),
            template,
            system: options.system.as_deref(),
        }
    }

    /// The examples that are asked about.
    pub(crate) fn examples(&self) -> impl Iterator<Item = &'a Example> + '_ {
        self.examples.iter().copied()
    }
}

impl Questions for AboutExamples<'_> {
    fn n(&self) -> usize {
        self.examples.len()
    }

    fn question(&self, at: usize) -> Result<Question> {
        let example = self.examples[at];
        Ok(Question {
            id: example.id.clone(),
            system: self.system.map(str::to_owned),
            prompt: self.template.fill(example)?,
            schema: self.template.schema(),
        })
    }
}

/// Hands each sample's rationale to `each`, in the order of the examples, with the answer that
/// it was read from; a sample without an answer is a rationale that failed.
pub fn rationales(
    questions: &AboutExamples<'_>,
    ledger: &Ledger,
    options: &TeacherOptions,
    access: &Access,
    each: &mut dyn FnMut(Rationale, Option<Answer>) -> Result<()>,
) -> Result<()> {
    let model = options.model.as_deref().unwrap_or_default();
    for (at, example) in questions.examples.iter().enumerate() {
        let question = questions.question(at)?;
        let request = Request::new(&question, model, access.identity(), &options.sampling);
        for sample in 0..options.n_samples() as u32 {
            let answer = ledger.answer(&request.hash, sample)?;
            let rationale = Rationale {
                id: format!("{}/{sample}", example.id),
                example: example.id.clone(),
                label: None,
                text: String::new(),
                outcome: Outcome::Failed,
                label_was_shown: options.show_label,
                source: model.to_owned(),
                prompt: Some(request.prompt.clone()),
                usage: None,
            };
            let rationale = match &answer {
                Some(answer) => read(rationale, answer, example, questions.template, options),
                None => rationale,
            };
            each(rationale, answer)?;
        }
    }
    Ok(())
}

fn read(
    rationale: Rationale,
    answer: &Answer,
    example: &Example,
    template: &TeacherTemplate,
    options: &TeacherOptions,
) -> Rationale {
    let (label, text, found) = template.parse(&answer.text, example);
    let context = format!("{} {}", example.claim, example.evidence.join(" "));
    // The words that a JSON answer is wrapped in are English whatever the text is.
    let spoken = Answer {
        text: if text.is_empty() {
            answer.text.clone()
        } else {
            text.clone()
        },
        ..answer.clone()
    };
    let outcome = answer::verdict(&spoken, found, options.same_language.then_some(&*context));
    // A shown label says nothing of an answer that declines; one that is merely not to be
    // parsed is never shown either.
    let outcome = if outcome == Outcome::Ok && answer::is_refusal(&text) {
        Outcome::Refused
    } else {
        outcome
    };
    Rationale {
        label,
        text,
        outcome,
        usage: Some(usage(answer)),
        ..rationale
    }
}

pub(crate) fn usage(answer: &Answer) -> Usage {
    Usage {
        prompt_tokens: answer.prompt_tokens,
        completion_tokens: answer.completion_tokens,
        cost: answer.cost,
    }
}

/// The SHA-256 of a prompt template, for the manifest.
pub fn template_hash(source: &str) -> String {
    hash(source)
}
