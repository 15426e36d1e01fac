//! How metrics react to changed texts: means by kind, and how often a good text scores above a changed one.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::compare::Comparison;

/// One changed text with its metric values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// Names the text that was changed.
    pub item: String,
    /// What was done to it: a perturbation, or `same_close`, `reversed_far` and the like.
    pub kind: String,
    /// Metric values by name; a metric that could not be scored is not there.
    pub values: BTreeMap<String, f64>,
}

/// How one metric reacts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reaction {
    /// The metric.
    pub metric: String,
    /// Values by kind.
    pub means: BTreeMap<String, Mean>,
    /// Each contrast that both of its kinds have values for.
    pub contrasts: Vec<Contrast>,
}

/// The mean over the texts of a kind that have a value.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mean {
    /// The mean.
    pub mean: f64,
    /// Texts with a value.
    pub n: usize,
    /// Texts without one.
    pub unscored: usize,
}

/// How often texts of the good kind score above those of the bad one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Contrast {
    /// The kind that should score higher.
    pub good: String,
    /// The kind that should score lower.
    pub bad: String,
    /// Chance that a text of the good kind has the higher value, a tie counting half (Mann and Whitney): 0.5 is chance.
    pub auc: f64,
    /// Values of the good kind.
    pub n_good: usize,
    /// Values of the bad kind.
    pub n_bad: usize,
}

/// The contrasts that the kinds at hand allow: every good kind over every other; where a kind has
/// a distance (`_close`, `_far`), only over kinds of the same distance and those without one.
pub fn contrasts(kinds: &BTreeSet<String>, good: &[&str]) -> Vec<(String, String)> {
    let is_good = |kind: &str| good.contains(&kind);
    let mut pairs = Vec::new();
    for first in kinds.iter().filter(|kind| is_good(kind)) {
        for second in kinds.iter().filter(|kind| !is_good(kind)) {
            let (a, b) = (distance(first), distance(second));
            if a.is_none() || b.is_none() || a == b {
                pairs.push((first.clone(), second.clone()));
            }
        }
    }
    pairs
}

fn distance(kind: &str) -> Option<&str> {
    kind.rsplit_once('_')
        .map(|(_, distance)| distance)
        .filter(|distance| ["close", "far"].contains(distance))
}

/// One row a metric, in alphabetical order.
pub fn reactions(observations: &[Observation], pairs: &[(String, String)]) -> Vec<Reaction> {
    let metrics: BTreeSet<&String> = observations
        .iter()
        .flat_map(|observation| observation.values.keys())
        .collect();
    let mut totals: BTreeMap<&str, usize> = BTreeMap::new();
    for observation in observations {
        *totals.entry(&observation.kind).or_default() += 1;
    }
    let row = |metric: &String| {
        let mut values: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
        for observation in observations {
            if let Some(value) = observation
                .values
                .get(metric)
                .filter(|value| value.is_finite())
            {
                values.entry(&observation.kind).or_default().push(*value);
            }
        }
        let mean = |(kind, values): (&&str, &Vec<f64>)| {
            let n = values.len();
            let mean = Mean {
                mean: values.iter().sum::<f64>() / n as f64,
                n,
                unscored: totals[kind] - n,
            };
            ((*kind).to_owned(), mean)
        };
        let contrast = |(good, bad): &(String, String)| {
            let (ours, theirs) = (values.get(good.as_str())?, values.get(bad.as_str())?);
            Some(Contrast {
                good: good.clone(),
                bad: bad.clone(),
                auc: auc(ours, theirs)?,
                n_good: ours.len(),
                n_bad: theirs.len(),
            })
        };
        Reaction {
            metric: metric.clone(),
            means: values.iter().map(mean).collect(),
            contrasts: pairs.iter().filter_map(contrast).collect(),
        }
    };
    metrics.into_iter().map(row).collect()
}

/// The chance that a value of `good` is above one of `bad`, ties counting half; none for an empty side.
///
/// ```
/// use stillhouse_core::evaluate::causal::auc;
/// assert_eq!(auc(&[0.9, 0.5], &[0.1, 0.5]), Some(0.875));
/// ```
pub fn auc(good: &[f64], bad: &[f64]) -> Option<f64> {
    if good.is_empty() || bad.is_empty() {
        return None;
    }
    let mut sorted = bad.to_vec();
    sorted.sort_by(f64::total_cmp);
    let wins = good.iter().map(|value| {
        let below = sorted.partition_point(|other| other < value);
        let up_to = sorted.partition_point(|other| other <= value);
        f64::midpoint(below as f64, up_to as f64)
    });
    Some(wins.sum::<f64>() / (good.len() * bad.len()) as f64)
}

