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

/// Query rows whose scores exist at one time.
pub(crate) const BLOCK: usize = 64;

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

    /// The query heads that a key-value head serves.
    pub(crate) fn heads_of(&self, kv_head: usize) -> Range<usize> {
        kv_head * self.group()..(kv_head + 1) * self.group()
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

    /// `scores [height, width] = q k'`, `k` the rotated keys of the whole tree.
    fn raw_scores(&self, q: &[f32], k: &[f32], block: &Block, scores: &mut [f32]) {
        let (height, width) = (block.rows.len(), block.view.width);
        let size = self.shape.head_size;
        for (column, rows) in &block.pieces {
            self.product(
                MatrixMut::with_step(&mut scores[*column..], height, rows.len(), width),
                Matrix::new(q, height, size),
                Matrix::new(&k[rows.start * size..], rows.len(), size).t(),
                Put::Over,
            );
        }
    }

    /// `mixed [height, size] = probabilities v`
    fn mix(&self, probabilities: &[f32], v: Strided<'_>, block: &Block, mixed: &mut [f32]) {
        let (height, width) = (block.rows.len(), block.view.width);
        let size = self.shape.head_size;
        for (column, rows) in &block.pieces {
            self.product(
                MatrixMut::new(mixed, height, size),
                Matrix::with_step(&probabilities[*column..], height, rows.len(), width),
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

    /// Rotates the queries of a block, `[rows, head_size]`.
    fn rotate_queries(&self, tree: &Tree, block: &Block, head: usize, rotated: &mut [f32]) {
        let (shape, n) = (self.shape, block.rows.len());
        let tables = self.tables.skip(block.view.first, shape.half);
        let q = self.queries(self.q, tree, block, head);
        rotate(tables, shape, q, n, rotated, shape.head_size, 1.0);
    }
}

/// One task per tree and head; the longest first would balance better, but the order is the caller's.
fn tasks(trees: &[Tree], n_heads: usize) -> Vec<(&Tree, usize)> {
    let heads = |tree| (0..n_heads).map(move |head| (tree, head));
    trees.iter().flat_map(heads).collect()
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
    // Heads that share their keys rotate them each for themselves: that is little beside the products, and all threads have work where there is one tree.
    let tasks = tasks(&trees, shape.heads);
    tasks.into_par_iter().for_each(|(tree, head)| {
        let kv_head = head / shape.group();
        let v = input.kv(input.v, tree, kv_head);
        let (area, widest) = (tree.rows.len() * size, BLOCK * tree.longest());
        let lengths = [area, BLOCK * size, widest, BLOCK * size];
        with_scratch(lengths, |[keys, queries, scores, mixed]| {
            input.rotate_keys(tree, kv_head, keys);
            let blocks = tree.branches.iter().flat_map(|b| b.blocks(shape.window));
            for block in blocks {
                let (height, width) = (block.rows.len(), block.view.width);
                input.rotate_queries(tree, &block, head, queries);
                let scores = &mut scores[..height * width];
                input.raw_scores(queries, keys, &block, scores);
                let sums = softmax(scores, block.view, shape.scale, shape.soft_cap);
                input.mix(scores, v, &block, mixed);
                for (i, mixed) in mixed.chunks_exact(size).take(height).enumerate() {
                    let row = tree.rows.start + block.rows.start + i;
                    // SAFETY: each row and head belongs to exactly one task.
                    let (y, log_sum) = unsafe {
                        (
                            y.part(row * query_size + head * size, size),
                            log_sums.part(row * shape.heads + head, 1),
                        )
                    };
                    y.copy_from_slice(mixed);
                    log_sum[0] = sums[i];
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
