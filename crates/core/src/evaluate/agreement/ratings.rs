//! Human ratings: one record a judgement, several judgements a candidate.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use crate::error::{Error, Result};

/// One judgement of one candidate; columns that are not known are left alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RatingRecord {
    /// The example's id, a text or a whole number.
    #[serde(deserialize_with = "text_or_number")]
    pub id: String,
    /// Who said what is rated; may be left out where there is one system.
    #[serde(default)]
    pub system: Option<String>,
    /// The rating, higher is better; null or not a number if the person gave none.
    pub rating: Option<f64>,
}

fn text_or_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    match serde_json::Value::deserialize(deserializer)? {
        serde_json::Value::String(text) => Ok(text),
        serde_json::Value::Number(number) => Ok(number.to_string()),
        other => Err(serde::de::Error::custom(format!(
            "`id` is {other}, expected a text or a number"
        ))),
    }
}

/// All ratings, by candidate.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ratings {
    by_candidate: BTreeMap<(String, String), Vec<f64>>,
    unscored: BTreeMap<String, usize>,
}

impl Ratings {
    /// Gathers records in any order; `systems` are those of the predictions.
    ///
    /// A record without a system belongs to the only system there is, and is an error if there are
    /// several.
    pub fn new(records: impl IntoIterator<Item = RatingRecord>, systems: &[&str]) -> Result<Self> {
        let mut ratings = Self::default();
        for record in records {
            let system = match (record.system, systems) {
                (Some(system), _) => system,
                (None, [only]) => (*only).to_owned(),
                (None, _) => {
                    let what = format!(
                        "a rating names no `system`, and the predictions have {}",
                        systems.len()
                    );
                    return Err(Error::Example {
                        id: record.id,
                        what,
                    });
                }
            };
            let why = match record.rating {
                Some(rating) if rating.is_finite() => {
                    let candidate = (record.id, system);
                    ratings
                        .by_candidate
                        .entry(candidate)
                        .or_default()
                        .push(rating);
                    continue;
                }
                Some(_) => "the rating is not a finite number",
                None => "the rating is empty",
            };
            *ratings.unscored.entry(why.to_owned()).or_default() += 1;
        }
        // Sums of floats depend on their order, which the file must not decide.
        for values in ratings.by_candidate.values_mut() {
            values.sort_unstable_by(f64::total_cmp);
        }
        Ok(ratings)
    }

    /// Id, system and ratings of each candidate, in the order of ids and systems.
    pub fn candidates(&self) -> impl Iterator<Item = (&str, &str, &[f64])> {
        let all = self.by_candidate.iter();
        all.map(|((id, system), ratings)| (id.as_str(), system.as_str(), ratings.as_slice()))
    }

    /// How many candidates have a rating.
    pub fn n_candidates(&self) -> usize {
        self.by_candidate.len()
    }

    /// Records without a number, by reason.
    pub fn unscored(&self) -> &BTreeMap<String, usize> {
        &self.unscored
    }
}
