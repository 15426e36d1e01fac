//! Attention of an encoder: every token of a sequence sees every other, and no other sequence.
//!
//! Sequences stand one after the other without padding, so nothing has to be masked.

use pulp::Arch;

use crate::math::{exponentiate, highest};
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
        softmax(arch, scores, time, scale, distances.map(|d| (d, head)));
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

/// Softmax over each row of `scores [rows, n]`, in place; first they are scaled, and the numbers of
/// the distances are added.
fn softmax(
    arch: Arch,
    scores: &mut [f32],
    n: usize,
    scale: f32,
    distances: Option<(&Distances, usize)>,
) {
    arch.dispatch(
        #[inline(always)]
        || {
            for (query, row) in scores.chunks_exact_mut(n).enumerate() {
                let scale = match distances {
                    Some((distances, head)) => {
                        let added = distances.row(head, query, n);
                        for (x, added) in row.iter_mut().zip(added) {
                            *x = *x * scale + added;
                        }
                        1.0
                    }
                    None => scale,
                };
                let max = highest(row);
                let share = 1.0 / exponentiate(row, scale, max * scale);
                for x in row {
                    *x *= share;
                }
            }
        },
    );
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
