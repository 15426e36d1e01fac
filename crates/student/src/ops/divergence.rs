//! The distance of the output head's distribution from a teacher's, and the likelihood of tokens with its gradient.

use std::sync::Arc;

use burn::backend::flex::FlexTensor;
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};
use stillhouse_kernels::divergence as kernel;
use stillhouse_kernels::head::{self, Gradients, Input};
use stillhouse_kernels::memory;

use super::bridge::{CpuOp, apply2, apply3, entries, is_cpu, like, sizes, storage, tensor};
use super::{Head, composed, precision};

/// How far the student's distribution q is from the teacher's p.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Divergence {
    /// KL(p, q).
    ForwardKl {},
    /// KL(q, p).
    ReverseKl {},
    /// beta KL(p, m) + (1 - beta) KL(q, m) with m = beta p + (1 - beta) q (Agarwal et al. 2023,
    /// Generalised Knowledge Distillation); as TRL has it, KL(p, q) at 0 and KL(q, p) at 1, where
    /// the formula itself would be 0.
    Jsd {
        /// The teacher's share.
        beta: f32,
    },
    /// KL(p, alpha p + (1 - alpha) q) (Ko et al. 2024, `DistiLLM`).
    SkewKl {
        /// The teacher's share of the mixture; the paper's is 0.1.
        alpha: f32,
    },
    /// KL(q, (1 - alpha) p + alpha q), likewise.
    SkewReverseKl {
        /// The student's share of the mixture; the paper's is 0.1.
        alpha: f32,
    },
}

impl Default for Divergence {
    fn default() -> Self {
        Self::ForwardKl {}
    }
}

impl Divergence {
    /// The same as weights of two KLs and a mixture.
    pub(super) fn mixture(self) -> kernel::Divergence {
        let [teacher, student, mixture] = match self {
            Self::ForwardKl {} => [1.0, 0.0, 0.0],
            Self::ReverseKl {} => [0.0, 1.0, 1.0],
            Self::Jsd { beta } if beta <= 0.0 => [1.0, 0.0, 0.0],
            Self::Jsd { beta } if beta >= 1.0 => [0.0, 1.0, 1.0],
            Self::Jsd { beta } => [beta, 1.0 - beta, beta],
            Self::SkewKl { alpha } => [1.0, 0.0, alpha],
            Self::SkewReverseKl { alpha } => [0.0, 1.0, 1.0 - alpha],
        };
        kernel::Divergence {
            teacher,
            student,
            mixture,
        }
    }
}

/// States `[n, size]`, and the head that reads them.
#[derive(Clone, Copy, Debug)]
pub struct States<'a> {
    /// One row a token.
    pub x: &'a Tensor<2>,
    /// What makes logits of them.
    pub head: Head<'a>,
}

/// What a teacher finds likeliest at one position: tokens, and the logarithms of their probabilities.
pub type Known = Vec<(u32, f32)>;

/// The sum over `rows` (row, weight) of the weighted divergence from the teacher's distribution at the same row, in nats.
///
/// Where the two vocabularies differ by padding, only the tokens that both have count.
/// Gradients reach the student's states, and its head where that is trained.
///
/// # Panics
/// If the states do not have the same rows.
#[must_use]
pub fn head_divergence(
    student: States<'_>,
    teacher: States<'_>,
    divergence: Divergence,
    temperature: f32,
    rows: &[(usize, f32)],
) -> Tensor<1> {
    assert_eq!(student.x.dims()[0], teacher.x.dims()[0], "the same rows");
    if !is_cpu(student.x) {
        return composed::head_divergence(student, teacher, divergence, temperature, rows);
    }
    let rule = Teacher {
        x: storage(teacher.x.clone()),
        weight: storage(teacher.head.weight.clone()),
        bias: teacher.head.bias.map(|bias| storage(bias.clone())),
        soft_cap: teacher.head.soft_cap,
        divergence: divergence.mixture(),
        temperature,
    };
    apply(student, Rule::Teacher(Box::new(rule)), rows)
}

/// The sum over `rows` (row, weight, known tokens) of the weighted KL over the known tokens and one bucket for all others, in nats.
///
/// # Panics
/// If a known token lies outside the vocabulary.
#[must_use]
pub fn head_known(student: States<'_>, rows: &[(usize, f32, Known)]) -> Tensor<1> {
    if !is_cpu(student.x) {
        return composed::head_known(student, rows);
    }
    let known = rows.iter().map(|(.., known)| known.clone()).collect();
    let rows: Vec<(usize, f32)> = rows
        .iter()
        .map(|(row, weight, _)| (*row, *weight))
        .collect();
    apply(student, Rule::Known(known), &rows)
}

