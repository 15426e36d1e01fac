//! Tokens become rows.

use std::sync::Arc;

use burn::backend::flex::FlexTensor;
use burn::tensor::Tensor;
use stillhouse_kernels::embedding::{gather, scatter_add};
use stillhouse_kernels::memory;

use super::bridge::{CpuOp, apply1, entries, is_cpu, like, sizes, tensor};
use super::composed;

/// Row `id` of `weight [vocab, size]` for each of `ids`: `[n, size]`.
#[must_use]
pub fn embedding(weight: &Tensor<2>, ids: &[u32]) -> Tensor<2> {
    if !is_cpu(weight) {
        return composed::embedding(weight, ids);
    }
    apply1(weight.clone(), Embedding { ids: ids.into() })
}

#[derive(Clone)]
struct Embedding {
    ids: Arc<[u32]>,
}

impl CpuOp<1> for Embedding {
    type Saved = ();

    fn forward(&self, [weight]: [&FlexTensor; 1]) -> (FlexTensor, ()) {
        let ([_, size], n) = (sizes(weight), self.ids.len());
        let mut y = memory::any(n * size);
        gather(entries(weight), size, &self.ids, &mut y);
        (tensor(y, [n, size]), ())
    }

    fn backward(
        &self,
        [weight]: [&FlexTensor; 1],
        (): (),
        grad: &FlexTensor,
        _: [bool; 1],
    ) -> [Option<FlexTensor>; 1] {
        let [vocab, size] = sizes(weight);
        let mut d_weight = vec![0.0; vocab * size];
        scatter_add(entries(grad), size, &self.ids, &mut d_weight);
        [Some(like(d_weight, weight))]
    }
}
