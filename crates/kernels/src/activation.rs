//! The activations between the two products of an encoder's layer.

use pulp::Arch;

use crate::math::exp;

/// A function of one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `x (1 + erf(x / sqrt 2)) / 2` (Hendrycks and Gimpel 2016).
    Gelu,
    /// The same with a tanh in place of the error function.
    GeluTanh,
    /// `max(x, 0)`.
    Relu,
}

impl Activation {
    /// Applies it to each element, in place.
    pub fn apply(self, arch: Arch, x: &mut [f32]) {
        arch.dispatch(
            #[inline(always)]
            || self.apply_inline(x),
        );
    }

    /// The same inside of a kernel that was dispatched already.
    #[inline(always)]
    pub(crate) fn apply_inline(self, x: &mut [f32]) {
        match self {
            Self::Gelu => x.iter_mut().for_each(|x| *x = gelu(*x)),
            Self::GeluTanh => x.iter_mut().for_each(|x| *x = gelu_tanh(*x)),
            Self::Relu => x.iter_mut().for_each(|x| *x = x.max(0.0)),
        }
    }

    /// The same by its definition, in f64.
    pub fn reference(self, x: f32) -> f32 {
        let x = f64::from(x);
        let y = match self {
            Self::Gelu => 0.5 * x * (1.0 + erf_by_series(x * std::f64::consts::FRAC_1_SQRT_2)),
            Self::GeluTanh => {
                let cubic = x + 0.044_715 * x * x * x;
                0.5 * x * (1.0 + (cubic * (2.0 / std::f64::consts::PI).sqrt()).tanh())
            }
            Self::Relu => x.max(0.0),
        };
        y as f32
    }
}

#[inline(always)]
fn gelu(x: f32) -> f32 {
    0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2))
}

/// `(1 + tanh u) / 2` is `1 / (1 + e^(-2u))`.
#[inline(always)]
fn gelu_tanh(x: f32) -> f32 {
    const TWICE_ROOT: f32 = 1.595_769; // 2 sqrt(2 / pi)
    x / (1.0 + exp(-TWICE_ROOT * (x + 0.044_715 * x * x * x)))
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

    const ALL: [Activation; 3] = [Activation::Gelu, Activation::GeluTanh, Activation::Relu];

    #[test]
    fn each_equals_its_definition_over_the_whole_line() {
        let x: Vec<f32> = (-80_000..80_000).map(|i| i as f32 * 1e-4).collect();
        for activation in ALL {
            let expected: Vec<f32> = x.iter().map(|x| activation.reference(*x)).collect();
            for arch in archs() {
                let mut found = x.clone();
                activation.apply(arch, &mut found);
                assert_near(&found, &expected, 1.5e-6);
            }
        }
    }

    #[test]
    fn far_away_each_is_the_identity_or_nothing() {
        for activation in ALL {
            let mut x = [-1e12, -50.0, 0.0, 50.0, 1e12];
            activation.apply(Arch::new(), &mut x);
            assert_near(&x, &[0.0, 0.0, 0.0, 50.0, 1e12], 1e-20);
        }
    }
}
