//! Keeps a few good rationales of each example: pure functions over records.
//!
//! The rules stand in the order of `MoRSD` (arXiv 2509.23574): accuracy, diversity, difficulty,
//! and the number to keep. A [`Method`] says which of them count and in which order the rest
//! stands ([`Plan`]); scores come from a model behind [`Likelihood`], or from a file. No rule sees
//! a reference or a role.
//!
//! Each selector has a file, with its reference, its formula and its quirks.

mod accuracy;
mod budget;
mod coverage;
mod difficulty;
mod diversity;
mod ifd;
mod joint;
mod leak;
mod likelihood;
mod named;
mod options;
mod rsr;
mod score;
mod similarity;
mod steps;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};

use crate::error::Result;
use crate::random::Random;
use crate::record::{Choice, Example, Judgement, Rationale, Rule, Scores, Split};
use crate::text::words;

pub use accuracy::is_right;
pub use coverage::{Coverage, coverage, uncovered};
pub use difficulty::{ln_ppl, ln_rd, ln_share};
pub use ifd::ifd;
pub use leak::{mentions, without_answer};
pub use likelihood::{Ask, Likelihood, Said, Token};
pub use named::{NAMES, named};
pub use options::{
    Difficulty, IfdRatio, Method, Objective, Order, Plan, Ranked, Score, SelectOptions,
};
pub use rsr::{of_many as rsr_of_many, rsr};
pub use score::{Question, Wanted, score};
pub use similarity::{Similarity, Vectors};
pub use steps::{prefixes, steps};

use similarity::Face;

/// The rule that drops a candidate, and the reason in words; none while it stays.
type Verdict = Option<(Rule, String)>;

/// What selection looks at.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// All examples.
    pub examples: &'a [Example],
    /// All candidates.
    pub rationales: &'a [Rationale],
    /// What a model says of them; may be empty where the method needs none.
    pub scores: &'a [Scores],
    /// What a judge says of them; likewise.
    pub judgements: &'a [Judgement],
    /// Their embeddings, where those are compared.
    pub vectors: &'a Vectors,
}

impl<'a> Input<'a> {
    /// The examples to select for, each with its candidates in their order.
    pub fn questions(&self) -> Vec<Question<'a>> {
        let mut by_example: HashMap<&str, Vec<&Rationale>> = HashMap::new();
        for rationale in self.rationales {
            by_example
                .entry(&rationale.example)
                .or_default()
                .push(rationale);
        }
        let examples = self.examples.iter().filter(|e| e.split != Split::Test);
        examples
            .map(|example| Question {
                example,
                candidates: by_example.remove(example.id.as_str()).unwrap_or_default(),
            })
            .collect()
    }
}

/// Decides on every candidate of the training and validation examples, in the order given.
pub fn choose(input: &Input<'_>, options: &SelectOptions, seed: u64) -> Result<Vec<Choice>> {
    options.check()?;
    let known = Known::of(input);
    let plan = options.method.plan();
    let mut choices = Vec::new();
    let mut kept = Vec::new();
    for (place, question) in input.questions().iter().enumerate() {
        let mut filtered = filter(question, plan, options.similarity, input.vectors);
        let ranked = rank(question, plan, &mut filtered, &known, seed);
        let first = choices.len();
        if question.example.split == Split::Train {
            kept.extend(ranked.iter().map(|(at, key)| budget::Kept {
                place: first + at,
                example: place,
                key: *key,
            }));
        }
        choices.extend(written(question, filtered, &known));
    }
    if let Some(most) = options.budget {
        for (place, verdict) in budget::over(&kept, most, options.floor) {
            choices[place].drop_for(verdict);
        }
    }
    Ok(choices)
}

/// The examples with the candidates that pass the filters before any ranking: what a model has to
/// score.
pub fn to_score<'a>(input: &Input<'a>, options: &SelectOptions) -> Vec<Question<'a>> {
    let plan = options.method.plan();
    let open = |mut question: Question<'a>| {
        let filtered = filter(&question, plan, options.similarity, input.vectors);
        let mut verdicts = filtered.verdicts.iter();
        question
            .candidates
            .retain(|_| verdicts.next().is_some_and(Option::is_none));
        question
    };
    let questions = input.questions().into_iter().map(open);
    questions.filter(|q| !q.candidates.is_empty()).collect()
}

