//! The stage's options: `[teacher]`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use stillhouse_core::off;
use stillhouse_core::prompt::teacher::Form;
use stillhouse_core::record::Split;

use crate::access::host_of;
use crate::error::{Error, Result};

/// The stage's options: `[teacher]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TeacherOptions {
    /// Where rationales come from.
    pub kind: Kind,
    /// The table of recorded rationales: JSONL, JSON, CSV, TSV or Parquet; unset, they stand in the
    /// data set's own records.
    pub path: Option<PathBuf>,
    /// Whether the teacher of recorded rationales was shown the gold label.
    pub label_was_shown: bool,
    /// Rationales an example: at most so many recorded ones, by lot, or so many that are asked
    /// for (unset, one).
    pub samples: Option<usize>,
    /// The end point's address up to `/chat/completions`; unset, `OPENAI_BASE_URL`, or `OpenAI`'s.
    pub base_url: Option<String>,
    /// The model's name at the end point; its folder or hub id where the kind is "model".
    pub model: Option<String>,
    /// The environment variable that holds the key.
    pub api_key_var: Option<String>,
    /// The examples of these splits are asked about; those of the test get a reference so.
    pub splits: Vec<Split>,
    /// The prompt: the name of a built-in template, or a template file.
    pub prompt: String,
    /// A system message before the prompt.
    pub system: Option<String>,
    /// Show the gold label to the teacher, as the Causal Distillation paper does.
    pub show_label: bool,
    /// A file of worked examples for a few-shot prompt, one JSON object a line.
    pub shots: Option<PathBuf>,
    /// The form in which the answer is wanted.
    pub form: Form,
    /// An answer in another language than its example is no rationale.
    pub same_language: bool,
    /// Requests in flight at once.
    pub concurrency: usize,
    /// Stop before this run has spent more, in the price's currency.
    pub max_cost: Option<f64>,
    /// Stop before this run has sent more requests.
    pub max_requests: Option<u64>,
    /// The database of all answers; unset, `ledger.sqlite` beside the run directory.
    pub ledger: Option<PathBuf>,
    /// The teacher's tokenizer, for estimates: a model folder or a hub id.
    pub tokenizer: Option<String>,
    /// Where the parts of a recorded rationale stand, as columns or JSON pointers.
    pub fields: RecordedFields,
    /// How the teacher chooses its words.
    pub sampling: Sampling,
    /// How fast it may be asked.
    pub limits: Limits,
    /// How long an answer may take.
    pub timeouts: Timeouts,
    /// What happens to a request that fails.
    pub retry: Retry,
    /// How batches are sent.
    pub batch: BatchOptions,
    /// What the teacher costs; unset, as the built-in table says.
    pub price: Option<Price>,
    /// Further end points with the same model.
    pub end_points: Vec<EndPointOptions>,
    /// Let a judge rate each rationale.
    pub judge: Option<JudgeOptions>,
}

impl Default for TeacherOptions {
    fn default() -> Self {
        Self {
            kind: Kind::Recorded,
            path: None,
            label_was_shown: false,
            samples: None,
            base_url: None,
            model: None,
            api_key_var: None,
            splits: vec![Split::Train, Split::Validation, Split::Test],
            prompt: "explain".into(),
            system: None,
            show_label: false,
            shots: None,
            form: Form::Text,
            same_language: true,
            concurrency: 8,
            max_cost: None,
            max_requests: None,
            ledger: None,
            tokenizer: None,
            fields: RecordedFields::default(),
            sampling: Sampling::default(),
            limits: Limits::default(),
            timeouts: Timeouts::default(),
            retry: Retry::default(),
            batch: BatchOptions::default(),
            price: None,
            end_points: vec![],
            judge: None,
        }
    }
}

/// The kinds of teacher.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Rationales that were asked for earlier and stand in a file.
    #[default]
    Recorded,
    /// An end point that speaks `OpenAI`'s chat completions.
    Http,
    /// The same, through `OpenAI`'s batches: within a day, at a lower price.
    Batch,
    /// A model on this machine: a folder in the form that students have, or a hub id.
    Model,
}

/// Columns of `teacher.path`, or JSON pointers into its records.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RecordedFields {
    /// The example's id.
    pub id: String,
    /// The label that the rationale argues for; nothing ("") where the text states it.
    pub label: String,
    /// The justification.
    pub text: String,
}

impl Default for RecordedFields {
    fn default() -> Self {
        Self {
            id: "/id".into(),
            label: "/label".into(),
            text: "/text".into(),
        }
    }
}

