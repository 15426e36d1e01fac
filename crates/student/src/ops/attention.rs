//! Rotary positions and causal attention over packed sequences.

use std::ops::Range;
use std::sync::Arc;

use burn::backend::flex::FlexTensor;
use burn::tensor::Tensor;
use stillhouse_kernels::attention::{self, Gradients, Input, Shape};

use super::bridge::{CpuOp, apply3, entries, is_cpu, like};
use super::{Heads, Layout, Rope, composed, pool};

/// Causal attention with rotary positions, within each packed sequence.
///
/// `q` is `[tokens, heads * head_size]`, `k` and `v` are `[tokens, kv_heads * head_size]`; the result has the shape of `q`.
/// Scores are multiplied by `scale`, usually one over the root of the head size.
///
/// # Panics
/// If `layout` does not cover the rows, the shapes do not fit together, or a sequence is longer than the tables of `rope`.
#[must_use]
pub fn attention(
    q: Tensor<2>,
    k: Tensor<2>,
    v: Tensor<2>,
    rope: &Rope,
    layout: &Layout,
    shape: Heads,
    scale: f32,
) -> Tensor<2> {
    assert_eq!(q.dims()[0], layout.tokens(), "the layout covers the rows");
    if !is_cpu(&q) {
        return composed::attention(q, k, v, rope, layout, shape, scale);
    }
    let op = Attention {
        rope: rope.clone(),
        sequences: layout.sequences().collect(),
        shape: shape.with(rope, scale),
    };
    apply3(q, k, v, op)
}

#[derive(Clone)]
struct Attention {
    rope: Rope,
    sequences: Arc<[Range<usize>]>,
    shape: Shape,
}

impl Attention {
    fn input<'a>(&'a self, [q, k, v]: [&'a FlexTensor; 3]) -> Input<'a> {
        Input {
            q: entries(q),
            k: entries(k),
            v: entries(v),
            tables: self.rope.tables(),
            sequences: &self.sequences,
            shape: self.shape,
        }
    }
}

impl CpuOp<3> for Attention {
    /// The logarithms of the softmax's denominators, `[tokens, heads]`.
    type Saved = Vec<f32>;

    fn forward(&self, inputs: [&FlexTensor; 3]) -> (FlexTensor, Vec<f32>) {
        let n = entries(inputs[0]).len();
        let (mut y, mut log_sums) = (pool::take(n), vec![0.0; n / self.shape.head_size]);
        attention::attend(self.input(inputs), &mut y, &mut log_sums);
        (like(y, inputs[0]), log_sums)
    }

    fn backward(
        &self,
        inputs: [&FlexTensor; 3],
        log_sums: Vec<f32>,
        grad: &FlexTensor,
        _: [bool; 3],
    ) -> [Option<FlexTensor>; 3] {
        let [mut q, mut k, mut v] = inputs.map(|t| pool::take(entries(t).len()));
        let out = Gradients {
            q: &mut q,
            k: &mut k,
            v: &mut v,
        };
        attention::attend_backward(self.input(inputs), &log_sums, entries(grad), out);
        let [q_in, k_in, v_in] = inputs;
        [
            Some(like(q, q_in)),
            Some(like(k, k_in)),
            Some(like(v, v_in)),
        ]
    }
}
