//! Meaning what the reference means: an auxiliary distance in a sentence encoder's space.
//!
//! `1 - cos(W mean(h), e)`: the mean of the student's last states over the explanation's tokens, brought into the encoder's space by a trained matrix W, against the reference's embedding e; the mean over the items that have one.
//! The form is that of sentence-level feature distillation; no paper's numbers are claimed. W is trained with the student and thrown away with the optimizer.

use burn::tensor::{Tensor, TensorData};
use stillhouse_core::random::Random;

use super::aims::Pass;
use crate::device::host;
use crate::model::Model;
use crate::options::TrainOptions;
use crate::parameter::{Parameter, Value};
use crate::weights::Array;

/// The name of W in checkpoints and complaints.
const NAME: &str = "objective.projection.weight";

/// W before training, `[embedding, hidden]`: normal, so that a state of variance 1 keeps it.
pub(crate) fn projection(embedding: usize, hidden: usize, seed: u64) -> Parameter {
    let mut random = Random::new(seed, NAME);
    let spread = (hidden as f64).sqrt().recip();
    let values = (0..embedding * hidden).map(|_| (random.normal() * spread) as f32);
    let array = Array {
        shape: vec![embedding, hidden],
        values: values.collect(),
    };
    Parameter {
        name: NAME.to_owned(),
        value: Value::new(array, &host()),
        is_trained: true,
    }
}

/// Puts W behind the model's parameters, where the objective is wanted, and says at which place.
pub(crate) fn add_projection(
    model: &mut Model,
    embedding: usize,
    options: &TrainOptions,
    seed: u64,
) -> Option<usize> {
    options.objectives.semantic?;
    let hidden = model.network.head().weight.dims()[1];
    let mut matrix = projection(embedding, hidden, seed);
    matrix.value = matrix.value.on(&model.network.device());
    let parameters = model.network.parameters_mut();
    parameters.push(matrix);
    Some(parameters.len() - 1)
}

/// The sum of the distances over the pass's items that have an embedding.
pub(crate) fn term(
    states: &Tensor<2>,
    projection: &Tensor<2>,
    pass: &Pass<'_>,
) -> Option<Tensor<1>> {
    let device = states.device();
    let mut embeddings: Vec<f32> = Vec::new();
    let mut means = Vec::new();
    for (index, lesson) in pass.lessons.iter().enumerate() {
        if !counts(lesson) {
            continue;
        }
        // The state that read a token stands one row after the one that foretold it.
        let rows: Vec<u32> = lesson
            .explanation
            .clone()
            .map(|place| pass.row_before(index, place + 1) as u32)
            .collect();
        let n = rows.len();
        let rows = Tensor::from_data(TensorData::new(rows, [n]), &device);
        means.push(states.clone().select(0, rows).mean_dim(0));
        embeddings.extend(&lesson.embedding);
    }
    if means.is_empty() {
        return None;
    }
    let n = means.len();
    let size = embeddings.len() / n;
    let wanted = Tensor::<2>::from_data(TensorData::new(embeddings, [n, size]), &device);
    let found = Tensor::cat(means, 0).matmul(projection.clone().transpose());
    let length = |x: &Tensor<2>| x.clone().square().sum_dim(1).sqrt() + 1e-8;
    let lengths = length(&found) * length(&wanted);
    let cosines = (found * wanted).sum_dim(1) / lengths;
    Some((cosines.neg() + 1.0).sum())
}

/// How many items count, for the mean over an update.
pub(crate) fn amount(pass: &Pass<'_>) -> f64 {
    pass.lessons.iter().filter(|lesson| counts(lesson)).count() as f64
}

fn counts(lesson: &super::Lesson) -> bool {
    !lesson.embedding.is_empty() && !lesson.explanation.is_empty()
}
