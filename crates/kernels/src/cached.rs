//! Attention of new tokens over what is already in a key-value cache.

use rayon::prelude::*;

/// The rotated keys and the values of one sequence in one layer, each `[positions, kv_heads * head_size]`.
#[derive(Clone, Debug, Default)]
pub struct Past {
    /// Keys, rotated by their positions.
    pub keys: Vec<f32>,
    /// Values.
    pub values: Vec<f32>,
}

/// Heads, rotation and scale of one layer's attention.
#[derive(Clone, Copy, Debug)]
pub struct CachedShape {
    /// Query heads.
    pub heads: usize,
    /// Heads of keys and values.
    pub kv_heads: usize,
    /// Features of one head.
    pub head_size: usize,
    /// Pairs of features that are rotated.
    pub half: usize,
    /// What scores are multiplied by.
    pub scale: f32,
}

/// Appends new keys and values to each sequence's past and lets the new queries attend.
///
/// `q` is `[tokens, heads * head_size]`, `k` and `v` `[tokens, kv_heads * head_size]`, packed by `lengths`; the tables are `[positions, half]`, cosine and sine.
/// Returns `[tokens, heads * head_size]`.
///
/// # Panics
/// If the shapes do not fit together or a position lies past the tables.
#[must_use]
pub fn attend(
    q: &[f32],
    k: &[f32],
    v: &[f32],
    tables: (&[f32], &[f32]),
    lengths: &[usize],
    pasts: &mut [Past],
    shape: CachedShape,
) -> Vec<f32> {
    let (query_size, kv_size) = (
        shape.heads * shape.head_size,
        shape.kv_heads * shape.head_size,
    );
    let mut row = 0;
    let starts: Vec<usize> = lengths
        .iter()
        .map(|length| {
            row += length;
            row - length
        })
        .collect();
    let outputs: Vec<Vec<f32>> = pasts
        .par_iter_mut()
        .zip(starts.par_iter().zip(lengths))
        .map(|(past, (&start, &length))| {
            let rows = start..start + length;
            let q = &q[rows.start * query_size..rows.end * query_size];
            let k = &k[rows.start * kv_size..rows.end * kv_size];
            let v = &v[rows.start * kv_size..rows.end * kv_size];
            attend_plain(q, k, v, tables, past, shape)
        })
        .collect();
    outputs.concat()
}

/// The plain reference for one sequence.
///
/// # Panics
/// If the shapes do not fit together or a position lies past the tables.
#[must_use]
pub fn attend_plain(
    q: &[f32],
    k: &[f32],
    v: &[f32],
    (cos, sin): (&[f32], &[f32]),
    past: &mut Past,
    shape: CachedShape,
) -> Vec<f32> {
    let CachedShape {
        heads,
        kv_heads,
        head_size,
        half,
        scale,
    } = shape;
    let kv_size = kv_heads * head_size;
    let group = heads / kv_heads;
    let rotated = |x: &[f32], position: usize| {
        let mut y = x.to_vec();
        for j in 0..half {
            let (c, s) = (cos[position * half + j], sin[position * half + j]);
            y[j] = x[j] * c - x[j + half] * s;
            y[j + half] = x[j + half] * c + x[j] * s;
        }
        y
    };
    let before = past.keys.len() / kv_size;
    for (i, row) in k.chunks_exact(kv_size).enumerate() {
        for head in row.chunks_exact(head_size) {
            past.keys.extend(rotated(head, before + i));
        }
    }
    past.values.extend_from_slice(v);
    let mut mixed = Vec::with_capacity(q.len());
    for (i, row) in q.chunks_exact(heads * head_size).enumerate() {
        let position = before + i;
        for (head, query) in row.chunks_exact(head_size).enumerate() {
            let query = rotated(query, position);
            let at = |p: usize| {
                let first = p * kv_size + head / group * head_size;
                first..first + head_size
            };
            let scores: Vec<f32> = (0..=position)
                .map(|p| {
                    let key = &past.keys[at(p)];
                    query.iter().zip(key).map(|(a, b)| a * b).sum::<f32>() * scale
                })
                .collect();
            let highest = scores.iter().copied().fold(f32::MIN, f32::max);
            let sizes: Vec<f32> = scores.iter().map(|s| (s - highest).exp()).collect();
            let total: f32 = sizes.iter().sum();
            let mut sum = vec![0.0; head_size];
            for (p, size) in sizes.iter().enumerate() {
                for (sum, value) in sum.iter_mut().zip(&past.values[at(p)]) {
                    *sum += size / total * value;
                }
            }
            mixed.extend(sum);
        }
    }
    mixed
}
