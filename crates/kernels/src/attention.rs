//! Rotary positions and causal grouped-query attention over packed sequences.
//!
//! Scores exist only for a block of query rows at a time; the backward pass computes them again.

use std::cell::RefCell;
use std::ops::Range;

use rayon::prelude::*;

use crate::gemm::{Matrix, MatrixMut, Put, Threads, multiply};
use crate::math::{dot, exponentiate, highest};
pub use crate::rope::Tables;
use crate::rope::{Strided, rotate};
use crate::shared::Shared;
use crate::vectorised::vectorised;

/// Query rows whose scores exist at one time.
pub(crate) const BLOCK: usize = 64;

/// Heads, rotation and scale of an attention.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Query heads.
    pub heads: usize,
    /// Heads of keys and values; each serves `heads / kv_heads` query heads.
    pub kv_heads: usize,
    /// Features of one head.
    pub head_size: usize,
    /// Pairs of features that are rotated: `j` together with `j + half`.
    pub half: usize,
    /// What scores are multiplied by.
    pub scale: f32,
}

impl Shape {
    pub(crate) fn query_size(&self) -> usize {
        self.heads * self.head_size
    }

    pub(crate) fn kv_size(&self) -> usize {
        self.kv_heads * self.head_size
    }

    pub(crate) fn group(&self) -> usize {
        self.heads / self.kv_heads
    }
}

/// What attention reads.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// Queries, `[tokens, heads * head_size]`.
    pub q: &'a [f32],
    /// Keys, `[tokens, kv_heads * head_size]`, not yet rotated.
    pub k: &'a [f32],
    /// Values, like the keys.
    pub v: &'a [f32],
    /// Angles by position.
    pub tables: Tables<'a>,
    /// The rows of each sequence: one after the other, none overlapping.
    pub sequences: &'a [Range<usize>],
    /// Heads, rotation and scale.
    pub shape: Shape,
}

impl Input<'_> {
    fn check(&self) {
        let shape = self.shape;
        let tokens = self.q.len() / shape.query_size().max(1);
        assert_eq!(
            self.q.len(),
            tokens * shape.query_size(),
            "whole query rows"
        );
        assert_eq!(
            self.k.len(),
            tokens * shape.kv_size(),
            "a key row per query row"
        );
        assert_eq!(self.v.len(), self.k.len(), "a value per key");
        assert_eq!(shape.heads % shape.kv_heads, 0, "equal groups");
        assert!(2 * shape.half <= shape.head_size, "pairs within a head");
        let mut end = 0;
        for rows in self.sequences {
            assert!(
                end <= rows.start && rows.start <= rows.end,
                "sequences in order"
            );
            end = rows.end;
            let table = rows.len() * shape.half;
            assert!(
                table <= self.tables.cos.len().min(self.tables.sin.len()),
                "a position lies past the tables"
            );
        }
        assert!(end <= tokens, "sequences within the rows");
    }

    /// One task per sequence and key-value head; the longest sequences first would balance better, but the order is the caller's.
    fn tasks(&self) -> Vec<(Range<usize>, usize)> {
        let heads = |rows: &Range<usize>| {
            let rows = rows.clone();
            (0..self.shape.kv_heads).map(move |head| (rows.clone(), head))
        };
        self.sequences
            .iter()
            .filter(|rows| !rows.is_empty())
            .flat_map(heads)
            .collect()
    }
}