/// The log-probability, in nats, of the token of each of `targets` (row, token), `[targets]`, with gradients.
///
/// The logits are computed again in the backward pass, and never whole.
#[must_use]
pub fn head_likelihoods(student: States<'_>, targets: &[(usize, u32)]) -> Tensor<1> {
    if !is_cpu(student.x) {
        return composed::head_likelihoods(student, targets);
    }
    let op = Likelihoods {
        soft_cap: student.head.soft_cap,
        rows: targets.iter().map(|(row, _)| *row).collect(),
        tokens: targets.iter().map(|(_, token)| *token).collect(),
    };
    let (x, weight) = (student.x.clone(), student.head.weight.clone());
    match student.head.bias {
        Some(bias) => apply3(x, weight, bias.clone(), op),
        None => apply2(x, weight, op),
    }
}

fn apply(student: States<'_>, rule: Rule, rows: &[(usize, f32)]) -> Tensor<1> {
    let op = HeadTerm {
        rule,
        soft_cap: student.head.soft_cap,
        rows: rows.iter().map(|(row, _)| *row).collect(),
        weights: rows.iter().map(|(_, weight)| *weight).collect(),
        wanted: [
            student.x.is_tracked(),
            student.head.weight.is_tracked(),
            student.head.bias.is_some_and(Tensor::is_tracked),
        ],
    };
    let (x, weight) = (student.x.clone(), student.head.weight.clone());
    match student.head.bias {
        Some(bias) => apply3(x, weight, bias.clone(), op),
        None => apply2(x, weight, op),
    }
}

/// Some rows of `x [n, size]`, together.
fn chosen(x: &FlexTensor, rows: &[usize]) -> Vec<f32> {
    let [_, size] = sizes(x);
    let mut chosen = memory::any(rows.len() * size);
    for (chosen, &row) in chosen.chunks_exact_mut(size).zip(rows) {
        chosen.copy_from_slice(&entries(x)[row * size..][..size]);
    }
    chosen
}

/// The gradient of all rows from that of some; a row may stand several times.
fn spread(slopes: &[f32], rows: &[usize], x: &FlexTensor) -> FlexTensor {
    let [n, size] = sizes(x);
    let mut dx = vec![0.0; n * size];
    for (slope, &row) in slopes.chunks_exact(size).zip(rows) {
        for (sum, slope) in dx[row * size..][..size].iter_mut().zip(slope) {
            *sum += slope;
        }
    }
    like(dx, x)
}

/// What the distribution is held against.
#[derive(Clone)]
enum Rule {
    Teacher(Box<Teacher>),
    Known(Arc<[Known]>),
}

#[derive(Clone)]
struct Teacher {
    x: FlexTensor,
    weight: FlexTensor,
    bias: Option<FlexTensor>,
    soft_cap: Option<f32>,
    divergence: kernel::Divergence,
    temperature: f32,
}

#[derive(Clone)]
struct HeadTerm {
    rule: Rule,
    soft_cap: Option<f32>,
    rows: Arc<[usize]>,
    weights: Arc<[f32]>,
    /// Of states, weight and bias: what needs a gradient.
    wanted: [bool; 3],
}

/// Gradients, made in the forward pass while the logits are at hand; empty where not wanted.
type Slopes = [Vec<f32>; 3];

impl HeadTerm {
    fn value(&self, inputs: &[&FlexTensor]) -> (FlexTensor, Slopes) {
        let [vocab, size] = sizes(inputs[1]);
        let common = match &self.rule {
            Rule::Teacher(teacher) => vocab.min(sizes::<2>(&teacher.weight)[0]),
            Rule::Known(_) => vocab,
        };
        let x = chosen(inputs[0], &self.rows);
        let targets = vec![0; self.rows.len()];
        let input = Input {
            x: &x,
            weight: &entries(inputs[1])[..common * size],
            bias: inputs.get(2).map(|bias| &entries(bias)[..common]),
            soft_cap: self.soft_cap,
            targets: &targets,
            precision: precision::current(),
        };
        let of = |wanted: bool, n: usize| if wanted { vec![0.0; n] } else { Vec::new() };
        let mut slopes = [
            of(self.wanted[0], x.len()),
            of(self.wanted[1], vocab * size),
            of(self.wanted[2], vocab),
        ];
        let [dx, dw, db] = &mut slopes;
        let out = Gradients {
            x: self.wanted[0].then_some(&mut dx[..]),
            weight: self.wanted[1].then(|| &mut dw[..common * size]),
            bias: self.wanted[2].then(|| &mut db[..common]),
        };
        let mut logits = memory::any(input.logits_at_a_time());
        let value = match &self.rule {
            Rule::Teacher(other) => {
                let size = sizes::<2>(&other.weight)[1];
                let x = chosen(&other.x, &self.rows);
                let teacher = Input {
                    x: &x,
                    weight: &entries(&other.weight)[..common * size],
                    bias: other.bias.as_ref().map(|bias| &entries(bias)[..common]),
                    soft_cap: other.soft_cap,
                    ..input
                };
                let (divergence, temperature) = (other.divergence, other.temperature);
                let mut other = memory::any(input.logits_at_a_time());
                kernel::loss(
                    input,
                    teacher,
                    divergence,
                    temperature,
                    &self.weights,
                    out,
                    &mut logits,
                    &mut other,
                )
            }
            Rule::Known(known) => {
                let known: Vec<&kernel::Known> = known.iter().map(Vec::as_slice).collect();
                kernel::known_loss(input, &known, &self.weights, out, &mut logits)
            }
        };
        (tensor(vec![value as f32], [1]), slopes)
    }

