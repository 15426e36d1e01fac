//! Rotary positions and causal grouped-query attention over packed sequences.
//!
//! A sequence may go on from another, so that many share the rows of what they have in common.
//! Scores exist only for a block of query rows at a time; the backward pass computes them again.

use std::cell::RefCell;
use std::ops::Range;

use rayon::prelude::*;

use crate::bf16;
use crate::gemm::{self, Matrix, MatrixMut, Precision, Put, Threads};
use crate::math::{exponentiate, highest, tanh};
use crate::packed;
pub use crate::rope::Tables;
use crate::rope::{Strided, rotate};
use crate::shared::Shared;
use crate::vectorised::vectorised;

mod backward;
mod plain;
#[cfg(test)]
mod tests;
mod tree;

pub use backward::{Gradients, attend_backward};
pub use plain::attend_plain;
pub use tree::Sequence;
pub(crate) use tree::{Block, Tree, View};

/// The most query rows of one head whose scores exist at one time.
pub(crate) const BLOCK: usize = 64;

/// How many rows are looked at together in each of some heads that read the same keys.
///
/// Their rows stand in one matrix, so keys and values are packed once for all of them; fewer rows a head also see fewer keys in vain.
fn block_rows(heads: usize) -> usize {
    (BLOCK / heads).next_multiple_of(16).max(16)
}

/// Heads, rotation, scale, window and cap of an attention.
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
    /// How many keys a query sees, its own included; all before it where `None`.
    pub window: Option<usize>,
    /// Scaled scores `s` become `cap tanh(s / cap)`.
    pub soft_cap: Option<f32>,
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

    pub(crate) fn check(&self) {
        assert_eq!(self.heads % self.kv_heads, 0, "equal groups");
        assert!(2 * self.half <= self.head_size, "pairs within a head");
        assert_ne!(self.window, Some(0), "a query sees its own key");
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
    /// One after the other, none overlapping; those that share a beginning stand together.
    pub sequences: &'a [Sequence],
    /// Heads, rotation, scale, window and cap.
    pub shape: Shape,
    /// How exact the products are.
    pub precision: Precision,
}

impl<'a> Input<'a> {
    /// Checks the shapes and returns the trees.
    fn trees(&self) -> Vec<Tree> {
        let shape = self.shape;
        shape.check();
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
        let trees = Tree::all(self.sequences);
        let angles = self.tables.cos.len().min(self.tables.sin.len());
        for tree in &trees {
            assert!(tree.rows.end <= tokens, "sequences within the rows");
            assert!(
                tree.longest() * shape.half <= angles,
                "a position lies past the tables"
            );
        }
        trees
    }

    /// A product on the calling thread.
    fn product(&self, c: MatrixMut<'_>, a: Matrix<'_>, b: Matrix<'_>, put: Put) {
        match self.precision {
            Precision::Bf16 if bf16::is_available() => {
                packed::multiply_alone(self.precision, c, a, b, 1.0, put);
            }
            _ => gemm::multiply(c, a, b, 1.0, put, Threads::One),
        }
    }

    /// `scores [n, width] = q k'`, `q [n, size]` the rows of a block in one head after the other, `k` all rows of the tree.
    fn raw_scores(&self, q: &[f32], k: Strided<'_>, block: &Block, scores: &mut [f32]) {
        let (size, width) = (self.shape.head_size, block.view.width);
        let n = scores.len() / width;
        for (column, rows) in &block.pieces {
            self.product(
                MatrixMut::with_step(&mut scores[*column..], n, rows.len(), width),
                Matrix::new(q, n, size),
                k.skip(rows.start).matrix(rows.len(), size).t(),
                Put::Over,
            );
        }
    }

    /// `mixed [n, size] = scores v`, `v` all rows of the tree.
    fn mix(&self, scores: &[f32], v: Strided<'_>, block: &Block, mixed: &mut [f32]) {
        let (size, width) = (self.shape.head_size, block.view.width);
        let n = scores.len() / width;
        for (column, rows) in &block.pieces {
            self.product(
                MatrixMut::new(mixed, n, size),
                Matrix::with_step(&scores[*column..], n, rows.len(), width),
                v.skip(rows.start).matrix(rows.len(), size),
                if *column == 0 { Put::Over } else { Put::Onto },
            );
        }
    }

