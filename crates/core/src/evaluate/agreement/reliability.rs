//! How far people agree with each other: Krippendorff's alpha for numbers (interval scale).
//!
//! 1 is full agreement, 0 what chance gives.
//! It needs no names of annotators, and no equal number of ratings a candidate.

use super::Estimate;
use super::measure::{Draws, Resampled};

/// Alpha over units, each a list of ratings; `None` if none has two, or all ratings are the same.
pub fn alpha(units: &[&[f64]]) -> Option<f64> {
    weighted(&Unit::all(units), |_| 1)
}

/// The same with a bootstrap interval over items.
pub(super) fn estimate(units: &[&[f64]], items: &[usize], draws: &Draws) -> Option<Estimate> {
    let units = Unit::all(units);
    Resampled {
        value: weighted(&units, |_| 1),
        draws: draws.each(|weights| weighted(&units, |at| weights[items[at]])),
    }
    .estimate()
}

/// What alpha needs of one unit.
struct Unit {
    n: f64,
    sum: f64,
    squares: f64,
    /// Squared differences over ordered pairs within the unit, over n - 1.
    within: f64,
}

impl Unit {
    fn all(units: &[&[f64]]) -> Vec<Self> {
        let paired = || units.iter().filter(|unit| unit.len() > 1);
        let (n, sum) = paired().fold((0, 0.0), |(n, sum), unit| {
            (n + unit.len(), sum + unit.iter().sum::<f64>())
        });
        // Squares of numbers around 0 keep their digits.
        let center = if n > 0 { sum / n as f64 } else { 0.0 };
        units.iter().map(|unit| Self::new(unit, center)).collect()
    }

    /// A unit with a single rating says nothing of agreement.
    fn new(unit: &[f64], center: f64) -> Self {
        let n = if unit.len() > 1 {
            unit.len() as f64
        } else {
            0.0
        };
        let (mut sum, mut squares, mut pairs) = (0.0, 0.0, 0.0);
        if n > 0.0 {
            for (at, value) in unit.iter().enumerate() {
                sum += value - center;
                squares += (value - center) * (value - center);
                for other in &unit[..at] {
                    pairs += (value - other) * (value - other);
                }
            }
        }
        Self {
            n,
            sum,
            squares,
            within: if n > 0.0 {
                2.0 * pairs / (n - 1.0)
            } else {
                0.0
            },
        }
    }
}

fn weighted(units: &[Unit], weight: impl Fn(usize) -> u32) -> Option<f64> {
    let (mut n, mut sum, mut squares, mut within) = (0.0, 0.0, 0.0, 0.0);
    for (at, unit) in units.iter().enumerate() {
        let weight = f64::from(weight(at));
        n += weight * unit.n;
        sum += weight * unit.sum;
        squares += weight * unit.squares;
        within += weight * unit.within;
    }
    let between = 2.0 * (n * squares - sum * sum);
    let is_varied = between > 1e-12 * n * squares && n > 1.0;
    is_varied.then(|| 1.0 - within * (n - 1.0) / between)
}
