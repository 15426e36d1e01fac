//! Which examples a selection leaves with nothing to learn from, and why.
//!
//! Filtering by correctness drops the hard questions first (DART-Math, Tong et al. 2024), so that
//! what is covered stands beside what is kept.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::{Deserialize, Serialize};

use super::Input;
use super::accuracy::is_right;
use crate::record::{Choice, Example, Rule, Split};

/// Examples of the training and validation splits by what became of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Coverage {
    /// All of them.
    pub examples: usize,
    /// Those with a kept candidate.
    pub covered: usize,
    /// Those without any candidate.
    pub bare: usize,
    /// Those of whose candidates none is right.
    pub never_right: usize,
    /// Those with one candidate only.
    pub single: usize,
    /// Those without a kept candidate, by the rule that dropped the last one.
    pub lost: BTreeMap<Rule, usize>,
    /// Candidates.
    pub candidates: usize,
    /// Candidates whose label is the gold label.
    pub right: usize,
    /// Candidates whose text stands before them already, right or wrong.
    pub duplicates: usize,
}

/// Counts.
pub fn coverage(input: &Input<'_>, choices: &[Choice]) -> Coverage {
    let mut counts = Coverage::default();
    let mut by_example: HashMap<&str, Vec<&Choice>> = HashMap::new();
    for choice in choices {
        by_example.entry(&choice.example).or_default().push(choice);
    }
    for question in input.questions() {
        let own = by_example.get(question.example.id.as_str());
        let own = own.map_or(&[][..], Vec::as_slice);
        let right = question
            .candidates
            .iter()
            .filter(|c| is_right(question.example, c))
            .count();
        let texts: HashSet<&str> = question.candidates.iter().map(|c| c.text.trim()).collect();
        counts.examples += 1;
        counts.candidates += question.candidates.len();
        counts.right += right;
        counts.duplicates += question.candidates.len() - texts.len();
        counts.bare += usize::from(question.candidates.is_empty());
        counts.single += usize::from(question.candidates.len() == 1);
        counts.never_right += usize::from(right == 0 && !question.candidates.is_empty());
        if own.iter().any(|c| c.kept) {
            counts.covered += 1;
        } else if let Some(last) = own.iter().map(|c| c.rule).max() {
            *counts.lost.entry(last).or_default() += 1;
        }
    }
    counts
}

/// The training and validation examples of which no candidate was kept; they train nothing.
pub fn uncovered<'a>(examples: &'a [Example], choices: &[Choice]) -> Vec<&'a str> {
    let kept: HashSet<&str> = choices
        .iter()
        .filter(|c| c.kept)
        .map(|c| c.example.as_str())
        .collect();
    let open = examples
        .iter()
        .filter(|e| e.split != Split::Test && !kept.contains(e.id.as_str()));
    open.map(|e| e.id.as_str()).collect()
}
