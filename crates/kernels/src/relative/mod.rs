//! Attention of rows to those of another sequence, or of their own, with an additive bias by head and
//! relative position and no scale of its own (T5).
//!
//! Scores exist only for a block of query rows at a time; the backward pass computes them again.

mod row;
#[cfg(test)]
mod tests;

use std::ops::Range;

use rayon::prelude::*;

pub use row::attend_row;

use crate::attention::{BLOCK, with_scratch};
use crate::gemm::{Matrix, MatrixMut, Put, Threads, multiply};
use crate::math::{dot, exponentiate, highest};
use crate::rope::Strided;
use crate::shared::Shared;
use crate::vectorised::vectorised;

/// What relative positions add to scores.
#[derive(Clone, Copy, Debug)]
pub struct Bias<'a> {
    /// `[buckets, heads]`
    pub table: &'a [f32],
    /// The bucket of a key `j` rows after its query stands at `j + before`.
    pub buckets: &'a [u32],
    /// How far before its query a key may stand.
    pub before: usize,
}

/// What attention reads.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// Queries, `[rows, heads * head_size]`.
    pub q: &'a [f32],
    /// Keys, `[source rows, heads * head_size]`.
    pub k: &'a [f32],
    /// Values, like the keys.
    pub v: &'a [f32],
    /// Added to the scores.
    pub bias: Option<Bias<'a>>,
    /// Rows of queries, and the rows of keys that they look at; no row of queries stands twice, and
    /// rows of keys are the same or apart.
    pub pairs: &'a [(Range<usize>, Range<usize>)],
    /// How many heads share a row.
    pub heads: usize,
    /// Features of one head.
    pub head_size: usize,
    /// Whether a query sees its own place and those before it alone.
    pub is_causal: bool,
}

/// The queries that look at one range of keys, by one head: the work of one thread.
struct Task<'a> {
    head: usize,
    keys: Range<usize>,
    queries: Vec<&'a Range<usize>>,
}

/// A block of query rows.
struct Block {
    /// Its first row within its sequence.
    start: usize,
    /// Its rows among all.
    rows: Range<usize>,
    /// How many keys the last of them sees.
    width: usize,
}

impl<'a> Input<'a> {
    fn check(&self) {
        let width = self.width();
        let rows = (self.q.len() / width, self.k.len() / width);
        assert_eq!(self.v.len(), self.k.len(), "a value per key");
        for (queries, keys) in self.pairs {
            assert!(
                queries.end <= rows.0 && keys.end <= rows.1 && !keys.is_empty(),
                "sequences within the rows"
            );
            assert!(
                !self.is_causal || queries.len() <= keys.len(),
                "a key per query"
            );
            if let Some(bias) = self.bias {
                let after = bias.buckets.len() - bias.before;
                assert!(
                    queries.len() <= bias.before + 1 && keys.len() <= after,
                    "a bucket per distance"
                );
            }
        }
    }

    fn width(&self) -> usize {
        self.heads * self.head_size
    }

    fn tasks(&self) -> Vec<Task<'a>> {
        let mut groups: Vec<(Range<usize>, Vec<&Range<usize>>)> = Vec::new();
        for (queries, keys) in self.pairs.iter().filter(|(queries, _)| !queries.is_empty()) {
            match groups.iter_mut().rev().find(|(known, _)| known == keys) {
                Some((_, all)) => all.push(queries),
                None => groups.push((keys.clone(), vec![queries])),
            }
        }
        let task = |head| {
            groups.iter().map(move |(keys, queries)| Task {
                head,
                keys: keys.clone(),
                queries: queries.clone(),
            })
        };
        (0..self.heads).flat_map(task).collect()
    }

    fn of_head(&self, entries: &'a [f32], head: usize, row: usize) -> Strided<'a> {
        Strided {
            entries,
            first: row * self.width() + head * self.head_size,
            step: self.width(),
        }
    }

    fn blocks(&self, queries: &Range<usize>, n_keys: usize) -> impl Iterator<Item = Block> {
        let (queries, is_causal) = (queries.clone(), self.is_causal);
        (0..queries.len()).step_by(BLOCK).map(move |start| {
            let end = queries.len().min(start + BLOCK);
            Block {
                start,
                rows: queries.start + start..queries.start + end,
                width: if is_causal { end } else { n_keys },
            }
        })
    }

    /// How many keys row `i` of a block sees.
    fn seen(&self, block: &Block, i: usize) -> usize {
        if self.is_causal {
            block.start + i + 1
        } else {
            block.width
        }
    }

    /// The raw scores of a block with their bias.
    fn scores(&self, task: &Task<'_>, block: &Block, scores: &mut [f32]) {
        let (height, width) = (block.rows.len(), block.width);
        let q = self.of_head(self.q, task.head, block.rows.start);
        let k = self.of_head(self.k, task.head, task.keys.start);
        multiply(
            MatrixMut::new(scores, height, width),
            q.matrix(height, self.head_size),
            k.matrix(width, self.head_size).t(),
            1.0,
            Put::Over,
            Threads::One,
        );
        let Some(bias) = self.bias else { return };
        for (i, row) in scores.chunks_exact_mut(width).enumerate() {
            let buckets = &bias.buckets[bias.before - block.start - i..];
            for (score, bucket) in row.iter_mut().zip(buckets) {
                *score += bias.table[*bucket as usize * self.heads + task.head];
            }
        }
    }
}