/// How the teacher chooses its words; what is off is left to the end point.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sampling {
    /// Higher is more varied.
    #[serde(with = "off")]
    pub temperature: Option<f64>,
    /// Choose among the likeliest tokens that together have this probability.
    pub top_p: Option<f64>,
    /// Longest answer in tokens.
    pub max_tokens: u64,
    /// The request's field for it: newer models want `max_completion_tokens`.
    pub max_tokens_field: MaxTokensField,
    /// The seed of sample 0; each further sample counts one up.
    pub seed: Option<u64>,
    /// Texts that end an answer.
    pub stop: Vec<String>,
    /// Keep this many likeliest tokens at each position, with their log-probabilities.
    pub top_logprobs: Option<u8>,
    /// Samples of one request, where the end point can give several.
    pub by: By,
    /// Further fields of the request body, as the end point knows them.
    pub extra: Map<String, Value>,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            temperature: Some(0.7),
            top_p: None,
            max_tokens: 512,
            max_tokens_field: MaxTokensField::MaxTokens,
            seed: None,
            stop: vec![],
            top_logprobs: None,
            by: By::Requests,
            extra: Map::new(),
        }
    }
}

/// How several samples are had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum By {
    /// One request a sample.
    #[default]
    Requests,
    /// One request with `n`; the prompt is paid once. What does not come is asked for singly.
    N,
}

/// The request's field for the longest answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MaxTokensField {
    /// What almost every server knows.
    #[default]
    MaxTokens,
    /// What newer models of `OpenAI` ask for.
    MaxCompletionTokens,
}

impl MaxTokensField {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::MaxTokens => "max_tokens",
            Self::MaxCompletionTokens => "max_completion_tokens",
        }
    }
}

/// How fast the teacher may be asked, over all end points.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Requests a minute.
    pub requests_per_minute: Option<f64>,
    /// Tokens a minute, prompts and answers together.
    pub tokens_per_minute: Option<f64>,
}

/// How long an answer may take, in seconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Timeouts {
    /// Until the connection stands.
    pub connect_seconds: f64,
    /// Until the first byte of the answer; without streaming that is when the model is done.
    pub first_byte_seconds: f64,
    /// Until the whole answer is here.
    pub answer_seconds: f64,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect_seconds: 10.0,
            first_byte_seconds: 300.0,
            answer_seconds: 600.0,
        }
    }
}

/// What happens to a request that fails.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retry {
    /// Tries for each request, the first included.
    pub tries: u32,
    /// The wait after the first failure, where the end point names none; it doubles each time.
    pub backoff_seconds: f64,
    /// The longest such wait.
    pub longest_seconds: f64,
    /// Share of the answers that may stay away; above it the stage stops.
    pub max_failed: f64,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            tries: 8,
            backoff_seconds: 0.5,
            longest_seconds: 60.0,
            max_failed: 0.02,
        }
    }
}

/// How batches are sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BatchOptions {
    /// Requests in one batch; 50,000 is `OpenAI`'s limit.
    pub requests: usize,
    /// Seconds between looks at an unfinished batch.
    pub poll_seconds: f64,
}

impl Default for BatchOptions {
    fn default() -> Self {
        Self {
            requests: 50_000,
            poll_seconds: 60.0,
        }
    }
}

/// What a model costs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// A million tokens of prompts.
    pub prompt: f64,
    /// A million tokens of answers.
    pub completion: f64,
    /// The currency of both.
    #[serde(default = "dollars")]
    pub currency: String,
    /// What a batch costs, as a share of the above.
    #[serde(default = "half")]
    pub batch: f64,
}

fn dollars() -> String {
    "USD".into()
}

fn half() -> f64 {
    0.5
}

/// A further end point with the same model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndPointOptions {
    /// Its address up to `/chat/completions`.
    pub base_url: String,
    /// The model's name there, where it is another.
    #[serde(default)]
    pub model: Option<String>,
    /// The environment variable that holds its key.
    #[serde(default)]
    pub api_key_var: Option<String>,
    /// Its share of the requests; the first end point has 1.
    #[serde(default = "one")]
    pub weight: f64,
}

fn one() -> f64 {
    1.0
}

/// A judge of rationales.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JudgeOptions {
    /// The judge's model at the same end point; unset, the teacher's own.
    pub model: Option<String>,
    /// Longest judgement in tokens.
    pub max_tokens: u64,
    /// What it costs; unset, as the built-in table says.
    pub price: Option<Price>,
    /// Rate the rationales; otherwise only what the metric "judge" asks for.
    pub rationales: bool,
}

impl Default for JudgeOptions {
    fn default() -> Self {
        Self {
            model: None,
            max_tokens: 128,
            price: None,
            rationales: true,
        }
    }
}

impl TeacherOptions {
    /// Rationales that are asked for each example.
    pub fn n_samples(&self) -> usize {
        self.samples.unwrap_or(1)
    }

