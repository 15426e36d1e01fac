//! Attention of an encoder: every token of a sequence sees every other, and no other sequence.
//!
//! Sequences stand one after the other without padding, so nothing has to be masked.

use pulp::Arch;

use crate::panels::{Panels, Product};

/// Memory that is kept from one sequence to the next.
#[derive(Debug, Default)]
pub struct Scratch {
    keys: Panels,
    values: Panels,
    scores: Vec<f32>,
    buffer: Vec<f32>,
}

/// The shape of one sequence.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Tokens.
    pub time: usize,
    /// Attention heads.
    pub heads: usize,
    /// Features of one head.
    pub head_size: usize,
}

/// Softmax attention of one sequence.
///
/// `qkv` is `[time, 3, heads, head_size]`, `out` is `[time, heads, head_size]`.
///
/// # Panics
///
/// When a slice is not of its shape.
pub fn attend(arch: Arch, qkv: &[f32], shape: Shape, out: &mut [f32], scratch: &mut Scratch) {
    let Shape {
        time,
        heads,
        head_size,
    } = shape;
    let size = heads * head_size;
    assert_eq!(
        (qkv.len(), out.len()),
        (time * 3 * size, time * size),
        "{shape:?}"
    );
    let scale = 1.0 / (head_size as f32).sqrt();
    let Scratch {
        keys,
        values,
        scores,
        buffer,
    } = scratch;
    scores.resize(time * time, 0.0);
    for head in 0..heads {
        let [q, k, v] = [0, 1, 2].map(|part| &qkv[part * size + head * head_size..]);
        keys.pack_rows(k, 3 * size, time, head_size);
        Product {
            left: q,
            left_stride: 3 * size,
            rows: time,
            right: keys,
            bias: None,
            is_added: false,
            out: scores,
            out_stride: time,
            buffer,
        }
        .compute(arch);
        softmax(arch, scores, time, scale);
        values.pack_columns(v, 3 * size, head_size, time);
        Product {
            left: scores,
            left_stride: time,
            rows: time,
            right: values,
            bias: None,
            is_added: false,
            out: &mut out[head * head_size..],
            out_stride: size,
            buffer,
        }
        .compute(arch);
    }
}

/// Softmax over each row of `scores [rows, n]`, times `scale` first, in place.
fn softmax(arch: Arch, scores: &mut [f32], n: usize, scale: f32) {
    arch.dispatch(
        #[inline(always)]
        || {
            for row in scores.chunks_exact_mut(n) {
                let max = row
                    .iter()
                    .fold(f32::MIN, |max, x| if *x > max { *x } else { max });
                let mut sums = [0.0; 16];
                let (blocks, rest) = row.as_chunks_mut::<16>();
                for block in blocks {
                    for (sum, x) in sums.iter_mut().zip(block) {
                        *x = exp((*x - max) * scale);
                        *sum += *x;
                    }
                }
                for (sum, x) in sums.iter_mut().zip(rest) {
                    *x = exp((*x - max) * scale);
                    *sum += *x;
                }
                let share = 1.0 / sums.iter().sum::<f32>();
                for x in row {
                    *x *= share;
                }
            }
        },
    );
}

/// `e^x` for `x <= 0`, within 2 units in the last place.
///
/// `2^n e^r` with `|r| <= ln 2 / 2`; the polynomial was fitted for this project by Lawson-weighted
/// least squares, with a relative error of 2e-9 before rounding.
#[inline(always)]
fn exp(x: f32) -> f32 {
    // Adding 1.5 * 2^23 rounds to a whole number, which then stands in the low bits.
    const ROUND: f32 = 12_582_912.0;
    // Below it e^x is no normal number.
    let x = if x < -87.0 { -87.0 } else { x };
    let rounded = x * std::f32::consts::LOG2_E + ROUND;
    let n = rounded - ROUND;
    // ln 2 in two parts: n times the first is exact.
    let r = x - n * 0.693_359_4 + n * 2.121_944_4e-4;
    let p = 1.384_356_2e-3;
    let p = p * r + 8.374_237e-3;
    let p = p * r + 4.166_801e-2;
    let p = p * r + 1.666_643e-1;
    let p = p * r + 4.999_999_4e-1;
    let p = p * r + 1.0;
    let p = p * r + 1.0;
    p * f32::from_bits((rounded.to_bits() << 23).wrapping_add(0x3f80_0000))
}

/// The same by its definition.
pub fn reference(qkv: &[f32], shape: Shape, out: &mut [f32]) {
    let Shape {
        time,
        heads,
        head_size,
    } = shape;
    let size = heads * head_size;
    let at = |t: usize, part: usize, head: usize| {
        &qkv[(t * 3 + part) * size + head * head_size..][..head_size]
    };
    for t in 0..time {
        for head in 0..heads {
            let weight = |other: usize| {
                let pairs = at(t, 0, head).iter().zip(at(other, 1, head));
                let dot: f64 = pairs.map(|(q, k)| f64::from(*q) * f64::from(*k)).sum();
                (dot / (head_size as f64).sqrt()).exp()
            };
            let weights: Vec<f64> = (0..time).map(weight).collect();
            let total: f64 = weights.iter().sum();
            for d in 0..head_size {
                let sum: f64 = (0..time)
                    .map(|other| weights[other] * f64::from(at(other, 2, head)[d]))
                    .sum();
                out[t * size + head * head_size + d] = (sum / total) as f32;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{archs, assert_near, values};

    #[test]
    fn it_equals_its_definition() {
        for (time, heads, head_size) in [(1, 1, 1), (2, 3, 8), (17, 2, 16), (40, 2, 33)] {
            let shape = Shape {
                time,
                heads,
                head_size,
            };
            let size = heads * head_size;
            let qkv: Vec<f32> = values(time * 3 * size, 1).iter().map(|x| 3.0 * x).collect();
            let mut expected = vec![0.0; time * size];
            reference(&qkv, shape, &mut expected);
            let mut scratch = Scratch::default();
            for arch in archs() {
                let mut found = vec![0.0; time * size];
                attend(arch, &qkv, shape, &mut found, &mut scratch);
                assert_near(&found, &expected, 1e-5);
            }
        }
    }

    #[test]
    fn the_exponential_is_right_over_its_whole_range() {
        for i in 0..87_000 {
            let x = i as f32 * -1e-3;
            let expected = f64::from(x).exp();
            assert!((f64::from(exp(x)) / expected - 1.0).abs() < 2.5e-7, "{x}");
        }
        assert!(exp(-1e4) < 1e-37);
    }
}
