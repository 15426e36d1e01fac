//! Learning the likeliest tokens of a teacher that tells log-probabilities.
//!
//! KL(p, q) over k + 1 classes: the k tokens that the end point names, and all others in one bucket.
//! By the data-processing inequality this is a lower bound of the KL over the whole vocabulary; cutting the teacher off after k tokens and scaling it up instead makes students over-confident (Anshumann et al. 2025, arXiv 2503.16870).
//! A position counts where the teacher's token is a token of the student, byte for byte; tokens of the teacher's list that the student does not have go into the bucket.

use std::collections::BTreeMap;

use burn::tensor::Tensor;

use super::aims::Pass;
use super::lesson::Hints;
use crate::ops::{self, Known};
use crate::tokenizer::Tokenizer;

/// One token of a teacher's answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TeacherToken {
    /// Its text.
    pub text: String,
    /// The likeliest tokens at its place, with the natural logarithms of their probabilities.
    pub top: Vec<(String, f64)>,
}

/// The weighted sum over the rows of the pass whose likeliest tokens are known.
pub(crate) fn term(student: ops::Head<'_>, pass: &Pass<'_>) -> Option<Tensor<1>> {
    let lessons = pass.lessons.iter().enumerate();
    let rows: Vec<(usize, f32, Known)> = lessons
        .flat_map(|(index, lesson)| {
            let weight = lesson.sequence.weight;
            let row = move |(place, known): &(usize, Known)| {
                (pass.row_before(index, *place), weight, known.clone())
            };
            lesson.known.iter().map(row)
        })
        .collect();
    (!rows.is_empty()).then(|| ops::head_known(student, &rows))
}

/// How much there is to learn, for the mean over an update.
pub(crate) fn amount(pass: &Pass<'_>) -> f64 {
    let of = |lesson: &&super::Lesson| {
        lesson.known.len() as f64 * f64::from(lesson.sequence.weight)
    };
    pass.lessons.iter().map(of).sum()
}

/// The places of the completion whose token the teacher said too, with what it found likeliest there; the teacher's first token begins at byte `start`.
pub(crate) fn align(
    tokenizer: &Tokenizer,
    completion: &str,
    start: usize,
    hints: &Hints,
) -> Vec<(usize, Known)> {
    let mut at = start;
    let theirs: BTreeMap<(usize, usize), &TeacherToken> = hints
        .teacher_tokens
        .iter()
        .map(|token| {
            let span = (at, at + token.text.len());
            at = span.1;
            (span, token)
        })
        .collect();
    let mut begin = 0;
    let mut found = Vec::new();
    for (place, end) in tokenizer.spans(completion).into_iter().enumerate() {
        if let Some(token) = theirs.get(&(begin, end))
            && completion.get(begin..end) == Some(token.text.as_str())
        {
            let mut known: BTreeMap<u32, f64> = BTreeMap::new();
            for (text, log) in &token.top {
                // An end point may name one text twice; the student has one token for it.
                if let Some(id) = tokenizer.one_token(text) {
                    let before = known.get(&id).map_or(0.0, |log: &f64| log.exp());
                    known.insert(id, (before + log.exp()).ln());
                }
            }
            known.retain(|_, log| log.is_finite());
            if !known.is_empty() {
                let known = known.into_iter().map(|(id, log)| (id, log as f32));
                found.push((place, known.collect()));
            }
        }
        begin = end;
    }
    found
}
