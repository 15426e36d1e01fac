//! Correlations of two lists: Pearson's r and Spearman's rho; Kendall's tau stands in
//! [`super::kendall`].

use super::describe::{is_constant, mean};
use super::rank::ranks;
use super::special::{normal_quantile, t_two_sided};

/// A correlation and its two-sided p-value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Correlation {
    /// From -1 to 1.
    pub r: f64,
    /// How likely one at least as far from 0 is where there is none; `None` below three pairs.
    pub p: Option<f64>,
}

/// Pearson's r; `None` below two pairs or if a side is constant. p is that of the t distribution.
pub fn pearson(a: &[f64], b: &[f64]) -> Option<Correlation> {
    if a.len() != b.len() || a.len() < 2 || is_constant(a) || is_constant(b) {
        return None;
    }
    let (mean_a, mean_b) = (mean(a)?, mean(b)?);
    let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for (a, b) in a.iter().zip(b) {
        let (a, b) = (a - mean_a, b - mean_b);
        ab += a * b;
        aa += a * a;
        bb += b * b;
    }
    let mut root = (aa * bb).sqrt();
    if !root.is_normal() {
        root = aa.sqrt() * bb.sqrt();
    }
    let r = ab / root;
    r.is_finite()
        .then(|| Correlation::of(r.clamp(-1.0, 1.0), a.len()))
}

/// Spearman's rho: Pearson's r of the ranks.
pub fn spearman(a: &[f64], b: &[f64]) -> Option<Correlation> {
    pearson(&ranks(a).ranks, &ranks(b).ranks)
}

impl Correlation {
    fn of(r: f64, n: usize) -> Self {
        let p = (n > 2).then(|| {
            let df = (n - 2) as f64;
            t_two_sided(r * (df / ((1.0 + r) * (1.0 - r))).sqrt(), df)
        });
        Self { r, p }
    }
}

/// The confidence interval of a Pearson's r over n pairs by Fisher's z; `None` below four pairs.
pub fn fisher_interval(r: f64, n: usize, confidence: f64) -> Option<(f64, f64)> {
    if n < 4 {
        return None;
    }
    let half = normal_quantile(f64::midpoint(1.0, confidence)) / ((n - 3) as f64).sqrt();
    let z = r.atanh();
    Some(((z - half).tanh(), (z + half).tanh()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_constant_side_has_no_correlation() {
        assert_eq!(pearson(&[1.0, 1.0, 1.0], &[1.0, 2.0, 3.0]), None);
        assert_eq!(spearman(&[1.0, 2.0], &[0.1 + 0.2, 0.1 + 0.2]), None);
        assert_eq!(pearson(&[1.0], &[1.0]), None);
        let line = pearson(&[1.0, 2.0, 3.0], &[2.0, 4.0, 6.0]).unwrap();
        assert_eq!((line.r, line.p), (1.0, Some(0.0)));
    }
}
