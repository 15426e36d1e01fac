//! One update of `AdamW`, tensor by tensor.

use burn::backend::Flex;
use burn::tensor::Tensor;
use stillhouse_kernels::adamw;

use super::bridge::{entries, entries_mut, is_cpu, storage};
use super::composed;

/// The constants of one update, the same for every tensor of a group.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamwStep {
    /// The number of this update; the first is 1.
    pub number: u32,
    /// The rate after any schedule.
    pub learning_rate: f32,
    /// How much of the running mean of gradients is kept.
    pub beta1: f32,
    /// How much of the running mean of squared gradients is kept.
    pub beta2: f32,
    /// Added to the root of the second moment.
    pub epsilon: f32,
    /// Decoupled decay: the weight shrinks by this times the learning rate.
    pub weight_decay: f32,
    /// The gradient is multiplied by this first: clipping, and the mean over micro-batches.
    pub grad_scale: f32,
}

impl Default for AdamwStep {
    fn default() -> Self {
        Self {
            number: 1,
            learning_rate: 1e-3,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            weight_decay: 0.0,
            grad_scale: 1.0,
        }
    }
}

impl AdamwStep {
    /// What the first moment is divided by, since it started from zero.
    #[must_use]
    pub fn correction1(&self) -> f32 {
        correction(self.beta1, self.number)
    }

    /// What the second moment is divided by, since it started from zero.
    #[must_use]
    pub fn correction2(&self) -> f32 {
        correction(self.beta2, self.number)
    }
}

fn correction(beta: f32, number: u32) -> f32 {
    (1.0 - f64::from(beta).powf(f64::from(number))) as f32
}

/// The running means that `AdamW` keeps for one tensor; both without autodiff.
#[derive(Clone, Debug)]
pub struct Moments<const D: usize> {
    /// Of the gradient.
    pub first: Tensor<D>,
    /// Of its square.
    pub second: Tensor<D>,
}

impl<const D: usize> Moments<D> {
    /// Before the first update.
    #[must_use]
    pub fn zeros_like(param: &Tensor<D>) -> Self {
        let zeros = || Tensor::zeros(param.shape(), &param.device().inner());
        Self {
            first: zeros(),
            second: zeros(),
        }
    }
}

/// Updates one parameter; the result is trained if `param` was.
///
/// On the CPU it is one pass, in place where nothing else holds the tensors: drop the loss and the graph first, and take the gradient out with `grad_remove`.
#[must_use]
pub fn adamw<const D: usize>(
    param: Tensor<D>,
    grad: Tensor<D>,
    moments: Moments<D>,
    step: &AdamwStep,
) -> (Tensor<D>, Moments<D>) {
    if !is_cpu(&param) {
        return composed::adamw(param, grad, moments, step);
    }
    let (is_autodiff, is_trained) = (param.is_autodiff(), param.is_require_grad());
    let mut updated = storage(param);
    let (mut first, mut second) = (storage(moments.first), storage(moments.second));
    let grad = storage(grad);
    let constants = adamw::Step {
        beta1: step.beta1,
        beta2: step.beta2,
        correction1: step.correction1(),
        correction2: step.correction2(),
        epsilon: step.epsilon,
        learning_rate: step.learning_rate,
        weight_decay: step.weight_decay,
        grad_scale: step.grad_scale,
    };
    adamw::update(
        entries_mut(&mut updated),
        entries(&grad),
        entries_mut(&mut first),
        entries_mut(&mut second),
        &constants,
    );
    let mut param = Tensor::from_primitive::<Flex>(updated);
    if is_autodiff {
        param = param.autodiff();
    }
    if is_trained {
        param = param.require_grad();
    }
    let [first, second] = [first, second].map(Tensor::from_primitive::<Flex>);
    (param, Moments { first, second })
}

/// The sum of squares of a gradient; the root of the sum over all tensors is the global norm.
#[must_use]
pub fn squared_norm<const D: usize>(grad: &Tensor<D>) -> f64 {
    if !is_cpu(grad) {
        return composed::squared_norm(grad);
    }
    adamw::squared_norm(entries(&storage(grad.clone())))
}

/// The same of several gradients, each as one row; they come from their device all at once.
#[must_use]
pub fn squared_norms(grads: Vec<Tensor<1>>) -> Vec<f64> {
    match grads.first() {
        Some(first) if !is_cpu(first) => composed::squared_norms(grads),
        _ => grads.iter().map(squared_norm).collect(),
    }
}
