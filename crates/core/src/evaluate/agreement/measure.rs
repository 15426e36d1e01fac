//! One metric against the ratings, over all candidates and over resamples of the items.
//!
//! Both sides are sorted once; a resample is a weight for each item, so that ranks and orders need
//! not be sorted again.

use super::{AgreementOptions, Estimate};
use crate::evaluate::bootstrap::Interval;
use crate::evaluate::statistics::kendall::Order;
use crate::evaluate::statistics::rank::groups;
use crate::random::Random;

/// Resamples of the items; the same for all metrics.
///
/// They are drawn again for each metric, which is cheap; keeping them would not be.
pub(super) struct Draws {
    n_items: usize,
    options: AgreementOptions,
}

impl Draws {
    pub(super) fn new(n_items: usize, options: AgreementOptions) -> Self {
        Self { n_items, options }
    }

    /// A value for each resample, from how often each item is drawn; nothing below two items,
    /// where nothing can vary.
    pub(super) fn each<T>(&self, mut value: impl FnMut(&[u32]) -> T) -> Vec<T> {
        let resamples = if self.n_items > 1 {
            self.options.resamples
        } else {
            0
        };
        let mut random = Random::new(self.options.seed, "agreement");
        let mut weights = vec![0; self.n_items];
        let draw = |_| {
            weights.fill(0);
            for _ in 0..self.n_items {
                weights[random.below(self.n_items)] += 1;
            }
            value(&weights)
        };
        (0..resamples).map(draw).collect()
    }
}

/// A value, and the same value over each resample.
pub(super) struct Resampled {
    pub(super) value: Option<f64>,
    pub(super) draws: Vec<Option<f64>>,
}

impl Resampled {
    pub(super) fn estimate(&self) -> Option<Estimate> {
        Some(Estimate {
            value: self.value?,
            interval: Interval::of(self.draws.iter().copied().flatten().collect()),
        })
    }

    /// This minus another, resample by resample.
    pub(super) fn minus(&self, other: &Self) -> Option<Estimate> {
        let minus = |(a, b): (&Option<f64>, &Option<f64>)| Some((*a)? - (*b)?);
        let both = self.draws.iter().zip(&other.draws);
        Self {
            value: minus((&self.value, &other.value)),
            draws: both.map(minus).collect(),
        }
        .estimate()
    }
}

/// What one metric says.
pub(super) struct Values {
    pub(super) pearson: Resampled,
    pub(super) spearman: Resampled,
    pub(super) kendall: Resampled,
    pub(super) pair_accuracy: Resampled,
}

/// Three correlations and the pair accuracy.
type Said = ([Option<f64>; 3], Option<f64>);

/// The candidates that one metric scores.
pub(super) struct Column {
    metric: Side,
    rating: Side,
    order: Order,
    /// The item of each candidate.
    items: Vec<usize>,
    /// By item: pairs that people rate differently, and those on which the metric agrees.
    pairs: Vec<(usize, f64)>,
}

impl Column {
    /// `values` and `ratings` are finite; `items` number them, ascending.
    pub(super) fn new(values: &[Option<f64>], ratings: &[f64], items: &[usize]) -> Self {
        let scored = || (0..values.len()).filter(|at| values[*at].is_some());
        let metric: Vec<f64> = values.iter().copied().flatten().collect();
        let rating: Vec<f64> = scored().map(|at| ratings[at]).collect();
        let items: Vec<usize> = scored().map(|at| items[at]).collect();
        let n_items = items.last().map_or(0, |last| last + 1);
        let mut pairs = vec![(0, 0.0); n_items];
        let mut first = 0;
        for at in 0..items.len() {
            if items[at] != items[first] {
                first = at;
            }
            for other in first..at {
                let people = rating[at] - rating[other];
                let said = metric[at] - metric[other];
                if people != 0.0 {
                    let (all, agreed) = &mut pairs[items[at]];
                    *all += 1;
                    *agreed += match people * said.signum() {
                        _ if said == 0.0 => 0.5,
                        product if product > 0.0 => 1.0,
                        _ => 0.0,
                    };
                }
            }
        }
        Self {
            order: Order::new(&metric, &rating)
                .expect("both sides have a value for each candidate"),
            metric: Side::new(metric),
            rating: Side::new(rating),
            items,
            pairs,
        }
    }

    pub(super) fn n(&self) -> usize {
        self.items.len()
    }

