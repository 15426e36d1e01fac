//! GELU with the error function, not its tanh approximation (Hendrycks and Gimpel 2016).

use pulp::Arch;

/// `x * (1 + erf(x / sqrt 2)) / 2` for each element, in place.
pub fn gelu(arch: Arch, x: &mut [f32]) {
    arch.dispatch(
        #[inline(always)]
        || {
            for x in x {
                *x = 0.5 * *x * (1.0 + erf(*x * std::f32::consts::FRAC_1_SQRT_2));
            }
        },
    );
}

/// The error function within 5e-7.
///
/// Odd rational function `x P(x^2) / Q(x^2)`, fitted for this project by Lawson-weighted least
/// squares on [-3.93, 3.93]; beyond it the result is 1 in f32.
#[inline(always)]
fn erf(x: f32) -> f32 {
    let t = x * x;
    let p = 2.041_903_8e-6;
    let p = p * t + 2.848_004_3e-4;
    let p = p * t + 3.779_517_2e-3;
    let p = p * t + 5.279e-2;
    let p = p * t + 1.907_825_4e-1;
    let p = p * t + std::f32::consts::FRAC_2_SQRT_PI;
    let q = 3.800_294_5e-5;
    let q = q * t + 1.165_178_6e-3;
    let q = q * t + 1.499_726_5e-2;
    let q = q * t + 1.142_568_9e-1;
    let q = q * t + 5.024_093_4e-1;
    let q = q * t + 1.0;
    let y = x * p / q;
    let y = if x > 3.93 { 1.0 } else { y };
    if x < -3.93 { -1.0 } else { y }
}

/// The same by its definition, with the error function summed as its Taylor series in f64.
pub fn reference(x: &mut [f32]) {
    for x in x {
        let z = f64::from(*x) * std::f64::consts::FRAC_1_SQRT_2;
        *x = (0.5 * f64::from(*x) * (1.0 + erf_by_series(z))) as f32;
    }
}

/// `2 / sqrt pi` times the sum of `(-1)^n z^(2n+1) / (n! (2n+1))`.
fn erf_by_series(z: f64) -> f64 {
    if z.abs() > 5.0 {
        return z.signum();
    }
    let mut power = z;
    let mut sum = z;
    for n in 1..200 {
        power *= -z * z / f64::from(n);
        sum += power / f64::from(2 * n + 1);
    }
    sum * std::f64::consts::FRAC_2_SQRT_PI
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{archs, assert_near};

    #[test]
    fn it_equals_its_definition_over_the_whole_line() {
        let x: Vec<f32> = (-80_000..80_000).map(|i| i as f32 * 1e-4).collect();
        let mut expected = x.clone();
        reference(&mut expected);
        for arch in archs() {
            let mut found = x.clone();
            gelu(arch, &mut found);
            assert_near(&found, &expected, 1.5e-6);
        }
    }

    #[test]
    fn far_away_it_is_the_identity_or_nothing() {
        let mut x = [-1e30, -50.0, 0.0, 50.0, 1e30];
        gelu(Arch::new(), &mut x);
        assert_eq!(x, [0.0, 0.0, 0.0, 50.0, 1e30]);
    }
}
