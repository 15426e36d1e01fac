//! Attention of new tokens over what is already in a key-value cache.

use rayon::prelude::*;

use crate::attention::{BLOCK, Shape, Tables, View, capped, softmax, with_scratch};
use crate::gemm::{Matrix, MatrixMut, Put, Threads, multiply};
use crate::math::{dot, exponentiate, highest};
use crate::rope::{Strided, rotate};
use crate::shared::Shared;
use crate::vectorised::vectorised;

/// The rotated keys and the values of one sequence in one layer, each `[positions, kv_heads * head_size]`.
#[derive(Clone, Debug, Default)]
pub struct Past {
    /// Keys, rotated by their positions.
    pub keys: Vec<f32>,
    /// Values.
    pub values: Vec<f32>,
}

/// New tokens of several sequences, packed one sequence after the other.
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
    /// How many new tokens each sequence has.
    pub lengths: &'a [usize],
    /// Heads, rotation, scale, window and cap.
    pub shape: Shape,
}

/// Appends new keys and values to each sequence's past, then lets each new query attend to itself and to those before it that its window shows.
///
/// Returns `[tokens, heads * head_size]`.
///
/// # Panics
/// If the shapes do not fit together or a position lies past the tables.
#[must_use]
pub fn attend(input: Input<'_>, pasts: &mut [Past]) -> Vec<f32> {
    let shape = input.shape;
    shape.check();
    assert_eq!(input.lengths.len(), pasts.len(), "a past per sequence");
    let tokens: usize = input.lengths.iter().sum();
    assert_eq!(
        input.q.len(),
        tokens * shape.query_size(),
        "whole query rows"
    );
    assert_eq!(
        input.k.len(),
        tokens * shape.kv_size(),
        "a key row per query row"
    );
    assert_eq!(input.v.len(), input.k.len(), "a value per key");
    let mut y = vec![0.0; input.q.len()];
    let mut rest = &mut y[..];
    let mut first = 0;
    let mut tasks = Vec::with_capacity(pasts.len());
    for (past, &length) in pasts.iter_mut().zip(input.lengths) {
        let (part, others) = rest.split_at_mut(length * shape.query_size());
        tasks.push((past, first, part));
        (first, rest) = (first + length, others);
    }
    tasks.into_par_iter().for_each(|(past, first, y)| {
        let n = y.len() / shape.query_size();
        let before = past.keys.len() / shape.kv_size();
        append(&input, first, n, past);
        if n == 1 {
            attend_one_row(&input, first, before, past, y);
        } else {
            attend_rows(&input, first, before, past, y);
        }
    });
    y
}

/// Rotates and appends the keys of `n` rows from row `first` on, and appends their values.
fn append(input: &Input<'_>, first: usize, n: usize, past: &mut Past) {
    let (size, kv_size) = (input.shape.head_size, input.shape.kv_size());
    let rows = first * kv_size..(first + n) * kv_size;
    let filled = past.keys.len();
    past.keys.resize(filled + rows.len(), 0.0);
    for head in 0..input.shape.kv_heads {
        let k = Strided {
            entries: &input.k[rows.clone()],
            first: head * size,
            step: kv_size,
        };
        let tables = input.tables.skip(filled / kv_size, input.shape.half);
        rotate(
            tables,
            input.shape,
            k,
            n,
            &mut past.keys[filled + head * size..],
            kv_size,
            1.0,
        );
    }
    past.values.extend_from_slice(&input.v[rows]);
}

/// A single new token: two passes over the past, no matrix products.
fn attend_one_row(input: &Input<'_>, row: usize, before: usize, past: &Past, y: &mut [f32]) {
    let shape = input.shape;
    let (size, kv_size) = (shape.head_size, shape.kv_size());
    let tables = input.tables.skip(before, shape.half);
    let seen = View::new(before..before + 1, shape.window).positions();
    let rows = seen.start * kv_size..seen.end * kv_size;
    let (keys, values) = (&past.keys[rows.clone()], &past.values[rows]);
    with_scratch([size, seen.len()], |[q_rot, scores]| {
        for (head, y) in y.chunks_exact_mut(size).enumerate() {
            let first = row * shape.query_size() + head * size;
            let q = Strided {
                entries: input.q,
                first,
                step: size,
            };
            rotate(tables, shape, q, 1, q_rot, size, 1.0);
            let columns = head / shape.group() * size;
            mix(q_rot, keys, values, columns, shape, scores, y);
        }
    });
}

