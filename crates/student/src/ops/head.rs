//! The output head: logits, likelihoods, and the loss at supervised positions.

use std::sync::Arc;

use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use burn::tensor::Tensor;
pub use stillhouse_kernels::head::Scored;
use stillhouse_kernels::head::{self, Gradients, Input};
use stillhouse_kernels::memory;

use super::bridge::{
    CpuOp, apply2, apply3, entries, entries_mut, is_cpu, like, sizes, storage, tensor,
};
use super::frozen::{Frozen, Weight, through_rows};
use super::{composed, linear, precision};

/// The layer that turns states into logits: `x W' + bias`, capped where a family caps it.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// `[vocab, size]`
    pub weight: &'a Tensor<2>,
    /// `[vocab]`
    pub bias: Option<&'a Tensor<1>>,
    /// Logits `l` become `cap tanh(l / cap)` (Gemma 2).
    pub soft_cap: Option<f32>,
}

impl<'a> Head<'a> {
    /// A head without bias or cap.
    #[must_use]
    pub fn new(weight: &'a Tensor<2>) -> Self {
        Self {
            weight,
            bias: None,
            soft_cap: None,
        }
    }
}

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

/// Cross-entropy of `targets` under the head's logits, at supervised positions only.
///
/// `x` is `[n, size]`; `targets[i]` is the token that should follow row `i`, `None` where nothing is supervised.
/// Each position counts `weights[i]`; the sum is divided by the sum of the weights that count.
/// Gradients reach `x`, and the head's weight and bias where they are trained; rows without a target get exactly none.
///
/// # Panics
/// If there is not one target and one weight per row, or a target lies outside the vocabulary.
#[must_use]
pub fn head_loss(x: Tensor<2>, head: Head<'_>, targets: &[Option<u32>], weights: &[f32]) -> Loss {
    assert_eq!(x.dims()[0], targets.len(), "one target per row");
    assert_eq!(targets.len(), weights.len(), "one weight per target");
    if !is_cpu(&x) {
        return composed::head_loss(x, head, targets, weights);
    }
    let (rows, targets) = supervised(targets);
    if rows.is_empty() {
        return Loss::nothing(x);
    }
    let chosen: Vec<f32> = rows.iter().map(|&row| weights[row]).collect();
    let total_weight: f32 = chosen.iter().sum();
    let n_supervised = rows.len();
    let op = HeadLoss {
        rows: rows.into(),
        targets: targets.into(),
        shares: chosen
            .iter()
            .map(|w| w / total_weight.max(f32::MIN_POSITIVE))
            .collect(),
        soft_cap: head.soft_cap,
        wants_x: x.is_tracked(),
        wants_weight: head.weight.is_tracked(),
        wants_bias: head.bias.is_some_and(Tensor::is_tracked),
    };
    let value = match head.bias {
        Some(bias) => apply3(x, head.weight.clone(), bias.clone(), op),
        None => apply2(x, head.weight.clone(), op),
    };
    Loss {
        value,
        n_supervised,
        total_weight,
    }
}

/// The logits, `[n, vocab]`, without gradient.
#[must_use]
pub fn head_logits(x: Tensor<2>, head: Head<'_>) -> Tensor<2> {
    let bias = head.bias.map(|bias| bias.clone().inner());
    let logits = linear(x.inner(), &head.weight.clone().inner(), bias.as_ref());
    capped(logits, head.soft_cap)
}

/// The logits of a few rows as [`head_logits`], with the bits of each row as if it were alone.
///
/// `at_rest` is read in place of the head's weight, if there is such a copy of it.
#[must_use]
pub fn head_rows(x: Tensor<2>, head: Head<'_>, at_rest: Option<&Arc<Frozen>>) -> Tensor<2> {
    let own = head.weight.clone().inner();
    let weight = at_rest.map_or(Weight::Tensor(&own), Weight::Frozen);
    let logits = through_rows(x.inner(), weight, head.bias);
    capped(logits, head.soft_cap)
}

fn capped(logits: Tensor<2>, soft_cap: Option<f32>) -> Tensor<2> {
    let Some(cap) = soft_cap else { return logits };
    if !is_cpu(&logits) {
        return (logits / cap).tanh() * cap;
    }
    let mut logits = storage(logits);
    head::soft_cap(entries_mut(&mut logits), cap);
    Tensor::from_primitive::<Flex>(logits)
}

/// What the head thinks of tokens, each given as the row of `x` that foretells it and its id, without gradient.
///
/// Of a row that foretells several tokens, each is scored by itself.
///
/// # Panics
/// If a row or a token lies outside `x` or the vocabulary.
#[must_use]
pub fn head_scores(x: Tensor<2>, head: Head<'_>, targets: &[(usize, u32)]) -> Vec<Scored> {
    if !is_cpu(&x) {
        return composed::head_scores(x, head, targets);
    }
    let (rows, wanted): (Vec<usize>, Vec<u32>) = targets.iter().copied().unzip();
    let (x, weight) = (storage(x), storage(head.weight.clone()));
    let bias = head.bias.map(|bias| storage(bias.clone()));
    let chosen = chosen_rows(&x, &rows);
    let input = Input {
        x: &chosen,
        weight: entries(&weight),
        bias: bias.as_ref().map(entries),
        soft_cap: head.soft_cap,
        targets: &wanted,
        precision: precision::current(),
    };
    let mut found = vec![Scored::default(); rows.len()];
    let mut logits = memory::any(input.logits_at_a_time());
    head::score(input, &mut found, &mut logits);
    found
}

