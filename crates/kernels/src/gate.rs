//! The gate of a feed-forward block: `silu(gate) * up`.

use rayon::prelude::*;

use crate::math::exp;
use crate::vectorised::vectorised;

/// Entries that one task works on.
const PIECE: usize = 1 << 14;

/// `y = silu(gate) * up`, entry by entry.
///
/// # Panics
/// If the lengths differ.
pub fn swiglu(gate: &[f32], up: &[f32], y: &mut [f32]) {
    assert!(
        gate.len() == y.len() && up.len() == y.len(),
        "equal lengths"
    );
    let pieces = gate.par_chunks(PIECE).zip(up.par_chunks(PIECE));
    y.par_chunks_mut(PIECE)
        .zip(pieces)
        .for_each(|(y, (gate, up))| swiglu_piece(gate, up, y));
}

vectorised! {
    fn swiglu_piece(gate: &[f32], up: &[f32], y: &mut [f32]) {
        for ((y, &g), &u) in y.iter_mut().zip(gate).zip(up) {
            *y = g * u / (1.0 + exp(-g));
        }
    }
}

/// The gradients of [`swiglu`], given that of its result.
///
/// # Panics
/// If the lengths differ.
pub fn swiglu_backward(
    gate: &[f32],
    up: &[f32],
    grad: &[f32],
    d_gate: &mut [f32],
    d_up: &mut [f32],
) {
    let n = grad.len();
    assert!(
        [gate.len(), up.len(), d_gate.len(), d_up.len()] == [n; 4],
        "equal lengths"
    );
    let outputs = d_gate.par_chunks_mut(PIECE).zip(d_up.par_chunks_mut(PIECE));
    let inputs = gate
        .par_chunks(PIECE)
        .zip(up.par_chunks(PIECE))
        .zip(grad.par_chunks(PIECE));
    outputs
        .zip(inputs)
        .for_each(|((d_gate, d_up), ((gate, up), grad))| {
            swiglu_backward_piece(gate, up, grad, d_gate, d_up);
        });
}

vectorised! {
    fn swiglu_backward_piece(gate: &[f32], up: &[f32], grad: &[f32], d_gate: &mut [f32], d_up: &mut [f32]) {
        let n = grad.len();
        let (gate, up) = (&gate[..n], &up[..n]);
        let (d_gate, d_up) = (&mut d_gate[..n], &mut d_up[..n]);
        for i in 0..n {
            let (g, d) = (gate[i], grad[i]);
            let share = 1.0 / (1.0 + exp(-g));
            d_up[i] = d * g * share;
            d_gate[i] = d * up[i] * share * (1.0 + g * (1.0 - share));
        }
    }
}

/// The plain reference of [`swiglu`], for one entry.
#[must_use]
pub fn swiglu_plain(gate: f32, up: f32) -> f32 {
    gate / (1.0 + (-gate).exp()) * up
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, values};

    #[test]
    fn swiglu_agrees_with_the_plain_reference() {
        for n in [0, 1, 17, PIECE + 5] {
            let gate: Vec<f32> = values(n, 1).iter().map(|v| v * 30.0).collect();
            let up = values(n, 2);
            let mut y = vec![0.0; n];
            swiglu(&gate, &up, &mut y);
            let expected: Vec<f32> = gate
                .iter()
                .zip(&up)
                .map(|(&g, &u)| swiglu_plain(g, u))
                .collect();
            assert_close(&y, &expected, 1e-6);
        }
    }

    #[test]
    fn swiglu_gradients_are_its_slopes() {
        let (gate, up, grad) = (values(40, 1), values(40, 2), values(40, 3));
        let (mut d_gate, mut d_up) = (vec![0.0; 40], vec![0.0; 40]);
        swiglu_backward(&gate, &up, &grad, &mut d_gate, &mut d_up);
        let step = 1e-2;
        let slopes = |change: fn(f32, f32, f32) -> f32| -> Vec<f32> {
            (0..40)
                .map(|i| {
                    grad[i] * (change(gate[i], up[i], step) - change(gate[i], up[i], -step))
                        / (2.0 * step)
                })
                .collect()
        };
        // The differences' own error: their third derivative times 1e-4 / 6.
        assert_close(&d_gate, &slopes(|g, u, s| swiglu_plain(g + s, u)), 1e-4);
        assert_close(&d_up, &slopes(|g, u, s| swiglu_plain(g, u + s)), 1e-4);
    }
}
