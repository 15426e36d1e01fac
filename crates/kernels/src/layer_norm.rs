//! Layer normalisation of rows, in place (Ba, Kiros, Hinton 2016).

use pulp::Arch;

const LANES: usize = 16;

/// Brings each row of `x` to mean 0 and variance 1, then scales and shifts it.
///
/// `x` is `[rows, size]`, `gain` and `bias` are `[size]`.
pub fn layer_norm(arch: Arch, x: &mut [f32], gain: &[f32], bias: &[f32], epsilon: f32) {
    assert_eq!(gain.len(), bias.len(), "gain and bias: [size]");
    arch.dispatch(
        #[inline(always)]
        || {
            for row in x.chunks_exact_mut(gain.len()) {
                normalise(row, gain, bias, epsilon);
            }
        },
    );
}

#[inline(always)]
fn normalise(row: &mut [f32], gain: &[f32], bias: &[f32], epsilon: f32) {
    let n = row.len() as f32;
    let mean = sum(row, |x| x) / n;
    let variance = sum(row, |x| (x - mean) * (x - mean)) / n;
    let scale = 1.0 / (variance + epsilon).sqrt();
    for ((x, gain), bias) in row.iter_mut().zip(gain).zip(bias) {
        *x = (*x - mean) * scale * gain + bias;
    }
}

/// The sum of `f` over `row`, in a fixed order that suits every register width.
#[inline(always)]
fn sum(row: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut sums = [0.0; LANES];
    let (blocks, rest) = row.as_chunks::<LANES>();
    for block in blocks {
        for (sum, x) in sums.iter_mut().zip(block) {
            *sum += f(*x);
        }
    }
    sums.iter().sum::<f32>() + rest.iter().map(|x| f(*x)).sum::<f32>()
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
