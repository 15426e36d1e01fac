//! Activations of a feed-forward block with their gradients: alone, and as a gate `f(gate) * up`.

use rayon::prelude::*;

use crate::activation::{Activation, At, gelu_at, gelu_tanh_at, relu_at, silu_at};
use crate::vectorised::vectorised;

/// Entries that one task works on.
const PIECE: usize = 1 << 14;

/// Runs an expression with the activation's function in its place, so that each gets its own loop.
macro_rules! each_activation {
    ($activation:expr, $at:ident => $body:expr) => {
        match $activation {
            Activation::Gelu => {
                let $at = gelu_at;
                $body
            }
            Activation::GeluTanh => {
                let $at = gelu_tanh_at;
                $body
            }
            Activation::Relu => {
                let $at = relu_at;
                $body
            }
            Activation::Silu => {
                let $at = silu_at;
                $body
            }
        }
    };
}

/// `y = f(x)`, entry by entry.
///
/// # Panics
/// If the lengths differ.
pub fn activate(f: Activation, x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len(), "equal lengths");
    y.par_chunks_mut(PIECE)
        .zip(x.par_chunks(PIECE))
        .for_each(|(y, x)| activate_piece(f, x, y));
}

vectorised! {
    fn activate_piece(f: Activation, x: &[f32], y: &mut [f32]) {
        each_activation!(f, at => values(at, x, y));
    }
}

#[inline(always)]
fn values(at: impl Fn(f32) -> At, x: &[f32], y: &mut [f32]) {
    for (y, &x) in y.iter_mut().zip(x) {
        *y = at(x).value;
    }
}

/// The gradient of [`activate`], given that of its result.
///
/// # Panics
/// If the lengths differ.
pub fn activate_backward(f: Activation, x: &[f32], grad: &[f32], dx: &mut [f32]) {
    let n = grad.len();
    assert!(x.len() == n && dx.len() == n, "equal lengths");
    let inputs = x.par_chunks(PIECE).zip(grad.par_chunks(PIECE));
    dx.par_chunks_mut(PIECE)
        .zip(inputs)
        .for_each(|(dx, (x, grad))| activate_backward_piece(f, x, grad, dx));
}

vectorised! {
    fn activate_backward_piece(f: Activation, x: &[f32], grad: &[f32], dx: &mut [f32]) {
        each_activation!(f, at => slopes(at, x, grad, dx));
    }
}

#[inline(always)]
fn slopes(at: impl Fn(f32) -> At, x: &[f32], grad: &[f32], dx: &mut [f32]) {
    for ((dx, &x), &grad) in dx.iter_mut().zip(x).zip(grad) {
        *dx = grad * at(x).slope;
    }
}

/// `y = f(gate) * up`, entry by entry.
///
/// # Panics
/// If the lengths differ.
pub fn gated(f: Activation, gate: &[f32], up: &[f32], y: &mut [f32]) {
    assert!(
        gate.len() == y.len() && up.len() == y.len(),
        "equal lengths"
    );
    let pieces = gate.par_chunks(PIECE).zip(up.par_chunks(PIECE));
    y.par_chunks_mut(PIECE)
        .zip(pieces)
        .for_each(|(y, (gate, up))| gated_piece(f, gate, up, y));
}

vectorised! {
    fn gated_piece(f: Activation, gate: &[f32], up: &[f32], y: &mut [f32]) {
        each_activation!(f, at => gated_values(at, gate, up, y));
    }
}

#[inline(always)]
fn gated_values(at: impl Fn(f32) -> At, gate: &[f32], up: &[f32], y: &mut [f32]) {
    for ((y, &gate), &up) in y.iter_mut().zip(gate).zip(up) {
        *y = at(gate).value * up;
    }
}

/// The gradients of [`gated`], given that of its result.
///
/// # Panics
/// If the lengths differ.
pub fn gated_backward(
    f: Activation,
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
            gated_backward_piece(f, gate, up, grad, d_gate, d_up);
        });
}