/// Attention of every query to the keys that are given to it.
///
/// Fills `y`, of the shape of the queries, and `log_sums [rows, heads]` with the logarithm of each softmax's denominator, for the backward pass.
///
/// # Panics
/// If the shapes do not fit together.
pub fn attend(input: Input<'_>, y: &mut [f32], log_sums: &mut [f32]) {
    input.check();
    let size = input.head_size;
    assert_eq!(y.len(), input.q.len(), "an output per query");
    assert_eq!(
        log_sums.len() * size,
        y.len(),
        "a denominator per row and head"
    );
    let (y, log_sums) = (Shared::new(y), Shared::new(log_sums));
    input.tasks().into_par_iter().for_each(|task| {
        let v = input.of_head(input.v, task.head, task.keys.start);
        with_scratch(
            [BLOCK * task.keys.len(), BLOCK * size],
            |[scores, mixed]| {
                for block in task
                    .queries
                    .iter()
                    .flat_map(|rows| input.blocks(rows, task.keys.len()))
                {
                    let (height, width) = (block.rows.len(), block.width);
                    let scores = &mut scores[..height * width];
                    input.scores(&task, &block, scores);
                    for (i, row) in scores.chunks_exact_mut(width).enumerate() {
                        let at = (block.rows.start + i) * input.heads + task.head;
                        // SAFETY: each row and head belongs to exactly one task.
                        let log_sum = unsafe { log_sums.part(at, 1) };
                        log_sum[0] = softmax(row, input.seen(&block, i));
                    }
                    multiply(
                        MatrixMut::new(mixed, height, size),
                        Matrix::new(scores, height, width),
                        v.matrix(width, size),
                        1.0,
                        Put::Over,
                        Threads::One,
                    );
                    for (row, mixed) in block.rows.clone().zip(mixed.chunks_exact(size)) {
                        let start = row * input.width() + task.head * size;
                        // SAFETY: as above.
                        let y = unsafe { y.part(start, size) };
                        y.copy_from_slice(mixed);
                    }
                }
            },
        );
    });
}

vectorised! {
    /// Turns the first `seen` scores of a row into probabilities, the others into none; returns the logarithm of the denominator.
    fn softmax(row: &mut [f32], seen: usize) -> f32 {
        let (row, hidden) = row.split_at_mut(seen);
        let top = highest(row);
        let total = exponentiate(row, 1.0, top);
        let share = 1.0 / total;
        for p in row {
            *p *= share;
        }
        hidden.fill(0.0);
        top + total.ln()
    }
}

/// What the backward pass fills; all have the shapes of what they are gradients of.
#[derive(Debug)]
pub struct Gradients<'a> {
    /// For the queries.
    pub q: &'a mut [f32],
    /// For the keys; rows that nobody looks at are left alone.
    pub k: &'a mut [f32],
    /// For the values, like the keys.
    pub v: &'a mut [f32],
    /// For the bias's table, where it is wanted.
    pub table: Option<&'a mut [f32]>,
}

/// The gradients of [`attend`], given that of its result and the logarithms it kept.
///
/// # Panics
/// If the shapes do not fit together.
pub fn attend_backward(input: Input<'_>, log_sums: &[f32], grad: &[f32], out: Gradients<'_>) {
    input.check();
    assert!(
        grad.len() == input.q.len() && out.q.len() == grad.len(),
        "a gradient per query"
    );
    assert!(
        out.k.len() == input.k.len() && out.v.len() == input.v.len(),
        "a gradient per key"
    );
    let (dq, dk, dv) = (Shared::new(out.q), Shared::new(out.k), Shared::new(out.v));
    let n_buckets = out
        .table
        .as_ref()
        .map_or(0, |table| table.len() / input.heads);
    let tasks: Vec<Task<'_>> = input.tasks();
    // The bias's gradients are summed afterwards, in the order of the tasks.
    let by_task: Vec<Vec<f32>> = tasks
        .par_iter()
        .map(|task| backward(input, task, log_sums, grad, [dq, dk, dv], n_buckets))
        .collect();
    if let Some(table) = out.table {
        for (task, sums) in tasks.iter().zip(by_task) {
            for (row, sum) in table.chunks_exact_mut(input.heads).zip(sums) {
                row[task.head] += sum;
            }
        }
    }
}

