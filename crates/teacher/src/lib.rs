//! Collects the teacher's rationales: from files in which they were recorded, or from a model
//! that is asked.
//!
//! Whatever the kind of teacher, the stage leaves the same records
//! ([`stillhouse_core::record::Rationale`]); nothing after it knows where they came from. The
//! teacher knows neither references nor roles. What was ever paid stands in the [`Ledger`]; only
//! what is missing there is asked for.

mod access;
mod answer;
mod ask;
mod batch;
mod cost;
mod error;
mod estimate;
mod http;
mod judge;
mod language;
mod ledger;
mod live;
mod local;
mod options;
mod rate;
mod recorded;
mod request;
mod secret;
mod wanted;

pub use access::{Access, EndPoint};
pub use answer::Answer;
pub use ask::ask;
pub use cost::{CountTokens, estimate_tokens, price_of};
pub use error::{Error, Result};
pub use estimate::{Estimate, Means, Range, estimate, estimate_judge};
pub use judge::{AboutRationales, as_judge, judgements};
pub use ledger::{Ledger, Spent};
pub use live::{AboutExamples, rationales, template_hash};
pub use local::{Said, Speak, ask_local};
pub use options::{
    BatchOptions, By, EndPointOptions, JudgeOptions, Kind, Limits, MaxTokensField, Price,
    RecordedFields, Retry, Sampling, TeacherOptions, Timeouts,
};
pub use recorded::{Found, from_candidates, read_candidates};
pub use request::{Question, Questions};
pub use secret::Secret;
pub use wanted::{Asked, Setup};
