//! One query row against what a cache holds.

use crate::cached::Past;
use crate::math::{dot, exponentiate, highest};
use crate::vectorised::vectorised;

/// Lets one query row of all heads attend to every row of `past`.
///
/// `bias`, where not empty, is added to the scores: `[heads, rows of past]`.
/// `scores` is room for as many numbers as `past` has rows; `y` has the length of `q`.
///
/// # Panics
/// If the shapes do not fit together.
pub fn attend_row(
    q: &[f32],
    past: &Past,
    heads: usize,
    bias: &[f32],
    scores: &mut [f32],
    y: &mut [f32],
) {
    let size = q.len() / heads;
    let step = q.len();
    let n = past.keys.len() / step;
    assert!(n > 0 && past.values.len() == n * q.len(), "whole rows");
    assert!(
        bias.is_empty() || bias.len() == heads * n,
        "a bias per score"
    );
    let heads = q.chunks_exact(size).zip(y.chunks_exact_mut(size));
    for (head, (q, y)) in heads.enumerate() {
        let bias = bias.get(head * n..(head + 1) * n).unwrap_or_default();
        mix(q, past, head * size, step, bias, &mut scores[..n], y);
    }
}

vectorised! {
    /// One query over the columns of its head, from `columns` on, in every row of the past.
    fn mix(
        q: &[f32],
        past: &Past,
        columns: usize,
        step: usize,
        bias: &[f32],
        scores: &mut [f32],
        y: &mut [f32],
    ) {
        let size = q.len();
        for (score, keys) in scores.iter_mut().zip(past.keys.chunks_exact(step)) {
            *score = dot(q, &keys[columns..][..size]);
        }
        for (score, bias) in scores.iter_mut().zip(bias) {
            *score += bias;
        }
        let top = highest(scores);
        let share = 1.0 / exponentiate(scores, 1.0, top);
        y.fill(0.0);
        for (p, values) in scores.iter().zip(past.values.chunks_exact(step)) {
            let p = p * share;
            for (y, v) in y.iter_mut().zip(&values[columns..][..size]) {
                *y += p * v;
            }
        }
    }
}
