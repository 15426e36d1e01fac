//! What is learnt beside the next token: one file an objective, each with its formula and source.
//!
//! All of them look at the states of one forward pass; `Aims` joins them to one loss.
//! They know of an item what its [`Hints`] say, and nothing of claims, teachers or files.

mod aims;
mod consistency;
mod contrast;
#[cfg(test)]
mod golden;
mod lesson;
mod options;
mod part;
mod semantic;
mod teacher;
mod top_k;

pub(crate) use aims::{Aims, Outcome, Pass};
pub use lesson::{Hints, Part};
pub(crate) use lesson::{Lesson, Unit, units};
pub use options::{
    ConsistencyOptions, ContrastOptions, Counterfactual, Objectives, SemanticOptions,
    TeacherOptions, TopKOptions, TwoPrompts,
};
pub(crate) use part::shared;
pub(crate) use semantic::add_projection;
#[cfg(test)]
pub(crate) use semantic::projection;
pub(crate) use teacher::check as check_teacher;
pub use top_k::TeacherToken;