fn backward(
    input: Input<'_>,
    task: &Task<'_>,
    log_sums: &[f32],
    grad: &[f32],
    [dq, dk, dv]: [Shared<'_>; 3],
    n_buckets: usize,
) -> Vec<f32> {
    let (size, n, one) = (input.head_size, task.keys.len(), Threads::One);
    let mut by_bucket = vec![0.0; n_buckets];
    let (k, v) = (
        input.of_head(input.k, task.head, task.keys.start),
        input.of_head(input.v, task.head, task.keys.start),
    );
    let lengths = [BLOCK * n, BLOCK * n, BLOCK * size, n * size, n * size];
    with_scratch(lengths, |[probs, slopes, dq_block, dk_sum, dv_sum]| {
        dk_sum.fill(0.0);
        dv_sum.fill(0.0);
        for block in task.queries.iter().flat_map(|rows| input.blocks(rows, n)) {
            let (height, width) = (block.rows.len(), block.width);
            let (probs, slopes) = (&mut probs[..height * width], &mut slopes[..height * width]);
            let q = input.of_head(input.q, task.head, block.rows.start);
            let grad = Strided { entries: grad, ..q };
            let (q, grad) = (q.matrix(height, size), grad.matrix(height, size));
            input.scores(task, &block, probs);
            let slope = MatrixMut::new(slopes, height, width);
            multiply(slope, grad, v.matrix(width, size).t(), 1.0, Put::Over, one);
            let rows = probs
                .chunks_exact_mut(width)
                .zip(slopes.chunks_exact_mut(width));
            for (i, (probs, slopes)) in rows.enumerate() {
                let log_sum = log_sums[(block.rows.start + i) * input.heads + task.head];
                softmax_backward(probs, slopes, input.seen(&block, i), log_sum);
                if let Some(bias) = input.bias.filter(|_| n_buckets > 0) {
                    let buckets = &bias.buckets[bias.before - block.start - i..];
                    for (slope, bucket) in slopes.iter().zip(buckets) {
                        by_bucket[*bucket as usize] += slope;
                    }
                }
            }
            let p = Matrix::new(probs, height, width);
            let s = Matrix::new(slopes, height, width);
            multiply(
                MatrixMut::new(dv_sum, width, size),
                p.t(),
                grad,
                1.0,
                Put::Onto,
                one,
            );
            multiply(
                MatrixMut::new(dk_sum, width, size),
                s.t(),
                q,
                1.0,
                Put::Onto,
                one,
            );
            let block_grad = MatrixMut::new(dq_block, height, size);
            multiply(block_grad, s, k.matrix(width, size), 1.0, Put::Over, one);
            put_rows(
                input,
                task.head,
                block.rows.start,
                &dq_block[..height * size],
                dq,
            );
        }
        put_rows(input, task.head, task.keys.start, dk_sum, dk);
        put_rows(input, task.head, task.keys.start, dv_sum, dv);
    });
    by_bucket
}

/// Writes a head's rows to their places among the rows of all heads.
fn put_rows(input: Input<'_>, head: usize, first: usize, rows: &[f32], to: Shared<'_>) {
    for (i, row) in rows.chunks_exact(input.head_size).enumerate() {
        let start = (first + i) * input.width() + head * input.head_size;
        // SAFETY: each row and head belongs to exactly one task.
        let to = unsafe { to.part(start, input.head_size) };
        to.copy_from_slice(row);
    }
}

vectorised! {
    /// Raw scores become probabilities, and gradients of probabilities those of raw scores.
    fn softmax_backward(probs: &mut [f32], slopes: &mut [f32], seen: usize, log_sum: f32) {
        let (probs, hidden) = probs.split_at_mut(seen);
        hidden.fill(0.0);
        let (slopes, hidden) = slopes.split_at_mut(seen);
        hidden.fill(0.0);
        exponentiate(probs, 1.0, log_sum);
        let mean = dot(probs, slopes);
        for (slope, p) in slopes.iter_mut().zip(probs) {
            *slope = *p * (*slope - mean);
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
    let (size, width) = (input.head_size, input.width());
    let mut y = vec![0.0; input.q.len()];
    let rows = |x: &[f32], row: usize, head: usize| -> Vec<f32> {
        x[row * width + head * size..][..size].to_vec()
    };
    for ((queries, keys), head) in input
        .pairs
        .iter()
        .flat_map(|pair| (0..input.heads).map(move |head| (pair, head)))
    {
        for i in 0..queries.len() {
            let q = rows(input.q, queries.start + i, head);
            let n = if input.is_causal { i + 1 } else { keys.len() };
            let score = |j: usize| {
                let k = rows(input.k, keys.start + j, head);
                let product: f32 = q.iter().zip(&k).map(|(a, b)| a * b).sum();
                let bias = input.bias.map_or(0.0, |bias| {
                    let bucket = bias.buckets[bias.before + j - i] as usize;
                    bias.table[bucket * input.heads + head]
                });
                product + bias
            };
            let scores: Vec<f32> = (0..n).map(score).collect();
            let top = scores.iter().copied().fold(f32::MIN, f32::max);
            let total: f32 = scores.iter().map(|score| (score - top).exp()).sum();
            let y = &mut y[(queries.start + i) * width + head * size..][..size];
            for (j, score) in scores.iter().enumerate() {
                let p = (score - top).exp() / total;
                let v = rows(input.v, keys.start + j, head);
                y.iter_mut().zip(v).for_each(|(y, v)| *y += p * v);
            }
        }
    }
    y
}
