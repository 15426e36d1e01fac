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
pub(crate) fn loss_and_gradient(
    network: &Network,
    packed: &[Packed],
    dropout: Option<ops::Dropout>,
) -> (f64, Gradient) {
    let objectives = crate::objective::Objectives::default();
    let passes = packed.iter().cloned().map(crate::objective::Pass::plain);
    let aims = crate::objective::Aims {
        objectives: &objectives,
        teacher: None,
        projection: None,
        recompute: false,
    };
    let outcome = aims.loss_and_gradient(network, &passes.collect::<Vec<_>>(), dropout);
    (outcome.loss, outcome.gradient)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{Item, LossOn};
    use crate::model::{ArchitectureOptions, Model};

    #[test]
    fn sharing_prompts_changes_neither_loss_nor_gradients() {
        check(LossOn::Completion, 1000);
        check(LossOn::All, 1000);
        check(LossOn::Completion, 60);
    }

    /// Sums in another order differ in their last digits.
    fn check(loss_on: LossOn, most: usize) {
        let options = ArchitectureOptions {
            hidden_size: 16,
            layers: 2,
            heads: 4,
            kv_heads: 2,
            intermediate_size: 24,
            vocabulary: 259,
            context: 64,
        };
        let mut model = Model::random(&options, std::iter::once("abc"), 1).unwrap();
        for parameter in model.network.parameters_mut() {
            parameter.is_trained = true;
        }
        let item = |(prompt, completion, weight): (&str, &str, f64)| Item {
            id: completion.to_owned(),
            prompt: prompt.to_owned(),
            completion: completion.to_owned(),
            weight,
        };
        let items = [
            ("Does ice float?", "Yes, it is lighter.", 1.0),
            ("Does iron float?", "No.", 2.0),
            ("Does ice float?", "Yes, it floats.", 0.5),
            ("Does ice float?", "Always", 1.0),
        ];
        let (sequences, _) = batch::sequences(&model, &items.map(item), loss_on).unwrap();
        let network = model.network.tracked();
        let shared = batch::pack(&sequences, most);
        assert!(shared[0].shared.is_some());
        let (loss, gradient) = loss_and_gradient(&network, &shared, None);
        let apart = batch::pack_apart(&sequences, most);
        let (expected_loss, expected) = loss_and_gradient(&network, &apart, None);
        assert!((loss - expected_loss).abs() < 1e-6 * expected_loss);
        for (found, expected) in gradient.values().iter().zip(expected.values()) {
            let [found, expected] =
                [found, expected].map(|g| g.as_ref().expect("all are trained").to_array().values);
            let largest = expected.iter().fold(0f32, |m, v| m.max(v.abs()));
            let pairs = found.iter().zip(&expected);
            let worst = pairs.fold(0f32, |m, (a, b)| m.max((a - b).abs()));
            assert!(worst <= 1e-5 * largest, "{worst:e} of {largest:e}");
        }
    }
}