    fn gradients<const N: usize>(
        &self,
        inputs: [&FlexTensor; N],
        mut slopes: Slopes,
        grad: &FlexTensor,
        needed: [bool; N],
    ) -> [Option<FlexTensor>; N] {
        let factor = entries(grad)[0];
        for slope in slopes.iter_mut().flatten() {
            *slope *= factor;
        }
        std::array::from_fn(|i| {
            let slopes = std::mem::take(&mut slopes[i]);
            match i {
                _ if !needed[i] => None,
                0 => Some(spread(&slopes, &self.rows, inputs[0])),
                _ => Some(like(slopes, inputs[i])),
            }
        })
    }
}

#[derive(Clone)]
struct Likelihoods {
    soft_cap: Option<f32>,
    rows: Arc<[usize]>,
    tokens: Arc<[u32]>,
}

impl Likelihoods {
    fn values(&self, inputs: &[&FlexTensor]) -> FlexTensor {
        let x = chosen(inputs[0], &self.rows);
        let mut found = vec![0.0; self.rows.len()];
        head::log_likelihood(self.input(&x, inputs), &mut found);
        let n = found.len();
        tensor(found, [n])
    }

    fn input<'a>(&'a self, x: &'a [f32], inputs: &[&'a FlexTensor]) -> Input<'a> {
        Input {
            x,
            weight: entries(inputs[1]),
            bias: inputs.get(2).map(|bias| entries(bias)),
            soft_cap: self.soft_cap,
            targets: &self.tokens,
            precision: precision::current(),
        }
    }

    fn gradients<const N: usize>(
        &self,
        inputs: [&FlexTensor; N],
        grad: &FlexTensor,
        needed: [bool; N],
    ) -> [Option<FlexTensor>; N] {
        let x = chosen(inputs[0], &self.rows);
        let input = self.input(&x, &inputs);
        // The loss is the negative likelihood.
        let weights: Vec<f32> = entries(grad).iter().map(|g| -g).collect();
        let mut slopes: [Vec<f32>; N] = std::array::from_fn(|i| match i {
            _ if !needed[i] => Vec::new(),
            0 => vec![0.0; x.len()],
            _ => vec![0.0; entries(inputs[i]).len()],
        });
        let mut places = slopes
            .iter_mut()
            .zip(needed)
            .map(|(slope, is_needed)| is_needed.then_some(&mut slope[..]));
        let out = Gradients {
            x: places.next().flatten(),
            weight: places.next().flatten(),
            bias: places.next().flatten(),
        };
        let mut logits = memory::any(input.logits_at_a_time());
        head::loss(input, &weights, out, &mut logits);
        std::array::from_fn(|i| {
            let slopes = std::mem::take(&mut slopes[i]);
            match i {
                _ if !needed[i] => None,
                0 => Some(spread(&slopes, &self.rows, inputs[0])),
                _ => Some(like(slopes, inputs[i])),
            }
        })
    }
}

/// The same for a head without and with a bias.
macro_rules! over_head {
    ($n:literal) => {
        impl CpuOp<$n> for HeadTerm {
            type Saved = Slopes;

            fn forward(&self, inputs: [&FlexTensor; $n]) -> (FlexTensor, Slopes) {
                self.value(&inputs)
            }

            fn backward(
                &self,
                inputs: [&FlexTensor; $n],
                slopes: Slopes,
                grad: &FlexTensor,
                needed: [bool; $n],
            ) -> [Option<FlexTensor>; $n] {
                self.gradients(inputs, slopes, grad, needed)
            }
        }

        impl CpuOp<$n> for Likelihoods {
            type Saved = ();

            fn forward(&self, inputs: [&FlexTensor; $n]) -> (FlexTensor, ()) {
                (self.values(&inputs), ())
            }

            fn backward(
                &self,
                inputs: [&FlexTensor; $n],
                (): (),
                grad: &FlexTensor,
                needed: [bool; $n],
            ) -> [Option<FlexTensor>; $n] {
                self.gradients(inputs, grad, needed)
            }
        }
    };
}

over_head!(2);
over_head!(3);
