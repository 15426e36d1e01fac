//! A judge: a teacher that rates rationales by a rubric, through the same ledger and caps.

use std::collections::HashMap;

use stillhouse_core::prompt::teacher::{self as prompt, Form};
use stillhouse_core::record::{Example, Judgement, Outcome, Rationale};

use crate::access::{Access, EndPoint};
use crate::answer;
use crate::error::Result;
use crate::ledger::Ledger;
use crate::live::usage;
use crate::options::{By, JudgeOptions, Kind, Sampling, TeacherOptions};
use crate::request::{Question, Questions, Request};

/// A question about each rationale that can be judged.
///
/// An explanation of a student is judged in the same way: as a rationale with its id.
#[derive(Debug)]
pub struct AboutRationales<'a> {
    pairs: Vec<(&'a Example, &'a Rationale)>,
    form: Form,
}

impl<'a> AboutRationales<'a> {
    /// The questions about those of `rationales` that have a text and a label.
    pub fn new(
        examples: &'a [Example],
        rationales: &'a [Rationale],
        options: &TeacherOptions,
    ) -> Self {
        let by_id: HashMap<&str, &Example> = examples.iter().map(|e| (e.id.as_str(), e)).collect();
        let usable = rationales
            .iter()
            .filter(|r| r.outcome == Outcome::Ok && r.label.is_some());
        let pair = |r: &'a Rationale| Some((*by_id.get(r.example.as_str())?, r));
        Self {
            pairs: usable.filter_map(pair).collect(),
            form: options.form,
        }
    }
}

impl Questions for AboutRationales<'_> {
    fn n(&self) -> usize {
        self.pairs.len()
    }

    fn question(&self, at: usize) -> Result<Question> {
        let (example, rationale) = self.pairs[at];
        let label = rationale.label.as_deref().unwrap_or_default();
        let question = question(example, label, &rationale.text, self.form)?;
        Ok(Question {
            id: rationale.id.clone(),
            ..question
        })
    }
}

/// The question about one explanation.
pub(crate) fn question(
    example: &Example,
    label: &str,
    explanation: &str,
    form: Form,
) -> Result<Question> {
    Ok(Question {
        id: example.id.clone(),
        system: None,
        prompt: prompt::judge(example, label, explanation)?,
        schema: (form == Form::Json).then(prompt::judge_schema),
    })
}

/// The options and end points with which the judge is asked: one sample, as likely as it gets.
pub fn as_judge(
    options: &TeacherOptions,
    judge: &JudgeOptions,
    access: &Access,
) -> (TeacherOptions, Access) {
    let mut access = access.clone();
    let mut judging = TeacherOptions {
        // A judge stands at an end point, whoever gave the rationales.
        kind: match options.kind {
            Kind::Batch => Kind::Batch,
            Kind::Recorded | Kind::Http | Kind::Model => Kind::Http,
        },
        samples: Some(1),
        sampling: Sampling {
            temperature: options.sampling.temperature.map(|_| 0.0),
            max_tokens: judge.max_tokens,
            max_tokens_field: options.sampling.max_tokens_field,
            by: By::Requests,
            ..Sampling::default()
        },
        ..options.clone()
    };
    if let Some(model) = &judge.model {
        judging.model = Some(model.clone());
        judging.price = None;
        // Another model is not known to stand at further end points.
        access.end_points.truncate(1);
        for end_point in &mut access.end_points {
            *end_point = EndPoint {
                model: model.clone(),
                ..end_point.clone()
            };
        }
    }
    if judge.price.is_some() {
        judging.price.clone_from(&judge.price);
    }
    (judging, access)
}

/// The judgements, in the order of the rationales; one without a readable answer has no ratings.
///
/// `options` and `access` are the judge's own, as [`as_judge`] makes them.
pub fn judgements(
    questions: &AboutRationales<'_>,
    ledger: &Ledger,
    options: &TeacherOptions,
    access: &Access,
) -> Result<Vec<Judgement>> {
    let model = options.model.as_deref().unwrap_or_default();
    let judgement = |(at, (_, rationale)): (usize, &(&Example, &Rationale))| {
        let question = questions.question(at)?;
        let request = Request::new(&question, model, access.identity(), &options.sampling);
        let answer = ledger.answer(&request.hash, 0)?;
        let ratings = answer
            .as_ref()
            .and_then(|answer| prompt::parse_judgement(&answer.text));
        let found = if ratings.is_some() {
            Outcome::Ok
        } else {
            Outcome::Unparsable
        };
        let outcome = match &answer {
            // Ratings that could be read are not made worse by what was cut off after them.
            Some(_) if found == Outcome::Ok => Outcome::Ok,
            Some(answer) => answer::verdict(answer, found, None),
            None => Outcome::Failed,
        };
        Ok(Judgement {
            rationale: rationale.id.clone(),
            example: rationale.example.clone(),
            ratings: ratings.unwrap_or_default(),
            outcome,
            source: model.to_owned(),
            prompt: request.prompt,
            usage: answer.as_ref().map(usage),
        })
    };
    questions.pairs.iter().enumerate().map(judgement).collect()
}
