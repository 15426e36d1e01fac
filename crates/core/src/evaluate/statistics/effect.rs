//! How large a paired difference is, in standard deviations.
//!
//! The names differ by what stands below the line (Lakens 2013), and so do the numbers: by a
//! factor of two between `d_z` and `d_av` where pairs correlate.

use super::correlation::pearson;
use super::describe::{differences, mean, sd};

/// Effect sizes of paired values; `None` where what stands below the line is 0 or unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Effects {
    /// Over the SD of the differences: what the paired t test sees; t = `d_z` x sqrt(n).
    pub d_z: Option<f64>,
    /// Over the mean of both SDs: comparable with unpaired studies.
    pub d_av: Option<f64>,
    /// Over the root of the mean variance (Cohen's d with pooled SD).
    pub d_pooled: Option<f64>,
    /// `d_z` times sqrt(2 (1 - r)).
    pub d_rm: Option<f64>,
    /// Hedges' correction of `d_av` with df = n - 1: `d_av` x (1 - 3 / (4 (n - 1) - 1)).
    pub g_av: Option<f64>,
    /// Over the second side's SD (Glass).
    pub glass: Option<f64>,
    /// How the two sides correlate.
    pub r: Option<f64>,
}

/// Effect sizes of a minus b.
pub fn effects(a: &[f64], b: &[f64]) -> Effects {
    let d = differences(a, b);
    let (Some(mean), Some(sd_d), Some(sd_a), Some(sd_b)) = (mean(&d), sd(&d), sd(a), sd(b)) else {
        return Effects::default();
    };
    let r = pearson(a, b).map(|found| found.r);
    let over = |below: f64| (below > 0.0).then(|| mean / below);
    let d_z = over(sd_d);
    let d_av = over(f64::midpoint(sd_a, sd_b));
    Effects {
        d_z,
        d_av,
        d_pooled: over(f64::midpoint(sd_a * sd_a, sd_b * sd_b).sqrt()),
        d_rm: d_z
            .zip(r)
            .map(|(d_z, r)| d_z * (2.0 * (1.0 - r)).max(0.0).sqrt()),
        g_av: d_av.map(|d_av| d_av * hedges(d.len() - 1)),
        glass: over(sd_b),
        r,
    }
}

/// Hedges' factor against the upward bias of small samples, by degrees of freedom.
pub fn hedges(df: usize) -> f64 {
    1.0 - 3.0 / (4.0 * df as f64 - 1.0)
}
