//! Root mean square normalisation of rows.

use rayon::prelude::*;

use crate::math::{dot, sum};
use crate::vectorised::vectorised;

/// Rows that one task works on, which also fixes the order in which the weight's gradient is summed.
const ROWS: usize = 64;

/// `y = x / rms(x) * (weight + offset)`, row by row; keeps each row's `1 / rms(x)` in `inverse`.
///
/// # Panics
/// If the lengths do not fit together.
pub fn rms_norm(
    x: &[f32],
    weight: &[f32],
    epsilon: f32,
    offset: f32,
    y: &mut [f32],
    inverse: &mut [f32],
) {
    let size = weight.len();
    assert!(
        x.len() == y.len() && x.len() == inverse.len() * size,
        "whole rows"
    );
    let pieces = x.par_chunks(ROWS * size).zip(inverse.par_chunks_mut(ROWS));
    y.par_chunks_mut(ROWS * size)
        .zip(pieces)
        .for_each(|(y, (x, inverse))| rms_norm_rows(x, weight, epsilon, offset, y, inverse));
}

vectorised! {
    fn rms_norm_rows(x: &[f32], weight: &[f32], epsilon: f32, offset: f32, y: &mut [f32], inverse: &mut [f32]) {
        let size = weight.len();
        let rows = y.chunks_exact_mut(size).zip(x.chunks_exact(size));
        for ((y, x), inverse) in rows.zip(inverse) {
            let r = 1.0 / (dot(x, x) / size as f32 + epsilon).sqrt();
            *inverse = r;
            for ((y, x), w) in y.iter_mut().zip(x).zip(weight) {
                *y = x * r * (w + offset);
            }
        }
    }
}

/// What [`rms_norm`] read and kept.
#[derive(Clone, Copy, Debug)]
pub struct NormInput<'a> {
    /// The rows.
    pub x: &'a [f32],
    /// The weight.
    pub weight: &'a [f32],
    /// What is added to the weight.
    pub offset: f32,
    /// `1 / rms(x)` of each row.
    pub inverse: &'a [f32],
}

/// The gradient of [`rms_norm`] for `x`, and for `weight` where it is wanted.
///
/// # Panics
/// If the lengths do not fit together.
pub fn rms_norm_backward(
    input: NormInput<'_>,
    grad: &[f32],
    dx: &mut [f32],
    d_weight: Option<&mut [f32]>,
) {
    let NormInput {
        x,
        weight,
        offset,
        inverse,
    } = input;
    let size = weight.len();
    let n = x.len();
    assert!(
        grad.len() == n && dx.len() == n && n == inverse.len() * size,
        "whole rows"
    );
    let share_size = if d_weight.is_some() { size } else { 0 };
    let inputs = x
        .par_chunks(ROWS * size)
        .zip(grad.par_chunks(ROWS * size))
        .zip(inverse.par_chunks(ROWS));
    let pieces = dx.par_chunks_mut(ROWS * size).zip(inputs);
    let shares: Vec<Vec<f32>> = pieces
        .map(|(dx, ((x, grad), inverse))| {
            let mut share = vec![0.0; share_size];
            let input = NormInput {
                x,
                weight,
                offset,
                inverse,
            };
            backward_rows(input, grad, dx, &mut share);
            share
        })
        .collect();
    if let Some(d_weight) = d_weight {
        d_weight.fill(0.0);
        for share in shares {
            for (sum, v) in d_weight.iter_mut().zip(share) {
                *sum += v;
            }
        }
    }
}

vectorised! {
    /// `share` gets these rows' part of the weight's gradient, if it is not empty.
    fn backward_rows(input: NormInput<'_>, grad: &[f32], dx: &mut [f32], share: &mut [f32]) {
        let NormInput { x, weight, offset, inverse } = input;
        let size = weight.len();
        let rows = dx
            .chunks_exact_mut(size)
            .zip(x.chunks_exact(size))
            .zip(grad.chunks_exact(size));
        for (((dx, x), grad), &r) in rows.zip(inverse) {
            let (x, grad, weight) = (&x[..size], &grad[..size], &weight[..size]);
            let product = sum(size, |i| x[i] * grad[i] * (weight[i] + offset));
            let mean = product * r * r / size as f32;
            for i in 0..size {
                dx[i] = r * (grad[i] * (weight[i] + offset) - x[i] * mean);
            }
            for ((share, x), g) in share.iter_mut().zip(x).zip(grad) {
                *share += x * r * g;
            }
        }
    }
}

/// The plain reference of [`rms_norm`], for one row.
#[must_use]
pub fn rms_norm_plain(x: &[f32], weight: &[f32], epsilon: f32, offset: f32) -> Vec<f32> {
    let mean = x.iter().map(|v| v * v).sum::<f32>() / x.len() as f32;
    let root = (mean + epsilon).sqrt();
    x.iter()
        .zip(weight)
        .map(|(v, w)| v / root * (w + offset))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, values};

    #[test]
    fn rows_agree_with_the_plain_reference() {
        for [n, size] in [[1, 1], [3, 7], [70, 33], [130, 256]] {
            let (x, weight) = (values(n * size, 1), values(size, 2));
            let (mut y, mut inverse) = (vec![0.0; n * size], vec![0.0; n]);
            rms_norm(&x, &weight, 1e-5, 1.0, &mut y, &mut inverse);
            let expected: Vec<f32> = x
                .chunks(size)
                .flat_map(|x| rms_norm_plain(x, &weight, 1e-5, 1.0))
                .collect();
            assert_close(&y, &expected, 1e-6);
        }
    }

    #[test]
    fn gradients_are_slopes() {
        let (n, size) = (5, 9);
        let (x, weight, grad) = (values(n * size, 1), values(size, 2), values(n * size, 3));
        let loss = |x: &[f32], weight: &[f32]| -> f64 {
            let y = x
                .chunks(size)
                .flat_map(|x| rms_norm_plain(x, weight, 1e-5, 0.0));
            y.zip(&grad).map(|(y, g)| f64::from(y * g)).sum()
        };
        let slope = |change: &dyn Fn(f32) -> f64| ((change(1e-2) - change(-1e-2)) / 2e-2) as f32;
        let moved = |v: &[f32], i: usize, s: f32| {
            let mut v = v.to_vec();
            v[i] += s;
            v
        };
        let (mut y, mut inverse) = (vec![0.0; n * size], vec![0.0; n]);
        rms_norm(&x, &weight, 1e-5, 0.0, &mut y, &mut inverse);
        let (mut dx, mut d_weight) = (vec![0.0; n * size], vec![0.0; size]);
        let input = NormInput {
            x: &x,
            weight: &weight,
            offset: 0.0,
            inverse: &inverse,
        };
        rms_norm_backward(input, &grad, &mut dx, Some(&mut d_weight));
        let expected: Vec<f32> = (0..n * size)
            .map(|i| slope(&|s| loss(&moved(&x, i, s), &weight)))
            .collect();
        assert_close(&dx, &expected, 2e-3);
        let expected: Vec<f32> = (0..size)
            .map(|i| slope(&|s| loss(&x, &moved(&weight, i, s))))
            .collect();
        assert_close(&d_weight, &expected, 2e-3);
    }
}
