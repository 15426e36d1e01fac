//! The output head: logits, likelihoods, and the loss at supervised positions.

use burn::tensor::Tensor;

use super::composed;

/// A mean cross-entropy and what it is the mean of.
#[derive(Clone, Debug)]
pub struct Loss {
    /// The weighted mean over supervised positions, in nats; one entry, to call `backward` on.
    pub value: Tensor<1>,
    /// How many positions have a target.
    pub n_supervised: usize,
    /// The sum of their weights, for joining the means of several micro-batches.
    pub total_weight: f32,
}

impl Loss {
    /// Where nothing is supervised: zero, with a gradient of zero.
    pub(super) fn nothing(x: Tensor<2>) -> Self {
        Self {
            value: x.sum() * 0.0,
            n_supervised: 0,
            total_weight: 0.0,
        }
    }
}

/// Cross-entropy of `targets` under the logits `x W' + bias`, at supervised positions only.
///
/// `x` is `[n, size]`, `weight` `[vocab, size]`; `targets[i]` is the token that should follow row `i`, `None` where nothing is supervised.
/// Each position counts `weights[i]`; the sum is divided by the sum of the weights that count.
/// Gradients reach `x`, and `weight` and `bias` where they are trained; rows without a target get exactly none.
#[must_use]
pub fn head_loss(
    x: Tensor<2>,
    weight: &Tensor<2>,
    bias: Option<&Tensor<1>>,
    targets: &[Option<u32>],
    weights: &[f32],
) -> Loss {
    composed::head_loss(x, weight, bias, targets, weights)
}

/// The logits `x W'`, `[n, vocab]`, without gradient.
#[must_use]
pub fn head_logits(x: Tensor<2>, weight: &Tensor<2>) -> Tensor<2> {
    composed::linear(x.inner(), &weight.clone().inner(), None)
}

/// The log-probability, in nats, of each target under the logits `x W' + bias`, without gradient.
#[must_use]
pub fn head_log_likelihood(
    x: Tensor<2>,
    weight: &Tensor<2>,
    bias: Option<&Tensor<1>>,
    targets: &[Option<u32>],
) -> Vec<Option<f32>> {
    composed::head_log_likelihood(x, weight, bias, targets)
}
