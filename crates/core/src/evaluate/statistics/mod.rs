//! Tests, effect sizes, corrections and correlations: pure functions over numbers.
//!
//! They know nothing of metrics and systems ([`super::compare`] does), draw nothing but from a
//! seed that is given, and agree with `SciPy` 1.17 and statsmodels 0.15 (`fixtures/statistics`).
//! What is undefined is `None`, never NaN; a statistic may be infinite in memory, where every
//! difference is the same, and is left out of records with the reason.
//!
//! ```
//! use stillhouse_core::evaluate::statistics::{Alternative, describe, t_test};
//!
//! let differences = describe::differences(&[0.71, 0.69, 0.74], &[0.66, 0.67, 0.70]);
//! let test = t_test::paired(&differences, Alternative::TwoSided, 0.95).unwrap();
//! assert!((test.t.unwrap() - 4.1576).abs() < 1e-4);
//! assert_eq!(test.df, 2);
//! ```

pub mod bca;
pub mod correction;
pub mod correlation;
pub mod describe;
pub mod effect;
#[cfg(test)]
mod golden;
pub mod kendall;
pub mod permutation;
pub mod rank;
pub mod reported;
pub mod special;
pub mod t_test;
pub mod wilcoxon;

/// Which differences count as evidence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Alternative {
    /// Any difference.
    #[default]
    TwoSided,
    /// The first is greater.
    Greater,
    /// The first is less.
    Less,
}
