//! The same answer after two rationales of one question.
//!
//! MCC-KD (Chen et al., Findings of EMNLP 2023, arXiv 2310.14747): `alpha (KL(p, q) + KL(q, p)) / 2` beside the cross-entropy of both, where p and q are the distributions at the answer's tokens after either rationale, averaged over those tokens; alpha 0.1.
//! As in homzer/MCC-KD, but for three things: the temperature divides both sides' logits (there only the target's in one of its two losses), nothing is added to the probabilities (there 7e-5), and both sides receive a gradient.
//! The two rationales are those with the least in common; the caller marks them.

use burn::tensor::{Tensor, TensorData, activation};

use super::aims::Pass;
use super::lesson::{Lesson, Unit};
use super::options::ConsistencyOptions;
use crate::ops;

/// The sum over the aligned answer tokens of the pass's pairs.
pub(crate) fn term(
    student: ops::States<'_>,
    pass: &Pass<'_>,
    options: ConsistencyOptions,
) -> Option<Tensor<1>> {
    let rows = |second: bool| -> Vec<u32> {
        let pairs = pass.pairs().into_iter();
        let of_pair = pairs.map(|(a, b)| if second { b } else { a });
        let rows = of_pair.flat_map(|index| {
            let answer = pass.lessons[index].answer.clone();
            answer.map(move |place| pass.row_before(index, place) as u32)
        });
        rows.collect()
    };
    let (first, second) = (rows(false), rows(true));
    if first.is_empty() {
        return None;
    }
    let logs = |rows: Vec<u32>| {
        let n = rows.len();
        let rows = Tensor::from_data(TensorData::new(rows, [n]), &student.x.device());
        let x = student.x.clone().select(0, rows);
        let logits = ops::composed::head_logits(x, student.head);
        activation::log_softmax(logits / options.temperature as f32, 1)
    };
    let (p, q) = (logs(first), logs(second));
    // KL(p, q) + KL(q, p) = sum (p - q)(log p - log q)
    let difference = p.clone().exp() - q.clone().exp();
    Some((difference * (p - q)).sum() * 0.5)
}

/// How many answer tokens the pairs have, for the mean over an update.
pub(crate) fn amount(pass: &Pass<'_>) -> f64 {
    let pairs = pass.pairs().into_iter();
    let tokens = pairs.map(|(a, _)| pass.lessons[a].answer.len() as f64);
    tokens.sum()
}

/// Takes the mark off pairs that cannot be aligned, and says how many there are of each kind.
pub(crate) fn settle(units: &mut [Unit]) -> String {
    let (mut pairs, mut unequal) = (0, 0);
    for unit in units.iter_mut() {
        let mut marked: Vec<&mut Lesson> = unit.iter_mut().filter(|l| l.is_paired).collect();
        let answer = |lesson: &Lesson| lesson.completion[lesson.answer.clone()].to_vec();
        match marked.as_slice() {
            [] => {}
            [a, b] if !a.answer.is_empty() && answer(a) == answer(b) => pairs += 1,
            _ => {
                unequal += usize::from(marked.len() > 1);
                for lesson in &mut marked {
                    lesson.is_paired = false;
                }
            }
        }
    }
    format!(
        "consistency: {pairs} pairs of rationales; {unequal} pairs whose answers are not the same tokens are left out"
    )
}
