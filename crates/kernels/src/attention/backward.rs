//! The gradients of attention.

use rayon::prelude::*;

use super::{BLOCK, Input, View, block_rows, capped, tasks, with_scratch};
use crate::gemm::{Matrix, MatrixMut, Put};
use crate::math::{dot, exponentiate};
use crate::rope::{Strided, rotate};
use crate::shared::Shared;
use crate::vectorised::vectorised;

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

/// The gradients of [`attend`](super::attend), given that of its result and the logarithms it kept.
///
/// Keys and values gather theirs from all sequences that see them, in the order of the rows.
/// Rows outside all sequences are left alone.
///
/// # Panics
/// If the shapes do not fit together.
pub fn attend_backward(input: Input<'_>, log_sums: &[f32], grad: &[f32], out: Gradients<'_>) {
    let (shape, trees) = (input.shape, input.trees());
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
    let together = shape.group();
    let most = block_rows(together);
    let tasks = tasks(&trees, shape.heads, together);
    tasks.into_par_iter().for_each(|(tree, heads)| {
        let kv_head = heads.start / together;
        let v = input.kv(input.v, tree, kv_head);
        let (area, square) = (tree.rows.len() * size, together * most * size);
        let (longest, widest) = (tree.longest(), together * most * tree.longest());
        let lengths = [
            area, area, area, square, square, square, widest, widest, longest,
        ];
        with_scratch(lengths, |parts| {
            let [
                keys,
                d_keys,
                d_values,
                queries,
                d_queries,
                d_mixed,
                probs,
                slopes,
                bends,
            ] = parts;
            input.rotate_keys(tree, kv_head, keys);
            d_keys.fill(0.0);
            d_values.fill(0.0);
            let blocks = tree.branches.iter();
            for block in blocks.flat_map(|b| b.blocks(shape.window, most)) {
                let (height, width) = (block.rows.len(), block.view.width);
                let n = together * height;
                let (probs, slopes) = (&mut probs[..n * width], &mut slopes[..n * width]);
                let first_row = tree.rows.start + block.rows.start;
                input.rotate_queries(tree, &block, heads.clone(), queries);
                let of_heads = d_mixed.chunks_exact_mut(height * size);
                for (d_mixed, head) in of_heads.zip(heads.clone()) {
                    for (i, row) in d_mixed.chunks_exact_mut(size).enumerate() {
                        let start = (first_row + i) * query_size + head * size;
                        row.copy_from_slice(&grad[start..][..size]);
                    }
                }
                input.raw_scores(queries, Strided::new(keys, size), &block, probs);
                input.raw_scores(d_mixed, v, &block, slopes);
                let of_heads = probs
                    .chunks_exact_mut(height * width)
                    .zip(slopes.chunks_exact_mut(height * width));
                for ((probs, slopes), head) in of_heads.zip(heads.clone()) {
                    let log_sums = std::array::from_fn(|i| {
                        let row = first_row + i.min(height - 1);
                        log_sums[row * shape.heads + head]
                    });
                    let (scale, cap) = (shape.scale, shape.soft_cap);
                    softmax_backward(probs, slopes, bends, block.view, scale, cap, log_sums);
                }
                for (column, rows) in &block.pieces {
                    let n_keys = rows.len();
                    let of = |m| Matrix::with_step(m, n, n_keys, width);
                    let (p, s) = (of(&probs[*column..]), of(&slopes[*column..]));
                    let first = rows.start * size;
                    let d_values = MatrixMut::new(&mut d_values[first..], n_keys, size);
                    input.product(d_values, p.t(), Matrix::new(d_mixed, n, size), Put::Onto);
                    let q = Matrix::new(queries, n, size);
                    let d_keys = MatrixMut::new(&mut d_keys[first..], n_keys, size);
                    input.product(d_keys, s.t(), q, Put::Onto);
                }
                input.mix(slopes, Strided::new(keys, size), &block, d_queries);
                // A gradient is turned back by the angle that its row was turned by.
                let tables = input.tables.skip(block.view.first, shape.half);
                for (i, head) in heads.clone().enumerate() {
                    let turned = Strided::new(&d_queries[i * height * size..], size);
                    rotate(tables, shape, turned, height, queries, size, -1.0);
                    for (i, slope) in queries.chunks_exact(size).take(height).enumerate() {
                        let start = (first_row + i) * query_size + head * size;
                        // SAFETY: each row and head belongs to exactly one task.
                        let dq = unsafe { dq.part(start, size) };
                        dq.copy_from_slice(slope);
                    }
                }
            }
            for branch in &tree.branches {
                let tables = input.tables.skip(branch.first, shape.half);
                let (start, n) = (branch.rows.start, branch.rows.len());
                let turned = Strided::new(d_keys, size).skip(start);
                // The rotated keys are not needed any more.
                rotate(
                    tables,
                    shape,
                    turned,
                    n,
                    &mut keys[start * size..],
                    size,
                    -1.0,
                );
            }
            for i in branch_rows(tree) {
                let start = (tree.rows.start + i) * kv_size + kv_head * size;
                // SAFETY: each row and key-value head belongs to exactly one task.
                let (dk, dv) = unsafe { (dk.part(start, size), dv.part(start, size)) };
                dk.copy_from_slice(&keys[i * size..][..size]);
                dv.copy_from_slice(&d_values[i * size..][..size]);
            }
        });
    });
}

/// The rows of a tree that belong to a sequence.
fn branch_rows(tree: &super::Tree) -> impl Iterator<Item = usize> + '_ {
    tree.branches.iter().flat_map(|branch| branch.rows.clone())
}

vectorised! {
    /// Raw scores become probabilities, and gradients of probabilities those of raw scores.
    ///
    /// `bends`, of the width, is memory for the cap's derivative.
    fn softmax_backward(
        probs: &mut [f32],
        slopes: &mut [f32],
        bends: &mut [f32],
        view: View,
        scale: f32,
        soft_cap: Option<f32>,
        log_sums: [f32; BLOCK],
    ) {
        let width = view.width;
        let rows = probs.chunks_exact_mut(width).zip(slopes.chunks_exact_mut(width));
        for (i, (probs, slopes)) in rows.enumerate() {
            let seen = view.columns(i);
            for row in [&mut *probs, &mut *slopes] {
                row[..seen.start].fill(0.0);
                row[seen.end..].fill(0.0);
            }
            let (probs, slopes) = (&mut probs[seen.clone()], &mut slopes[seen]);
            let rest = capped(probs, scale, soft_cap);
            if let Some(cap) = soft_cap {
                for (bend, s) in bends.iter_mut().zip(&*probs) {
                    *bend = 1.0 - (s / cap) * (s / cap);
                }
            }
            exponentiate(probs, rest, log_sums[i]);
            let mean = dot(probs, slopes);
            for (slope, p) in slopes.iter_mut().zip(&*probs) {
                *slope = *p * (*slope - mean) * scale;
            }
            if soft_cap.is_some() {
                for (slope, bend) in slopes.iter_mut().zip(&*bends) {
                    *slope *= bend;
                }
            }
        }
    }
}