thread_local! {
    static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Gives `work` pieces of this thread's scratch memory, of these lengths, holding anything.
pub(crate) fn with_scratch<const N: usize, R>(
    lengths: [usize; N],
    work: impl FnOnce([&mut [f32]; N]) -> R,
) -> R {
    SCRATCH.with_borrow_mut(|memory| {
        let total = lengths.iter().sum();
        if memory.len() < total {
            memory.resize(total, 0.0);
        }
        let mut rest = &mut memory[..];
        work(lengths.map(|length| {
            let (part, others) = std::mem::take(&mut rest).split_at_mut(length);
            rest = others;
            part
        }))
    })
}

/// Attention of every row to itself and those before it in its sequence.
///
/// Fills `y [tokens, heads * head_size]`, and `log_sums [tokens, heads]` with the logarithm of each softmax's denominator, for the backward pass.
/// Rows outside all sequences are left alone.
///
/// # Panics
/// If the shapes do not fit together or a sequence is longer than the tables.
pub fn attend(input: Input<'_>, y: &mut [f32], log_sums: &mut [f32]) {
    input.check();
    let shape = input.shape;
    let (size, query_size, kv_size) = (shape.head_size, shape.query_size(), shape.kv_size());
    assert_eq!(y.len(), input.q.len(), "an output per query");
    assert_eq!(
        log_sums.len() * size,
        y.len(),
        "a denominator per row and head"
    );
    let (y, log_sums) = (Shared::new(y), Shared::new(log_sums));
    input.tasks().into_par_iter().for_each(|(rows, kv_head)| {
        let n = rows.len();
        let kv = |entries| Strided {
            entries,
            first: rows.start * kv_size + kv_head * size,
            step: kv_size,
        };
        let (k, v) = (kv(input.k), kv(input.v));
        with_scratch(
            [n * size, n * size, BLOCK * n, BLOCK * size],
            |[k_rot, q_rot, scores, mixed]| {
                rotate(input.tables, shape, k, n, k_rot, size, 1.0);
                for head in kv_head * shape.group()..(kv_head + 1) * shape.group() {
                    let first = rows.start * query_size + head * size;
                    let q = Strided {
                        entries: input.q,
                        first,
                        step: query_size,
                    };
                    rotate(input.tables, shape, q, n, q_rot, size, 1.0);
                    for block in blocks(n) {
                        let (height, width) = (block.len(), block.end);
                        let scores = &mut scores[..height * width];
                        raw_scores(&q_rot[block.start * size..], k_rot, size, height, scores);
                        let heights = softmax(scores, block.start, width, shape.scale);
                        multiply(
                            MatrixMut::new(mixed, height, size),
                            Matrix::new(scores, height, width),
                            v.matrix(width, size),
                            1.0,
                            Put::Over,
                            Threads::One,
                        );
                        for (i, mixed) in mixed.chunks_exact(size).take(height).enumerate() {
                            let row = rows.start + block.start + i;
                            // SAFETY: each row and head belongs to exactly one task.
                            let (y, log_sum) = unsafe {
                                (
                                    y.part(row * query_size + head * size, size),
                                    log_sums.part(row * shape.heads + head, 1),
                                )
                            };
                            y.copy_from_slice(mixed);
                            log_sum[0] = heights[i];
                        }
                    }
                }
            },
        );
    });
}

pub(crate) fn blocks(n: usize) -> impl Iterator<Item = Range<usize>> {
    (0..n)
        .step_by(BLOCK)
        .map(move |start| start..n.min(start + BLOCK))
}

/// `scores [height, width] = q k'`
fn raw_scores(q: &[f32], k: &[f32], size: usize, height: usize, scores: &mut [f32]) {
    let width = scores.len() / height;
    multiply(
        MatrixMut::new(scores, height, width),
        Matrix::new(q, height, size),
        Matrix::new(k, width, size).t(),
        1.0,
        Put::Over,
        Threads::One,
    );
}

vectorised! {
    /// Turns rows of raw scores into probabilities, the `i`th row over its first `start + i + 1` columns; returns the logarithms of the denominators.
    pub(crate) fn softmax(scores: &mut [f32], start: usize, width: usize, scale: f32) -> [f32; BLOCK] {
        let mut log_sums = [0.0; BLOCK];
        for (i, row) in scores.chunks_exact_mut(width).enumerate() {
            let (past, future) = row.split_at_mut(start + i + 1);
            let shift = highest(past) * scale;
            let total = exponentiate(past, scale, shift);
            let share = 1.0 / total;
            for p in past {
                *p *= share;
            }
            future.fill(0.0);
            log_sums[i] = shift + total.ln();
        }
        log_sums
    }
}

/// What the backward pass fills; all have the shapes of what they are gradients of.
#[derive(Debug)]
pub struct Gradients<'a> {
    /// For the queries.
    pub q: &'a mut [f32],
    /// For the keys.
    pub k: &'a mut [f32],
    /// For the values.
    pub v: &'a mut [f32],
}

