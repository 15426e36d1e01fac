//! Rotary positions and causal attention over packed sequences.

use std::sync::Arc;

use burn::backend::flex::FlexTensor;
use burn::tensor::Tensor;
use stillhouse_kernels::attention::{self, Gradients, Input, Sequence, Shape};
use stillhouse_kernels::memory;

use super::bridge::{CpuOp, apply3, entries, is_cpu, like};
use super::{Heads, Layout, Rope, composed, precision};

/// How queries look at keys: what families differ in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Attention {
    /// How many heads there are, and how wide.
    pub heads: Heads,
    /// What scores are multiplied by, usually one over the root of the head size.
    pub scale: f32,
    /// How many tokens a query sees, itself included; all before it where `None`.
    pub window: Option<usize>,
    /// Scaled scores `s` become `cap tanh(s / cap)`, so that none is beyond it (Gemma 2).
    pub soft_cap: Option<f32>,
}

impl Attention {
    /// Plain causal attention: all before, no cap.
    #[must_use]
    pub fn new(heads: Heads, scale: f32) -> Self {
        Self {
            heads,
            scale,
            window: None,
            soft_cap: None,
        }
    }

    /// As the kernels want it.
    pub(super) fn shape(&self, rope: &Rope) -> Shape {
        Shape {
            heads: self.heads.heads,
            kv_heads: self.heads.kv_heads,
            head_size: self.heads.head_size,
            half: rope.half(),
            scale: self.scale,
            window: self.window,
            soft_cap: self.soft_cap,
        }
    }
}

/// Causal attention with rotary positions, within each packed sequence and what it goes on from.
///
/// Keys and values of a sequence that others go on from gather their gradients in the order of the rows, so they repeat bit for bit.
/// `q` is `[tokens, heads * head_size]`, `k` and `v` are `[tokens, kv_heads * head_size]`; the result has the shape of `q`.
///
/// # Panics
/// If `layout` does not cover the rows, the shapes do not fit together, a sequence is longer than the tables of `rope`, or the window is 0.
#[must_use]
pub fn attention(
    q: Tensor<2>,
    k: Tensor<2>,
    v: Tensor<2>,
    rope: &Rope,
    layout: &Layout,
    how: &Attention,
) -> Tensor<2> {
    assert_eq!(q.dims()[0], layout.tokens(), "the layout covers the rows");
    if !is_cpu(&q) {
        return composed::attention(q, k, v, rope, layout, how);
    }
    let op = Fused {
        rope: rope.clone(),
        sequences: sequences(layout),
        shape: how.shape(rope),
    };
    apply3(q, k, v, op)
}

/// As the kernels want it.
fn sequences(layout: &Layout) -> Arc<[Sequence]> {
    let sequence = |(index, rows)| Sequence {
        rows,
        parent: layout.parent(index),
    };
    layout.sequences().enumerate().map(sequence).collect()
}

#[derive(Clone)]
struct Fused {
    rope: Rope,
    sequences: Arc<[Sequence]>,
    shape: Shape,
}

impl Fused {
    fn input<'a>(&'a self, [q, k, v]: [&'a FlexTensor; 3]) -> Input<'a> {
        Input {
            q: entries(q),
            k: entries(k),
            v: entries(v),
            tables: self.rope.tables(),
            sequences: &self.sequences,
            shape: self.shape,
            precision: precision::current(),
        }
    }
}

impl CpuOp<3> for Fused {
    /// The logarithms of the softmax's denominators, `[tokens, heads]`.
    type Saved = Vec<f32>;

    fn forward(&self, inputs: [&FlexTensor; 3]) -> (FlexTensor, Vec<f32>) {
        let n = entries(inputs[0]).len();
        let (mut y, mut log_sums) = (memory::any(n), vec![0.0; n / self.shape.head_size]);
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
        let [mut q, mut k, mut v] = inputs.map(|t| memory::any(entries(t).len()));
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
