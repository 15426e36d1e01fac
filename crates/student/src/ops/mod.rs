//! The operations that a decoder is made of, each with its gradient.
//!
//! Activations are packed: `x` is `[tokens, features]`, several sequences one after the other without padding, and a [`Layout`] tells where each begins.
//! Weights are `[out, in]`, as in Hugging Face's files.
//! A tensor is trained if it is tracked by burn's autodiff; for all others no gradient is computed.
//!
//! On the CPU each operation is one fused kernel with its own backward; on other devices it is the composition in [`composed`].
//! This module knows nothing of models, files or batches of examples.

mod adamw;
mod cache;
pub mod composed;
mod head;
mod layout;
mod rope;

use burn::tensor::Tensor;

pub use adamw::{AdamwStep, Moments, adamw, squared_norm};
pub use cache::{KvCache, attend_cached};
pub use head::{Loss, head_log_likelihood, head_logits, head_loss};
pub use layout::{Heads, Layout};
pub use rope::Rope;

/// `x W' + bias`: `[n, in]` -> `[n, out]`.
#[must_use]
pub fn linear(x: Tensor<2>, weight: &Tensor<2>, bias: Option<&Tensor<1>>) -> Tensor<2> {
    composed::linear(x, weight, bias)
}

/// A frozen linear with a trained branch of low rank: `x W' + bias + scale (x A') B'`.
///
/// `weight [out, in]` and `bias [out]` get no gradient; `a` is `[rank, in]`, `b` is `[out, rank]`.
#[must_use]
pub fn lora_linear(
    x: Tensor<2>,
    weight: &Tensor<2>,
    bias: Option<&Tensor<1>>,
    a: &Tensor<2>,
    b: &Tensor<2>,
    scale: f32,
) -> Tensor<2> {
    composed::lora_linear(x, weight, bias, a, b, scale)
}

/// Each row of `x [n, size]` divided by its root mean square, times `weight + offset`.
///
/// `offset` is 1 for Gemma, whose files hold the weight less one, and 0 for most others.
#[must_use]
pub fn rms_norm(x: Tensor<2>, weight: &Tensor<1>, epsilon: f32, offset: f32) -> Tensor<2> {
    composed::rms_norm(x, weight, epsilon, offset)
}

/// Causal attention with rotary positions, within each packed sequence.
///
/// `q` is `[tokens, heads * head_size]`, `k` and `v` are `[tokens, kv_heads * head_size]`; the result has the shape of `q`.
/// Scores are multiplied by `scale`, usually one over the root of the head size.
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
    composed::attention(q, k, v, rope, layout, shape, scale)
}

/// `silu(gate) * up`, entry by entry; both are `[n, size]`.
#[must_use]
pub fn swiglu(gate: Tensor<2>, up: Tensor<2>) -> Tensor<2> {
    composed::swiglu(gate, up)
}

/// Row `id` of `weight [vocab, size]` for each of `ids`: `[n, size]`.
#[must_use]
pub fn embedding(weight: &Tensor<2>, ids: &[u32]) -> Tensor<2> {
    composed::embedding(weight, ids)
}
