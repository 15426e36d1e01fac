//! A margin between a rationale and perturbed versions of it.
//!
//! `max(0, margin - (log p(sound) / n - log p(worse) / n'))`, each likelihood divided by its own number of tokens so that a dropped step does not pay; the mean over all pairs of an update.
//! It is the hinge of sequence-level contrast (Liu et al., ACL 2022, BRIO, with one rank), over perturbations that turn a cause round or drop a step; the caller makes these.

use burn::tensor::{Tensor, TensorData, activation};

use super::aims::Pass;
use super::options::ContrastOptions;
use crate::ops;

/// The sum of the hinges over the pass's pairs.
pub(crate) fn term(
    student: ops::States<'_>,
    pass: &Pass<'_>,
    options: &ContrastOptions,
) -> Option<Tensor<1>> {
    let pairs = pass.contrasts();
    if pairs.is_empty() {
        return None;
    }
    let mut targets = Vec::new();
    // One row a pair: plus and minus one over the tokens of either side.
    let mut shares: Vec<Vec<(usize, f32)>> = vec![Vec::new(); pairs.len()];
    for (&(sound, worse), shares) in pairs.iter().zip(&mut shares) {
        for (index, sign) in [(sound, 1.0), (worse, -1.0)] {
            let completion = &pass.lessons[index].completion;
            let share = sign / completion.len() as f32;
            for (place, token) in completion.iter().enumerate() {
                shares.push((targets.len(), share));
                targets.push((pass.row_before(index, place), *token));
            }
        }
    }
    let mut matrix = vec![0.0; pairs.len() * targets.len()];
    for (row, shares) in shares.iter().enumerate() {
        for (column, share) in shares {
            matrix[row * targets.len() + column] = *share;
        }
    }
    let matrix = TensorData::new(matrix, [pairs.len(), targets.len()]);
    let matrix = Tensor::<2>::from_data(matrix, &student.x.device());
    let found = ops::head_likelihoods(student, &targets).unsqueeze_dim::<2>(1);
    let ahead = matrix.matmul(found);
    Some(activation::relu(ahead.neg() + options.margin as f32).sum())
}

/// How many pairs there are, for the mean over an update.
pub(crate) fn amount(pass: &Pass<'_>) -> f64 {
    pass.contrasts().len() as f64
}
