//! The output head: cross-entropy over a vocabulary, logits in pieces and never whole.

use rayon::prelude::*;

use crate::gemm::{Matrix, MatrixMut, Precision, Put, multiply_in};
use crate::math::{exponentiate, highest, tanh};
use crate::vectorised::vectorised;

/// Logits that exist at one time, about: 64 MB.
const LOGITS: usize = 1 << 24;

/// Logits that one task caps.
const PIECE: usize = 1 << 14;

/// A head and the rows it is asked about, all of which have a target.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// `[n, size]`
    pub x: &'a [f32],
    /// `[vocab, size]`
    pub weight: &'a [f32],
    /// `[vocab]`
    pub bias: Option<&'a [f32]>,
    /// Logits `l` become `cap tanh(l / cap)`.
    pub soft_cap: Option<f32>,
    /// The token wanted at each row.
    pub targets: &'a [u32],
    /// How exact the products are.
    pub precision: Precision,
}

impl Input<'_> {
    pub(crate) fn size(&self) -> usize {
        self.x.len() / self.targets.len().max(1)
    }

    pub(crate) fn vocab(&self) -> usize {
        self.weight.len() / self.size().max(1)
    }

    pub(crate) fn check(&self) {
        let (size, vocab) = (self.size(), self.vocab());
        assert_eq!(self.x.len(), self.targets.len() * size, "a row per target");
        assert_eq!(self.weight.len(), vocab * size, "whole rows of weights");
        assert!(
            self.bias.is_none_or(|bias| bias.len() == vocab),
            "a bias per token"
        );
        assert!(
            self.targets.iter().all(|&t| (t as usize) < vocab),
            "targets within the vocabulary"
        );
    }

    /// Rows per piece.
    pub(crate) fn height(&self) -> usize {
        height(self.vocab(), self.targets.len())
    }

    /// How many logits exist at one time.
    #[must_use]
    pub fn logits_at_a_time(&self) -> usize {
        logits_at_a_time(self.vocab(), self.targets.len())
    }

    /// The logits of a piece, `[rows, vocab]`.
    pub(crate) fn logits(&self, x: &[f32], logits: &mut [f32]) {
        let (size, vocab) = (self.size(), self.vocab());
        let rows = x.len() / size;
        multiply_in(
            self.precision,
            MatrixMut::new(logits, rows, vocab),
            Matrix::new(x, rows, size),
            Matrix::new(self.weight, vocab, size).t(),
            1.0,
            Put::Over,
        );
        if let Some(bias) = self.bias {
            logits.par_chunks_mut(vocab).for_each(|row| {
                for (logit, b) in row.iter_mut().zip(bias) {
                    *logit += b;
                }
            });
        }
        if let Some(cap) = self.soft_cap {
            soft_cap(logits, cap);
        }
    }
}

/// Each logit `l` becomes `cap tanh(l / cap)`, so that none is beyond the cap.
pub fn soft_cap(logits: &mut [f32], cap: f32) {
    logits
        .par_chunks_mut(PIECE)
        .for_each(|piece| soft_cap_piece(piece, cap));
}

vectorised! {
    fn soft_cap_piece(logits: &mut [f32], cap: f32) {
        for logit in logits {
            *logit = cap * tanh(*logit / cap);
        }
    }
}

/// Rows per piece.
fn height(vocab: usize, rows: usize) -> usize {
    (LOGITS / vocab.max(1)).clamp(64, 1024).min(rows)
}

/// How many logits of so many rows exist at one time.
#[must_use]
pub fn logits_at_a_time(vocab: usize, rows: usize) -> usize {
    height(vocab, rows) * vocab
}

/// Where gradients go, each where it is wanted; `weight` and `bias` are added to.
#[derive(Debug, Default)]
pub struct Gradients<'a> {
    /// `[n, size]`, overwritten.
    pub x: Option<&'a mut [f32]>,
    /// `[vocab, size]`
    pub weight: Option<&'a mut [f32]>,
    /// `[vocab]`
    pub bias: Option<&'a mut [f32]>,
}

/// What a model thinks of one token.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Scored {
    /// The natural logarithm of its probability.
    pub log_probability: f32,
    /// 1 and how many tokens have a greater logit.
    pub rank: u32,
}

