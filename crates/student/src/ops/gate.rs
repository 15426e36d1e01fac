//! The gate of a feed-forward block.

use burn::backend::flex::FlexTensor;
use burn::tensor::Tensor;
use stillhouse_kernels::gate;

use super::bridge::{CpuOp, apply2, entries, is_cpu, like};
use super::{composed, pool};

/// `silu(gate) * up`, entry by entry; both are `[n, size]`.
#[must_use]
pub fn swiglu(gate: Tensor<2>, up: Tensor<2>) -> Tensor<2> {
    if !is_cpu(&gate) {
        return composed::swiglu(gate, up);
    }
    apply2(gate, up, SwiGlu)
}

#[derive(Clone)]
struct SwiGlu;

impl CpuOp<2> for SwiGlu {
    type Saved = ();

    fn forward(&self, [gate, up]: [&FlexTensor; 2]) -> (FlexTensor, ()) {
        let (g, u) = (entries(gate), entries(up));
        let mut y = pool::take(g.len());
        gate::swiglu(g, u, &mut y);
        (like(y, gate), ())
    }

    fn backward(
        &self,
        [gate, up]: [&FlexTensor; 2],
        (): (),
        grad: &FlexTensor,
        _: [bool; 2],
    ) -> [Option<FlexTensor>; 2] {
        let (g, u) = (entries(gate), entries(up));
        let (mut d_gate, mut d_up) = (pool::take(g.len()), pool::take(g.len()));
        gate::swiglu_backward(g, u, entries(grad), &mut d_gate, &mut d_up);
        [Some(like(d_gate, gate)), Some(like(d_up, up))]
    }
}
