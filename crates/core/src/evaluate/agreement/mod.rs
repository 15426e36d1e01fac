//! Do the metrics agree with people? Human ratings of explanations, joined with the metrics of the
//! same explanations.
//!
//! A rating belongs to a **candidate**: what one system says of one example (an **item**).
//! Several ratings of a candidate are averaged.
//! Correlations are taken over all candidates; pair accuracy looks inside each item, where the
//! example's own difficulty cannot help: of two candidates with different ratings, how often does
//! the metric prefer the one that people prefer?
//! Intervals come from drawing items, since candidates of one item are not independent.
//! The number of words and a random number stand beside the metrics: what does not beat them
//! has not been shown to see anything.

mod measure;
mod ratings;
mod reliability;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use self::measure::{Column, Draws, Values};
pub use self::ratings::{RatingRecord, Ratings};
pub use self::reliability::alpha;
use super::bootstrap::Interval;
use super::pair::PairRecord;
use super::signature::Signature;
use crate::error::{Error, Result};
use crate::random::Random;

/// The baseline that counts words.
pub const WORDS: &str = "words";
/// The baseline that draws a number.
pub const RANDOM: &str = "random";

/// A number with its interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Estimate {
    /// The number over all items.
    pub value: f64,
    /// The 95 % percentile bootstrap interval over items; null below two items.
    pub interval: Option<Interval>,
}

/// How all metrics agree with the ratings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Agreement {
    /// Candidates with a prediction and a rating.
    pub n: usize,
    /// The items that they belong to.
    pub n_items: usize,
    /// Rated candidates without a prediction.
    pub without_prediction: usize,
    /// Candidates of rated systems without a rating.
    pub without_rating: usize,
    /// Rating lines that hold no number, by reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub unscored_ratings: BTreeMap<String, usize>,
    /// Ratings a candidate, on average.
    pub mean_ratings: f64,
    /// Krippendorff's alpha of the ratings (interval scale): how far people agree with each other;
    /// null if no candidate has two ratings, or all ratings are the same.
    pub alpha: Option<Estimate>,
    /// Each metric, then the baselines.
    pub metrics: Vec<MetricAgreement>,
}

/// How one metric agrees with the ratings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetricAgreement {
    /// Its key in `pairs.jsonl`, [`WORDS`] or [`RANDOM`].
    pub metric: String,
    /// Candidates that it scores; the others are left out.
    pub n: usize,
    /// Candidates that it does not score.
    pub unscored: usize,
    /// Pearson's r.
    pub pearson: Option<Estimate>,
    /// Spearman's rho.
    pub spearman: Option<Estimate>,
    /// Kendall's tau-b.
    pub kendall: Option<Estimate>,
    /// The share of pairs within an item on which the metric has people's preference; a tie of the
    /// metric counts one half.
    pub pair_accuracy: Option<Estimate>,
    /// Pairs within an item that people rate differently.
    pub n_pairs: usize,
    /// Spearman's rho minus that of [`WORDS`], paired by item.
    pub spearman_minus_words: Option<Estimate>,
    /// Why a number is null.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub undefined: BTreeMap<String, String>,
    /// What was computed, and how.
    pub signature: Signature,
}

/// What is compared with the ratings.
#[derive(Clone, Copy, Debug)]
pub struct Scored<'a> {
    /// Each candidate's metrics.
    pub pairs: &'a [PairRecord],
    /// Each candidate's number of words, by id and system; without it there is no such baseline.
    pub words: &'a BTreeMap<(String, String), usize>,
}

/// How often to draw items, and from which seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AgreementOptions {
    /// Number of resamples.
    pub resamples: usize,
    /// Seed of the resamples and of the random baseline.
    pub seed: u64,
}

/// Joins metrics and ratings by id and system, and compares them.
///
/// An error if nothing joins; everything else that is missing is counted.
pub fn agree(
    scored: Scored<'_>,
    ratings: &Ratings,
    options: AgreementOptions,
) -> Result<Agreement> {
    let pairs: BTreeMap<(&str, &str), &PairRecord> = scored
        .pairs
        .iter()
        .map(|pair| ((pair.id.as_str(), pair.system.as_str()), pair))
        .collect();
    let joined: Vec<Candidate<'_>> = ratings
        .candidates()
        .filter_map(|(id, system, ratings)| {
            let pair = pairs.get(&(id, system))?;
            Some(Candidate { pair, ratings })
        })
        .collect();
    if joined.is_empty() {
        return Err(nothing_joined(scored.pairs, ratings));
    }
    let rated_systems: BTreeSet<&str> = ratings.candidates().map(|(_, system, _)| system).collect();
    let of_rated = pairs
        .keys()
        .filter(|(_, system)| rated_systems.contains(system));

    let items = places_of_items(&joined);
    let n_items = items.last().map_or(0, |last| last + 1);
    let mean = |candidate: &Candidate<'_>| {
        candidate.ratings.iter().sum::<f64>() / candidate.ratings.len() as f64
    };
    let rated: Vec<f64> = joined.iter().map(mean).collect();
    let draws = Draws::new(n_items, options);

    let columns = columns(&joined, scored.words, options.seed);
    let found: Vec<(&str, Column, Values)> = columns
        .iter()
        .map(|(name, values)| {
            let column = Column::new(values, &rated, &items);
            let values = column.measure(&draws);
            (name.as_str(), column, values)
        })
        .collect();
    let words = found
        .iter()
        .find(|(name, ..)| *name == WORDS)
        .map(|(.., values)| values);
    let metrics = found
        .iter()
        .map(|(name, column, values)| record(name, column, values, words, joined.len(), options))
        .collect();
    Ok(Agreement {
        n: joined.len(),
        n_items,
        without_prediction: ratings.n_candidates() - joined.len(),
        without_rating: of_rated.count() - joined.len(),
        unscored_ratings: ratings.unscored().clone(),
        mean_ratings: joined.iter().map(|c| c.ratings.len()).sum::<usize>() as f64
            / joined.len() as f64,
        alpha: reliability::estimate(
            &joined.iter().map(|c| c.ratings).collect::<Vec<_>>(),
            &items,
            &draws,
        ),
        metrics,
    })
}

