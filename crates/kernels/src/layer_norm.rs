//! Layer normalisation of rows (Ba, Kiros, Hinton 2016): in place for encoders, with its gradient for training.

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use crate::math;
use crate::vectorised::vectorised;

/// Rows that one task works on, which also fixes the order in which gradients of gain and bias are summed.
const ROWS: usize = 64;

/// Partial sums that do not wait for each other.
const SUMS: usize = 4;

/// Brings each row of `x` to mean 0 and variance 1, then scales and shifts it.
///
/// `x` is `[rows, size]`, `gain` and `bias` are `[size]`.
pub fn layer_norm(arch: Arch, x: &mut [f32], gain: &[f32], bias: &[f32], epsilon: f32) {
    assert_eq!(gain.len(), bias.len(), "gain and bias: [size]");
    arch.dispatch(LayerNorm {
        x,
        gain,
        bias,
        epsilon,
    });
}

struct LayerNorm<'a> {
    x: &'a mut [f32],
    gain: &'a [f32],
    bias: &'a [f32],
    epsilon: f32,
}

impl WithSimd for LayerNorm<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let n = self.gain.len() as f32;
        let (gains, last_gains) = S::as_simd_f32s(self.gain);
        let (biases, last_biases) = S::as_simd_f32s(self.bias);
        for row in self.x.chunks_exact_mut(self.gain.len()) {
            let (vectors, last) = S::as_mut_simd_f32s(row);
            let mean = sum(simd, vectors, |x| x) + last.iter().sum::<f32>();
            let mean = mean / n;
            let means = simd.splat_f32s(mean);
            let variance = sum(simd, vectors, |x| {
                let x = simd.sub_f32s(x, means);
                simd.mul_f32s(x, x)
            });
            let last_squares = last.iter().map(|x| (x - mean) * (x - mean));
            let variance = (variance + last_squares.sum::<f32>()) / n;
            let scale = 1.0 / (variance + self.epsilon).sqrt();
            let scales = simd.splat_f32s(scale);
            for ((x, gain), bias) in vectors.iter_mut().zip(gains).zip(biases) {
                let unit = simd.mul_f32s(simd.sub_f32s(*x, means), scales);
                *x = simd.mul_add_e_f32s(unit, *gain, *bias);
            }
            for ((x, gain), bias) in last.iter_mut().zip(last_gains).zip(last_biases) {
                *x = (*x - mean) * scale * gain + bias;
            }
        }
    }
}

/// The sum of `f` over all numbers.
#[inline(always)]
fn sum<S: Simd>(simd: S, x: &[S::f32s], f: impl Fn(S::f32s) -> S::f32s) -> f32 {
    let mut sums = [simd.splat_f32s(0.0); SUMS];
    let (blocks, rest) = x.as_chunks::<SUMS>();
    for block in blocks {
        for (sum, x) in sums.iter_mut().zip(block) {
            *sum = simd.add_f32s(*sum, f(*x));
        }
    }
    for (sum, x) in sums.iter_mut().zip(rest) {
        *sum = simd.add_f32s(*sum, f(*x));
    }
    let [a, b, c, d] = sums;
    simd.reduce_sum_f32s(simd.add_f32s(simd.add_f32s(a, b), simd.add_f32s(c, d)))
}

/// What a row was shifted and scaled by.
#[derive(Clone, Copy, Debug, Default)]
pub struct Moments {
    /// Its mean.
    pub mean: f32,
    /// One over its standard deviation.
    pub inverse: f32,
}

/// [`layer_norm`] into `y`, keeping what [`normalise_backward`] needs of each row.
///
/// # Panics
/// If the lengths do not fit together.
pub fn normalise(
    x: &[f32],
    [gain, bias]: [&[f32]; 2],
    epsilon: f32,
    y: &mut [f32],
    moments: &mut [Moments],
) {
    let size = gain.len();
    assert!(
        bias.len() == size && x.len() == y.len() && x.len() == moments.len() * size,
        "whole rows"
    );
    let pieces = x.par_chunks(ROWS * size).zip(moments.par_chunks_mut(ROWS));
    y.par_chunks_mut(ROWS * size)
        .zip(pieces)
        .for_each(|(y, (x, moments))| normalise_rows(x, gain, bias, epsilon, y, moments));
}

vectorised! {
    fn normalise_rows(x: &[f32], gain: &[f32], bias: &[f32], epsilon: f32, y: &mut [f32], moments: &mut [Moments]) {
        let size = gain.len();
        let rows = y.chunks_exact_mut(size).zip(x.chunks_exact(size));
        for ((y, x), moments) in rows.zip(moments) {
            let (x, gain, bias) = (&x[..size], &gain[..size], &bias[..size]);
            let mean = math::sum(size, |i| x[i]) / size as f32;
            let variance = math::sum(size, |i| (x[i] - mean) * (x[i] - mean)) / size as f32;
            let inverse = 1.0 / (variance + epsilon).sqrt();
            *moments = Moments { mean, inverse };
            for i in 0..size {
                y[i] = (x[i] - mean) * inverse * gain[i] + bias[i];
            }
        }
    }
}

