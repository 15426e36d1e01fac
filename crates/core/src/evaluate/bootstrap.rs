//! Percentile bootstrap intervals (Efron 1979): examples are drawn with replacement, and the
//! metric is computed again from their statistics.

use serde::{Deserialize, Serialize};

use super::column::{Aggregate, Statistic};
use super::resample::Table;

/// Where the middle 95 % of the resampled values lie.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Interval {
    /// The 2.5 % quantile.
    pub low: f64,
    /// The 97.5 % quantile.
    pub high: f64,
}

impl Interval {
    /// Whether 0 lies outside.
    pub fn excludes_zero(&self) -> bool {
        self.low > 0.0 || self.high < 0.0
    }

    /// Of resampled values; `None` if there are none.
    pub fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_unstable_by(f64::total_cmp);
        Some(Self {
            low: quantile(&values, 0.025)?,
            high: quantile(&values, 0.975)?,
        })
    }
}

/// A quantile of sorted values, linear between neighbours (`NumPy`'s default, type 7).
pub fn quantile(sorted: &[f64], q: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let place = q.clamp(0.0, 1.0) * last as f64;
    #[expect(clippy::cast_sign_loss, reason = "a place in the list is not negative")]
    let below = place.floor() as usize;
    let (low, high) = (sorted[below], sorted[(below + 1).min(last)]);
    Some(low + place.fract() * (high - low))
}

/// How often to draw, and from which seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bootstrap {
    /// Number of resamples.
    pub resamples: usize,
    /// Seed of the draws; equal seeds draw the same examples, so that differences are paired.
    pub seed: u64,
}

impl Bootstrap {
    /// The interval of a metric; `None` below two examples, where nothing can vary.
    pub fn interval(&self, aggregate: Aggregate, statistics: &[&Statistic]) -> Option<Interval> {
        let resampled = self.resample(&[Table::new(aggregate, statistics)]);
        Interval::of(resampled.into_iter().flatten().flatten().collect())
    }

    /// The interval of a difference a - b, over examples that stand in the same places.
    pub fn difference(
        &self,
        aggregate: Aggregate,
        a: &[&Statistic],
        b: &[&Statistic],
    ) -> Option<Interval> {
        let n = a.len().min(b.len());
        let sides = [&a[..n], &b[..n]].map(|side| Table::new(aggregate, side));
        let resampled = self.resample(&sides);
        let both = resampled[0].iter().zip(&resampled[1]);
        Interval::of(both.filter_map(|(a, b)| Some((*a)? - (*b)?)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    const BOOTSTRAP: Bootstrap = Bootstrap {
        resamples: 2000,
        seed: 7,
    };

    fn values(values: &[f64]) -> Vec<Statistic> {
        values.iter().map(|v| Statistic::Value(*v)).collect()
    }

    #[test]
    fn quantiles_are_linear_between_neighbours() {
        let sorted = [1.0, 2.0, 3.0, 4.0];
        assert_eq!(quantile(&sorted, 0.5), Some(2.5));
        assert_eq!(quantile(&sorted, 1.0), Some(4.0));
        assert_eq!(quantile(&sorted, 0.025), Some(1.075));
        assert_eq!(quantile(&[], 0.5), None);
    }

    #[test]
    fn an_interval_holds_the_mean_and_has_the_width_of_the_normal_one() {
        let mut random = Random::new(3, "test");
        let items = values(&(0..200).map(|_| random.normal()).collect::<Vec<_>>());
        let items: Vec<&Statistic> = items.iter().collect();
        let mean = Aggregate::Mean.over(items.iter().copied()).unwrap();
        let interval = BOOTSTRAP.interval(Aggregate::Mean, &items).unwrap();
        assert!(interval.low < mean && mean < interval.high);
        let width = (interval.high - interval.low) / 2.0 * 200f64.sqrt();
        assert!((width - 1.96).abs() < 0.25, "{width}");
    }

    #[test]
    fn a_difference_is_paired() {
        // The examples differ far more from each other than the systems do.
        let a = values(&[0.0, 10.0, 20.0, 30.0, 40.0, 50.0]);
        let b = values(&[-0.1, 9.8, 19.9, 29.7, 39.9, 49.8]);
        let (a, b): (Vec<_>, Vec<_>) = (a.iter().collect(), b.iter().collect());
        let interval = BOOTSTRAP.difference(Aggregate::Mean, &a, &b).unwrap();
        assert!(
            interval.excludes_zero() && interval.high < 0.3,
            "{interval:?}"
        );
        let same = BOOTSTRAP.difference(Aggregate::Mean, &a, &a).unwrap();
        assert!(!same.excludes_zero());
    }

    #[test]
    fn one_example_has_no_interval() {
        let one = values(&[1.0]);
        assert_eq!(BOOTSTRAP.interval(Aggregate::Mean, &[&one[0]]), None);
    }
}
