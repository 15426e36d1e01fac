//! How an operation is held against its twin and against finite differences.

use burn::tensor::{Device, Tensor, TensorData};
use stillhouse_student::ops::Loss;

pub(crate) type Operation<'a> = &'a dyn Fn(&[Tensor<2>]) -> Tensor<2>;

/// The value and one gradient per input, the latter empty where an input is frozen.
pub(crate) struct Outcome {
    pub(crate) value: Vec<f32>,
    pub(crate) gradients: Vec<Vec<f32>>,
}

/// Sums in another order differ by a few units in the last place (6e-8) per addition, and the longest sums here have some hundred terms.
pub(crate) const TWIN_TOLERANCE: f32 = 1e-5;

/// Central differences in f32 keep about half the digits: a step of 1e-2 leaves a rounding error near 1e-5 / 1e-2 and a curvature error of its square.
pub(crate) const DIFFERENCE_TOLERANCE: f64 = 5e-3;

pub(crate) fn device() -> Device {
    Device::flex().autodiff()
}

/// Fixed values between -1 and 1, different for each `seed`.
pub(crate) fn values(n: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9) | 1;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

pub(crate) fn tensor(values: &[f32], shape: [usize; 2]) -> Tensor<2> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape), &device())
}

pub(crate) fn row(t: &Tensor<2>) -> Tensor<1> {
    t.clone().squeeze_dim(0)
}

pub(crate) fn numbers<const D: usize>(t: Tensor<D>) -> Vec<f32> {
    t.into_data_as::<f32>()
        .try_into_vec()
        .expect("just converted to f32")
}

/// Runs `operation` with the inputs that `is_trained` marks tracked, and pulls a fixed gradient back through it.
pub(crate) fn outcome(
    operation: Operation<'_>,
    shapes: &[[usize; 2]],
    is_trained: &[bool],
) -> Outcome {
    let inputs: Vec<Tensor<2>> = shapes
        .iter()
        .zip(1..)
        .map(|(&shape, seed)| tensor(&values(shape[0] * shape[1], seed), shape))
        .zip(is_trained)
        .map(|(t, &is_trained)| t.set_require_grad(is_trained))
        .collect();
    let y = operation(&inputs);
    let probe = tensor(&values(y.dims()[0] * y.dims()[1], 99), y.dims());
    let gradients = (y.clone() * probe).sum().backward();
    let of = |t: &Tensor<2>| t.grad(&gradients).map(numbers).unwrap_or_default();
    Outcome {
        gradients: inputs.iter().map(of).collect(),
        value: numbers(y.inner()),
    }
}

pub(crate) fn largest(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |m, v| m.max(v.abs()))
}

#[track_caller]
pub(crate) fn assert_close(what: &str, got: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(got.len(), expected.len(), "{what}");
    let differences: Vec<f32> = got.iter().zip(expected).map(|(a, b)| a - b).collect();
    let relative = largest(&differences) / largest(expected).max(f32::MIN_POSITIVE);
    assert!(
        relative < tolerance,
        "{what}: relative difference {relative:e}"
    );
}

/// The fused operation agrees with its twin, and its gradients with finite differences.
#[track_caller]
pub(crate) fn check(name: &str, shapes: &[[usize; 2]], fused: Operation<'_>, twin: Operation<'_>) {
    let all = vec![true; shapes.len()];
    let (got, expected) = (outcome(fused, shapes, &all), outcome(twin, shapes, &all));
    assert_close(name, &got.value, &expected.value, TWIN_TOLERANCE);
    for (i, (a, b)) in got.gradients.iter().zip(&expected.gradients).enumerate() {
        assert_close(&format!("{name}: gradient {i}"), a, b, TWIN_TOLERANCE);
        let alone: Vec<bool> = (0..shapes.len()).map(|j| j == i).collect();
        let alone = outcome(fused, shapes, &alone);
        assert_eq!(&alone.gradients[i], a, "{name}: gradient {i} alone");
    }
    for (i, gradient) in got.gradients.iter().enumerate() {
        check_difference(&format!("{name}: input {i}"), shapes, i, fused, gradient);
    }
}

/// The slope along a fixed direction of one input is the product of the gradient and the direction.
#[track_caller]
pub(crate) fn check_difference(
    what: &str,
    shapes: &[[usize; 2]],
    input: usize,
    operation: Operation<'_>,
    gradient: &[f32],
) {
    let step = 1e-2;
    // Along the gradient itself the slope is large, and another direction guards against what is missing from it.
    let slant = values(gradient.len(), 77);
    let size = largest(gradient);
    let direction: Vec<f32> = gradient
        .iter()
        .zip(&slant)
        .map(|(g, s)| g / size + 0.3 * s)
        .collect();
    let length = direction.iter().map(|d| d * d).sum::<f32>().sqrt();
    let direction: Vec<f32> = direction.iter().map(|d| d / length).collect();
    let loss = |sign: f32| -> f64 {
        let inputs: Vec<Tensor<2>> = shapes
            .iter()
            .enumerate()
            .map(|(i, &shape)| {
                let mut entries = values(shape[0] * shape[1], i as u32 + 1);
                if i == input {
                    for (entry, d) in entries.iter_mut().zip(&direction) {
                        *entry += sign * step * d;
                    }
                }
                tensor(&entries, shape)
            })
            .collect();
        let y = operation(&inputs);
        let probe = values(y.dims()[0] * y.dims()[1], 99);
        let y = numbers(y);
        y.iter()
            .zip(&probe)
            .map(|(a, b)| f64::from(*a) * f64::from(*b))
            .sum()
    };
    let slope = (loss(1.0) - loss(-1.0)) / (2.0 * f64::from(step));
    let expected: f64 = gradient
        .iter()
        .zip(&direction)
        .map(|(a, b)| f64::from(a * b))
        .sum();
    let relative = (slope - expected).abs() / expected.abs();
    assert!(
        relative < DIFFERENCE_TOLERANCE,
        "{what}: slope {slope}, gradient says {expected}"
    );
}

pub(crate) fn as_matrix(loss: Loss) -> Tensor<2> {
    loss.value.unsqueeze()
}