/// The rows that have a target, and their targets.
fn supervised(targets: &[Option<u32>]) -> (Vec<usize>, Vec<u32>) {
    let with_row = targets.iter().enumerate();
    with_row.filter_map(|(row, &t)| Some((row, t?))).unzip()
}

/// Some rows of `x [n, size]`, together.
fn chosen_rows(x: &FlexTensor, rows: &[usize]) -> Vec<f32> {
    let [_, size] = sizes(x);
    let mut chosen = memory::any(rows.len() * size);
    for (chosen, &row) in chosen.chunks_exact_mut(size).zip(rows) {
        chosen.copy_from_slice(&entries(x)[row * size..][..size]);
    }
    chosen
}

#[derive(Clone)]
struct HeadLoss {
    /// The supervised rows.
    rows: Arc<[usize]>,
    /// Their targets.
    targets: Arc<[u32]>,
    /// Their weights, which sum to one.
    shares: Arc<[f32]>,
    soft_cap: Option<f32>,
    wants_x: bool,
    wants_weight: bool,
    wants_bias: bool,
}

/// Gradients of the loss, made in the forward pass while the logits are at hand.
#[derive(Clone)]
struct Slopes {
    /// Of the supervised rows, `[supervised, size]`.
    x: Vec<f32>,
    weight: Vec<f32>,
    bias: Vec<f32>,
}

impl HeadLoss {
    fn loss(
        &self,
        x: &FlexTensor,
        weight: &FlexTensor,
        bias: Option<&FlexTensor>,
    ) -> (FlexTensor, Slopes) {
        let [vocab, size] = sizes(weight);
        let chosen = chosen_rows(x, &self.rows);
        let input = Input {
            x: &chosen,
            weight: entries(weight),
            bias: bias.map(entries),
            soft_cap: self.soft_cap,
            targets: &self.targets,
            precision: precision::current(),
        };
        let of = |wanted: bool, n: usize| if wanted { vec![0.0; n] } else { Vec::new() };
        let mut slopes = Slopes {
            x: of(self.wants_x, chosen.len()),
            weight: of(self.wants_weight, vocab * size),
            bias: of(self.wants_bias, vocab),
        };
        let out = Gradients {
            x: self.wants_x.then_some(&mut slopes.x[..]),
            weight: self.wants_weight.then_some(&mut slopes.weight[..]),
            bias: self.wants_bias.then_some(&mut slopes.bias[..]),
        };
        let mut logits = memory::any(input.logits_at_a_time());
        let loss = head::loss(input, &self.shares, out, &mut logits);
        (tensor(vec![loss as f32], [1]), slopes)
    }

    fn gradients<const N: usize>(
        &self,
        inputs: [&FlexTensor; N],
        slopes: Slopes,
        grad: &FlexTensor,
        needed: [bool; N],
    ) -> [Option<FlexTensor>; N] {
        let factor = entries(grad)[0];
        let scaled = |mut slopes: Vec<f32>| {
            if factor.to_bits() != 1.0f32.to_bits() {
                for v in &mut slopes {
                    *v *= factor;
                }
            }
            slopes
        };
        let of_rows = |slopes: Vec<f32>| {
            let [n, size] = sizes(inputs[0]);
            let slopes = scaled(slopes);
            let mut dx = vec![0.0; n * size];
            for (slope, &row) in slopes.chunks_exact(size).zip(self.rows.iter()) {
                dx[row * size..][..size].copy_from_slice(slope);
            }
            dx
        };
        let mut slopes = [Some(slopes.x), Some(slopes.weight), Some(slopes.bias)];
        std::array::from_fn(|i| {
            let slopes = slopes[i].take().filter(|_| needed[i])?;
            let slopes = if i == 0 {
                of_rows(slopes)
            } else {
                scaled(slopes)
            };
            Some(like(slopes, inputs[i]))
        })
    }
}

impl CpuOp<2> for HeadLoss {
    type Saved = Slopes;

    fn forward(&self, [x, weight]: [&FlexTensor; 2]) -> (FlexTensor, Slopes) {
        self.loss(x, weight, None)
    }

    fn backward(
        &self,
        inputs: [&FlexTensor; 2],
        slopes: Slopes,
        grad: &FlexTensor,
        needed: [bool; 2],
    ) -> [Option<FlexTensor>; 2] {
        self.gradients(inputs, slopes, grad, needed)
    }
}

impl CpuOp<3> for HeadLoss {
    type Saved = Slopes;

    fn forward(&self, [x, weight, bias]: [&FlexTensor; 3]) -> (FlexTensor, Slopes) {
        self.loss(x, weight, Some(bias))
    }

    fn backward(
        &self,
        inputs: [&FlexTensor; 3],
        slopes: Slopes,
        grad: &FlexTensor,
        needed: [bool; 3],
    ) -> [Option<FlexTensor>; 3] {
        self.gradients(inputs, slopes, grad, needed)
    }
}