/// Candidates after the filters.
struct Filtered<'a> {
    verdicts: Vec<Verdict>,
    faces: Vec<Face<'a>>,
    /// The similarity to the nearest candidate before, where that was looked at.
    nearest: Vec<Option<f64>>,
}

fn filter<'a>(
    question: &Question<'_>,
    plan: Plan,
    similarity: Similarity,
    vectors: &'a Vectors,
) -> Filtered<'a> {
    let candidates = &question.candidates;
    let mut verdicts: Vec<Verdict> = candidates.iter().map(|c| accuracy::unusable(c)).collect();
    if plan.accuracy {
        accuracy::drop_wrong(question.example, candidates, &mut verdicts);
    }
    if plan.distinct {
        accuracy::drop_doubled(candidates, &mut verdicts);
    }
    let compares =
        plan.max_similarity.is_some() || matches!(plan.order, Order::Farthest | Order::Joint(..));
    let face = |c: &&Rationale| Face::new(similarity, &c.id, &c.text, vectors);
    let faces: Vec<Face<'_>> = if compares {
        candidates.iter().map(face).collect()
    } else {
        vec![]
    };
    let nearest = match plan.max_similarity {
        Some(limit) => diversity::drop_alike(candidates, &faces, limit, &mut verdicts),
        None => vec![None; candidates.len()],
    };
    Filtered {
        verdicts,
        faces,
        nearest,
    }
}

/// Orders what is left and drops what is over the number to keep; the kept ones with their keys,
/// the best first.
fn rank(
    question: &Question<'_>,
    plan: Plan,
    filtered: &mut Filtered<'_>,
    known: &Known<'_>,
    seed: u64,
) -> Vec<(usize, f64)> {
    let verdicts = &mut filtered.verdicts;
    let keys: Vec<Option<f64>> = match plan.order.score() {
        Some(score) => {
            let of = |c: &&Rationale| known.of_score(score, c);
            question.candidates.iter().map(of).collect()
        }
        None => vec![Some(0.0); verdicts.len()],
    };
    for (at, key) in keys.iter().enumerate() {
        if verdicts[at].is_some() {
            continue;
        }
        match (key, plan.order) {
            (None, _) => {
                verdicts[at] = Some((Rule::Difficulty, known.why_not(question.candidates[at])));
            }
            (Some(key), Order::Highest(score, Some(most))) if *key > most => {
                let reason = format!("its {} of {key:.3} is above {most}", score.name());
                verdicts[at] = Some((Rule::Difficulty, reason));
            }
            _ => {}
        }
    }
    let key = |at: usize| keys[at].unwrap_or(f64::INFINITY);
    let mut order: Vec<usize> = (0..verdicts.len())
        .filter(|at| verdicts[*at].is_none())
        .collect();
    match plan.order {
        Order::Given => {}
        Order::Lot => Random::new(seed, &question.example.id).shuffle(&mut order),
        Order::Farthest => order = diversity::farthest_first(&order, &filtered.faces),
        // Stable: ties stay in the order of the candidates.
        Order::Lowest(_) => order.sort_by(|a, b| key(*a).total_cmp(&key(*b))),
        Order::Highest(..) => order.sort_by(|a, b| key(*b).total_cmp(&key(*a))),
        Order::Joint(objective, weight, _) => {
            let difficulty: Vec<f64> = order.iter().map(|at| key(*at)).collect();
            order = joint::order(objective, weight, &order, &difficulty, &filtered.faces);
        }
    }
    let n = order.len();
    for (place, at) in order.iter().enumerate().skip(plan.keep) {
        let (keep, place) = (plan.keep, place + 1);
        verdicts[*at] = Some(match plan.order.score() {
            None => (Rule::Keep, format!("{keep} are kept already")),
            Some(score) => {
                let name = score.name();
                (
                    Rule::Difficulty,
                    format!("place {place} of {n} by {name}; {keep} are kept"),
                )
            }
        });
    }
    order.truncate(plan.keep);
    let sign = if matches!(plan.order, Order::Highest(..)) {
        -1.0
    } else {
        1.0
    };
    order.into_iter().map(|at| (at, sign * key(at))).collect()
}

