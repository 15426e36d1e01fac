//! What is wanted of a teacher, and what came of it.

use std::collections::{BTreeMap, VecDeque};

use crate::access::Access;
use crate::cost::CountTokens;
use crate::error::{Error, Result};
use crate::ledger::Ledger;
use crate::options::{By, Kind, TeacherOptions};
use crate::request::{Questions, Request};

/// What asking needs besides the questions.
pub struct Setup<'a> {
    /// The options.
    pub options: &'a TeacherOptions,
    /// The end points.
    pub access: &'a Access,
    /// Counts tokens, for limits and caps.
    pub count: &'a CountTokens<'a>,
    /// For the choice of end points and the jitter of waits.
    pub seed: u64,
    /// Seconds since some fixed moment.
    pub clock: &'a dyn Fn() -> f64,
    /// What is asked for: "rationale" or "judgement".
    pub purpose: &'a str,
}

/// What asking brought; the answers are in the ledger.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Asked {
    /// Answers that were wanted.
    pub wanted: usize,
    /// Of these, answers that were in the ledger before.
    pub from_ledger: usize,
    /// Answers that do not come: question, sample, why.
    pub failed: Vec<(String, u32, String)>,
    /// Tries that failed, by kind.
    pub faults: BTreeMap<String, u64>,
}

impl Asked {
    /// Holds the answers that did not come against what the options allow.
    pub(crate) fn check(self, options: &TeacherOptions) -> Result<Self> {
        #[expect(clippy::cast_sign_loss, reason = "checked to be 0 or above")]
        let allowed = (options.retry.max_failed * self.wanted as f64).floor() as usize;
        match self.failed.first() {
            Some((first, _, what)) if self.failed.len() > allowed => Err(Error::Unanswered {
                n: self.failed.len(),
                total: self.wanted,
                allowed,
                first: first.clone(),
                what: what.clone(),
            }),
            _ => Ok(self),
        }
    }
}

/// Samples of one question that are asked for together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Job {
    pub(crate) question: usize,
    pub(crate) samples: Vec<u32>,
    pub(crate) tries: u32,
    /// Microseconds of the clock at the first try.
    pub(crate) since: Option<u64>,
}

/// Finds what is missing in the ledger.
pub(crate) fn missing(
    questions: &dyn Questions,
    ledger: &Ledger,
    setup: &Setup<'_>,
) -> Result<(VecDeque<Job>, usize)> {
    let options = setup.options;
    let model = options.model.as_deref().unwrap_or_default();
    let (mut jobs, mut n_there) = (VecDeque::new(), 0);
    for at in 0..questions.n() {
        let question = questions.question(at)?;
        let request = Request::new(&question, model, setup.access.identity(), &options.sampling);
        let mut samples = Vec::new();
        for sample in 0..options.n_samples() as u32 {
            if ledger.has(&request.hash, sample)? {
                n_there += 1;
            } else {
                samples.push(sample);
            }
        }
        let job = |samples| Job {
            question: at,
            samples,
            tries: 0,
            since: None,
        };
        match options.sampling.by {
            // A line of a batch is one sample, so that each can fail by itself.
            _ if options.kind == Kind::Batch => {
                jobs.extend(samples.into_iter().map(|sample| job(vec![sample])));
            }
            By::N if !samples.is_empty() => jobs.push_back(job(samples)),
            By::N => {}
            By::Requests => jobs.extend(samples.into_iter().map(|sample| job(vec![sample]))),
        }
    }
    Ok((jobs, n_there))
}
