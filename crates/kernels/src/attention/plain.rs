//! Attention by its definition.

use super::Input;

/// The plain reference of [`attend`](super::attend).
///
/// # Panics
/// If the shapes do not fit together.
#[must_use]
pub fn attend_plain(input: Input<'_>) -> Vec<f32> {
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
    for index in 0..input.sequences.len() {
        let chain = chain(&input, index);
        let own = input.sequences[index].rows.len();
        let places = chain.len() - own..chain.len();
        for (i, head) in places.flat_map(|i| (0..shape.heads).map(move |head| (i, head))) {
            let query_first = chain[i] * shape.query_size() + head * size;
            let kv_first = |p: usize| chain[p] * shape.kv_size() + head / shape.group() * size;
            let q = rotated(&input.q[query_first..][..size], i);
            let score = |p: usize| -> f32 {
                let k = rotated(&input.k[kv_first(p)..][..size], p);
                let score = q.iter().zip(&k).map(|(a, b)| a * b).sum::<f32>() * shape.scale;
                shape
                    .soft_cap
                    .map_or(score, |cap| cap * (score / cap).tanh())
            };
            let start = shape
                .window
                .map_or(0, |window| (i + 1).saturating_sub(window));
            let scores: Vec<f32> = (start..=i).map(score).collect();
            let top = scores.iter().copied().fold(f32::MIN, f32::max);
            let total: f32 = scores.iter().map(|s| (s - top).exp()).sum();
            for (p, s) in (start..).zip(&scores) {
                for j in 0..size {
                    y[query_first + j] += (s - top).exp() / total * input.v[kv_first(p) + j];
                }
            }
        }
    }
    y
}

/// The rows at the positions from 0 to the end of a sequence.
fn chain(input: &Input<'_>, index: usize) -> Vec<usize> {
    let sequence = &input.sequences[index];
    let mut rows = sequence
        .parent
        .map_or_else(Vec::new, |parent| chain(input, parent));
    rows.extend(sequence.rows.clone());
    rows
}
