//! What a student of one cell is worth on the test split.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use stillhouse_core::data::answer::AnswerKind;
use stillhouse_core::event::Observer;
use stillhouse_core::prompt::Template;
use stillhouse_core::record::{Example, Rationale};
use stillhouse_core::select::{Ask, Likelihood, is_right, ln_ppl};

use crate::error::Result;

/// Right rationales of an example after which its answer is scored.
const RATIONALES: usize = 2;

/// By the test example's id; what has no number is missing.
pub type Measures = BTreeMap<String, Measured>;

/// One test example.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Measured {
    /// Mean ln p of a token of the gold answer at once after the question.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<f64>,
    /// The same after a right rationale of the teacher, which no selection touched: the mean over
    /// the first two.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer_given: Option<f64>,
    /// Where answers are a small set: 1 if the gold one is the likeliest, else 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<f64>,
    /// 1 if the student's own completion gives the gold answer, else 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<f64>,
}

impl Measured {
    /// The names, in the order of the tables.
    pub const NAMES: [&str; 4] = ["answer", "answer_given", "label", "accuracy"];

    /// By name.
    pub fn of(&self, name: &str) -> Option<f64> {
        match name {
            "answer" => self.answer,
            "answer_given" => self.answer_given,
            "label" => self.label,
            _ => self.accuracy,
        }
    }
}

/// What the name means, in words.
pub(super) fn title(name: &str) -> &'static str {
    match name {
        "answer" => "ln p of the gold answer, a token, at once after the question",
        "answer_given" => {
            "ln p of the gold answer, a token, after a right rationale of the teacher"
        }
        "label" => "share of examples whose gold label is the likeliest",
        _ => "share of right answers in the student's own completions",
    }
}

/// Asks the model about every test example.
pub(super) fn measure(
    examples: &[&Example],
    rationales: &BTreeMap<&str, Vec<&Rationale>>,
    template: &Template,
    model: &mut dyn Likelihood,
    observe: &mut Observer<'_>,
) -> Result<Measures> {
    let mut asks = Vec::new();
    let mut plans = Vec::new();
    for example in examples {
        let mut add = |prompt: &str, pieces: Vec<String>| {
            asks.push(Ask {
                prompt: prompt.to_owned(),
                pieces,
                last_only: true,
            });
            asks.len() - 1
        };
        let labels = labels(template);
        let at_once = template.answered_at_once(&example.label);
        let own = rationales
            .get(example.id.as_str())
            .map_or(&[][..], Vec::as_slice);
        let right = own.iter().filter(|r| is_right(example, r));
        let reasoned = right.take(RATIONALES).map(|r| {
            vec![
                template.reasoned(&r.text),
                template.answered(&example.label),
            ]
        });
        let others = labels.iter().map(|label| template.answered_at_once(label));
        let groups = [vec![at_once], reasoned.collect(), others.collect()];
        let length = |pieces: &Vec<String>| -> usize {
            pieces
                .iter()
                .map(|piece| model.completion_tokens(piece))
                .sum()
        };
        let context = model.context_tokens();
        let longest = groups.iter().flatten().map(length).max().unwrap_or(0);
        let fits = |text: &str| Ok(model.prompt_tokens(text) + longest <= context);
        let prompt = template.fit(example, fits)?;
        let places: Vec<Vec<usize>> = match &prompt {
            Some(prompt) => groups
                .into_iter()
                .map(|group| group.into_iter().map(|p| add(&prompt.text, p)).collect())
                .collect(),
            None => vec![vec![]; 3],
        };
        plans.push((example, labels, places));
    }
    let said = model.score(&asks, observe)?;
    let tokens = |at: usize| {
        let answer = said[at].as_deref().unwrap_or(&[]).last();
        answer.into_iter().flatten().map(|t| t.log_probability)
    };
    let mean = |at: &usize| ln_ppl(tokens(*at)).map(|ln_ppl| -ln_ppl);
    let mut all = Measures::new();
    for (example, labels, places) in plans {
        let given: Vec<f64> = places[1].iter().filter_map(mean).collect();
        let sums = places[2]
            .iter()
            .map(|at| tokens(*at).map(f64::from).sum::<f64>());
        let sums: Vec<f64> = sums.collect();
        let gold = labels.iter().position(|label| *label == example.label);
        let is_likeliest = |gold: usize| sums.iter().all(|sum| *sum <= sums[gold]);
        let measured = Measured {
            answer: places[0].first().and_then(mean),
            answer_given: (!given.is_empty())
                .then(|| given.iter().sum::<f64>() / given.len() as f64),
            label: gold
                .filter(|_| !sums.is_empty())
                .map(|gold| f64::from(u8::from(is_likeliest(gold)))),
            accuracy: None,
        };
        all.insert(example.id.clone(), measured);
    }
    Ok(all)
}

/// The answers of a small set.
fn labels(template: &Template) -> Vec<String> {
    let (rule, labels) = template.answers();
    match rule.kind {
        AnswerKind::Label => labels.keys().cloned().collect(),
        AnswerKind::YesNo => vec!["no".into(), "yes".into()],
        _ => vec![],
    }
}
