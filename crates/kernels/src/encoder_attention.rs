//! Attention of an encoder: every token of a sequence sees every other, and no other sequence.
//!
//! Sequences stand one after the other without padding, so nothing has to be masked.

use pulp::{Arch, Simd, WithSimd};

use crate::math::{LANES, exp};
use crate::panels::{Panels, Product};

/// Memory that is kept from one sequence to the next.
#[derive(Debug, Default)]
pub struct Scratch {
    keys: Panels,
    values: Panels,
    scores: Vec<f32>,
    buffer: Vec<f32>,
}

/// Learnt numbers that are added to the scores by how far the key stands from the query.
#[derive(Clone, Debug)]
pub struct Distances {
    /// `[heads, 2 longest - 1]`; the middle of a row is for the query's own place.
    values: Vec<f32>,
    longest: usize,
}

impl Distances {
    /// For sequences of up to `longest` tokens: `value(head, key - query)`.
    pub fn new(heads: usize, longest: usize, value: impl Fn(usize, isize) -> f32) -> Self {
        let end = longest as isize;
        let row = |head| (1 - end..end).map(move |distance| (head, distance));
        Self {
            values: (0..heads)
                .flat_map(row)
                .map(|(head, distance)| value(head, distance))
                .collect(),
            longest,
        }
    }

    /// What is added to one query's scores, `[time]`.
    #[inline(always)]
    fn row(&self, head: usize, query: usize, time: usize) -> &[f32] {
        let own = head * (2 * self.longest - 1) + self.longest - 1;
        &self.values[own - query..][..time]
    }
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
/// When a slice is not of its shape, or the sequence is longer than the distances go.
pub fn attend(
    arch: Arch,
    qkv: &[f32],
    shape: Shape,
    distances: Option<&Distances>,
    out: &mut [f32],
    scratch: &mut Scratch,
) {
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
    // Whole vectors, so that the softmax has no rest.
    let stride = time.next_multiple_of(LANES);
    scores.resize(time * stride, 0.0);
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
            activation: None,
            out: scores,
            out_stride: stride,
            buffer,
        }
        .compute(arch);
        arch.dispatch(Softmax {
            scores,
            time,
            stride,
            scale,
            distances: distances.map(|d| (d, head)),
        });
        values.pack_columns(v, 3 * size, head_size, time);
        Product {
            left: scores,
            left_stride: stride,
            rows: time,
            right: values,
            bias: None,
            is_added: false,
            activation: None,
            out: &mut out[head * head_size..],
            out_stride: size,
            buffer,
        }
        .compute(arch);
    }
}

/// Softmax over each row of `scores [rows, stride]`, of which `time` count, in place; first they
/// are scaled, and the numbers of the distances are added.
struct Softmax<'a> {
    scores: &'a mut [f32],
    time: usize,
    stride: usize,
    scale: f32,
    distances: Option<(&'a Distances, usize)>,
}

impl WithSimd for Softmax<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        for (query, row) in self.scores.chunks_exact_mut(self.stride).enumerate() {
            for x in &mut *row {
                *x *= self.scale;
            }
            if let Some((distances, head)) = self.distances {
                let added = distances.row(head, query, self.time);
                for (x, added) in row.iter_mut().zip(added) {
                    *x += added;
                }
            }
            // Their exponentials are as good as nothing.
            row[self.time..].fill(f32::MIN);
            let lowest = simd.splat_f32s(f32::MIN);
            let vectors = S::as_simd_f32s(row).0.iter();
            let max = vectors.fold(lowest, |max, x| simd.max_f32s(max, *x));
            let max = simd.reduce_max_f32s(max);
            for x in &mut *row {
                *x = exp(*x - max);
            }
            let vectors = S::as_mut_simd_f32s(row).0;
            let zero = simd.splat_f32s(0.0);
            let sum = vectors.iter().fold(zero, |sum, x| simd.add_f32s(sum, *x));
            let share = simd.splat_f32s(1.0 / simd.reduce_sum_f32s(sum));
            for x in vectors {
                *x = simd.mul_f32s(*x, share);
            }
        }
    }
}

/// The same by its definition.
pub fn reference(qkv: &[f32], shape: Shape, distances: Option<&Distances>, out: &mut [f32]) {
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
                let added = distances.map_or(0.0, |d| d.row(head, t, time)[other]);
                (dot / (head_size as f64).sqrt() + f64::from(added)).exp()
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
            let learnt =
                |head: usize, distance: isize| (head as f32 + 1.0) * (distance as f32 - 0.3).sin();
            let distances = Distances::new(heads, time + 2, learnt);
            for distances in [None, Some(&distances)] {
                let mut expected = vec![0.0; time * size];
                reference(&qkv, shape, distances, &mut expected);
                let mut scratch = Scratch::default();
                for arch in archs() {
                    let mut found = vec![0.0; time * size];
                    attend(arch, &qkv, shape, distances, &mut found, &mut scratch);
                    assert_near(&found, &expected, 1e-5);
                }
            }
        }
    }
}
