//! The normal distribution and Student's t, with their tails and quantiles.
//!
//! Relative errors stay below 1e-12, in the tails too, so that small p-values keep their digits.

use std::f64::consts::{PI, SQRT_2};

/// P(Z <= z) of the standard normal distribution.
pub fn normal_cdf(z: f64) -> f64 {
    0.5 * libm::erfc(-z / SQRT_2)
}

/// P(Z >= z) of the standard normal distribution.
pub fn normal_sf(z: f64) -> f64 {
    normal_cdf(-z)
}

/// The z below which a share `p` lies; infinite at 0 and 1.
pub fn normal_quantile(p: f64) -> f64 {
    if p > 0.5 {
        return -normal_quantile(1.0 - p);
    }
    if p <= 0.0 {
        return f64::NEG_INFINITY;
    }
    -where_it_falls_to(p, normal_sf)
}

/// P(|T| >= |t|) of Student's t.
pub fn t_two_sided(t: f64, df: f64) -> f64 {
    let square = t * t / df;
    if square.is_infinite() {
        return 0.0;
    }
    // The regularised incomplete beta function at x = 1 / (1 + square), y = 1 - x.
    let (a, b) = (df / 2.0, 0.5);
    let (x, y) = (1.0 / (1.0 + square), square / (1.0 + square));
    if y == 0.0 {
        return 1.0;
    }
    let ln_beta = 0.5 * PI.ln() - ln_gamma_half_ratio(a);
    let factor = (-a * square.ln_1p() + b * y.ln() - ln_beta).exp();
    if x < (a + 1.0) / (a + b + 2.0) {
        factor * fraction(a, b, x) / a
    } else {
        1.0 - factor * fraction(b, a, y) / b
    }
}

/// P(T >= t) of Student's t.
pub fn t_sf(t: f64, df: f64) -> f64 {
    let both = t_two_sided(t, df);
    if t > 0.0 {
        both / 2.0
    } else {
        1.0 - both / 2.0
    }
}

/// The t above which a share `p` of Student's t lies, for `p` of at most one half.
pub fn t_upper_quantile(p: f64, df: f64) -> f64 {
    where_it_falls_to(2.0 * p, |t| t_two_sided(t, df))
}

/// Where a function that falls over [0, infinity) takes a value, by halving.
fn where_it_falls_to(value: f64, function: impl Fn(f64) -> f64) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    while function(high) > value {
        low = high;
        high *= 2.0;
    }
    loop {
        let middle = f64::midpoint(low, high);
        if middle <= low || middle >= high {
            return middle;
        }
        if function(middle) > value {
            low = middle;
        } else {
            high = middle;
        }
    }
}

/// ln(Gamma(a + 1/2) / Gamma(a)).
///
/// For large `a` the difference of two logarithms would lose digits; there the series in 1 / a
/// (Tricomi and Erdelyi 1951) is exact to the last place.
fn ln_gamma_half_ratio(a: f64) -> f64 {
    if a < 100.0 {
        return libm::lgamma(a + 0.5) - libm::lgamma(a);
    }
    let r = 1.0 / a;
    let series = 1.0
        + r * (-1.0 / 8.0
            + r * (1.0 / 128.0
                + r * (5.0 / 1024.0 + r * (-21.0 / 32768.0 + r * (-399.0 / 262_144.0)))));
    0.5 * a.ln() + series.ln()
}

/// The continued fraction of the incomplete beta function (Lentz's method).
fn fraction(a: f64, b: f64, x: f64) -> f64 {
    const TINY: f64 = 1e-300;
    let away = |v: f64| if v.abs() < TINY { TINY } else { v };
    let mut c = 1.0;
    let mut d = 1.0 / away(1.0 - (a + b) * x / (a + 1.0));
    let mut value = d;
    for m in 1..100_000 {
        let m = f64::from(m);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        for term in [even, odd] {
            d = 1.0 / away(1.0 + term * d);
            c = away(1.0 + term / c);
            value *= c * d;
        }
        if (c * d - 1.0).abs() < 1e-16 {
            break;
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn close(found: f64, expected: f64) {
        let error = (found - expected).abs() / expected.abs();
        assert!(error < 1e-12, "{found} {expected} {error:e}");
    }

    #[test]
    fn values_in_the_middle_and_in_the_tails() {
        // Closed forms: df = 1 is Cauchy, df = 2 is 1 - t / sqrt(2 + t^2).
        for t in [1e-6, 0.3, 1.0, 7.0, 1e3, 1e8] {
            close(t_two_sided(t, 1.0), 2.0 / PI * (1.0 / t).atan());
        }
        for t in [0.1, 2.0, 50.0] {
            let square: f64 = 2.0 + t * t;
            close(
                t_two_sided(t, 2.0),
                2.0 / (square.sqrt() * (square.sqrt() + t)),
            );
        }
        // SciPy 1.17: norm.sf(10), norm.sf(37), norm.ppf(1e-10), t.ppf(.975, 99).
        close(normal_sf(10.0), 7.619_853_024_160_527e-24);
        close(normal_sf(37.0), 5.725_571_222_524_576e-300);
        close(normal_quantile(1e-10), -6.361_340_902_404_056);
        close(t_upper_quantile(0.025, 99.0), 1.984_216_951_586_418);
        assert!((t_sf(0.0, 9.0) - 0.5).abs() < 1e-15);
        assert!(normal_quantile(0.5).abs() < 1e-15 && t_two_sided(f64::INFINITY, 4.0) < 1e-300);
    }

    proptest! {
        #[test]
        fn quantiles_invert(p in 1e-9..0.5, df in 1u32..5000) {
            prop_assert!((normal_cdf(normal_quantile(p)) / p - 1.0).abs() < 1e-11);
            let df = f64::from(df);
            prop_assert!((t_sf(t_upper_quantile(p, df), df) / p - 1.0).abs() < 1e-11);
        }

        #[test]
        fn t_becomes_normal(t in 0.0..5.0) {
            prop_assert!((t_two_sided(t, 1e9) / (2.0 * normal_sf(t)) - 1.0).abs() < 1e-6);
        }
    }
}