/// The log-probability of each target, in nats.
///
/// # Panics
/// If the shapes do not fit together.
pub fn log_likelihood(input: Input<'_>, found: &mut [f32]) {
    let mut logits = vec![0.0; input.logits_at_a_time()];
    each_row(input, found, &mut logits, |row, target| {
        row[target] - log_sum(row)
    });
}

/// The log-probability and the rank of each target.
///
/// `logits` is memory for the pieces, [`Input::logits_at_a_time`] entries that may hold anything.
///
/// # Panics
/// If the shapes do not fit together.
pub fn score(input: Input<'_>, found: &mut [Scored], logits: &mut [f32]) {
    each_row(input, found, logits, |row, target| Scored {
        rank: 1 + n_above(row, row[target]),
        log_probability: row[target] - log_sum(row),
    });
}

/// What `look` finds in each row's logits, which it may overwrite, for the row's target.
fn each_row<T: Send>(
    input: Input<'_>,
    found: &mut [T],
    logits: &mut [f32],
    look: impl Fn(&mut [f32], usize) -> T + Sync,
) {
    input.check();
    assert_eq!(found.len(), input.targets.len(), "a place per target");
    if input.targets.is_empty() {
        return;
    }
    let (size, vocab, height) = (input.size(), input.vocab(), input.height());
    let pieces = input
        .x
        .chunks(height * size)
        .zip(input.targets.chunks(height));
    for ((x, targets), found) in pieces.zip(found.chunks_mut(height)) {
        let logits = &mut logits[..targets.len() * vocab];
        input.logits(x, logits);
        let rows = logits.par_chunks_mut(vocab).zip(targets);
        found
            .par_iter_mut()
            .zip(rows)
            .for_each(|(found, (row, &target))| *found = look(row, target as usize));
    }
}

/// The sum of `weights[i]` times the negative log-probability of target `i`, and its gradients.
///
/// `logits` is memory for the pieces, [`Input::logits_at_a_time`] entries that may hold anything.
///
/// # Panics
/// If the shapes do not fit together.
pub fn loss(input: Input<'_>, weights: &[f32], out: Gradients<'_>, logits: &mut [f32]) -> f64 {
    assert_eq!(weights.len(), input.targets.len(), "a weight per target");
    let vocab = input.vocab();
    in_pieces(input, out, logits, |first, logits| {
        let rows = logits.len() / vocab;
        loss_of_piece(
            logits,
            vocab,
            &input.targets[first..][..rows],
            &weights[first..][..rows],
            input.soft_cap,
        )
    })
}

/// Goes through the rows piece by piece: `slopes` is given a piece's first row and its logits, turns these into the loss's gradient for them, and returns the loss; the sum comes back.
pub(crate) fn in_pieces(
    input: Input<'_>,
    mut out: Gradients<'_>,
    logits: &mut [f32],
    mut slopes: impl FnMut(usize, &mut [f32]) -> f64,
) -> f64 {
    input.check();
    if input.targets.is_empty() {
        return 0.0;
    }
    let (size, vocab, height) = (input.size(), input.vocab(), input.height());
    let mut total = 0.0;
    for (piece, x) in input.x.chunks(height * size).enumerate() {
        let first = piece * height;
        let rows = x.len() / size;
        let logits = &mut logits[..rows * vocab];
        input.logits(x, logits);
        total += slopes(first, logits);
        let slopes = Matrix::new(logits, rows, vocab);
        if let Some(dx) = &mut out.x {
            let dx = MatrixMut::new(&mut dx[first * size..][..rows * size], rows, size);
            let weight = Matrix::new(input.weight, vocab, size);
            multiply_in(input.precision, dx, slopes, weight, 1.0, Put::Over);
        }
        if let Some(d_weight) = &mut out.weight {
            let d_weight = MatrixMut::new(d_weight, vocab, size);
            multiply_in(
                input.precision,
                d_weight,
                slopes.t(),
                Matrix::new(x, rows, size),
                1.0,
                Put::Onto,
            );
        }
        if let Some(d_bias) = &mut out.bias {
            for row in logits.chunks_exact(vocab) {
                for (sum, g) in d_bias.iter_mut().zip(row) {
                    *sum += g;
                }
            }
        }
    }
    total
}

