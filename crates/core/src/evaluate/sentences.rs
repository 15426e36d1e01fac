//! The sentences of every text that is looked at: given ones, else those that [`split`] finds.

use std::collections::{BTreeMap, HashMap};

use super::split;

/// Texts and their sentences; each different text is split once.
#[derive(Debug)]
pub(super) struct Sentences {
    /// How they were found, for signatures.
    pub(super) splitter: String,
    of: HashMap<String, Vec<String>>,
}

impl Sentences {
    /// A text in `given` is split as it says there.
    pub(super) fn new<'a>(
        texts: impl Iterator<Item = &'a str>,
        given: &BTreeMap<String, Vec<String>>,
    ) -> Self {
        let splitter = if given.is_empty() {
            split::NAME.to_owned()
        } else {
            format!("given+{}", split::NAME)
        };
        let mut of: HashMap<String, Vec<String>> = HashMap::new();
        for text in texts {
            if !of.contains_key(text) {
                let sentences = given.get(text).cloned();
                of.insert(
                    text.to_owned(),
                    sentences.unwrap_or_else(|| split::sentences(text)),
                );
            }
        }
        Self { splitter, of }
    }

    /// The sentences of a text; it must be one of those given to `new`.
    pub(super) fn of(&self, text: &str) -> &[String] {
        self.of.get(text).map(Vec::as_slice).unwrap_or_default()
    }

    /// The sentences of several passages, one after the other.
    pub(super) fn of_all<'a>(&'a self, passages: &'a [String]) -> impl Iterator<Item = &'a String> {
        passages.iter().flat_map(|passage| self.of(passage))
    }

    /// Every sentence of every text; equal ones stand as often as they occur.
    pub(super) fn all(&self) -> impl Iterator<Item = &str> {
        self.of.values().flatten().map(String::as_str)
    }
}
