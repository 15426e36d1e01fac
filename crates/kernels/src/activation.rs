//! The activations between the products of a feed-forward block.

use pulp::{Arch, Simd, WithSimd, bytemuck};

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
    /// `x / (1 + e^-x)`.
    Silu,
}

/// A function's value and slope at one place.
#[derive(Clone, Copy)]
pub(crate) struct At {
    pub(crate) value: f32,
    pub(crate) slope: f32,
}

impl Activation {
    /// Applies it to each element, in place.
    pub fn apply(self, arch: Arch, x: &mut [f32]) {
        arch.dispatch(Apply {
            activation: self,
            x,
        });
    }

    /// The same inside of a kernel that was dispatched already.
    #[inline(always)]
    pub(crate) fn apply_simd<S: Simd>(self, simd: S, x: &mut [S::f32s]) {
        let numbers = |x| bytemuck::cast_slice_mut::<S::f32s, f32>(x).iter_mut();
        match self {
            Self::Gelu => x.iter_mut().for_each(|x| *x = gelu(simd, *x)),
            Self::GeluTanh => numbers(x).for_each(|x| *x = gelu_tanh(*x)),
            Self::Relu => numbers(x).for_each(|x| *x = x.max(0.0)),
            Self::Silu => numbers(x).for_each(|x| *x = silu_at(*x).value),
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
            Self::Silu => x / (1.0 + (-x).exp()),
        };
        y as f32
    }
}

struct Apply<'a> {
    activation: Activation,
    x: &'a mut [f32],
}

impl WithSimd for Apply<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (vectors, rest) = S::as_mut_simd_f32s(self.x);
        self.activation.apply_simd(simd, vectors);
        let mut last = [simd.partial_load_f32s(rest)];
        self.activation.apply_simd(simd, &mut last);
        simd.partial_store_f32s(rest, last[0]);
    }
}

#[inline(always)]
pub(crate) fn silu_at(x: f32) -> At {
    let share = 1.0 / (1.0 + exp(-x));
    At {
        value: x * share,
        slope: share * (1.0 + x * (1.0 - share)),
    }
}

#[inline(always)]
pub(crate) fn gelu_at(x: f32) -> At {
    const DENSITY: f32 = 0.398_942_3; // 1 / sqrt(2 pi)
    let share = 0.5 + 0.5 * erf_one(x * std::f32::consts::FRAC_1_SQRT_2);
    At {
        value: x * share,
        slope: share + x * DENSITY * exp(-0.5 * x * x),
    }
}

#[inline(always)]
pub(crate) fn gelu_tanh_at(x: f32) -> At {
    let value = gelu_tanh(x);
    // Beyond 20 the slope is 0 or 1, and the squares below stay finite.
    let x = x.clamp(-20.0, 20.0);
    let share = 1.0 / (1.0 + exp(-TWICE_ROOT * (x + CUBIC * x * x * x)));
    let inner = TWICE_ROOT * (1.0 + 3.0 * CUBIC * x * x);
    At {
        value,
        slope: share + x * share * (1.0 - share) * inner,
    }
}

#[inline(always)]
pub(crate) fn relu_at(x: f32) -> At {
    At {
        value: x.max(0.0),
        slope: f32::from(x > 0.0),
    }
}

#[inline(always)]
fn gelu<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let erf = erf(
        simd,
        simd.mul_f32s(x, simd.splat_f32s(std::f32::consts::FRAC_1_SQRT_2)),
    );
    let half = simd.mul_f32s(x, simd.splat_f32s(0.5));
    simd.mul_add_e_f32s(half, erf, half)
}

const TWICE_ROOT: f32 = 1.595_769; // 2 sqrt(2 / pi)
const CUBIC: f32 = 0.044_715;

/// `(1 + tanh u) / 2` is `1 / (1 + e^(-2u))`.
#[inline(always)]
fn gelu_tanh(x: f32) -> f32 {
    x / (1.0 + exp(-TWICE_ROOT * (x + CUBIC * x * x * x)))
}

/// The error function within 5e-7 is the odd rational function `x P(x^2) / Q(x^2)`, fitted for this
/// project by Lawson-weighted least squares up to [`ERF_END`]; beyond it the result is 1 in f32.
const ERF_P: [f32; 6] = [
    2.041_903_8e-6,
    2.848_004_3e-4,
    3.779_517_2e-3,
    5.279e-2,
    1.907_825_4e-1,
    std::f32::consts::FRAC_2_SQRT_PI,
];
const ERF_Q: [f32; 6] = [
    3.800_294_5e-5,
    1.165_178_6e-3,
    1.499_726_5e-2,
    1.142_568_9e-1,
    5.024_093_4e-1,
    1.0,
];
const ERF_END: f32 = 3.93;

#[inline(always)]
fn erf_one(x: f32) -> f32 {
    let t = x * x;
    let horner = |coefficients: [f32; 6]| {
        let [first, rest @ ..] = coefficients;
        rest.iter().fold(first, |sum, c| sum * t + c)
    };
    let y = x * horner(ERF_P) / horner(ERF_Q);
    if x.abs() < ERF_END {
        y
    } else {
        1f32.copysign(x)
    }
}

#[inline(always)]
fn erf<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let t = simd.mul_f32s(x, x);
    let horner = |coefficients: [f32; 6]| {
        let [first, rest @ ..] = coefficients;
        let mut sum = simd.splat_f32s(first);
        for coefficient in rest {
            sum = simd.mul_add_e_f32s(sum, t, simd.splat_f32s(coefficient));
        }
        sum
    };
    let y = simd.div_f32s(simd.mul_f32s(x, horner(ERF_P)), horner(ERF_Q));
    let one = 1.0;
    let is_above = simd.greater_than_f32s(x, simd.splat_f32s(ERF_END));
    let y = simd.select_f32s(is_above, simd.splat_f32s(one), y);
    let is_below = simd.less_than_f32s(x, simd.splat_f32s(-ERF_END));
    simd.select_f32s(is_below, simd.splat_f32s(-one), y)
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

    const ALL: [Activation; 4] = [
        Activation::Gelu,
        Activation::GeluTanh,
        Activation::Relu,
        Activation::Silu,
    ];

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
