//! The loss of packed sequences and its gradient: cross-entropy, weighted by item, at supervised tokens.

use crate::batch::{self, Packed, Sequence};
use crate::network::Network;
use crate::ops;
use crate::optimizer::Gradient;

/// The mean loss over all supervised tokens of the micro-batches, and its gradient.
pub(crate) fn loss_and_gradient(network: &Network, packed: &[Packed]) -> (f64, Gradient) {
    let total: f64 = packed.iter().map(weight).sum();
    let parts = packed
        .iter()
        .map(|part| backward(network, part, weight(part) / total));
    let sum = parts.reduce(|(loss, sum), (part_loss, part)| (loss + part_loss, sum.add(part)));
    sum.expect("an update has at least one item")
}

/// The loss of one pass times `share`, and its gradient.
fn backward(network: &Network, packed: &Packed, share: f64) -> (f64, Gradient) {
    let states = network.states(packed);
    let loss = ops::head_loss(
        states,
        network.head(),
        &packed.targets,
        &packed.weights,
    )
    .value;
    let loss = loss * share as f32;
    let mut gradients = loss.backward();
    let value = f64::from(loss.into_scalar::<f32>());
    (value, Gradient::take(network.parameters(), &mut gradients))
}

/// The mean loss over all supervised tokens, without gradients.
pub(crate) fn mean_loss(
    network: &Network,
    sequences: &[Sequence],
    micro_batch_tokens: usize,
) -> Option<f64> {
    let packed = batch::pack(sequences, micro_batch_tokens);
    let total: f64 = packed.iter().map(weight).sum();
    let of = |part: &Packed| {
        let states = network.states(part);
        let loss = ops::head_loss(states, network.head(), &part.targets, &part.weights).value;
        f64::from(loss.into_scalar::<f32>()) * weight(part)
    };
    let sum: f64 = packed.iter().map(of).sum();
    (total > 0.0).then(|| sum / total)
}

/// The weights of the tokens that carry loss, summed.
fn weight(packed: &Packed) -> f64 {
    let supervised = packed
        .targets
        .iter()
        .zip(&packed.weights)
        .filter(|(target, _)| target.is_some());
    supervised.map(|(_, weight)| f64::from(*weight)).sum()
}