vectorised! {
    /// One query over the columns of its head, from `columns` on, in every row of keys and values.
    fn mix(
        q: &[f32],
        keys: &[f32],
        values: &[f32],
        columns: usize,
        shape: Shape,
        scores: &mut [f32],
        y: &mut [f32],
    ) {
        let (size, kv_size) = (q.len(), shape.kv_size());
        for (score, keys) in scores.iter_mut().zip(keys.chunks_exact(kv_size)) {
            *score = dot(q, &keys[columns..][..size]);
        }
        let scale = capped(scores, shape.scale, shape.soft_cap);
        let top = highest(scores) * scale;
        let share = 1.0 / exponentiate(scores, scale, top);
        y.fill(0.0);
        for (p, values) in scores.iter().zip(values.chunks_exact(kv_size)) {
            let p = p * share;
            for (y, v) in y.iter_mut().zip(&values[columns..][..size]) {
                *y += p * v;
            }
        }
    }
}

/// Several new tokens, such as a prompt: blocks of rows as in [`attention`](crate::attention).
fn attend_rows(input: &Input<'_>, first_row: usize, before: usize, past: &Past, y: &mut [f32]) {
    let shape = input.shape;
    let (size, query_size) = (shape.head_size, shape.query_size());
    let n = y.len() / query_size;
    let tables = input.tables.skip(before, shape.half);
    let y = Shared::new(y);
    (0..shape.heads).into_par_iter().for_each(|head| {
        let kv = |entries| Strided {
            entries,
            first: head / shape.group() * size,
            step: shape.kv_size(),
        };
        let (k, v) = (kv(&past.keys), kv(&past.values));
        with_scratch(
            [n * size, BLOCK * (before + n), BLOCK * size],
            |[q_rot, scores, mixed]| {
                let first = first_row * query_size + head * size;
                let q = Strided {
                    entries: input.q,
                    first,
                    step: query_size,
                };
                rotate(tables, shape, q, n, q_rot, size, 1.0);
                for start in (0..n).step_by(BLOCK) {
                    let height = BLOCK.min(n - start);
                    let first = before + start;
                    let view = View::new(first..first + height, shape.window);
                    let (keys, width) = (view.positions(), view.width);
                    let scores = &mut scores[..height * width];
                    multiply(
                        MatrixMut::new(scores, height, width),
                        Matrix::new(&q_rot[start * size..], height, size),
                        k.skip(keys.start).matrix(width, size).t(),
                        1.0,
                        Put::Over,
                        Threads::One,
                    );
                    softmax(scores, view, shape.scale, shape.soft_cap);
                    multiply(
                        MatrixMut::new(mixed, height, size),
                        Matrix::new(scores, height, width),
                        v.skip(keys.start).matrix(width, size),
                        1.0,
                        Put::Over,
                        Threads::One,
                    );
                    for (i, mixed) in mixed.chunks_exact(size).take(height).enumerate() {
                        // SAFETY: each row of each head belongs to exactly one task.
                        let y = unsafe { y.part((start + i) * query_size + head * size, size) };
                        y.copy_from_slice(mixed);
                    }
                }
            },
        );
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attention;
    use crate::gemm::Precision;
    use crate::testing::{assert_close, values};

    /// The plain reference is attention over the whole sequence at once.
    #[test]
    fn reading_piece_by_piece_equals_reading_at_once() {
        check(None, None);
        check(Some(1), None);
        check(Some(67), None);
        check(None, Some(0.3));
        check(Some(8), Some(0.3));
    }

    fn check(window: Option<usize>, soft_cap: Option<f32>) {
        let shape = Shape {
            heads: 4,
            kv_heads: 2,
            head_size: 6,
            half: 2,
            scale: 0.6,
            window,
            soft_cap,
        };
        let n = 150;
        let (q, k, v) = (values(n * 24, 1), values(n * 12, 2), values(n * 12, 3));
        let (cos, sin) = (values(n * 2, 4), values(n * 2, 5));
        let tables = Tables {
            cos: &cos,
            sin: &sin,
        };
        let whole = attention::attend_plain(attention::Input {
            q: &q,
            k: &k,
            v: &v,
            tables,
            sequences: &[attention::Sequence {
                rows: 0..n,
                parent: None,
            }],
            shape,
            precision: Precision::F32,
        });
        for pieces in [&[150][..], &[1, 1, 148], &[70, 1, 1, 78], &[149, 1]] {
            let mut pasts = [Past::default()];
            let mut first = 0;
            let mut joined = Vec::new();
            for &length in pieces {
                let rows = first..first + length;
                let of =
                    |x: &'_ [f32], width: usize| x[rows.start * width..rows.end * width].to_vec();
                let (q, k, v) = (of(&q, 24), of(&k, 12), of(&v, 12));
                let input = Input {
                    q: &q,
                    k: &k,
                    v: &v,
                    tables,
                    lengths: &[length],
                    shape,
                };
                joined.extend(attend(input, &mut pasts));
                first += length;
            }
            assert_close(&joined, &whole, 1e-5);
        }
    }
}