    /// The rows of a tree in one of the key-value heads.
    fn kv(&self, entries: &'a [f32], tree: &Tree, kv_head: usize) -> Strided<'a> {
        let (size, step) = (self.shape.head_size, self.shape.kv_size());
        Strided {
            entries,
            first: tree.rows.start * step + kv_head * size,
            step,
        }
    }

    /// The rows of a block in one of the query heads.
    fn queries(&self, entries: &'a [f32], tree: &Tree, block: &Block, head: usize) -> Strided<'a> {
        let (size, step) = (self.shape.head_size, self.shape.query_size());
        Strided {
            entries,
            first: (tree.rows.start + block.rows.start) * step + head * size,
            step,
        }
    }

    /// Rotates the keys of a tree, `[rows, head_size]`.
    fn rotate_keys(&self, tree: &Tree, kv_head: usize, rotated: &mut [f32]) {
        let (shape, size) = (self.shape, self.shape.head_size);
        let k = self.kv(self.k, tree, kv_head);
        for branch in &tree.branches {
            let tables = self.tables.skip(branch.first, shape.half);
            let (start, n) = (branch.rows.start, branch.rows.len());
            let rotated = &mut rotated[start * size..];
            rotate(tables, shape, k.skip(start), n, rotated, size, 1.0);
        }
    }

    /// Rotates the queries of a block in some heads, `[heads, rows, head_size]`.
    fn rotate_queries(&self, tree: &Tree, block: &Block, heads: Range<usize>, rotated: &mut [f32]) {
        let (shape, n) = (self.shape, block.rows.len());
        let tables = self.tables.skip(block.view.first, shape.half);
        let rotated = rotated.chunks_exact_mut(n * shape.head_size);
        for (rotated, head) in rotated.zip(heads) {
            let q = self.queries(self.q, tree, block, head);
            rotate(tables, shape, q, n, rotated, shape.head_size, 1.0);
        }
    }
}

/// One task per tree and `together` heads; the longest first would balance better, but the order is the caller's.
fn tasks(trees: &[Tree], n_heads: usize, together: usize) -> Vec<(&Tree, Range<usize>)> {
    let groups = |tree| {
        let firsts = (0..n_heads).step_by(together);
        firsts.map(move |first| (tree, first..first + together))
    };
    trees.iter().flat_map(groups).collect()
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

/// Attention of every row to itself, to those before it in its sequence and to all rows that its sequence goes on from.
///
/// Fills `y [tokens, heads * head_size]`, and `log_sums [tokens, heads]` with the logarithm of each softmax's denominator, for the backward pass.
/// Rows outside all sequences are left alone.
///
/// # Panics
/// If the shapes do not fit together or a sequence is longer than the tables.
pub fn attend(input: Input<'_>, y: &mut [f32], log_sums: &mut [f32]) {
    let (shape, trees) = (input.shape, input.trees());
    let (size, query_size) = (shape.head_size, shape.query_size());
    assert_eq!(y.len(), input.q.len(), "an output per query");
    assert_eq!(
        log_sums.len() * size,
        y.len(),
        "a denominator per row and head"
    );
    let (y, log_sums) = (Shared::new(y), Shared::new(log_sums));
    // Heads that share their keys are one task, unless threads would have nothing to do.
    let enough = 2 * rayon::current_num_threads();
    let together = match trees.len() * shape.kv_heads {
        n if n >= enough => shape.group(),
        _ => 1,
    };
    let most = block_rows(together);
    let tasks = tasks(&trees, shape.heads, together);
    tasks.into_par_iter().for_each(|(tree, heads)| {
        let kv_head = heads.start / shape.group();
        let v = input.kv(input.v, tree, kv_head);
        let (area, widest) = (tree.rows.len() * size, together * most * tree.longest());
        let rows = together * most * size;
        with_scratch([area, rows, widest, rows], |parts| {
            let [keys, queries, scores, mixed] = parts;
            input.rotate_keys(tree, kv_head, keys);
            let keys = Strided::new(keys, size);
            let blocks = tree.branches.iter();
            for block in blocks.flat_map(|b| b.blocks(shape.window, most)) {
                let (height, width) = (block.rows.len(), block.view.width);
                input.rotate_queries(tree, &block, heads.clone(), queries);
                let scores = &mut scores[..together * height * width];
                input.raw_scores(queries, keys, &block, scores);
                let of_heads = scores.chunks_exact_mut(height * width);
                for (scores, head) in of_heads.zip(heads.clone()) {
                    let sums = softmax(scores, block.view, shape.scale, shape.soft_cap);
                    for (i, sum) in sums.iter().enumerate().take(height) {
                        let row = tree.rows.start + block.rows.start + i;
                        // SAFETY: each row and head belongs to exactly one task.
                        let place = unsafe { log_sums.part(row * shape.heads + head, 1) };
                        place[0] = *sum;
                    }
                }
                input.mix(scores, v, &block, mixed);
                let of_heads = mixed.chunks_exact(height * size);
                for (mixed, head) in of_heads.zip(heads.clone()) {
                    for (i, mixed) in mixed.chunks_exact(size).enumerate() {
                        let row = tree.rows.start + block.rows.start + i;
                        // SAFETY: as above.
                        let y = unsafe { y.part(row * query_size + head * size, size) };
                        y.copy_from_slice(mixed);
                    }
                }
            }
        });
    });
}

/// Scores that have a cap are scaled and capped; returns what is left to multiply them by.
#[inline(always)]
pub(crate) fn capped(scores: &mut [f32], scale: f32, soft_cap: Option<f32>) -> f32 {
    let Some(cap) = soft_cap else {
        return scale;
    };
    let narrow = scale / cap;
    for score in scores {
        *score = cap * tanh(*score * narrow);
    }
    1.0
}

vectorised! {
    /// Turns rows of raw scores into probabilities of what each sees; returns the logarithms of the denominators.
    pub(crate) fn softmax(scores: &mut [f32], view: View, scale: f32, soft_cap: Option<f32>) -> [f32; BLOCK] {
        let mut log_sums = [0.0; BLOCK];
        for (i, row) in scores.chunks_exact_mut(view.width).enumerate() {
            let seen = view.columns(i);
            row[..seen.start].fill(0.0);
            row[seen.end..].fill(0.0);
            let seen = &mut row[seen];
            let scale = capped(seen, scale, soft_cap);
            let shift = highest(seen) * scale;
            let total = exponentiate(seen, scale, shift);
            let share = 1.0 / total;
            for p in seen {
                *p *= share;
            }
            log_sums[i] = shift + total.ln();
        }
        log_sums
    }
}
