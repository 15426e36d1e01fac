//! Learning the likeliest tokens of a teacher that tells log-probabilities.
//!
//! KL(p, q) over k + 1 classes: the k tokens that the end point names, and all others in one bucket.
//! By the data-processing inequality this is a lower bound of the KL over the whole vocabulary; cutting the teacher off after k tokens and scaling it up instead makes students over-confident (Anshumann et al. 2025, arXiv 2503.16870).
//! A position counts where the teacher's token is a token of the student, byte for byte; tokens of the teacher's list that the student does not have go into the bucket.

use std::collections::BTreeMap;

use burn::tensor::Tensor;

use super::aims::Pass;
use crate::ops::{self, Known};
use crate::tokenizer::Tokenizer;

/// One token of a teacher's answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TeacherToken {
    /// The byte of the completion at which it begins.
    pub start: usize,
    /// Its text.
    pub text: String,
    /// The likeliest tokens at its place, with the natural logarithms of their probabilities.
    pub top: Vec<(String, f64)>,
}

/// The weighted sum over the rows of the pass whose likeliest tokens are known.
pub(crate) fn term(student: ops::States<'_>, pass: &Pass<'_>) -> Option<Tensor<1>> {
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
    let of =
        |lesson: &&super::Lesson| lesson.known.len() as f64 * f64::from(lesson.sequence.weight);
    pass.lessons.iter().map(of).sum()
}

/// The places of the completion whose token the teacher said too, with what it found likeliest there.
pub(crate) fn align(
    tokenizer: &Tokenizer,
    completion: &str,
    said: &[TeacherToken],
) -> Vec<(usize, Known)> {
    let spanned = said
        .iter()
        .map(|token| ((token.start, token.start + token.text.len()), token));
    let theirs: BTreeMap<(usize, usize), &TeacherToken> = spanned.collect();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tokens_that_both_have_are_learnt() {
        // Merges: " th", " the".
        let tokenizer = Tokenizer::train(["the the the"; 3].into_iter(), 262).unwrap();
        assert_eq!(tokenizer.completion(" the").len(), 1);
        let said = |parts: &[&str]| -> Vec<TeacherToken> {
            let mut start = 0;
            let token = |text: &&str| {
                let token = TeacherToken {
                    start,
                    text: (*text).to_owned(),
                    top: vec![((*text).to_owned(), -0.5), (" the the".to_owned(), -1.5)],
                };
                start += text.len();
                token
            };
            parts.iter().map(token).collect()
        };
        let check = |parts: &[&str], expected: &[usize]| {
            let found = align(&tokenizer, " the x", &said(parts));
            let places: Vec<usize> = found.iter().map(|(place, _)| *place).collect();
            assert_eq!(places, expected, "{parts:?}");
            assert!(
                found.iter().all(|(_, known)| known.len() == 1),
                "two tokens are none"
            );
        };
        check(&[" the", " ", "x"], &[0, 1, 2]);
        check(&[" th", "e", " ", "x"], &[1, 2]);
        check(&[" the", " x"], &[0]);
        check(&[" a", "bc", " ", "x"], &[1, 2]);
    }
}