    pub(super) fn n_pairs(&self) -> usize {
        self.pairs.iter().map(|(all, _)| all).sum()
    }

    /// Why there is no correlation, if there is none.
    pub(super) fn why_no_correlation(&self) -> Option<&'static str> {
        match (self.metric.groups.len(), self.rating.groups.len()) {
            _ if self.n() < 2 => Some("fewer than two candidates are scored"),
            (_, 1) => Some("every rating is the same"),
            (1, _) => Some("the metric has the same value everywhere"),
            _ => None,
        }
    }

    pub(super) fn measure(&self, draws: &Draws) -> Values {
        let all = |weights: &[u32]| (self.correlations(weights), self.pair_accuracy(weights));
        let ([pearson, spearman, kendall], pair_accuracy) = all(&vec![1; self.pairs.len()]);
        let drawn = draws.each(all);
        let resampled = |value, of: fn(&Said) -> Option<f64>| Resampled {
            value,
            draws: drawn.iter().map(of).collect(),
        };
        Values {
            pearson: resampled(pearson, |said| said.0[0]),
            spearman: resampled(spearman, |said| said.0[1]),
            kendall: resampled(kendall, |said| said.0[2]),
            pair_accuracy: resampled(pair_accuracy, |said| said.1),
        }
    }

    /// Pearson's r, Spearman's rho and Kendall's tau-b.
    fn correlations(&self, of_items: &[u32]) -> [Option<f64>; 3] {
        let weights: Vec<u32> = self.items.iter().map(|item| of_items[*item]).collect();
        let (Some(metric), Some(rating)) =
            (self.metric.ranks(&weights), self.rating.ranks(&weights))
        else {
            return [None; 3];
        };
        [
            pearson(&self.metric.values, &self.rating.values, &weights),
            pearson(&metric, &rating, &weights),
            self.order.tau_b(&weights),
        ]
    }

    fn pair_accuracy(&self, of_items: &[u32]) -> Option<f64> {
        let weighted = self.pairs.iter().zip(of_items);
        let (all, agreed) = weighted.fold((0.0, 0.0), |sum, ((all, agreed), weight)| {
            let weight = f64::from(*weight);
            (sum.0 + weight * *all as f64, sum.1 + weight * agreed)
        });
        (all > 0.0).then(|| agreed / all)
    }
}

/// One side of a correlation.
struct Side {
    /// Minus their mean, so that sums of squares keep their digits.
    values: Vec<f64>,
    /// Places of equal values, from the lowest.
    groups: Vec<Vec<usize>>,
}

impl Side {
    fn new(values: Vec<f64>) -> Self {
        let groups = groups(&values);
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        Self {
            values: values.into_iter().map(|value| value - mean).collect(),
            groups,
        }
    }

    /// Ranks where each place counts as often as its weight says, from the middle; `None` if what
    /// is left is constant.
    fn ranks(&self, weights: &[u32]) -> Option<Vec<f64>> {
        let mut ranks = vec![0.0; weights.len()];
        let mut before = 0;
        let mut n_groups = 0;
        for group in &self.groups {
            let size: u32 = group.iter().map(|at| weights[*at]).sum();
            if size > 0 {
                n_groups += 1;
                let rank = f64::from(before) + f64::from(size + 1) / 2.0;
                for at in group {
                    ranks[*at] = rank;
                }
                before += size;
            }
        }
        let middle = f64::from(before + 1) / 2.0;
        for rank in &mut ranks {
            *rank -= middle;
        }
        (n_groups > 1).then_some(ranks)
    }
}

/// Pearson's r where each place counts as often as its weight says.
fn pearson(a: &[f64], b: &[f64], weights: &[u32]) -> Option<f64> {
    let (mut n, mut sum_a, mut sum_b, mut aa, mut bb, mut ab) = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0);
    for ((a, b), weight) in a.iter().zip(b).zip(weights) {
        let weight = f64::from(*weight);
        let (of_a, of_b) = (weight * a, weight * b);
        n += weight;
        sum_a += of_a;
        sum_b += of_b;
        aa += of_a * a;
        bb += of_b * b;
        ab += of_a * b;
    }
    let r = (ab - sum_a * sum_b / n) / ((aa - sum_a * sum_a / n) * (bb - sum_b * sum_b / n)).sqrt();
    r.is_finite().then(|| r.clamp(-1.0, 1.0))
}
