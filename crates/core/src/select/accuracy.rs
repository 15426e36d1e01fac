//! Which candidates can be used at all, which are right, and which are there twice.
//!
//! Reference: Ho et al. 2023 (Fine-tune-CoT), Chen et al. 2023 (MCC-KD), both by the final answer.
//! A candidate is right when its label, in the one spelling of the data set's answer rule, is the
//! gold label.
//! Quirk: where the teacher was shown the gold label this says nothing.

use std::collections::HashMap;

use super::Verdict;
use crate::record::{Example, Outcome, Rationale, Rule};

/// Why a candidate is no rationale.
pub(super) fn unusable(candidate: &Rationale) -> Option<(Rule, String)> {
    let reason = match candidate.outcome {
        Outcome::Ok | Outcome::Unparsable if candidate.text.trim().is_empty() => {
            "its text is empty"
        }
        Outcome::Ok | Outcome::Unparsable => return None,
        Outcome::Empty => "its text is empty",
        Outcome::Refused => "the teacher refused",
        Outcome::Truncated => "the answer was cut off",
        Outcome::WrongLanguage => "the answer is in another language",
        Outcome::Failed => "no answer came",
    };
    Some((Rule::Outcome, reason.into()))
}

/// Whether the candidate's label is the gold label.
pub fn is_right(example: &Example, candidate: &Rationale) -> bool {
    candidate.label.as_ref() == Some(&example.label)
}

/// Drops candidates whose label is not the gold label.
pub(super) fn drop_wrong(example: &Example, candidates: &[&Rationale], verdicts: &mut [Verdict]) {
    for (candidate, verdict) in candidates.iter().zip(verdicts) {
        if verdict.is_none() && !is_right(example, candidate) {
            let found = candidate
                .label
                .as_deref()
                .unwrap_or("none of the label set");
            *verdict = Some((
                Rule::Accuracy,
                format!("its label is {found}, the gold label is {}", example.label),
            ));
        }
    }
}

/// Drops every candidate whose text stands before it already, but for white space at its ends.
pub(super) fn drop_doubled(candidates: &[&Rationale], verdicts: &mut [Verdict]) {
    let mut first: HashMap<&str, &str> = HashMap::new();
    for (candidate, verdict) in candidates.iter().zip(verdicts) {
        if verdict.is_some() {
            continue;
        }
        match first.get(candidate.text.trim()) {
            Some(id) => *verdict = Some((Rule::Duplicate, format!("the same text as {id}"))),
            None => {
                first.insert(candidate.text.trim(), &candidate.id);
            }
        }
    }
}