/// The gradients of [`attend`], given that of its result and the logarithms it kept.
///
/// Rows outside all sequences are left alone.
///
/// # Panics
/// If the shapes do not fit together.
pub fn attend_backward(input: Input<'_>, log_sums: &[f32], grad: &[f32], out: Gradients<'_>) {
    input.check();
    let shape = input.shape;
    let (size, query_size, kv_size) = (shape.head_size, shape.query_size(), shape.kv_size());
    assert!(
        grad.len() == input.q.len() && out.q.len() == grad.len(),
        "a gradient per query"
    );
    assert!(
        out.k.len() == input.k.len() && out.v.len() == input.v.len(),
        "a gradient per key"
    );
    let (dq, dk, dv) = (Shared::new(out.q), Shared::new(out.k), Shared::new(out.v));
    input.tasks().into_par_iter().for_each(|(rows, kv_head)| {
        let n = rows.len();
        let first = rows.start * kv_size + kv_head * size;
        let kv = |entries| Strided {
            entries,
            first,
            step: kv_size,
        };
        let (k, v) = (kv(input.k), kv(input.v));
        let (area, window) = (n * size, BLOCK * n);
        let lengths = [area, area, area, area, area, window, window];
        with_scratch(
            lengths,
            |[k_rot, q_rot, dq_rot, dk_rot, dv_sum, probs, slopes]| {
                rotate(input.tables, shape, k, n, k_rot, size, 1.0);
                dk_rot.fill(0.0);
                dv_sum.fill(0.0);
                for head in kv_head * shape.group()..(kv_head + 1) * shape.group() {
                    let of_head = |entries| Strided {
                        entries,
                        first: rows.start * query_size + head * size,
                        step: query_size,
                    };
                    rotate(input.tables, shape, of_head(input.q), n, q_rot, size, 1.0);
                    for block in blocks(n) {
                        let (height, width) = (block.len(), block.end);
                        let (probs, slopes) =
                            (&mut probs[..height * width], &mut slopes[..height * width]);
                        let q_block = &q_rot[block.start * size..block.end * size];
                        let grad = of_head(grad).skip(block.start).matrix(height, size);
                        let one = Threads::One;
                        raw_scores(q_block, k_rot, size, height, probs);
                        multiply(
                            MatrixMut::new(slopes, height, width),
                            grad,
                            v.matrix(width, size).t(),
                            1.0,
                            Put::Over,
                            one,
                        );
                        let first_row = rows.start + block.start;
                        let log_sums = std::array::from_fn(|i| {
                            let row = first_row + i.min(height - 1);
                            log_sums[row * shape.heads + head]
                        });
                        softmax_backward(probs, slopes, block.start, width, shape.scale, log_sums);
                        let (p, s) = (
                            Matrix::new(probs, height, width),
                            Matrix::new(slopes, height, width),
                        );
                        let dv_sum = MatrixMut::new(dv_sum, width, size);
                        multiply(dv_sum, p.t(), grad, 1.0, Put::Onto, one);
                        let dk_rot = MatrixMut::new(dk_rot, width, size);
                        multiply(
                            dk_rot,
                            s.t(),
                            Matrix::new(q_block, height, size),
                            1.0,
                            Put::Onto,
                            one,
                        );
                        let dq_rot =
                            MatrixMut::new(&mut dq_rot[block.start * size..], height, size);
                        multiply(
                            dq_rot,
                            s,
                            Matrix::new(k_rot, width, size),
                            1.0,
                            Put::Over,
                            one,
                        );
                    }
                    // A gradient is turned back by the angle that its row was turned by.
                    rotate(
                        input.tables,
                        shape,
                        Strided {
                            entries: dq_rot,
                            first: 0,
                            step: size,
                        },
                        n,
                        q_rot,
                        size,
                        -1.0,
                    );
                    for (i, row) in rows.clone().enumerate() {
                        // SAFETY: each row and head belongs to exactly one task.
                        let dq = unsafe { dq.part(row * query_size + head * size, size) };
                        dq.copy_from_slice(&q_rot[i * size..][..size]);
                    }
                }
                rotate(
                    input.tables,
                    shape,
                    Strided {
                        entries: dk_rot,
                        first: 0,
                        step: size,
                    },
                    n,
                    k_rot,
                    size,
                    -1.0,
                );
                for i in 0..n {
                    let start = first + i * kv_size;
                    // SAFETY: each row and key-value head belongs to exactly one task.
                    let (dk, dv) = unsafe { (dk.part(start, size), dv.part(start, size)) };
                    dk.copy_from_slice(&k_rot[i * size..][..size]);
                    dv.copy_from_slice(&dv_sum[i * size..][..size]);
                }
            },
        );
    });
}

