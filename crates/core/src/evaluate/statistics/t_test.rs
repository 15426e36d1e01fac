//! Student's paired t test.

use super::special::{t_sf, t_two_sided, t_upper_quantile};
use super::{Alternative, describe};

/// What the test says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TTest {
    /// Mean difference over its standard error; infinite where all differences are the same, and
    /// `None` where all are 0.
    pub t: Option<f64>,
    /// Degrees of freedom: pairs - 1.
    pub df: usize,
    /// The p-value; `None` where t is.
    pub p: Option<f64>,
    /// Lower end of the mean difference's confidence interval; `None` if it is open.
    pub low: Option<f64>,
    /// Upper end; `None` if it is open.
    pub high: Option<f64>,
}

/// Tests whether the mean of paired differences is 0; `None` below two pairs or if a difference
/// is not finite.
///
/// `confidence` is that of the interval, 0.95 as a rule; a one-sided test has an interval that is
/// open on one side.
pub fn paired(differences: &[f64], alternative: Alternative, confidence: f64) -> Option<TTest> {
    if differences.iter().any(|d| !d.is_finite()) {
        return None;
    }
    let mean = describe::mean(differences)?;
    let error = describe::sd(differences)? / (differences.len() as f64).sqrt();
    let df = differences.len() - 1;
    let degrees = df as f64;

    let t = (error > 0.0 || mean != 0.0).then(|| mean / error);
    let p = t.map(|t| match alternative {
        Alternative::TwoSided => t_two_sided(t, degrees),
        Alternative::Greater => t_sf(t, degrees),
        Alternative::Less => t_sf(-t, degrees),
    });
    let half = |tail: f64| t_upper_quantile(tail, degrees) * error;
    let (low, high) = match alternative {
        Alternative::TwoSided => {
            let half = half((1.0 - confidence) / 2.0);
            (Some(mean - half), Some(mean + half))
        }
        Alternative::Greater => (Some(mean - half(1.0 - confidence)), None),
        Alternative::Less => (None, Some(mean + half(1.0 - confidence))),
    };
    Some(TTest {
        t,
        df,
        p,
        low,
        high,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_differences_have_an_infinite_t_and_zeros_have_none() {
        let constant = paired(&[0.5, 0.5, 0.5], Alternative::TwoSided, 0.95).unwrap();
        assert_eq!((constant.t, constant.p), (Some(f64::INFINITY), Some(0.0)));
        assert_eq!((constant.low, constant.high), (Some(0.5), Some(0.5)));
        let less = paired(&[0.5, 0.5, 0.5], Alternative::Less, 0.95).unwrap();
        assert_eq!(less.p, Some(1.0));
        let zeros = paired(&[0.0, 0.0], Alternative::TwoSided, 0.95).unwrap();
        assert_eq!((zeros.t, zeros.p, zeros.low), (None, None, Some(0.0)));
    }

    #[test]
    fn one_pair_and_nan_have_no_test() {
        assert_eq!(paired(&[1.0], Alternative::TwoSided, 0.95), None);
        assert_eq!(paired(&[1.0, f64::NAN], Alternative::TwoSided, 0.95), None);
    }
}
