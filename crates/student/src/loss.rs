//! The loss of packed sequences and its gradient: cross-entropy, weighted by item, at supervised tokens.

use burn::tensor::Tensor;

use crate::batch::{self, Packed, Sequence};
use crate::network::Network;
use crate::ops;
#[cfg(test)]
use crate::optimizer::Gradient;

/// The mean loss over all supervised tokens, without gradients.
pub(crate) fn mean_loss(
    network: &Network,
    sequences: &[Sequence],
    micro_batch_tokens: usize,
) -> Option<f64> {
    let packed = batch::pack(sequences, micro_batch_tokens);
    let total: f64 = packed.iter().map(weight).sum();
    let of = |part: &Packed| {
        let loss = cross_entropy(network, network.states(part), part);
        f64::from(loss.into_scalar::<f32>()) * weight(part)
    };
    let sum: f64 = packed.iter().map(of).sum();
    (total > 0.0).then(|| sum / total)
}

/// The weighted mean over the supervised tokens of one pass.
pub(crate) fn cross_entropy(network: &Network, states: Tensor<2>, packed: &Packed) -> Tensor<1> {
    let (targets, weights) = (&packed.targets, &packed.weights);
    ops::head_loss(states, network.head(), targets, weights).value
}

/// The weights of the tokens that carry loss, summed.
pub(crate) fn weight(packed: &Packed) -> f64 {
    let supervised = packed
        .targets
        .iter()
        .zip(&packed.weights)
        .filter(|(target, _)| target.is_some());
    supervised.map(|(_, weight)| f64::from(*weight)).sum()
}

/// The mean loss over all supervised tokens of the micro-batches, and its gradient, as training
/// computes them.
#[cfg(test)]
pub(crate) fn loss_and_gradient(network: &Network, packed: &[Packed]) -> (f64, Gradient) {
    let objectives = crate::objective::Objectives::default();
    let passes = packed.iter().cloned().map(crate::objective::Pass::plain);
    let aims = crate::objective::Aims {
        objectives: &objectives,
        teacher: None,
        projection: None,
        recompute: false,
    };
    let outcome = aims.loss_and_gradient(network, &passes.collect::<Vec<_>>());
    (outcome.loss, outcome.gradient)
}
