//! AdamW as one pass over memory, and the norm of a gradient.

use rayon::prelude::*;

use crate::math::LANES;
use crate::vectorised::vectorised;

/// Entries that one task works on.
const PIECE: usize = 1 << 14;

/// The constants of one update.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// How much of the running mean of gradients is kept.
    pub beta1: f32,
    /// How much of the running mean of squares is kept.
    pub beta2: f32,
    /// What the first moment is divided by, since it started from zero.
    pub correction1: f32,
    /// What the second moment is divided by, since it started from zero.
    pub correction2: f32,
    /// Added to the root of the second moment.
    pub epsilon: f32,
    /// The rate after any schedule.
    pub learning_rate: f32,
    /// Decoupled decay, before the rate.
    pub weight_decay: f32,
    /// The gradient is multiplied by this first.
    pub grad_scale: f32,
}

/// Updates a parameter and its two moments.
///
/// # Panics
/// If the lengths differ.
pub fn update(param: &mut [f32], grad: &[f32], first: &mut [f32], second: &mut [f32], step: &Step) {
    let n = param.len();
    assert!(
        [grad.len(), first.len(), second.len()] == [n; 3],
        "equal lengths"
    );
    let moments = first
        .par_chunks_mut(PIECE)
        .zip(second.par_chunks_mut(PIECE));
    let pieces = param
        .par_chunks_mut(PIECE)
        .zip(grad.par_chunks(PIECE))
        .zip(moments);
    pieces.for_each(|((param, grad), (first, second))| {
        update_piece(param, grad, first, second, step);
    });
}

vectorised! {
    fn update_piece(param: &mut [f32], grad: &[f32], first: &mut [f32], second: &mut [f32], step: &Step) {
        let n = param.len();
        let (grad, first, second) = (&grad[..n], &mut first[..n], &mut second[..n]);
        let keep = 1.0 - step.learning_rate * step.weight_decay;
        let (inverse1, inverse2) = (1.0 / step.correction1, 1.0 / step.correction2);
        for i in 0..n {
            let g = grad[i] * step.grad_scale;
            let m = first[i] * step.beta1 + g * (1.0 - step.beta1);
            let v = second[i] * step.beta2 + g * g * (1.0 - step.beta2);
            let slope = m * inverse1 / ((v * inverse2).sqrt() + step.epsilon);
            param[i] = param[i] * keep - step.learning_rate * slope;
            first[i] = m;
            second[i] = v;
        }
    }
}

/// The plain reference of [`update`], for one entry: the new parameter and moments.
#[must_use]
pub fn update_plain(param: f32, grad: f32, first: f32, second: f32, step: &Step) -> [f32; 3] {
    let grad = grad * step.grad_scale;
    let first = step.beta1 * first + (1.0 - step.beta1) * grad;
    let second = step.beta2 * second + (1.0 - step.beta2) * grad * grad;
    let slope = (first / step.correction1) / ((second / step.correction2).sqrt() + step.epsilon);
    let decay = step.learning_rate * step.weight_decay * param;
    [param - decay - step.learning_rate * slope, first, second]
}

/// The sum of squares, kept in f64 between pieces.
#[must_use]
pub fn squared_norm(x: &[f32]) -> f64 {
    let pieces: Vec<f64> = x.par_chunks(PIECE).map(squared_norm_of_piece).collect();
    pieces.iter().sum()
}

vectorised! {
    fn squared_norm_of_piece(x: &[f32]) -> f64 {
        let mut lanes = [0.0f64; LANES];
        let mut chunks = x.chunks_exact(LANES);
        for chunk in &mut chunks {
            for (lane, &v) in lanes.iter_mut().zip(chunk) {
                *lane += f64::from(v) * f64::from(v);
            }
        }
        for (lane, &v) in lanes.iter_mut().zip(chunks.remainder()) {
            *lane += f64::from(v) * f64::from(v);
        }
        lanes.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, values};

    #[test]
    fn an_update_agrees_with_the_plain_reference() {
        let step = Step {
            beta1: 0.9,
            beta2: 0.99,
            correction1: 0.271,
            correction2: 0.0297,
            epsilon: 1e-8,
            learning_rate: 1e-2,
            weight_decay: 0.1,
            grad_scale: 0.5,
        };
        for n in [0, 1, 19, PIECE + 3] {
            let (mut param, grad, mut first) = (values(n, 1), values(n, 2), values(n, 3));
            let mut second: Vec<f32> = values(n, 4).iter().map(|v| v * v).collect();
            let expected: Vec<[f32; 3]> = (0..n)
                .map(|i| update_plain(param[i], grad[i], first[i], second[i], &step))
                .collect();
            update(&mut param, &grad, &mut first, &mut second, &step);
            for (j, got) in [&param, &first, &second].into_iter().enumerate() {
                let expected: Vec<f32> = expected.iter().map(|e| e[j]).collect();
                assert_close(got, &expected, 1e-6);
            }
        }
    }

    #[test]
    fn the_norm_takes_every_entry() {
        for n in [0, 5, 16, 2 * PIECE + 7] {
            assert!((squared_norm(&vec![2.0; n]) - 4.0 * n as f64).abs() < 1e-6);
        }
    }
}
