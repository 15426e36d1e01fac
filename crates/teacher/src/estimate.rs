//! What asking would take, before anything is spent: requests, tokens, money, time.

use std::fmt;

use stillhouse_core::record::{Example, Outcome, Rationale};

use crate::access::Access;
use crate::cost::{CountTokens, money, price_of, prompt_tokens};
use crate::error::Result;
use crate::judge::{AboutRationales, as_judge, question};
use crate::ledger::Ledger;
use crate::live::{AboutExamples, rationales};
use crate::options::{By, JudgeOptions, Kind, TeacherOptions};
use crate::request::{Questions, Request};

/// A lowest and a highest value.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Range {
    /// At least.
    pub low: f64,
    /// At most.
    pub high: f64,
}

impl Range {
    fn of(one: f64) -> Self {
        Self {
            low: one,
            high: one,
        }
    }

    fn plus(self, other: Self) -> Self {
        Self {
            low: self.low + other.low,
            high: self.high + other.high,
        }
    }

    fn times(self, factor: f64) -> Self {
        Self {
            low: self.low * factor,
            high: self.high * factor,
        }
    }
}

/// What asking would take.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Estimate {
    /// Answers that are wanted.
    pub answers: usize,
    /// Of these, answers that are in the ledger.
    pub in_ledger: usize,
    /// Requests that would be sent, were none to fail.
    pub requests: usize,
    /// Tokens of all prompts; a range where they quote answers that are not there yet.
    pub prompt_tokens: Range,
    /// How the tokens were counted: "counted with the teacher's tokenizer".
    pub counted: String,
    /// Tokens of all answers.
    pub completion_tokens: Range,
    /// What the range of answers rests on.
    pub answers_from: String,
    /// The price, where it is known.
    pub cost: Option<Range>,
    /// Its currency.
    pub currency: String,
    /// Wall-clock seconds.
    pub seconds: Range,
    /// What a judge of the answers would take besides.
    pub judge: Option<Box<Estimate>>,
}

/// How the asking is estimated.
pub struct Means<'a> {
    /// What was answered before; `None` where there is no ledger yet.
    pub ledger: Option<&'a Ledger>,
    /// The end points.
    pub access: &'a Access,
    /// Counts tokens.
    pub count: &'a CountTokens<'a>,
    /// How: "counted with the teacher's tokenizer".
    pub counted: &'a str,
}

/// Questions that cannot be made yet: so many requests, with prompts of so many tokens in all.
#[derive(Clone, Copy, Default)]
struct ToCome {
    requests: usize,
    prompt_tokens: Range,
}

/// Estimates what asking `questions` would take; nothing is sent and nothing written.
pub fn estimate(
    questions: &dyn Questions,
    options: &TeacherOptions,
    means: &Means<'_>,
) -> Result<Estimate> {
    estimate_with(questions, "rationale", ToCome::default(), options, means)
}

/// Estimates what a judge of the answers to `questions` would take: each usable answer of the
/// ledger by itself, and every one to come, of which `teacher` says how many and how long.
pub fn estimate_judge(
    examples: &[Example],
    questions: &AboutExamples<'_>,
    teacher: &Estimate,
    options: &TeacherOptions,
    judge: &JudgeOptions,
    means: &Means<'_>,
) -> Result<Estimate> {
    let mut known: Vec<Rationale> = Vec::new();
    if let Some(ledger) = means.ledger {
        rationales(questions, ledger, options, means.access, &mut |found, _| {
            if found.outcome != Outcome::Failed {
                known.push(found);
            }
            Ok(())
        })?;
    }
    let (judging, access) = as_judge(options, judge, means.access);
    let means = Means {
        access: &access,
        ..*means
    };
    let n = teacher.answers - teacher.in_ledger;
    // The question around an explanation that is not there yet, over all examples.
    let mut around = 0.0;
    for example in questions.examples() {
        let question = question(example, &example.label, "", judging.form)?;
        let model = judging.model.as_deref().unwrap_or_default();
        let request = Request::new(&question, model, access.identity(), &judging.sampling);
        around += prompt_tokens(&request, means.count) as f64;
    }
    let each = around / questions.n().max(1) as f64;
    let to_come = ToCome {
        requests: n,
        prompt_tokens: Range::of(n as f64 * each).plus(teacher.completion_tokens),
    };
    let about = AboutRationales::new(examples, &known, &judging);
    estimate_with(&about, "judgement", to_come, &judging, &means)
}