/// Logits become the loss's gradient for them, before any cap; returns the loss.
fn loss_of_piece(
    logits: &mut [f32],
    vocab: usize,
    targets: &[u32],
    weights: &[f32],
    soft_cap: Option<f32>,
) -> f64 {
    let rows = logits
        .par_chunks_mut(vocab)
        .zip(targets.par_iter().zip(weights));
    let losses: Vec<f64> = rows
        .map_init(Vec::new, |memory, (row, (&target, &weight))| {
            let wanted = row[target as usize];
            let log_sum = under_cap(row, soft_cap, memory, |row| {
                let log_sum = slopes(row, weight);
                row[target as usize] -= weight;
                log_sum
            });
            f64::from(weight) * f64::from(log_sum - wanted)
        })
        .collect();
    losses.iter().sum()
}

/// Lets `slopes` turn a row of capped logits into gradients for them, and these into gradients for the logits before the cap.
pub(crate) fn under_cap<R>(
    row: &mut [f32],
    soft_cap: Option<f32>,
    memory: &mut Vec<f32>,
    slopes: impl FnOnce(&mut [f32]) -> R,
) -> R {
    let Some(cap) = soft_cap else {
        return slopes(row);
    };
    memory.clear();
    memory.extend_from_slice(row);
    let found = slopes(row);
    through_cap(row, memory, cap);
    found
}

vectorised! {
    /// Gradients for capped logits become those for the logits before.
    fn through_cap(grad: &mut [f32], capped: &[f32], cap: f32) {
        for (g, c) in grad.iter_mut().zip(capped) {
            let share = c / cap;
            *g *= 1.0 - share * share;
        }
    }
}

vectorised! {
    /// How many entries are greater than `bound`.
    fn n_above(row: &[f32], bound: f32) -> u32 {
        row.iter().map(|&x| u32::from(x > bound)).sum()
    }
}

vectorised! {
    /// The logarithm of the sum of the exponentials of `row`, which is overwritten.
    fn log_sum(row: &mut [f32]) -> f32 {
        let top = highest(row);
        top + exponentiate(row, 1.0, top).ln()
    }
}

vectorised! {
    /// Logits become probabilities times `weight`; returns the logarithm of the sum of their exponentials.
    fn slopes(row: &mut [f32], weight: f32) -> f32 {
        let top = highest(row);
        let total = exponentiate(row, 1.0, top);
        let share = weight / total;
        for p in row.iter_mut() {
            *p *= share;
        }
        top + total.ln()
    }
}

