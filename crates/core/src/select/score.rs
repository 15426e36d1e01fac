//! What a model is asked about candidates, and what its answers come to.
//!
//! The gold answer is asked for in the words of our own completions: after the prompt (and a
//! rationale) "The answer is", then the answer, whatever order the student is trained in. All
//! candidates of an example get the same prompt, with as much evidence as leaves room for the
//! longest of them.

use std::collections::HashMap;

use super::difficulty::{ln_ppl, ln_share};
use super::leak::{mentions, without_answer};
use super::likelihood::{Ask, Likelihood, Said, Token};
use super::options::{Score, SelectOptions};
use super::rsr::MOST_RANK;
use super::steps::{gains, prefixes};
use crate::data::answer::{AnswerKind, STATES};
use crate::error::{Error, Result};
use crate::event::Observer;
use crate::prompt::Template;
use crate::record::{AnswerScores, Example, Rationale, ResponseScores, Scores};

/// Which numbers are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one kind of forward pass, asked for or not"
)]
pub struct Wanted {
    /// The answer after the rationale.
    pub given: bool,
    /// The answer without a rationale.
    pub alone: bool,
    /// The answer after the rationale without it.
    pub stripped: bool,
    /// The answer after a sentence that states it.
    pub told: bool,
    /// The answer after each step.
    pub steps: bool,
    /// The completion after the prompt.
    pub response: bool,
    /// The completion by itself.
    pub response_alone: bool,
}

impl Wanted {
    /// What the method ranks by, and what is to be recorded besides.
    pub fn of(options: &SelectOptions) -> Self {
        let mut wanted = Self::default();
        let own = options.method.plan().order.score();
        if let Some(score) = own {
            wanted.add(score);
            // Within a question the divisor changes nothing.
            let compares = options.budget.is_some() || score == Score::RdControl;
            wanted.alone = wanted.given && compares;
        }
        for score in &options.record {
            wanted.add(*score);
        }
        wanted
    }

    fn add(&mut self, score: Score) {
        match score {
            Score::Rd => (self.given, self.alone) = (true, true),
            Score::RdStripped => {
                (self.given, self.alone, self.stripped) = (true, true, true);
            }
            Score::RdControl => (self.given, self.alone, self.told) = (true, true, true),
            Score::Steps => (self.given, self.alone, self.steps) = (true, true, true),
            Score::Rsr | Score::Perplexity => self.response = true,
            Score::Ifd | Score::IfdPpl => (self.response, self.response_alone) = (true, true),
            Score::Words | Score::Judge => {}
        }
    }

    /// Whether a model has to be asked.
    pub fn any(self) -> bool {
        self.given || self.response
    }

    /// Whether a record has all that is wanted of it, or says why not.
    pub fn is_met_by(self, scores: &Scores) -> bool {
        let answer = |answer: &AnswerScores| {
            (!self.alone || answer.alone.is_some())
                && (!self.stripped || answer.stripped.is_some())
                && (!self.told || answer.told.is_some())
                && (!self.steps || !answer.steps.is_empty())
        };
        let response = |r: &ResponseScores| !self.response_alone || r.alone.is_some();
        scores.unscored.is_some()
            || (!self.given || scores.answer.as_ref().is_some_and(answer))
                && (!self.response || scores.response.as_ref().is_some_and(response))
    }
}

/// An example and those of its candidates that are to be scored.
#[derive(Clone, Debug)]
pub struct Question<'a> {
    /// The example.
    pub example: &'a Example,
    /// Its candidates.
    pub candidates: Vec<&'a Rationale>,
}

/// The places of asks whose answers make one number: the gold answer, then the other options.
type Places = Vec<usize>;

/// Every different ask once.
#[derive(Default)]
struct Asks {
    all: Vec<Ask>,
    places: HashMap<Ask, usize>,
}

impl Asks {
    fn add(&mut self, prompt: &str, pieces: Vec<String>, last_only: bool) -> usize {
        let ask = Ask {
            prompt: prompt.to_owned(),
            pieces,
            last_only,
        };
        *self.places.entry(ask).or_insert_with_key(|ask| {
            self.all.push(ask.clone());
            self.all.len() - 1
        })
    }
}

/// What is asked for one candidate.
#[derive(Default)]
struct Planned {
    given: Places,
    alone: Places,
    stripped: Places,
    told: Places,
    steps: Vec<Places>,
    mentions: Option<bool>,
    response: Option<usize>,
    response_alone: Option<usize>,
    unscored: Option<String>,
}