/// One rated explanation.
#[derive(Clone, Copy)]
struct Candidate<'a> {
    pair: &'a PairRecord,
    ratings: &'a [f64],
}

/// The number of each candidate's item, from 0; candidates are in the order of their ids.
fn places_of_items(joined: &[Candidate<'_>]) -> Vec<usize> {
    let mut items = Vec::with_capacity(joined.len());
    let mut item = 0;
    for (at, candidate) in joined.iter().enumerate() {
        if at > 0 && joined[at - 1].pair.id != candidate.pair.id {
            item += 1;
        }
        items.push(item);
    }
    items
}

/// Every metric that some candidate has, by name, and the baselines.
fn columns(
    joined: &[Candidate<'_>],
    words: &BTreeMap<(String, String), usize>,
    seed: u64,
) -> Vec<(String, Vec<Option<f64>>)> {
    let names: BTreeSet<&String> = joined.iter().flat_map(|c| c.pair.metrics.keys()).collect();
    let mut columns: Vec<(String, Vec<Option<f64>>)> = names
        .into_iter()
        .map(|name| {
            let number = |c: &Candidate<'_>| c.pair.number(name).filter(|v| v.is_finite());
            (name.clone(), joined.iter().map(number).collect())
        })
        .filter(|(_, values): &(String, Vec<Option<f64>>)| values.iter().any(Option::is_some))
        .collect();
    let count = |c: &Candidate<'_>| {
        let key = (c.pair.id.clone(), c.pair.system.clone());
        words.get(&key).map(|n| *n as f64)
    };
    if !words.is_empty() {
        columns.push((WORDS.to_owned(), joined.iter().map(count).collect()));
    }
    let mut random = Random::new(seed, "random ratings");
    let drawn = joined.iter().map(|_| Some(random.next_f64())).collect();
    columns.push((RANDOM.to_owned(), drawn));
    columns
}

fn record(
    name: &str,
    column: &Column,
    values: &Values,
    words: Option<&Values>,
    n: usize,
    options: AgreementOptions,
) -> MetricAgreement {
    let mut undefined = BTreeMap::new();
    let mut note = |what: &str, found: Option<Estimate>, reason: Option<&str>| {
        if let (None, Some(reason)) = (found, reason) {
            undefined.insert(what.to_owned(), reason.to_owned());
        }
        found
    };
    let constant = column.why_no_correlation();
    let no_pairs = "no item has two candidates that people rate differently";
    let minus_words = words
        .filter(|_| name != WORDS)
        .and_then(|words| values.spearman.minus(&words.spearman));
    MetricAgreement {
        metric: name.to_owned(),
        n: column.n(),
        unscored: n - column.n(),
        pearson: note("pearson", values.pearson.estimate(), constant),
        spearman: note("spearman", values.spearman.estimate(), constant),
        kendall: note("kendall", values.kendall.estimate(), constant),
        pair_accuracy: note(
            "pair_accuracy",
            values.pair_accuracy.estimate(),
            Some(no_pairs),
        ),
        n_pairs: column.n_pairs(),
        spearman_minus_words: minus_words,
        undefined,
        signature: Signature::new("agreement")
            .with("metric", name)
            .with("n", column.n())
            .with("ratings", "mean")
            .with("tau", "b")
            .with("pairs", "within-item,ties-half")
            .with("interval", "percentile-95")
            .with("over", "items")
            .with("resamples", options.resamples)
            .with("seed", options.seed),
    }
}

fn nothing_joined(pairs: &[PairRecord], ratings: &Ratings) -> Error {
    let name = |id: &str, system: &str| format!("`{id}` of `{system}`");
    let rated = ratings.candidates().next();
    let what = match (rated, pairs.first()) {
        (None, _) => "there is no rating that is a number".to_owned(),
        (Some(_), None) => "there is no prediction".to_owned(),
        (Some((id, system, _)), Some(pair)) => format!(
            "no rating has a prediction with its id and system; the first rating is for {}, the first prediction {}",
            name(id, system),
            name(&pair.id, &pair.system)
        ),
    };
    Error::option("human", what)
}
