//! A student as what selection asks.

use std::ops::ControlFlow;

use stillhouse_core::event::{Event, Observer};
use stillhouse_core::select::{Ask, Likelihood, Said, Token};
use stillhouse_core::{Error as CoreError, Result as CoreResult};
use stillhouse_student::{Model, score};

/// A model that says how likely completions are.
pub(crate) struct Scorer<'a>(pub(crate) &'a Model);

impl Likelihood for Scorer<'_> {
    fn prompt_tokens(&self, prompt: &str) -> usize {
        self.0.prompt_tokens(prompt)
    }

    fn completion_tokens(&self, piece: &str) -> usize {
        self.0.tokenizer().completion(piece).len()
    }

    fn context_tokens(&self) -> usize {
        self.0.context_tokens()
    }

    fn score(&mut self, asks: &[Ask], observe: &mut Observer<'_>) -> CoreResult<Vec<Said>> {
        let asks: Vec<score::Ask> = asks
            .iter()
            .map(|ask| score::Ask {
                prompt: ask.prompt.clone(),
                pieces: ask.pieces.clone(),
                last_only: ask.last_only,
            })
            .collect();
        // The caller counts candidates, and asks there whether to stop.
        let mut hear = |event: Event| match event {
            Event::Progress { .. } => ControlFlow::Continue(()),
            other => observe(other),
        };
        let found = score::score(self.0, &asks, &score::ScoreOptions::default(), &mut hear);
        let found = found.map_err(|error| match error {
            stillhouse_student::Error::Core(error) => error,
            other => CoreError::option("select.scorer", other.to_string()),
        })?;
        let token = |t: &score::Token| Token {
            log_probability: t.log_probability,
            rank: t.rank,
        };
        let said = |scored: Result<score::Score, score::Unscored>| {
            let scored = scored.map_err(|why| why.to_string())?;
            let pieces = scored.pieces.iter();
            Ok(pieces
                .map(|piece| piece.iter().map(token).collect())
                .collect())
        };
        Ok(found.into_iter().map(said).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use serde::Deserialize;
    use stillhouse_core::fs;
    use stillhouse_core::prompt::{Order, Template, TemplateOptions};
    use stillhouse_core::record::{Example, Outcome, Rationale};
    use stillhouse_core::select::{Question, Score, SelectOptions, Wanted, ifd, ln_rd, rsr, score};

    use super::*;

    #[derive(Deserialize)]
    struct Golden {
        claim: String,
        label: String,
        other: String,
        rationales: Vec<String>,
        models: BTreeMap<String, Vec<BTreeMap<String, f64>>>,
    }

    /// `fixtures/selection/golden.json`, by `PyTorch` in f64. f32 sums of a thousand terms differ by
    /// about 1e-6; a wrong token or a shifted position changes the first digits.
    #[test]
    fn difficulty_rsr_and_ifd_are_those_of_pytorch() {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures");
        let golden: Golden = fs::read_json(&fixtures.join("selection/golden.json")).unwrap();
        let labels = [&golden.label, &golden.other].map(|label| (label.clone(), vec![]));
        let options = TemplateOptions {
            order: Order::RationaleFirst,
            labels: labels.into(),
            ..TemplateOptions::default()
        };
        let template = Template::with("claim: {{ claim }}", options).unwrap();
        let example = Example {
            id: "e".into(),
            claim: golden.claim,
            label: golden.label.clone(),
            ..Example::default()
        };
        let rationale = |(n, text): (usize, &String)| Rationale {
            id: format!("e/{n}"),
            example: "e".into(),
            label: Some(golden.label.clone()),
            text: text.clone(),
            outcome: Outcome::Ok,
            label_was_shown: false,
            source: String::new(),
            prompt: None,
            usage: None,
        };
        let rationales: Vec<Rationale> = golden
            .rationales
            .iter()
            .enumerate()
            .map(rationale)
            .collect();
        let question = Question {
            example: &example,
            candidates: rationales.iter().collect(),
        };
        let wanted = Wanted::of(&SelectOptions {
            record: vec![Score::Rd, Score::Rsr, Score::Ifd],
            ..SelectOptions::default()
        });
        for (name, rows) in &golden.models {
            let model = Model::load(&fixtures.join(name)).unwrap();
            let mut quiet = |_| ControlFlow::Continue(());
            let questions = std::slice::from_ref(&question);
            let mut scorer = Scorer(&model);
            let found =
                score(questions, &template, wanted, false, &mut scorer, &mut quiet).unwrap();
            for (scores, row) in found.iter().zip(rows) {
                let answer = scores.answer.as_ref().unwrap();
                let response = scores.response.as_ref().unwrap();
                let ours = [
                    ("rd", ln_rd(Score::Rd, answer).map(f64::exp)),
                    ("rsr", Some(rsr(response))),
                    ("ifd", ifd(Score::Ifd, response)),
                    ("ifd_ppl", ifd(Score::IfdPpl, response)),
                    ("perplexity", Some(response.surprisal.exp())),
                ];
                for (key, value) in ours {
                    let (value, expected) = (value.unwrap(), row[key]);
                    let difference = (value / expected - 1.0).abs();
                    assert!(difference < 1e-4, "{name} {key}: {value} for {expected}");
                }
            }
        }
    }
}