vectorised! {
    /// Raw scores become probabilities, and gradients of probabilities those of raw scores.
    fn softmax_backward(
        probs: &mut [f32],
        slopes: &mut [f32],
        start: usize,
        width: usize,
        scale: f32,
        log_sums: [f32; BLOCK],
    ) {
        let rows = probs.chunks_exact_mut(width).zip(slopes.chunks_exact_mut(width));
        for (i, (probs, slopes)) in rows.enumerate() {
            let (probs, future) = probs.split_at_mut(start + i + 1);
            future.fill(0.0);
            let (slopes, future) = slopes.split_at_mut(probs.len());
            future.fill(0.0);
            exponentiate(probs, scale, log_sums[i]);
            let mean = dot(probs, slopes);
            for (slope, p) in slopes.iter_mut().zip(probs) {
                *slope = *p * (*slope - mean) * scale;
            }
        }
    }
}

/// The plain reference of [`attend`].
///
/// # Panics
/// If the shapes do not fit together.
#[must_use]
pub fn attend_plain(input: Input<'_>) -> Vec<f32> {
    input.check();
    let shape = input.shape;
    let (size, half) = (shape.head_size, shape.half);
    let rotated = |x: &[f32], position: usize| -> Vec<f32> {
        let mut y = x.to_vec();
        for j in 0..half {
            let (c, s) = (
                input.tables.cos[position * half + j],
                input.tables.sin[position * half + j],
            );
            y[j] = x[j] * c - x[j + half] * s;
            y[j + half] = x[j + half] * c + x[j] * s;
        }
        y
    };
    let mut y = vec![0.0; input.q.len()];
    for rows in input.sequences {
        for (i, head) in (0..rows.len()).flat_map(|i| (0..shape.heads).map(move |head| (i, head))) {
            let query_first = (rows.start + i) * shape.query_size() + head * size;
            let kv_first =
                |p: usize| (rows.start + p) * shape.kv_size() + head / shape.group() * size;
            let q = rotated(&input.q[query_first..][..size], i);
            let score = |p: usize| -> f32 {
                let k = rotated(&input.k[kv_first(p)..][..size], p);
                q.iter().zip(&k).map(|(a, b)| a * b).sum::<f32>() * shape.scale
            };
            let scores: Vec<f32> = (0..=i).map(score).collect();
            let top = scores.iter().copied().fold(f32::MIN, f32::max);
            let total: f32 = scores.iter().map(|s| (s - top).exp()).sum();
            for (p, s) in scores.iter().enumerate() {
                for j in 0..size {
                    y[query_first + j] += (s - top).exp() / total * input.v[kv_first(p) + j];
                }
            }
        }
    }
    y
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, values};

    struct Case {
        arrays: [Vec<f32>; 3],
        tables: [Vec<f32>; 2],
        sequences: Vec<Range<usize>>,
        shape: Shape,
    }

    impl Case {
        fn new(
            heads: usize,
            kv_heads: usize,
            head_size: usize,
            half: usize,
            lengths: &[usize],
        ) -> Self {
            let shape = Shape {
                heads,
                kv_heads,
                head_size,
                half,
                scale: 0.6,
            };
            let tokens: usize = lengths.iter().sum();
            let angles = |i: usize| (i / half) as f32 / (1 + i % half) as f32;
            let table = |f: fn(f32) -> f32| (0..tokens * half).map(|i| f(angles(i))).collect();
            let mut start = 0;
            let rows = |length: &usize| {
                start += length;
                start - length..start
            };
            Self {
                arrays: [(1, heads), (2, kv_heads), (3, kv_heads)]
                    .map(|(seed, heads)| values(tokens * heads * head_size, seed)),
                tables: [table(f32::cos), table(f32::sin)],
                sequences: lengths.iter().map(rows).collect(),
                shape,
            }
        }

        fn input(&self) -> Input<'_> {
            let [q, k, v] = &self.arrays;
            let [cos, sin] = &self.tables;
            Input {
                q,
                k,
                v,
                tables: Tables { cos, sin },
                sequences: &self.sequences,
                shape: self.shape,
            }
        }

        fn attend(&self) -> [Vec<f32>; 2] {
            let n = self.arrays[0].len();
            let (mut y, mut log_sums) = (vec![0.0; n], vec![0.0; n / self.shape.head_size]);
            attend(self.input(), &mut y, &mut log_sums);
            [y, log_sums]
        }

        fn backward(&self) -> [Vec<f32>; 3] {
            let [_, log_sums] = self.attend();
            let mut out = self.arrays.clone().map(|a| vec![0.0; a.len()]);
            let [q, k, v] = &mut out;
            attend_backward(
                self.input(),
                &log_sums,
                &self.probe(),
                Gradients { q, k, v },
            );
            out
        }

        fn probe(&self) -> Vec<f32> {
            values(self.arrays[0].len(), 9)
        }
    }

    #[test]
    fn rows_agree_with_the_plain_reference() {
        for case in [
            Case::new(1, 1, 2, 1, &[1]),
            Case::new(4, 2, 6, 2, &[3, 0, 5]),
            Case::new(3, 3, 16, 8, &[65, 1, 130]),
        ] {
            assert_close(&case.attend()[0], &attend_plain(case.input()), 1e-5);
        }
    }

    #[test]
    fn gradients_are_slopes() {
        let mut case = Case::new(4, 2, 6, 2, &[3, 4]);
        let got = case.backward();
        let probe = case.probe();
        for (array, got) in got.iter().enumerate() {
            let mut expected = vec![0.0; got.len()];
            for (i, expected) in expected.iter_mut().enumerate() {
                let before = case.arrays[array][i];
                let mut loss = |step: f32| -> f64 {
                    case.arrays[array][i] = before + step;
                    let y = attend_plain(case.input());
                    y.iter().zip(&probe).map(|(y, p)| f64::from(y * p)).sum()
                };
                *expected = ((loss(1e-2) - loss(-1e-2)) / 2e-2) as f32;
                case.arrays[array][i] = before;
            }
            assert_close(got, &expected, 2e-3);
        }
    }

    #[test]
    fn gradients_repeat_bit_for_bit() {
        let case = Case::new(4, 2, 16, 8, &[70, 3, 131]);
        let first = case.backward();
        assert!((0..5).all(|_| case.backward() == first));
    }
}