/// What the comparison of links finds in the versions of one author or one set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Detection {
    /// References with at least one link, and all references.
    pub found: Share,
    /// By kind of version: those with a reversed link, and all of them.
    pub reversed: BTreeMap<String, Share>,
    /// By kind of version: those with a contradicted link, and all of them.
    pub contradicted: BTreeMap<String, Share>,
    /// By kind of version: those with a link that could be judged, and all of them.
    pub judged: BTreeMap<String, Share>,
    /// By kind of version that keeps every link: those with a reversed or contradicted one, and all of them.
    pub false_alarms: BTreeMap<String, Share>,
}

/// Some of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// Some.
    pub part: usize,
    /// All.
    pub whole: usize,
}

impl Share {
    fn count(&mut self, is_part: bool) {
        self.part += usize::from(is_part);
        self.whole += 1;
    }

    /// In percent; none of nothing.
    pub fn percent(self) -> Option<f64> {
        (self.whole > 0).then(|| 100.0 * self.part as f64 / self.whole as f64)
    }
}

/// Counts over versions: item, kind of version, and its comparison with the reference.
///
/// `good` names the kinds that keep every link.
pub fn detection<'a>(
    versions: impl IntoIterator<Item = (&'a str, &'a str, &'a Comparison)>,
    good: &[&str],
) -> Detection {
    let mut all = Detection::default();
    let mut seen = BTreeSet::new();
    for (item, kind, comparison) in versions {
        if seen.insert(item) {
            all.found.count(comparison.reference_links > 0);
        }
        let count = |shares: &mut BTreeMap<String, Share>, is_part| {
            shares.entry(kind.to_owned()).or_default().count(is_part);
        };
        count(&mut all.reversed, comparison.reversed > 0);
        count(&mut all.contradicted, comparison.contradicted > 0);
        count(&mut all.judged, comparison.fidelity.is_some());
        if good.contains(&kind) {
            count(
                &mut all.false_alarms,
                comparison.reversed + comparison.contradicted > 0,
            );
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_told_apart() {
        check(
            &[
                "same_close",
                "same_far",
                "reversed_close",
                "reversed_far",
                "other_cause",
            ],
            &["same_close", "same_far"],
            "same_close>other_cause same_close>reversed_close same_far>other_cause same_far>reversed_far",
        );
        check(
            &["paraphrase", "reverse", "drop"],
            &["paraphrase"],
            "paraphrase>drop paraphrase>reverse",
        );
    }

    fn check(kinds: &[&str], good: &[&str], expected: &str) {
        let kinds = kinds.iter().map(|kind| (*kind).to_owned()).collect();
        let pairs: Vec<String> = contrasts(&kinds, good)
            .into_iter()
            .map(|(good, bad)| format!("{good}>{bad}"))
            .collect();
        assert_eq!(pairs.join(" "), expected);
    }

    #[test]
    fn what_has_no_value_is_counted_and_not_averaged() {
        let observation = |kind: &str, value: Option<f64>| Observation {
            item: "a".to_owned(),
            kind: kind.to_owned(),
            values: value
                .map(|value| ("cec".to_owned(), value))
                .into_iter()
                .collect(),
        };
        let all = [
            observation("same", Some(1.0)),
            observation("same", None),
            observation("reverse", Some(0.5)),
        ];
        let rows = reactions(&all, &[("same".to_owned(), "reverse".to_owned())]);
        assert_eq!(
            rows[0].means["same"],
            Mean {
                mean: 1.0,
                n: 1,
                unscored: 1
            }
        );
        assert_eq!(
            (rows[0].contrasts[0].auc, rows[0].contrasts[0].n_good),
            (1.0, 1)
        );
        assert_eq!(auc(&[], &[1.0]), None);
    }

    #[test]
    fn shares_count_each_reference_once() {
        let (kept, turned) = (
            Comparison {
                reference_links: 1,
                covered: 1,
                fidelity: Some(1.0),
                ..Default::default()
            },
            Comparison {
                reference_links: 1,
                reversed: 1,
                fidelity: Some(0.0),
                ..Default::default()
            },
        );
        let found = detection(
            [
                ("a", "same", &kept),
                ("a", "reversed", &turned),
                ("b", "same", &turned),
            ],
            &["same"],
        );
        assert_eq!(
            (
                found.found.whole,
                found.false_alarms["same"].percent(),
                found.reversed["reversed"].percent()
            ),
            (2, Some(50.0), Some(100.0))
        );
    }
}