/// Asks the model about all candidates at once; one record for each, in their order.
pub fn score(
    questions: &[Question<'_>],
    template: &Template,
    wanted: Wanted,
    over_options: bool,
    model: &mut dyn Likelihood,
    observe: &mut Observer<'_>,
) -> Result<Vec<Scores>> {
    if wanted.given && template.shows_label() {
        let what = "ranks by the likelihood of the gold label, which the prompt shows \
                    (data.show_label); choose another kind";
        return Err(Error::option("select.method", what));
    }
    let mut asks = Asks::default();
    let mut plans = Vec::new();
    for question in questions {
        plan(
            question,
            template,
            wanted,
            over_options,
            model,
            &mut asks,
            &mut plans,
        )?;
    }
    let said = model.score(&asks.all, observe)?;
    let candidates = questions
        .iter()
        .flat_map(|q| q.candidates.iter().map(|c| (q.example, *c)));
    let scores = candidates.zip(plans);
    Ok(scores
        .map(|((example, candidate), planned)| record(example, candidate, &planned, &said))
        .collect())
}

fn plan(
    question: &Question<'_>,
    template: &Template,
    wanted: Wanted,
    over_options: bool,
    model: &dyn Likelihood,
    asks: &mut Asks,
    plans: &mut Vec<Planned>,
) -> Result<()> {
    let example = question.example;
    let (first, last) = (
        template.tasks()[0],
        template.tasks()[template.tasks().len() - 1],
    );
    let answers = answers(example, template, over_options, model);
    let length = |piece: &str| model.completion_tokens(piece);
    let longest = answers.iter().map(|a| length(a)).max().unwrap_or(0);
    let completion = |c: &Rationale| {
        let label = c.label.as_ref().unwrap_or(&example.label);
        template.completion_for(last, label, &c.text)
    };
    let need = |c: &Rationale| {
        let reasoned = length(&template.reasoned(&c.text)) + longest;
        let response = if wanted.response {
            length(&completion(c))
        } else {
            0
        };
        reasoned.max(response)
    };
    let context = model.context_tokens();
    let bare = model.prompt_tokens(&template.fill_for(first, example, 0)?);
    let needs: Vec<usize> = question.candidates.iter().map(|c| need(c)).collect();
    let room = needs.iter().filter(|n| bare + **n <= context).max();
    let room = room.copied().unwrap_or(0);
    let fits = |text: &str| Ok(model.prompt_tokens(text) + room <= context);
    let prompt = template.fit_for(first, example, fits)?.map(|p| p.text);
    let own = template.fit_for(last, example, fits)?.map(|p| p.text);

    for (candidate, need) in question.candidates.iter().zip(needs) {
        let mut planned = Planned::default();
        let (Some(prompt), Some(own)) = (&prompt, &own) else {
            let what = format!("the claim alone does not fit the context of {context} tokens");
            planned.unscored = Some(what);
            plans.push(planned);
            continue;
        };
        if bare + need > context {
            let what = format!(
                "{bare} tokens of claim and {need} of candidate do not fit the context of {context}"
            );
            planned.unscored = Some(what);
            plans.push(planned);
            continue;
        }
        if wanted.given && longest == 0 {
            planned.unscored = Some("the gold answer is empty".into());
        } else if wanted.given {
            let mut after = |rationale: &str| -> Places {
                let reasoned = template.reasoned(rationale);
                let pieces = |a: &String| vec![reasoned.clone(), a.clone()];
                answers
                    .iter()
                    .map(|a| asks.add(prompt, pieces(a), true))
                    .collect()
            };
            plan_answer(
                &mut planned,
                candidate,
                example,
                template,
                wanted,
                &mut after,
            );
        }
        if wanted.response {
            let text = completion(candidate);
            planned.response = Some(asks.add(own, vec![text.clone()], false));
            planned.response_alone = wanted
                .response_alone
                .then(|| asks.add("", vec![text], false));
        }
        plans.push(planned);
    }
    Ok(())
}

fn plan_answer(
    planned: &mut Planned,
    candidate: &Rationale,
    example: &Example,
    template: &Template,
    wanted: Wanted,
    after: &mut dyn FnMut(&str) -> Places,
) {
    let (text, label) = (candidate.text.as_str(), example.label.as_str());
    let (rule, labels) = template.answers();
    planned.given = after(text);
    if wanted.alone {
        planned.alone = after("");
    }
    if wanted.stripped {
        planned.stripped = after(&without_answer(text, label, rule, labels));
    }
    if wanted.told {
        planned.mentions = Some(mentions(text, label, rule, labels));
        planned.told = after(&format!("{STATES} {label}."));
    }
    if wanted.steps {
        planned.steps = prefixes(text).into_iter().map(&mut *after).collect();
    }
}

/// The gold answer, then, where all are one token, the others that it could have been.
fn answers(
    example: &Example,
    template: &Template,
    over_options: bool,
    model: &dyn Likelihood,
) -> Vec<String> {
    let gold = example.label.trim();
    let own = vec![template.answered(gold)];
    if gold.is_empty() {
        return vec![];
    }
    let (rule, labels) = template.answers();
    let set: Vec<String> = match rule.kind {
        AnswerKind::Label => labels.keys().cloned().collect(),
        AnswerKind::YesNo => vec!["no".into(), "yes".into()],
        AnswerKind::Option => letters(&example.claim),
        _ => vec![],
    };
    if !over_options || !set.iter().any(|option| option == gold) {
        return own;
    }
    let others = set.iter().filter(|option| *option != gold);
    let all: Vec<String> = own
        .iter()
        .cloned()
        .chain(others.map(|option| template.answered(option)))
        .collect();
    let is_one_token = all.iter().all(|a| model.completion_tokens(a) == 1);
    if is_one_token { all } else { own }
}

/// The letters of the options that stand in a question: "(A) ... (B) ...".
fn letters(claim: &str) -> Vec<String> {
    ('A'..='Z')
        .take_while(|letter| claim.contains(&format!("({letter})")))
        .map(String::from)
        .collect()
}

fn record(example: &Example, candidate: &Rationale, planned: &Planned, said: &[Said]) -> Scores {
    let pieces = |at: usize| said[at].as_deref().unwrap_or(&[]);
    let log_probabilities = |at: usize| {
        let answer = pieces(at).last().map_or(&[][..], Vec::as_slice);
        answer.iter().map(|t| t.log_probability)
    };
    let value = |places: &Places| match places.as_slice() {
        [] => None,
        [one] => ln_ppl(log_probabilities(*one)),
        several => {
            let sum = |at: &usize| log_probabilities(*at).map(f64::from).sum();
            ln_share(&several.iter().map(sum).collect::<Vec<f64>>())
        }
    };
    let mut scores = Scores {
        rationale: candidate.id.clone(),
        example: example.id.clone(),
        unscored: planned.unscored.clone(),
        ..Scores::default()
    };
    if let Some(given) = value(&planned.given) {
        let after: Option<Vec<f64>> = planned.steps.iter().map(&value).collect();
        let alone = value(&planned.alone);
        scores.answer = Some(AnswerScores {
            tokens: log_probabilities(planned.given[0]).count(),
            given,
            alone,
            stripped: value(&planned.stripped),
            told: value(&planned.told),
            mentions: planned.mentions,
            steps: alone
                .zip(after)
                .map_or_else(Vec::new, |(b, a)| gains(b, &a)),
        });
    } else if !planned.given.is_empty() {
        scores.unscored = Some(why_not(&planned.given, said));
    }
    if let Some(at) = planned.response {
        scores.response = response(pieces(at), planned.response_alone.map(pieces));
        if scores.response.is_none() && scores.unscored.is_none() {
            scores.unscored = Some(why_not(&[at], said));
        }
    }
    scores
}

/// The first reason among these.
fn why_not(places: &[usize], said: &[Said]) -> String {
    let reason = places.iter().find_map(|at| said[*at].as_ref().err());
    reason.map_or("its likelihood is not finite".into(), Clone::clone)
}

fn response(said: &[Vec<Token>], alone: Option<&[Vec<Token>]>) -> Option<ResponseScores> {
    let tokens: Vec<&Token> = said.iter().flatten().collect();
    let ranks = tokens.iter().map(|t| f64::from(t.rank.min(MOST_RANK)));
    let surprisal = |said: &[Vec<Token>]| ln_ppl(said.iter().flatten().map(|t| t.log_probability));
    Some(ResponseScores {
        tokens: tokens.len(),
        surprisal: surprisal(said)?,
        rank: ranks.sum::<f64>() / tokens.len() as f64,
        alone: alone.and_then(surprisal),
    })
}
