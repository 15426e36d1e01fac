//! How alike two phrases are: the cosine of their vectors, and the words that they share.

use std::collections::BTreeSet;

use super::token::tokens;
use crate::evaluate::porter::stem;

/// A phrase made ready to be compared.
#[derive(Clone, Debug)]
pub(super) struct Phrase<'a> {
    stems: BTreeSet<String>,
    vector: Option<&'a [f32]>,
    is_pronominal: bool,
}

/// Words that say nothing about what a phrase is about.
const STOP: &str = "a about after again all also an and any are as at be became because become becomes been \
    before being but by came can cannot come could did do does each even every for from get \
    gets got had has have having he her his how i if in into is it its just keep keeps kept \
    left let lets made make makes making many may might more most much no not now of off on \
    once one only or other our out over own s she since so some soon such than that the \
    their them then there these they this those through to too under up very was we were \
    what when where which while who whose why will with without would you";

impl<'a> Phrase<'a> {
    pub(super) fn new(text: &str, vector: Option<&'a [f32]>) -> Self {
        let all = tokens(text);
        let is_pronominal = all
            .first()
            .is_some_and(|first| first.is_any("it they he she we this that them him her"));
        let words = all
            .into_iter()
            .filter(|token| !token.is_mark() && !token.is_any(STOP));
        let stems = words
            .map(|token| stem(token.word.trim_end_matches("'s")))
            .collect();
        Self {
            stems,
            vector,
            is_pronominal,
        }
    }

    /// In 0..=1 for phrases that share words or meaning; the cosine may be below 0.
    pub(super) fn similarity(&self, other: &Self, lexical: f64) -> f64 {
        let shared = self.overlap(other);
        match (self.vector, other.vector) {
            (Some(a), Some(b)) => (1.0 - lexical) * cosine(a, b) + lexical * shared,
            _ => shared,
        }
    }

    /// Whether it says too little to be turned round: `it hurts`.
    pub(super) fn is_bare(&self) -> bool {
        self.is_pronominal && self.stems.len() < 2
    }

    /// The cosine of the two sets of stems.
    fn overlap(&self, other: &Self) -> f64 {
        if self.stems.is_empty() || other.stems.is_empty() {
            return 0.0;
        }
        let shared = self.stems.intersection(&other.stems).count() as f64;
        shared / ((self.stems.len() * other.stems.len()) as f64).sqrt()
    }
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let product: f64 = a
        .iter()
        .zip(b)
        .map(|(x, y)| f64::from(*x) * f64::from(*y))
        .sum();
    product.clamp(-1.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_stems_count_and_function_words_do_not() {
        check("the cows gave less milk", "milk given by a cow", 0.577);
        check("the of and", "the of and", 0.0);
        check("dry soil", "dry soil", 1.0);
    }

    fn check(a: &str, b: &str, expected: f64) {
        let similarity = Phrase::new(a, None).similarity(&Phrase::new(b, None), 0.5);
        assert!((similarity - expected).abs() < 1e-3, "{similarity}");
    }
}
