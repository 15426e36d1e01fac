//! Which examples the pages show, with all that is said of them.

use std::collections::HashMap;

use super::Report;
use super::words::first_system;
use crate::evaluate::pair::PairRecord;
use crate::evaluate::split;
use crate::random::Random;
use crate::record::{Example, Prediction};

/// How many examples a page shows.
pub(super) const SHOWN: usize = 12;

/// One example, its reference, and the answers of every system that is no baseline.
pub(super) struct Shown<'a> {
    pub(super) example: &'a Example,
    /// Sentences of the main reference.
    pub(super) reference: Vec<String>,
    /// The student comes last.
    pub(super) answers: Vec<Answer<'a>>,
}

/// What one system says of it, and what was measured.
pub(super) struct Answer<'a> {
    pub(super) system: &'a str,
    pub(super) prediction: Option<&'a Prediction>,
    pub(super) pair: Option<&'a PairRecord>,
}

/// A dozen examples drawn by the seed, in the order of the input.
pub(super) fn shown(report: &Report) -> Vec<Shown<'_>> {
    let mut order: Vec<usize> = (0..report.examples.len()).collect();
    Random::new(report.seed, "report-examples").shuffle(&mut order);
    order.truncate(SHOWN);
    order.sort_unstable();

    let predictions: HashMap<(&str, &str), &Prediction> = report
        .predictions
        .iter()
        .map(|p| ((p.id.as_str(), p.system.as_str()), p))
        .collect();
    let pairs: HashMap<(&str, &str), &PairRecord> = report
        .pairs
        .iter()
        .map(|p| ((p.id.as_str(), p.system.as_str()), p))
        .collect();
    let references: HashMap<&str, &str> = report
        .references
        .iter()
        .filter_map(|r| Some((r.id.as_str(), r.explanations.first()?.as_str())))
        .collect();
    let systems = systems(report);
    let one = |at: usize| {
        let example = &report.examples[at];
        let answers = systems.iter().map(|system| Answer {
            system,
            prediction: predictions.get(&(example.id.as_str(), *system)).copied(),
            pair: pairs.get(&(example.id.as_str(), *system)).copied(),
        });
        Shown {
            example,
            reference: references
                .get(example.id.as_str())
                .map_or_else(Vec::new, |r| split::sentences(r)),
            answers: answers.collect(),
        }
    };
    order.into_iter().map(one).collect()
}

/// The systems of the predictions in their order, the one that is compared last.
fn systems(report: &Report) -> Vec<&str> {
    let mut systems: Vec<&str> = Vec::new();
    for prediction in &report.predictions {
        if !systems.contains(&prediction.system.as_str()) {
            systems.push(&prediction.system);
        }
    }
    let first = first_system(&report.metrics);
    systems.sort_by_key(|system| Some(*system) == first);
    systems
}
