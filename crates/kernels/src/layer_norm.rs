//! Layer normalisation of rows, in place (Ba, Kiros, Hinton 2016).

use pulp::{Arch, Simd, WithSimd};

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
    use crate::testing::{archs, assert_near, values};

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
}
