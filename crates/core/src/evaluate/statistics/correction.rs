//! Corrections of p-values for the number of tests in a family.
//!
//! Each gives adjusted p-values, in the order of the input: a test is significant at a level if
//! its adjusted p-value is at most that level.

/// How to correct.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Correction {
    /// p x m. Controls the chance of one false alarm.
    Bonferroni,
    /// 1 - (1 - p)^m; for independent tests.
    Sidak,
    /// Bonferroni, step by step from the smallest (Holm 1979); never worse, and as safe.
    Holm,
    /// Sidak, step by step from the smallest.
    HolmSidak,
    /// Step by step from the largest (Hochberg 1988); for positively dependent tests.
    Hochberg,
    /// Closed testing over Simes' tests (Hommel 1988); for positively dependent tests.
    Hommel,
    /// Benjamini and Hochberg (1995): controls the share of false alarms among the alarms.
    BenjaminiHochberg,
    /// Benjamini and Yekutieli (2001): the same under any dependence.
    BenjaminiYekutieli,
}

impl Correction {
    /// Adjusted p-values, in the order of the input.
    pub fn adjust(self, p: &[f64]) -> Vec<f64> {
        let m = p.len();
        let mut order: Vec<usize> = (0..m).collect();
        order.sort_by(|a, b| p[*a].total_cmp(&p[*b]));
        let sorted: Vec<f64> = order.iter().map(|at| p[*at]).collect();
        // The number of tests that a step still has to answer for.
        let left = |at: usize| (m - at) as f64;
        let scaled = |factor: &dyn Fn(usize) -> f64| -> Vec<f64> {
            sorted
                .iter()
                .enumerate()
                .map(|(at, p)| p * factor(at))
                .collect()
        };
        let share = |at: usize| m as f64 / (at + 1) as f64;

        let adjusted = match self {
            Self::Bonferroni => scaled(&|_| m as f64),
            Self::Sidak => sorted.iter().map(|p| one_of(*p, m as f64)).collect(),
            Self::Holm => rising(scaled(&left)),
            Self::HolmSidak => {
                let steps = sorted.iter().enumerate();
                rising(steps.map(|(at, p)| one_of(*p, left(at))).collect())
            }
            Self::Hochberg => falling(scaled(&left)),
            Self::Hommel => hommel(&sorted),
            Self::BenjaminiHochberg => falling(scaled(&share)),
            Self::BenjaminiYekutieli => {
                let harmonic: f64 = (1..=m).map(|n| 1.0 / n as f64).sum();
                falling(scaled(&|at| share(at) * harmonic))
            }
        };
        let mut out = vec![0.0; m];
        for (at, value) in order.into_iter().zip(adjusted) {
            out[at] = value.min(1.0);
        }
        out
    }
}

/// The chance that one of m independent tests falls to p: 1 - (1 - p)^m, exact for small p.
fn one_of(p: f64, m: f64) -> f64 {
    -(m * (-p).ln_1p()).exp_m1()
}

/// Each value, or a larger one before it.
fn rising(mut values: Vec<f64>) -> Vec<f64> {
    for at in 1..values.len() {
        values[at] = values[at].max(values[at - 1]);
    }
    values
}

/// Each value, or a smaller one after it.
fn falling(mut values: Vec<f64>) -> Vec<f64> {
    for at in (1..values.len()).rev() {
        values[at - 1] = values[at - 1].min(values[at]);
    }
    values
}

/// Wright's (1992) algorithm over sorted p-values.
fn hommel(sorted: &[f64]) -> Vec<f64> {
    let n = sorted.len();
    let mut adjusted = sorted.to_vec();
    for m in (2..=n).rev() {
        let first = n - m;
        let simes = (first..n)
            .map(|at| m as f64 * sorted[at] / (at - first + 1) as f64)
            .fold(f64::INFINITY, f64::min);
        for at in 0..n {
            let bound = if at < first {
                simes.min(m as f64 * sorted[at])
            } else {
                simes
            };
            adjusted[at] = adjusted[at].max(bound);
        }
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Correction::*;

    proptest! {
        #[test]
        fn stronger_claims_cost_more(p in prop::collection::vec(0.0..1.0f64, 0..12)) {
            let [bonferroni, sidak, holm, holm_sidak, hochberg, hommel, bh, by] = [
                Bonferroni, Sidak, Holm, HolmSidak, Hochberg, Hommel, BenjaminiHochberg,
                BenjaminiYekutieli,
            ].map(|correction| correction.adjust(&p));
            let above = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| *a >= b - 1e-12);
            prop_assert!(above(&bonferroni, &holm) && above(&holm, &hochberg));
            prop_assert!(above(&hochberg, &hommel) && above(&hommel, &bh) && above(&bh, &p));
            prop_assert!(above(&bonferroni, &sidak) && above(&sidak, &holm_sidak));
            prop_assert!(above(&by, &bh) && bonferroni.iter().all(|p| (0.0..=1.0).contains(p)));
        }
    }
}
