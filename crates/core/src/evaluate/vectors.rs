//! The sentences of all texts and their vectors: each different sentence is embedded once, over
//! all systems and references.

use std::collections::{BTreeMap, HashMap};

use super::{Embed, split};
use crate::error::{Error, Result};
use crate::event::Observer;

/// How far a vector's length may be from 1.
const LENGTH_TOLERANCE: f64 = 1e-3;

/// Texts, their sentences, and a unit vector each.
#[derive(Debug)]
pub(super) struct Vectors {
    /// The encoder's name, for signatures.
    pub(super) encoder: String,
    /// How sentences were found, for signatures.
    pub(super) splitter: String,
    sentences: Vec<String>,
    /// In the order of `sentences`.
    units: Vec<Vec<f32>>,
    /// Places in `sentences`, by text.
    texts: HashMap<String, Vec<usize>>,
}

impl Vectors {
    /// Splits and embeds; a text in `given` is split as it says there.
    pub(super) fn new<'a>(
        texts: impl Iterator<Item = &'a str>,
        given: &BTreeMap<String, Vec<String>>,
        embedder: &mut dyn Embed,
        observe: &mut Observer<'_>,
    ) -> Result<Self> {
        let mut all = Self {
            encoder: embedder.name().to_owned(),
            splitter: if given.is_empty() {
                split::NAME.to_owned()
            } else {
                format!("given+{}", split::NAME)
            },
            sentences: Vec::new(),
            units: Vec::new(),
            texts: HashMap::new(),
        };
        let mut places: HashMap<String, usize> = HashMap::new();
        for text in texts {
            if all.texts.contains_key(text) {
                continue;
            }
            let sentences = given
                .get(text)
                .cloned()
                .unwrap_or_else(|| split::sentences(text));
            let of_text = sentences.into_iter().map(|sentence| {
                *places.entry(sentence).or_insert_with_key(|sentence| {
                    all.sentences.push(sentence.clone());
                    all.sentences.len() - 1
                })
            });
            let of_text = of_text.collect();
            all.texts.insert(text.to_owned(), of_text);
        }
        if !all.sentences.is_empty() {
            let sentences: Vec<&str> = all.sentences.iter().map(String::as_str).collect();
            all.units = embedder.embed(&sentences, observe)?;
        }
        all.check()?;
        Ok(all)
    }

    /// The sentences of a text and their vectors; the text must be one of those given to `new`.
    pub(super) fn of(&self, text: &str) -> (Vec<String>, Vec<&[f32]>) {
        let places = self.texts.get(text).map(Vec::as_slice).unwrap_or_default();
        let sentences = places
            .iter()
            .map(|at| self.sentences[*at].clone())
            .collect();
        let vectors = places.iter().map(|at| self.units[*at].as_slice()).collect();
        (sentences, vectors)
    }

    /// A wrong vector would be a wrong number in every table.
    fn check(&self) -> Result<()> {
        let complaint =
            |what: String| Error::option("evaluate.encoder", format!("`{}` {what}", self.encoder));
        let (n, expected) = (self.units.len(), self.sentences.len());
        if n != expected {
            return Err(complaint(format!(
                "gave {n} vectors for {expected} sentences"
            )));
        }
        let width = self.units.first().map_or(0, Vec::len);
        for (sentence, vector) in self.sentences.iter().zip(&self.units) {
            let length = vector
                .iter()
                .map(|x| f64::from(*x).powi(2))
                .sum::<f64>()
                .sqrt();
            let is_unit = (length - 1.0).abs() <= LENGTH_TOLERANCE;
            if vector.len() != width || !is_unit {
                return Err(complaint(format!(
                    "gave a vector of {} numbers and length {length} for `{sentence}`, expected {width} numbers and length 1",
                    vector.len(),
                )));
            }
        }
        Ok(())
    }
}