/// The gradients of [`normalise`] for `x`, and for gain and bias where they are wanted.
///
/// # Panics
/// If the lengths do not fit together.
pub fn normalise_backward(
    x: &[f32],
    gain: &[f32],
    moments: &[Moments],
    grad: &[f32],
    dx: &mut [f32],
    d_parameters: Option<[&mut [f32]; 2]>,
) {
    let (size, n) = (gain.len(), x.len());
    assert!(
        grad.len() == n && dx.len() == n && n == moments.len() * size,
        "whole rows"
    );
    let share_size = if d_parameters.is_some() { size } else { 0 };
    let inputs = x
        .par_chunks(ROWS * size)
        .zip(grad.par_chunks(ROWS * size))
        .zip(moments.par_chunks(ROWS));
    let pieces = dx.par_chunks_mut(ROWS * size).zip(inputs);
    let shares: Vec<[Vec<f32>; 2]> = pieces
        .map(|(dx, ((x, grad), moments))| {
            let [mut d_gain, mut d_bias] = [vec![0.0; share_size], vec![0.0; share_size]];
            backward_rows(x, gain, moments, grad, dx, &mut d_gain, &mut d_bias);
            [d_gain, d_bias]
        })
        .collect();
    if let Some(d_parameters) = d_parameters {
        for (i, sums) in d_parameters.into_iter().enumerate() {
            sums.fill(0.0);
            for share in &shares {
                for (sum, v) in sums.iter_mut().zip(&share[i]) {
                    *sum += v;
                }
            }
        }
    }
}

vectorised! {
    /// `d_gain` and `d_bias` get these rows' part, if they are not empty.
    fn backward_rows(x: &[f32], gain: &[f32], moments: &[Moments], grad: &[f32], dx: &mut [f32], d_gain: &mut [f32], d_bias: &mut [f32]) {
        let size = gain.len();
        let rows = dx.chunks_exact_mut(size).zip(x.chunks_exact(size)).zip(grad.chunks_exact(size));
        for (((dx, x), grad), &Moments { mean, inverse }) in rows.zip(moments) {
            let (x, grad, gain) = (&x[..size], &grad[..size], &gain[..size]);
            let unit = |i: usize| (x[i] - mean) * inverse;
            let level = math::sum(size, |i| grad[i] * gain[i]) / size as f32;
            let tilt = math::sum(size, |i| grad[i] * gain[i] * unit(i)) / size as f32;
            for i in 0..size {
                dx[i] = inverse * (grad[i] * gain[i] - level - unit(i) * tilt);
            }
            for (i, sum) in d_gain.iter_mut().enumerate() {
                *sum += grad[i] * unit(i);
            }
            for (sum, g) in d_bias.iter_mut().zip(grad) {
                *sum += g;
            }
        }
    }
}

/// The same by its definition.
pub fn reference(x: &mut [f32], gain: &[f32], bias: &[f32], epsilon: f32) {
    for row in x.chunks_exact_mut(gain.len()) {
        let n = row.len() as f64;
        let mean = row.iter().map(|x| f64::from(*x)).sum::<f64>() / n;
        let variance = row
            .iter()
            .map(|x| (f64::from(*x) - mean).powi(2))
            .sum::<f64>()
            / n;
        let deviation = (variance + f64::from(epsilon)).sqrt();
        for ((x, gain), bias) in row.iter_mut().zip(gain).zip(bias) {
            let unit = (f64::from(*x) - mean) / deviation;
            *x = (unit * f64::from(*gain) + f64::from(*bias)) as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{archs, assert_close, assert_near, values};

    #[test]
    fn it_equals_its_definition() {
        for size in [1, 8, 16, 48, 50, 384] {
            let (gain, bias) = (values(size, 1), values(size, 2));
            let x: Vec<f32> = values(3 * size, 3).iter().map(|x| 3.0 + x).collect();
            let mut expected = x.clone();
            reference(&mut expected, &gain, &bias, 1e-12);
            for arch in archs() {
                let mut found = x.clone();
                layer_norm(arch, &mut found, &gain, &bias, 1e-12);
                assert_near(&found, &expected, 5e-6);
            }
        }
    }

    #[test]
    fn the_trained_form_equals_the_definition_and_its_gradients_are_slopes() {
        for [n, size] in [[5, 9], [130, 33]] {
            let (x, gain, bias) = (values(n * size, 1), values(size, 2), values(size, 3));
            let grad = values(n * size, 4);
            let loss = |x: &[f32], gain: &[f32], bias: &[f32]| -> f64 {
                let mut y = x.to_vec();
                reference(&mut y, gain, bias, 1e-5);
                let terms = y.iter().zip(&grad);
                terms.map(|(y, g)| f64::from(*y) * f64::from(*g)).sum()
            };
            let (mut y, mut moments) = (vec![0.0; n * size], vec![Moments::default(); n]);
            normalise(&x, [&gain, &bias], 1e-5, &mut y, &mut moments);
            let mut expected = x.clone();
            reference(&mut expected, &gain, &bias, 1e-5);
            assert_near(&y, &expected, 5e-6);

            let mut dx = vec![0.0; n * size];
            let (mut d_gain, mut d_bias) = (vec![0.0; size], vec![0.0; size]);
            let wanted = Some([&mut d_gain[..], &mut d_bias[..]]);
            normalise_backward(&x, &gain, &moments, &grad, &mut dx, wanted);
            let slopes = |v: &[f32], loss: &dyn Fn(&[f32]) -> f64| -> Vec<f32> {
                let moved = |i: usize, by: f32| {
                    let mut v = v.to_vec();
                    v[i] += by;
                    loss(&v)
                };
                let some = (0..v.len()).step_by(1 + v.len() / 100);
                some.map(|i| ((moved(i, 1e-2) - moved(i, -1e-2)) / 2e-2) as f32)
                    .collect()
            };
            let some =
                |v: &[f32]| -> Vec<f32> { v.iter().step_by(1 + v.len() / 100).copied().collect() };
            assert_close(&some(&dx), &slopes(&x, &|x| loss(x, &gain, &bias)), 2e-3);
            assert_close(
                &some(&d_gain),
                &slopes(&gain, &|g| loss(&x, g, &bias)),
                1e-3,
            );
            assert_close(
                &some(&d_bias),
                &slopes(&bias, &|b| loss(&x, &gain, b)),
                1e-3,
            );
        }
    }
}
