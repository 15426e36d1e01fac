//! Learning a local teacher's whole distribution over the next token.
//!
//! The divergence of the student's distribution from the teacher's at every supervised token, weighted as the cross-entropy is, and divided by the same sum: forward KL (Hinton et al. 2015, without the factor of the squared temperature), reverse KL (Gu et al. 2023, `MiniLLM`, without its policy gradient), the generalised Jensen-Shannon divergence (Agarwal et al. 2023, arXiv 2306.13649, as TRL computes it), skew KL and skew reverse KL (Ko et al. 2024, arXiv 2402.03898).
//! The teacher reads the student's tokens, so both must have the same tokenizer.

use burn::tensor::Tensor;

use super::options::TeacherOptions;
use crate::batch::Packed;
use crate::error::{Error, Result};
use crate::model::Model;
use crate::ops;

/// The weighted sum over the pass's supervised rows.
pub(crate) fn term(
    student: ops::States<'_>,
    teacher: &Model,
    packed: &Packed,
    options: &TeacherOptions,
) -> Tensor<1> {
    let states = teacher.network.states(packed);
    let teacher = ops::States {
        x: &states,
        head: teacher.network.head(),
    };
    let rows = packed.targets.iter().zip(&packed.weights).enumerate();
    let rows = rows.filter_map(|(row, (target, weight))| target.map(|_| (row, *weight)));
    let rows: Vec<(usize, f32)> = rows.collect();
    let temperature = options.temperature as f32;
    ops::head_divergence(student, teacher, options.divergence, temperature, &rows)
}

/// Complains where the teacher reads other tokens than the student.
pub(crate) fn check(student: &Model, teacher: &Model, options: &TeacherOptions) -> Result<()> {
    match student.tokenizer().difference(teacher.tokenizer()) {
        None => Ok(()),
        Some(what) => Err(Error::folder(
            &options.model,
            format!(
                "the teacher's tokenizer is not the student's: {what}; distil from its texts, or by `top_k`"
            ),
        )),
    }
}
