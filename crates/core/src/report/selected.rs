//! What selection saw and did: from all candidates to the kept ones, scores, examples, and what
//! other selectors would have done.

use std::collections::{BTreeMap, HashMap};

use crate::random::Random;
use crate::record::{Choice, Reference, Scores};
use crate::select::{self, Coverage, Input, SelectOptions, Wanted};

/// Examples with kept and dropped candidates side by side.
const SHOWN: usize = 4;
/// Candidates of one example on each side.
const SIDE: usize = 2;

/// What the pages show of selection beside its [`Funnel`](super::Funnel).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Selected {
    /// Examples and candidates by what became of them.
    pub coverage: Coverage,
    /// A score's name, and its value of each candidate that has it, with whether it was kept.
    pub scores: Vec<(String, Vec<(f64, bool)>)>,
    /// Some examples with kept and dropped candidates.
    pub shown: Vec<Shown>,
    /// What each selector would keep and drop at the same number, by known role.
    pub selectors: Vec<(String, BTreeMap<String, [usize; 2]>)>,
}

/// One example's candidates.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Shown {
    /// The example's id.
    pub id: String,
    /// Its claim.
    pub claim: String,
    /// The kept ones.
    pub kept: Vec<Candidate>,
    /// The dropped ones.
    pub dropped: Vec<Candidate>,
}

/// One candidate on the page.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Candidate {
    /// The text.
    pub text: String,
    /// Why it was kept or dropped.
    pub reason: String,
    /// Its scores by name.
    pub scores: BTreeMap<String, f64>,
    /// Its steps with what each takes off the difficulty, in bits; empty where that was not asked.
    pub steps: Vec<(String, f64)>,
}

/// Scores that are drawn, in the order of the page.
const DRAWN: [&str; 6] = [
    "rd",
    "rd_stripped",
    "rd_control",
    "rsr",
    "ifd",
    "perplexity",
];

impl Selected {
    /// Of a finished selection; `references` lend the known roles, which no selector saw.
    pub fn of(
        input: &Input<'_>,
        choices: &[Choice],
        options: &SelectOptions,
        references: &[Reference],
        seed: u64,
    ) -> Self {
        let values = |name: &str| {
            let of = |c: &Choice| Some((*c.scores.get(name)?, c.kept));
            choices.iter().filter_map(of).collect::<Vec<_>>()
        };
        let scores = DRAWN.map(|name| (name.to_owned(), values(name)));
        Self {
            coverage: select::coverage(input, choices),
            scores: scores.into_iter().filter(|(_, v)| v.len() > 1).collect(),
            shown: shown(input, choices, seed),
            selectors: selectors(input, options, references, seed),
        }
    }
}

fn shown(input: &Input<'_>, choices: &[Choice], seed: u64) -> Vec<Shown> {
    let scores: HashMap<&str, &Scores> = input
        .scores
        .iter()
        .map(|s| (s.rationale.as_str(), s))
        .collect();
    let choices: HashMap<&str, &Choice> =
        choices.iter().map(|c| (c.rationale.as_str(), c)).collect();
    let mut questions = input.questions();
    questions.retain(|q| {
        let mut kept = q.candidates.iter().map(|c| is_kept(&choices, c));
        kept.clone().any(|kept| kept) && kept.any(|kept| !kept)
    });
    Random::new(seed, "report-candidates").shuffle(&mut questions);
    questions.truncate(SHOWN);
    let one = |question: &select::Question<'_>| {
        let side = |kept: bool| {
            let own = question
                .candidates
                .iter()
                .filter(|c| is_kept(&choices, c) == kept);
            let candidate = |c: &&crate::record::Rationale| {
                let choice = choices.get(c.id.as_str())?;
                let answer = scores.get(c.id.as_str()).and_then(|s| s.answer.as_ref());
                let gains = answer.map_or(&[][..], |a| a.steps.as_slice());
                let bits = gains.iter().map(|gain| gain / std::f64::consts::LN_2);
                Some(Candidate {
                    text: c.text.clone(),
                    reason: choice.reason.clone(),
                    scores: choice.scores.clone(),
                    steps: select::steps(&c.text).into_iter().zip(bits).collect(),
                })
            };
            own.filter_map(candidate).take(SIDE).collect()
        };
        Shown {
            id: question.example.id.clone(),
            claim: question.example.claim.clone(),
            kept: side(true),
            dropped: side(false),
        }
    };
    questions.iter().map(one).collect()
}

fn is_kept(choices: &HashMap<&str, &Choice>, candidate: &crate::record::Rationale) -> bool {
    choices.get(candidate.id.as_str()).is_some_and(|c| c.kept)
}

/// What every selector whose scores are there would do with candidates of known roles.
fn selectors(
    input: &Input<'_>,
    options: &SelectOptions,
    references: &[Reference],
    seed: u64,
) -> Vec<(String, BTreeMap<String, [usize; 2]>)> {
    if references.iter().all(|r| r.roles.is_empty()) {
        return vec![];
    }
    let roles: HashMap<&str, &BTreeMap<String, String>> = references
        .iter()
        .map(|r| (r.id.as_str(), &r.roles))
        .collect();
    let texts: HashMap<&str, &str> = input
        .rationales
        .iter()
        .map(|r| (r.id.as_str(), r.text.as_str()))
        .collect();
    let keep = options.method.plan().keep;
    let mut rows = Vec::new();
    for name in select::NAMES {
        // Without a judge's ratings every candidate would be dropped.
        let Some(method) = select::named(name, keep).filter(|_| name != "judge") else {
            continue;
        };
        let options = SelectOptions {
            method,
            budget: None,
            record: vec![],
            ..options.clone()
        };
        if !is_scored(input, &options) {
            continue;
        }
        // Options of our own making pass their check.
        let Ok(choices) = select::choose(input, &options, seed) else {
            continue;
        };
        let mut counts: BTreeMap<String, [usize; 2]> = BTreeMap::new();
        for choice in &choices {
            let role = texts
                .get(choice.rationale.as_str())
                .and_then(|text| roles.get(choice.example.as_str())?.get(*text));
            if let Some(role) = role {
                counts.entry(role.clone()).or_default()[usize::from(!choice.kept)] += 1;
            }
        }
        rows.push((name.to_owned(), counts));
    }
    rows
}

/// Whether every candidate that the method would rank has its scores.
fn is_scored(input: &Input<'_>, options: &SelectOptions) -> bool {
    let wanted = Wanted::of(options);
    if !wanted.any() {
        return true;
    }
    let known: HashMap<&str, &Scores> = input
        .scores
        .iter()
        .map(|s| (s.rationale.as_str(), s))
        .collect();
    let has = |id: &str| known.get(id).is_some_and(|s| wanted.is_met_by(s));
    let questions = select::to_score(input, options);
    questions
        .iter()
        .flat_map(|q| &q.candidates)
        .all(|c| has(&c.id))
}