fn estimate_with(
    questions: &dyn Questions,
    purpose: &str,
    to_come: ToCome,
    options: &TeacherOptions,
    means: &Means<'_>,
) -> Result<Estimate> {
    let (ledger, access) = (means.ledger, means.access);
    let model = options.model.as_deref().unwrap_or_default();
    let mut estimate = Estimate {
        answers: questions.n() * options.n_samples() + to_come.requests,
        requests: to_come.requests,
        counted: means.counted.into(),
        ..Estimate::default()
    };
    let mut prompts = 0;
    for at in 0..questions.n() {
        let question = questions.question(at)?;
        let request = Request::new(&question, model, access.identity(), &options.sampling);
        let mut missing = 0;
        for sample in 0..options.n_samples() as u32 {
            let is_there = ledger.map_or(Ok(false), |ledger| ledger.has(&request.hash, sample))?;
            missing += usize::from(!is_there);
        }
        estimate.in_ledger += options.n_samples() - missing;
        let requests = match options.sampling.by {
            By::Requests => missing,
            By::N => missing.min(1),
        };
        estimate.requests += requests;
        if missing > 0 {
            prompts += requests as u64 * prompt_tokens(&request, means.count);
        }
    }
    estimate.prompt_tokens = Range::of(prompts as f64).plus(to_come.prompt_tokens);
    let missing = (estimate.answers - estimate.in_ledger) as f64;
    let lengths = ledger.map(|ledger| ledger.lengths(access.identity(), model, purpose));
    let lengths = lengths
        .transpose()?
        .flatten()
        .filter(|lengths| lengths.n >= 20);
    let most = options.sampling.max_tokens as f64;
    // A model writes some 20 to 100 tokens a second.
    let mut each = Range {
        low: most / 20.0,
        high: most,
    };
    let mut seconds = Range {
        low: each.low / 100.0,
        high: each.high / 20.0,
    };
    estimate.answers_from =
        "no answers yet, so from a twentieth of max_tokens to all of them".into();
    if let Some(lengths) = lengths {
        // Four standard errors of the mean, of those seen and of those to come, and a tenth
        // for what is different about them.
        let errors =
            4.0 * lengths.deviation * (1.0 / lengths.n as f64 + 1.0 / missing.max(1.0)).sqrt();
        each = Range {
            low: (0.9 * lengths.mean - errors).max(1.0),
            high: (1.1 * lengths.mean + errors).min(most),
        };
        if lengths.seconds > 0.0 {
            seconds = Range {
                low: 0.7 * lengths.seconds,
                high: 1.5 * lengths.seconds,
            };
        }
        estimate.answers_from = format!("{} answers in the ledger", lengths.n);
    }
    estimate.completion_tokens = each.times(missing);
    if let Some(price) = price_of(options.price.as_ref(), model, access) {
        let (prompts, answers) = (estimate.prompt_tokens, estimate.completion_tokens);
        estimate.cost = Some(Range {
            low: price.of(prompts.low, answers.low, options.kind),
            high: price.of(prompts.high, answers.high, options.kind),
        });
        estimate.currency = price.currency;
    }
    estimate.seconds = time(&estimate, seconds, options);
    Ok(estimate)
}

/// How long it takes, where one answer takes `each` seconds.
fn time(estimate: &Estimate, each: Range, options: &TeacherOptions) -> Range {
    if options.kind == Kind::Batch {
        // A batch comes within a day, and often sooner.
        let n = estimate.requests.div_ceil(options.batch.requests) as f64;
        return Range {
            low: 0.0,
            high: n * 86_400.0,
        };
    }
    let per = |limit: Option<f64>, amount: f64| limit.map_or(0.0, |limit| 60.0 * amount / limit);
    let requests = estimate.requests as f64;
    let paced = |tokens: f64, each: f64| {
        (requests * each / options.concurrency as f64)
            .max(per(options.limits.requests_per_minute, requests))
            .max(per(options.limits.tokens_per_minute, tokens))
    };
    let tokens = estimate.prompt_tokens.plus(estimate.completion_tokens);
    Range {
        low: paced(tokens.low, each.low),
        high: paced(tokens.high, each.high),
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (low, high) = (format!("{:.0}", self.low), format!("{:.0}", self.high));
        if low == high {
            f.write_str(&low)
        } else {
            write!(f, "{low} to {high}")
        }
    }
}

impl fmt::Display for Estimate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "answers    {} wanted, {} in the ledger, {} requests to send",
            self.answers, self.in_ledger, self.requests
        )?;
        writeln!(
            f,
            "prompts    {} tokens ({})",
            self.prompt_tokens, self.counted
        )?;
        writeln!(
            f,
            "answers    {} tokens ({})",
            self.completion_tokens, self.answers_from
        )?;
        match self.cost {
            Some(cost) => writeln!(
                f,
                "cost       {} to {} {}",
                money(cost.low),
                money(cost.high),
                self.currency
            )?,
            None => writeln!(f, "cost       not known for this model: set teacher.price")?,
        }
        writeln!(
            f,
            "time       {} to {}",
            span(self.seconds.low),
            span(self.seconds.high)
        )?;
        if let Some(judge) = &self.judge {
            writeln!(f, "a judge of each usable answer, at most:")?;
            for line in judge.to_string().lines() {
                writeln!(f, "  {line}")?;
            }
        }
        Ok(())
    }
}

fn span(seconds: f64) -> String {
    match seconds {
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7200.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}