fn written(question: &Question<'_>, filtered: Filtered<'_>, known: &Known<'_>) -> Vec<Choice> {
    let each = question.candidates.iter().zip(filtered.verdicts);
    each.zip(filtered.nearest)
        .map(|((candidate, verdict), nearest)| {
            let mut scores = known.all(candidate);
            scores.extend(nearest.map(|nearest| ("similarity".to_owned(), nearest)));
            let mut choice = Choice {
                rationale: candidate.id.clone(),
                example: question.example.id.clone(),
                kept: true,
                rule: Rule::Keep,
                reason: "passed every rule".into(),
                weight: 1.0,
                scores,
            };
            choice.drop_for(verdict);
            choice
        })
        .collect()
}

impl Choice {
    fn drop_for(&mut self, verdict: Verdict) {
        if let Some((rule, reason)) = verdict {
            self.kept = false;
            (self.rule, self.reason, self.weight) = (rule, reason, 0.0);
        }
    }
}

/// Scores and judgements by rationale.
struct Known<'a> {
    scores: HashMap<&'a str, &'a Scores>,
    ratings: HashMap<&'a str, f64>,
}

impl<'a> Known<'a> {
    fn of(input: &Input<'a>) -> Self {
        let rating = |j: &'a Judgement| {
            let sum: f64 = j.ratings.values().map(|r| f64::from(*r)).sum();
            (!j.ratings.is_empty()).then(|| (j.rationale.as_str(), sum / j.ratings.len() as f64))
        };
        let scores = input.scores.iter().map(|s| (s.rationale.as_str(), s));
        Self {
            scores: scores.collect(),
            ratings: input.judgements.iter().filter_map(rating).collect(),
        }
    }

    /// The number to rank by; Rationale Difficulty in logarithms.
    fn of_score(&self, score: Score, candidate: &Rationale) -> Option<f64> {
        let scores = self.scores.get(candidate.id.as_str());
        match score {
            Score::Words => Some(words(&candidate.text).count() as f64),
            Score::Judge => self.ratings.get(candidate.id.as_str()).copied(),
            Score::Rd | Score::RdStripped | Score::RdControl => {
                ln_rd(score, scores?.answer.as_ref()?)
            }
            Score::Steps => None,
            Score::Rsr => scores?.response.as_ref().map(rsr),
            Score::Ifd | Score::IfdPpl => ifd(score, scores?.response.as_ref()?),
            Score::Perplexity => scores?.response.as_ref().map(|r| r.surprisal.exp()),
        }
    }

    fn why_not(&self, candidate: &Rationale) -> String {
        let scores = self.scores.get(candidate.id.as_str());
        let why = scores.and_then(|s| s.unscored.as_ref());
        why.map_or("it has no score".into(), |why| {
            format!("it has no score: {why}")
        })
    }

    /// Everything that is known, by name; a ratio only where both of its sides are.
    fn all(&self, candidate: &Rationale) -> BTreeMap<String, f64> {
        let mut all = BTreeMap::new();
        let mut put = |name: &str, value: Option<f64>| {
            all.extend(
                value
                    .filter(|v| v.is_finite())
                    .map(|v| (name.to_owned(), v)),
            );
        };
        put("judge", self.of_score(Score::Judge, candidate));
        let Some(scores) = self.scores.get(candidate.id.as_str()) else {
            return all;
        };
        if let Some(answer) = &scores.answer {
            put("answer_perplexity", Some(answer.given.exp()));
            if let Some(alone) = answer.alone {
                put("answer_perplexity_alone", Some(alone.exp()));
                for score in [Score::Rd, Score::RdStripped, Score::RdControl] {
                    put(score.name(), ln_rd(score, answer).map(f64::exp));
                }
            }
        }
        if let Some(response) = &scores.response {
            put("perplexity", Some(response.surprisal.exp()));
            put("rsr", Some(rsr(response)));
            put("ifd", ifd(Score::Ifd, response));
            put("ifd_ppl", ifd(Score::IfdPpl, response));
        }
        all
    }
}