vectorised! {
    fn gated_backward_piece(f: Activation, gate: &[f32], up: &[f32], grad: &[f32], d_gate: &mut [f32], d_up: &mut [f32]) {
        each_activation!(f, at => gated_slopes(at, gate, up, grad, d_gate, d_up));
    }
}

#[inline(always)]
fn gated_slopes(
    at: impl Fn(f32) -> At,
    gate: &[f32],
    up: &[f32],
    grad: &[f32],
    d_gate: &mut [f32],
    d_up: &mut [f32],
) {
    let n = grad.len();
    let (gate, up) = (&gate[..n], &up[..n]);
    let (d_gate, d_up) = (&mut d_gate[..n], &mut d_up[..n]);
    for i in 0..n {
        let At { value, slope } = at(gate[i]);
        d_up[i] = grad[i] * value;
        d_gate[i] = grad[i] * up[i] * slope;
    }
}

/// The plain reference of [`gated`], for one entry.
#[must_use]
pub fn gated_plain(f: Activation, gate: f32, up: f32) -> f32 {
    f.reference(gate) * up
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, assert_near, values};

    const ALL: [Activation; 4] = [
        Activation::Gelu,
        Activation::GeluTanh,
        Activation::Relu,
        Activation::Silu,
    ];

    #[test]
    fn gates_and_activations_agree_with_the_plain_reference() {
        for (f, n) in ALL
            .into_iter()
            .flat_map(|f| [0, 1, 17, PIECE + 5].map(|n| (f, n)))
        {
            let gate: Vec<f32> = values(n, 1).iter().map(|v| v * 30.0).collect();
            let up = values(n, 2);
            let mut y = vec![0.0; n];
            gated(f, &gate, &up, &mut y);
            let pairs = gate.iter().zip(&up);
            let expected: Vec<f32> = pairs.map(|(&g, &u)| gated_plain(f, g, u)).collect();
            assert_near(&y, &expected, 2e-5);
            activate(f, &gate, &mut y);
            let expected: Vec<f32> = gate.iter().map(|&x| f.reference(x)).collect();
            assert_near(&y, &expected, 2e-5);
        }
    }

    #[test]
    fn gradients_are_slopes() {
        let (up, grad) = (values(40, 2), values(40, 3));
        let gate: Vec<f32> = values(40, 1).iter().map(|v| v * 3.0).collect();
        let step = 1e-2;
        for f in ALL {
            let (mut d_gate, mut d_up) = (vec![0.0; 40], vec![0.0; 40]);
            gated_backward(f, &gate, &up, &grad, &mut d_gate, &mut d_up);
            let slopes = |change: &dyn Fn(f32, f32, f32) -> f32| -> Vec<f32> {
                let slope = |i: usize| {
                    let (above, below) =
                        (change(gate[i], up[i], step), change(gate[i], up[i], -step));
                    grad[i] * (above - below) / (2.0 * step)
                };
                (0..40).map(slope).collect()
            };
            // The differences' own error: their third derivative times 1e-4 / 6.
            assert_close(&d_gate, &slopes(&|g, u, s| gated_plain(f, g + s, u)), 2e-4);
            assert_close(&d_up, &slopes(&|g, u, s| gated_plain(f, g, u + s)), 1e-4);
            let mut dx = vec![0.0; 40];
            activate_backward(f, &gate, &grad, &mut dx);
            assert_close(&dx, &slopes(&|g, _, s| f.reference(g + s)), 2e-4);
        }
    }

    #[test]
    fn far_away_slopes_are_none_or_one() {
        for f in ALL {
            let mut dx = [0.0; 4];
            activate_backward(f, &[-1e30, -60.0, 60.0, 1e30], &[1.0; 4], &mut dx);
            assert_close(&dx, &[0.0, 0.0, 1.0, 1.0], 1e-6);
        }
    }
}