    /// Checks what the types cannot.
    pub fn check(&self) -> Result<()> {
        let judge = self.judge.as_ref();
        if self.kind == Kind::Recorded && judge.is_none() {
            return Ok(());
        }
        let is_unset = |model: &Option<String>| model.as_deref().is_none_or(str::is_empty);
        if is_unset(&self.model) {
            if self.kind != Kind::Recorded {
                return Err(Error::option("teacher.model", "is not set"));
            }
            if judge.is_some_and(|judge| is_unset(&judge.model)) {
                return Err(Error::option("teacher.judge.model", "is not set"));
            }
        }
        let others = self.end_points.iter().map(|other| &other.base_url);
        for base_url in self.base_url.iter().chain(others) {
            host_of(base_url.trim())?;
        }
        let positive = [
            ("concurrency", self.concurrency as f64),
            ("samples", self.n_samples() as f64),
            ("sampling.max_tokens", self.sampling.max_tokens as f64),
            ("retry.tries", f64::from(self.retry.tries)),
            ("batch.requests", self.batch.requests as f64),
            ("timeouts.connect_seconds", self.timeouts.connect_seconds),
            (
                "timeouts.first_byte_seconds",
                self.timeouts.first_byte_seconds,
            ),
            ("timeouts.answer_seconds", self.timeouts.answer_seconds),
            (
                "limits.requests_per_minute",
                self.limits.requests_per_minute.unwrap_or(1.0),
            ),
            (
                "limits.tokens_per_minute",
                self.limits.tokens_per_minute.unwrap_or(1.0),
            ),
        ];
        for (key, value) in positive {
            if !(value > 0.0 && value.is_finite()) {
                let what = format!("is {value}, expected a number above 0");
                return Err(Error::option(&format!("teacher.{key}"), what));
            }
        }
        let not_negative = [
            ("max_cost", self.max_cost.unwrap_or(0.0)),
            ("retry.backoff_seconds", self.retry.backoff_seconds),
            ("retry.longest_seconds", self.retry.longest_seconds),
            ("retry.max_failed", self.retry.max_failed),
            ("batch.poll_seconds", self.batch.poll_seconds),
        ];
        for (key, value) in not_negative {
            if !(value >= 0.0 && value.is_finite()) {
                let what = format!("is {value}, expected 0 or a number above it");
                return Err(Error::option(&format!("teacher.{key}"), what));
            }
        }
        if let Some(end_point) = self
            .end_points
            .iter()
            .find(|e| e.weight <= 0.0 || !e.weight.is_finite())
        {
            let what = format!(
                "of {} is {}, expected a number above 0",
                end_point.base_url, end_point.weight
            );
            return Err(Error::option("teacher.end_points.weight", what));
        }
        if self.concurrency > 1024 {
            let what = format!(
                "is {}, expected at most 1024: each is a thread",
                self.concurrency
            );
            return Err(Error::option("teacher.concurrency", what));
        }
        Ok(())
    }

    /// The options that decide what the stage's records say; how fast and how carefully they
    /// are had may change between two sittings of one stage.
    ///
    /// # Panics
    ///
    /// Never: options of plain values are JSON.
    pub fn key(&self) -> Value {
        let mut key = serde_json::to_value(self).expect("options of plain values are JSON");
        let fields = key.as_object_mut().expect("a struct is an object");
        let recorded = ["path", "fields", "label_was_shown"];
        if self.kind == Kind::Recorded {
            let is_judged = self.judge.is_some();
            fields.retain(|name, _| {
                recorded.contains(&&**name)
                    || name == "kind"
                    || name == "samples"
                    || is_judged && ["judge", "base_url", "model"].contains(&&**name)
            });
            return key;
        }
        for name in recorded {
            fields.remove(name);
        }
        for how in [
            "api_key_var",
            "concurrency",
            "max_cost",
            "max_requests",
            "ledger",
            "tokenizer",
            "limits",
            "timeouts",
            "retry",
            "batch",
            "price",
            "end_points",
        ] {
            fields.remove(how);
        }
        key
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_that_cannot_work_are_named() {
        let check = |change: fn(&mut TeacherOptions), expected: &str| {
            let mut options = TeacherOptions {
                kind: Kind::Http,
                model: Some("m".into()),
                ..TeacherOptions::default()
            };
            change(&mut options);
            let found = options
                .check()
                .map_or_else(|e| e.to_string(), |()| "fine".into());
            assert_eq!(found, expected);
        };
        check(|_| {}, "fine");
        check(|o| o.model = None, "teacher.model: is not set");
        check(
            |o| {
                o.kind = Kind::Recorded;
                o.model = None;
                o.judge = Some(JudgeOptions::default());
            },
            "teacher.judge.model: is not set",
        );
        check(
            |o| o.concurrency = 0,
            "teacher.concurrency: is 0, expected a number above 0",
        );
        check(
            |o| o.max_cost = Some(-1.0),
            "teacher.max_cost: is -1, expected 0 or a number above it",
        );
        check(
            |o| o.retry.backoff_seconds = f64::NAN,
            "teacher.retry.backoff_seconds: is NaN, expected 0 or a number above it",
        );
    }

    #[test]
    fn speed_and_caps_are_no_part_of_what_is_asked() {
        let options = TeacherOptions::default();
        let faster = TeacherOptions {
            concurrency: 64,
            max_cost: Some(1.0),
            ..options.clone()
        };
        let more = TeacherOptions {
            samples: Some(4),
            ..options.clone()
        };
        assert_eq!(options.key(), faster.key());
        assert_ne!(options.key(), more.key());
    }
}
