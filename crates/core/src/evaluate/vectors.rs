//! A unit vector for each different string: sentences, phrases, whole texts; each is embedded once,
//! over all systems and references.

use std::collections::HashMap;

use super::Embed;
use crate::error::{Error, Result};
use crate::event::Observer;

/// How far a vector's length may be from 1.
const LENGTH_TOLERANCE: f64 = 1e-3;

/// Strings and a unit vector each.
#[derive(Debug)]
pub(super) struct Vectors {
    /// The encoder's name, for signatures.
    pub(super) encoder: String,
    places: HashMap<String, usize>,
    units: Vec<Vec<f32>>,
}

impl Vectors {
    /// Embeds every different string once.
    pub(super) fn new<'a>(
        strings: impl Iterator<Item = &'a str>,
        embedder: &mut dyn Embed,
        observe: &mut Observer<'_>,
    ) -> Result<Self> {
        let mut different: Vec<&str> = strings.collect();
        // The order of a hash map must not decide what stands beside what.
        different.sort_unstable();
        different.dedup();
        let units = if different.is_empty() {
            Vec::new()
        } else {
            embedder.embed(&different, observe)?
        };
        check(embedder.name(), &different, &units)?;
        let places = different.iter().enumerate();
        Ok(Self {
            encoder: embedder.name().to_owned(),
            places: places.map(|(at, text)| ((*text).to_owned(), at)).collect(),
            units,
        })
    }

    /// The vector of a string; it must be one of those given to `new`.
    pub(super) fn of(&self, text: &str) -> &[f32] {
        let at = self
            .places
            .get(text)
            .expect("every string that is compared was embedded");
        &self.units[*at]
    }

    /// The vectors of several.
    pub(super) fn of_all<'a>(&self, texts: impl IntoIterator<Item = &'a String>) -> Vec<&[f32]> {
        texts.into_iter().map(|text| self.of(text)).collect()
    }
}

/// A wrong vector would be a wrong number in every table.
fn check(encoder: &str, texts: &[&str], units: &[Vec<f32>]) -> Result<()> {
    let complaint = |what: String| Error::option("evaluate.encoder", format!("`{encoder}` {what}"));
    let (n, expected) = (units.len(), texts.len());
    if n != expected {
        return Err(complaint(format!(
            "gave {n} vectors for {expected} sentences"
        )));
    }
    let width = units.first().map_or(0, Vec::len);
    for (text, vector) in texts.iter().zip(units) {
        let square: f64 = vector.iter().map(|x| f64::from(*x).powi(2)).sum();
        let length = square.sqrt();
        let is_unit = (length - 1.0).abs() <= LENGTH_TOLERANCE;
        if vector.len() != width || !is_unit {
            return Err(complaint(format!(
                "gave a vector of {} numbers and length {length} for `{text}`, expected {width} numbers and length 1",
                vector.len(),
            )));
        }
    }
    Ok(())
}