/// The plain reference: the log-probability of `target` at one row.
#[must_use]
pub fn log_likelihood_plain(
    x: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
    soft_cap: Option<f32>,
    target: u32,
) -> f64 {
    let logits: Vec<f64> = weight
        .chunks(x.len())
        .enumerate()
        .map(|(token, w)| {
            let product: f64 = x
                .iter()
                .zip(w)
                .map(|(a, b)| f64::from(*a) * f64::from(*b))
                .sum();
            let logit = product + bias.map_or(0.0, |bias| f64::from(bias[token]));
            match soft_cap.map(f64::from) {
                Some(cap) => cap * (logit / cap).tanh(),
                None => logit,
            }
        })
        .collect();
    let total: f64 = logits.iter().map(|l| l.exp()).sum();
    logits[target as usize] - total.ln()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, values};

    const SIZE: usize = 5;
    const VOCAB: usize = 37;

    fn plain_loss(
        x: &[f32],
        weight: &[f32],
        bias: &[f32],
        soft_cap: Option<f32>,
        targets: &[u32],
        weights: &[f32],
    ) -> f64 {
        let rows = x.chunks(SIZE).zip(targets).zip(weights);
        rows.map(|((x, &t), &w)| {
            -f64::from(w) * log_likelihood_plain(x, weight, Some(bias), soft_cap, t)
        })
        .sum()
    }

    #[test]
    fn loss_and_gradients_agree_with_the_plain_reference() {
        check_gradients(None);
        check_gradients(Some(1.5));
    }

    fn check_gradients(soft_cap: Option<f32>) {
        let n = 7;
        let (x, weight, bias) = (
            values(n * SIZE, 1),
            values(VOCAB * SIZE, 2),
            values(VOCAB, 3),
        );
        let targets: Vec<u32> = (0..n as u32).map(|i| i * 5 % VOCAB as u32).collect();
        let weights: Vec<f32> = (0..n).map(|i| 0.5 + i as f32).collect();
        let input = Input {
            x: &x,
            weight: &weight,
            bias: Some(&bias),
            soft_cap,
            targets: &targets,
            precision: Precision::F32,
        };
        let (mut dx, mut dw, mut db) = (
            vec![0.0; x.len()],
            vec![0.0; weight.len()],
            vec![0.0; VOCAB],
        );
        let out = Gradients {
            x: Some(&mut dx),
            weight: Some(&mut dw),
            bias: Some(&mut db),
        };
        let got = loss(
            input,
            &weights,
            out,
            &mut vec![0.0; input.logits_at_a_time()],
        );
        let expected = plain_loss(&x, &weight, &bias, soft_cap, &targets, &weights);
        assert!((got - expected).abs() < 1e-5 * expected);

        let slopes = |v: &[f32], loss: &dyn Fn(&[f32]) -> f64| -> Vec<f32> {
            let mut v = v.to_vec();
            (0..v.len())
                .map(|i| {
                    let before = v[i];
                    v[i] = before + 1e-2;
                    let above = loss(&v);
                    v[i] = before - 1e-2;
                    let below = loss(&v);
                    v[i] = before;
                    ((above - below) / 2e-2) as f32
                })
                .collect()
        };
        assert_close(
            &dx,
            &slopes(&x, &|x| {
                plain_loss(x, &weight, &bias, soft_cap, &targets, &weights)
            }),
            1e-4,
        );
        assert_close(
            &dw,
            &slopes(&weight, &|w| {
                plain_loss(&x, w, &bias, soft_cap, &targets, &weights)
            }),
            1e-4,
        );
        assert_close(
            &db,
            &slopes(&bias, &|b| {
                plain_loss(&x, &weight, b, soft_cap, &targets, &weights)
            }),
            1e-4,
        );
    }

    #[test]
    fn pieces_add_up_to_the_whole() {
        // More rows than one piece holds.
        let n = 2100;
        let (x, weight) = (values(n * SIZE, 1), values(VOCAB * SIZE, 2));
        let targets: Vec<u32> = (0..n as u32).map(|i| i * 5 % VOCAB as u32).collect();
        let input = Input {
            x: &x,
            weight: &weight,
            bias: None,
            soft_cap: None,
            targets: &targets,
            precision: Precision::F32,
        };
        let mut found = vec![0.0; n];
        log_likelihood(input, &mut found);
        let rows = x.chunks(SIZE).zip(&targets);
        let expected: Vec<f32> = rows
            .map(|(x, &t)| log_likelihood_plain(x, &weight, None, None, t) as f32)
            .collect();
        assert_close(&found, &expected, 1e-6);
        let total = loss(
            input,
            &vec![1.0; n],
            Gradients::default(),
            &mut vec![0.0; input.logits_at_a_time()],
        );
        let expected: f64 = expected.iter().map(|&v| -f64::from(v)).sum();
        assert!((total - expected).abs() < 1e-5 * expected);
    }

    #[test]
    fn a_rank_is_one_and_how_many_are_likelier() {
        // Logits 0, 1, 2, 2, -1: of equal ones neither is above the other.
        let weight = [0.0, 1.0, 2.0, 2.0, -1.0];
        let targets = [0, 1, 2, 3, 4];
        let input = Input {
            x: &[1.0; 5],
            weight: &weight,
            bias: None,
            soft_cap: None,
            targets: &targets,
            precision: Precision::F32,
        };
        let mut found = [Scored::default(); 5];
        score(input, &mut found, &mut [0.0; 25]);
        assert_eq!(found.map(|token| token.rank), [4, 3, 1, 1, 5]);
        let mut likelihoods = [0.0; 5];
        log_likelihood(input, &mut likelihoods);
        assert_close(
            &found.map(|token| token.log_probability),
            &likelihoods,
            1e-6,
        );
    }
}
