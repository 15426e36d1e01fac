//! Normalisation of rows: by their root mean square, or by mean and variance.

use burn::backend::flex::FlexTensor;
use burn::tensor::Tensor;
use stillhouse_kernels::layer_norm::{self, Moments};
use stillhouse_kernels::memory;
use stillhouse_kernels::norm::{self, NormInput};

use super::bridge::{CpuOp, apply2, apply3, entries, is_cpu, like, sizes};
use super::composed;

/// Each row of `x [n, size]` divided by its root mean square, times `weight + offset`.
///
/// `offset` is 1 for Gemma, whose files hold the weight less one, and 0 for most others.
#[must_use]
pub fn rms_norm(x: Tensor<2>, weight: &Tensor<1>, epsilon: f32, offset: f32) -> Tensor<2> {
    if !is_cpu(&x) {
        return composed::rms_norm(x, weight, epsilon, offset);
    }
    apply2(x, weight.clone(), RmsNorm { epsilon, offset })
}

#[derive(Clone)]
struct RmsNorm {
    epsilon: f32,
    offset: f32,
}

impl CpuOp<2> for RmsNorm {
    /// One over the root of each row.
    type Saved = Vec<f32>;

    fn forward(&self, [x, weight]: [&FlexTensor; 2]) -> (FlexTensor, Vec<f32>) {
        let [n, size] = sizes(x);
        let (mut y, mut inverse) = (memory::any(n * size), vec![0.0; n]);
        let (rows, weight) = (entries(x), entries(weight));
        norm::rms_norm(
            rows,
            weight,
            self.epsilon,
            self.offset,
            &mut y,
            &mut inverse,
        );
        (like(y, x), inverse)
    }

    fn backward(
        &self,
        [x, weight]: [&FlexTensor; 2],
        inverse: Vec<f32>,
        grad: &FlexTensor,
        needed: [bool; 2],
    ) -> [Option<FlexTensor>; 2] {
        let [n, size] = sizes(x);
        let mut dx = memory::any(n * size);
        let mut d_weight = needed[1].then(|| vec![0.0; size]);
        let input = NormInput {
            x: entries(x),
            weight: entries(weight),
            offset: self.offset,
            inverse: &inverse,
        };
        norm::rms_norm_backward(input, entries(grad), &mut dx, d_weight.as_deref_mut());
        [Some(like(dx, x)), d_weight.map(|d| like(d, weight))]
    }
}

/// Each row of `x [n, size]` brought to mean 0 and variance 1, then scaled and shifted.
#[must_use]
pub fn layer_norm(x: Tensor<2>, weight: &Tensor<1>, bias: &Tensor<1>, epsilon: f32) -> Tensor<2> {
    if !is_cpu(&x) {
        return composed::layer_norm(x, weight, bias, epsilon);
    }
    apply3(x, weight.clone(), bias.clone(), LayerNorm { epsilon })
}

#[derive(Clone)]
struct LayerNorm {
    epsilon: f32,
}

impl CpuOp<3> for LayerNorm {
    /// Mean and deviation of each row.
    type Saved = Vec<Moments>;

    fn forward(&self, [x, weight, bias]: [&FlexTensor; 3]) -> (FlexTensor, Vec<Moments>) {
        let [n, size] = sizes(x);
        let (mut y, mut moments) = (memory::any(n * size), vec![Moments::default(); n]);
        let parameters = [entries(weight), entries(bias)];
        layer_norm::normalise(entries(x), parameters, self.epsilon, &mut y, &mut moments);
        (like(y, x), moments)
    }

    fn backward(
        &self,
        [x, weight, bias]: [&FlexTensor; 3],
        moments: Vec<Moments>,
        grad: &FlexTensor,
        needed: [bool; 3],
    ) -> [Option<FlexTensor>; 3] {
        let [n, size] = sizes(x);
        let mut dx = memory::any(n * size);
        let (mut d_weight, mut d_bias) = (vec![0.0; size], vec![0.0; size]);
        layer_norm::normalise_backward(
            entries(x),
            entries(weight),
            &moments,
            entries(grad),
            &mut dx,
            (needed[1] || needed[2]).then_some([&mut d_weight, &mut d_bias]),
        );
        [
            Some(like(dx, x)),
            needed[1].then(|| like(d_weight, weight)),
            needed[2].then(|| like(d_bias, bias)),
        ]
    }
}
