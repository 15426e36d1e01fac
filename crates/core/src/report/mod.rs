//! The two pages of a run, `report.html` and `report.md`, from its records.
//!
//! The same records give the same bytes: no clock is read, and the examples that are shown are
//! chosen by the run's seed, never by their scores.
#![expect(
    clippy::format_collect,
    clippy::format_push_string,
    reason = "a page is written once; `write!` and its results would only hide the markup"
)]

mod chart;
mod examples;
mod extra;
mod figures;
mod html;
mod markdown;
mod page;
mod selected;
mod selected_page;
#[cfg(test)]
mod tests;
mod words;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::evaluate::pair::PairRecord;
use crate::evaluate::summary::MetricsFile;
use crate::record::{Choice, Example, Prediction, Rationale, Reference, Rule, Split, Step};
use crate::run::Stage;

pub use extra::{agreed, consistent, judged};
pub use html::html;
pub use markdown::markdown;
pub use selected::{Candidate, Selected, Shown};

/// Everything that the pages show.
#[derive(Clone, Debug)]
pub struct Report {
    /// The heading: the run's name.
    pub title: String,
    /// The tool and its version: "stillhouse 0.1.0".
    pub tool: String,
    /// The run's seed; it also chooses the examples that are shown.
    pub seed: u64,
    /// Short facts below the heading, such as ("student", "stillhouse-nano").
    pub facts: Vec<(String, String)>,
    /// The resolved config, as TOML.
    pub config: String,
    /// How many examples there are.
    pub dataset: Dataset,
    /// What selection kept; `None` if nothing was selected.
    pub selection: Option<Funnel>,
    /// What selection saw in its candidates; `None` if nothing was selected.
    pub selected: Option<Selected>,
    /// The training's steps; empty if nothing was trained.
    pub steps: Vec<Step>,
    /// What was measured.
    pub metrics: MetricsFile,
    /// What else was found out, a table each.
    pub tables: Vec<Table>,
    /// What was measured pair by pair.
    pub pairs: Vec<PairRecord>,
    /// The examples that were evaluated.
    pub examples: Vec<Example>,
    /// What the systems say of them.
    pub predictions: Vec<Prediction>,
    /// Their references.
    pub references: Vec<Reference>,
    /// How long each stage took; leave it empty for a page that must not change between runs.
    pub times: Vec<StageTime>,
    /// Facts that a reader should know: "3 prompts lost evidence sentences".
    pub notes: Vec<String>,
    /// What should worry a reader; shown first.
    pub warnings: Vec<String>,
}

/// A table of its own, with a heading and what a reader must know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// The heading.
    pub title: String,
    /// What the table shows.
    pub note: String,
    /// The columns' names.
    pub head: Vec<String>,
    /// The rows; the first cell of each is its name.
    pub rows: Vec<Vec<String>>,
}

/// Wall-clock time of one stage, over all of its sittings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StageTime {
    /// The stage.
    pub stage: Stage,
    /// Seconds.
    pub seconds: f64,
}

/// Examples by label and split.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dataset {
    /// The data set's name.
    pub name: String,
    /// By label: how many are in train, validation and test.
    pub counts: BTreeMap<String, [usize; 3]>,
}

impl Dataset {
    /// Counts examples.
    pub fn of(name: impl Into<String>, examples: &[Example]) -> Self {
        let mut counts: BTreeMap<String, [usize; 3]> = BTreeMap::new();
        for example in examples {
            let place = match example.split {
                Split::Train => 0,
                Split::Validation => 1,
                Split::Test => 2,
            };
            counts.entry(example.label.clone()).or_default()[place] += 1;
        }
        Self {
            name: name.into(),
            counts,
        }
    }
}

/// From all candidates to those that train the student.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Funnel {
    /// Candidates that the teacher gave.
    pub candidates: usize,
    /// How many each rule dropped, in the order of the rules.
    pub dropped: BTreeMap<Rule, usize>,
    /// How many were kept.
    pub kept: usize,
    /// Examples with a candidate.
    pub examples: usize,
    /// Examples with a candidate that was kept.
    pub examples_kept: usize,
    /// Kept and dropped candidates by their role, where the data set knows roles; no selector
    /// sees them.
    pub roles: BTreeMap<String, [usize; 2]>,
    /// Whether the teacher was shown the gold label: the filter by label is then vacuous.
    pub label_was_shown: bool,
}

impl Funnel {
    /// Counts what selection decided; `references` lend the known roles.
    pub fn of(rationales: &[Rationale], choices: &[Choice], references: &[Reference]) -> Self {
        let texts: HashMap<&str, &Rationale> = rationales
            .iter()
            .map(|rationale| (rationale.id.as_str(), rationale))
            .collect();
        let roles: HashMap<&str, &BTreeMap<String, String>> = references
            .iter()
            .map(|reference| (reference.id.as_str(), &reference.roles))
            .collect();
        let mut funnel = Self {
            candidates: choices.len(),
            label_was_shown: rationales.iter().any(|rationale| rationale.label_was_shown),
            ..Self::default()
        };
        let (mut all, mut kept) = (BTreeSet::new(), BTreeSet::new());
        for choice in choices {
            all.insert(choice.example.as_str());
            if choice.kept {
                kept.insert(choice.example.as_str());
                funnel.kept += 1;
            } else {
                *funnel.dropped.entry(choice.rule).or_default() += 1;
            }
            let role = texts
                .get(choice.rationale.as_str())
                .and_then(|rationale| roles.get(choice.example.as_str())?.get(&rationale.text));
            if let Some(role) = role {
                funnel.roles.entry(role.clone()).or_default()[usize::from(!choice.kept)] += 1;
            }
        }
        (funnel.examples, funnel.examples_kept) = (all.len(), kept.len());
        funnel
    }
}
