//! Bias-corrected and accelerated bootstrap intervals (Efron 1987).

use super::special::{normal_cdf, normal_quantile};
use crate::evaluate::bootstrap::{Interval, quantile};

/// What moves the ends of the interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bca {
    /// How far the resamples lie beside the value, in standard deviations.
    pub z0: f64,
    /// How fast the standard error changes with the value.
    pub acceleration: f64,
    /// The quantiles of the resamples that the ends are read from.
    pub levels: (f64, f64),
    /// The 95 % interval.
    pub interval: Interval,
}

/// The 95 % interval from resampled values, the value itself, and the value without each example
/// in turn; `None` where it is undefined, as where nothing varies.
pub fn bca(mut resampled: Vec<f64>, value: f64, jackknife: &[f64]) -> Option<Bca> {
    resampled.sort_unstable_by(f64::total_cmp);
    let below = resampled.partition_point(|v| *v < value);
    let up_to = resampled.partition_point(|v| *v <= value);
    let z0 = normal_quantile((below + up_to) as f64 / (2 * resampled.len()) as f64);

    let n = jackknife.len() as f64;
    let mean = jackknife.iter().sum::<f64>() / n;
    let moved = jackknife.iter().map(|v| (n - 1.0) * (mean - v));
    let (mut squares, mut cubes) = (0.0, 0.0);
    for u in moved {
        squares += u * u;
        cubes += u * u * u;
    }
    let acceleration = cubes / n.powi(3) / (squares / n.powi(2)).powf(1.5) / 6.0;

    let level = |z: f64| normal_cdf(z0 + (z0 + z) / (1.0 - acceleration * (z0 + z)));
    let z = normal_quantile(0.975);
    let levels = (level(-z), level(z));
    if !(levels.0.is_finite() && levels.1.is_finite() && z0.is_finite()) {
        return None;
    }
    let interval = Interval {
        low: quantile(&resampled, levels.0)?,
        high: quantile(&resampled, levels.1)?,
    };
    Some(Bca {
        z0,
        acceleration,
        levels,
        interval,
    })
}
