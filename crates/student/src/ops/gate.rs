//! The activation of a feed-forward block, alone or as a gate.

use burn::backend::flex::FlexTensor;
use burn::tensor::Tensor;
pub use stillhouse_kernels::activation::Activation;
use stillhouse_kernels::gate;
use stillhouse_kernels::memory;

use super::bridge::{CpuOp, apply1, apply2, entries, is_cpu, like};
use super::composed;

/// `f(x)`, entry by entry.
#[must_use]
pub fn activate(f: Activation, x: Tensor<2>) -> Tensor<2> {
    if !is_cpu(&x) {
        return composed::activate(f, x);
    }
    apply1(x, Activate(f))
}

/// `f(gate) * up`, entry by entry; both are `[n, size]`.
#[must_use]
pub fn gated(f: Activation, gate: Tensor<2>, up: Tensor<2>) -> Tensor<2> {
    if !is_cpu(&gate) {
        return composed::gated(f, gate, up);
    }
    apply2(gate, up, Gated(f))
}

#[derive(Clone)]
struct Activate(Activation);

impl CpuOp<1> for Activate {
    type Saved = ();

    fn forward(&self, [x]: [&FlexTensor; 1]) -> (FlexTensor, ()) {
        let mut y = memory::any(entries(x).len());
        gate::activate(self.0, entries(x), &mut y);
        (like(y, x), ())
    }

    fn backward(
        &self,
        [x]: [&FlexTensor; 1],
        (): (),
        grad: &FlexTensor,
        _: [bool; 1],
    ) -> [Option<FlexTensor>; 1] {
        let mut dx = memory::any(entries(x).len());
        gate::activate_backward(self.0, entries(x), entries(grad), &mut dx);
        [Some(like(dx, x))]
    }
}

#[derive(Clone)]
struct Gated(Activation);

impl CpuOp<2> for Gated {
    type Saved = ();

    fn forward(&self, [gate, up]: [&FlexTensor; 2]) -> (FlexTensor, ()) {
        let (g, u) = (entries(gate), entries(up));
        let mut y = memory::any(g.len());
        gate::gated(self.0, g, u, &mut y);
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
        let (mut d_gate, mut d_up) = (memory::any(g.len()), memory::any(g.len()));
        gate::gated_backward(self.0, g, u, entries(grad), &mut d_gate, &mut d_up);
        [Some(like(d_gate, gate)), Some(like(d_up, up))]
    }
}
