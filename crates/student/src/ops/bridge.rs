//! Runs a CPU kernel, with its own backward, as one node of burn's graph.
//!
//! An operation is a struct that implements [`CpuOp`]; `apply1` to `apply4` run it on tensors.
//! burn asks for a backend extension, which is what the two traits and the two `impl` blocks below are.

use std::fmt::{self, Debug, Formatter};

use burn::backend::autodiff::{
    checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
    grads::Gradients,
    ops::{Backward, NodeGuard, Ops, OpsKind},
};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, DispatchDevice, Flex, backend_extension};
use burn::tensor::{Tensor, TensorData};

/// A kernel over `N` inputs that may be trained; what never is lives in `self`.
///
/// All tensors given to it are contiguous f32.
pub(super) trait CpuOp<const N: usize>: Clone + Send + 'static {
    /// What the forward pass keeps for the backward pass, besides the inputs.
    type Saved: Clone + Send + 'static;

    /// The result.
    fn forward(&self, inputs: [&FlexTensor; N]) -> (FlexTensor, Self::Saved);

    /// One gradient per input; those not `needed` may be `None`.
    fn backward(
        &self,
        inputs: [&FlexTensor; N],
        saved: Self::Saved,
        grad: &FlexTensor,
        needed: [bool; N],
    ) -> [Option<FlexTensor>; N];
}

/// The extension of burn's backends by our kernels.
#[backend_extension(Flex, Autodiff)]
pub(super) trait CpuKernels: Backend {
    /// Runs an operation over one input.
    fn apply1<O: CpuOp<1>>(a: FloatTensor<Self>, op: O) -> FloatTensor<Self>;
    /// Runs an operation over two inputs.
    fn apply2<O: CpuOp<2>>(a: FloatTensor<Self>, b: FloatTensor<Self>, op: O) -> FloatTensor<Self>;
    /// Runs an operation over three inputs.
    fn apply3<O: CpuOp<3>>(
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        c: FloatTensor<Self>,
        op: O,
    ) -> FloatTensor<Self>;
    /// Runs an operation over four inputs.
    fn apply4<O: CpuOp<4>>(
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        c: FloatTensor<Self>,
        d: FloatTensor<Self>,
        op: O,
    ) -> FloatTensor<Self>;
}

impl CpuKernels for Flex {
    fn apply1<O: CpuOp<1>>(a: FlexTensor, op: O) -> FlexTensor {
        compute([a], &op)
    }

    fn apply2<O: CpuOp<2>>(a: FlexTensor, b: FlexTensor, op: O) -> FlexTensor {
        compute([a, b], &op)
    }

    fn apply3<O: CpuOp<3>>(a: FlexTensor, b: FlexTensor, c: FlexTensor, op: O) -> FlexTensor {
        compute([a, b, c], &op)
    }

    fn apply4<O: CpuOp<4>>(
        a: FlexTensor,
        b: FlexTensor,
        c: FlexTensor,
        d: FlexTensor,
        op: O,
    ) -> FlexTensor {
        compute([a, b, c, d], &op)
    }
}

impl<C: CheckpointStrategy> CpuKernels for Autodiff<Flex, C> {
    fn apply1<O: CpuOp<1>>(a: FloatTensor<Self>, op: O) -> FloatTensor<Self> {
        record::<O, C, 1>([a], &op)
    }

    fn apply2<O: CpuOp<2>>(a: FloatTensor<Self>, b: FloatTensor<Self>, op: O) -> FloatTensor<Self> {
        record::<O, C, 2>([a, b], &op)
    }

    fn apply3<O: CpuOp<3>>(
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        c: FloatTensor<Self>,
        op: O,
    ) -> FloatTensor<Self> {
        record::<O, C, 3>([a, b, c], &op)
    }

    fn apply4<O: CpuOp<4>>(
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        c: FloatTensor<Self>,
        d: FloatTensor<Self>,
        op: O,
    ) -> FloatTensor<Self> {
        record::<O, C, 4>([a, b, c, d], &op)
    }
}

/// The forward pass alone, where nothing is trained.
fn compute<O: CpuOp<N>, const N: usize>(inputs: [FlexTensor; N], op: &O) -> FlexTensor {
    let inputs = inputs.map(|t| t.to_contiguous());
    let (output, _) = op.forward(inputs.each_ref());
    output
}

type Tracked<C> = FloatTensor<Autodiff<Flex, C>>;

/// The forward pass as a node of the graph.
fn record<O: CpuOp<N>, C: CheckpointStrategy, const N: usize>(
    inputs: [Tracked<C>; N],
    op: &O,
) -> Tracked<C> {
    let nodes: [NodeGuard; N] = inputs
        .each_ref()
        .map(FloatTensor::<Autodiff<Flex, C>>::node);
    let inputs = inputs.map(|t| t.into_primitive().to_contiguous());
    match Node(op.clone())
        .prepare::<C>(nodes)
        .compute_bound()
        .stateful()
    {
        OpsKind::Tracked(prepared) => {
            let (output, saved) = op.forward(inputs.each_ref());
            prepared.finish(State { inputs, saved }, output)
        }
        OpsKind::UnTracked(prepared) => prepared.finish(compute(inputs, op)),
    }
}

struct Node<O>(O);

#[derive(Clone)]
struct State<S, const N: usize> {
    inputs: [FlexTensor; N],
    saved: S,
}

impl<O: CpuOp<N>, const N: usize> Backward<Flex, N> for Node<O> {
    type State = State<O::Saved, N>;

    fn backward(self, ops: Ops<Self::State, N>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<Flex>(&ops.node).to_contiguous();
        let State { inputs, saved } = ops.state;
        let needed = ops.parents.each_ref().map(Option::is_some);
        let found = self.0.backward(inputs.each_ref(), saved, &grad, needed);
        for (parent, found) in ops.parents.into_iter().zip(found) {
            if let (Some(parent), Some(found)) = (parent, found) {
                grads.register::<Flex>(parent.id, found);
            }
        }
    }
}

impl<O> Debug for Node<O> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(std::any::type_name::<O>())
    }
}

impl<S, const N: usize> Debug for State<S, N> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("State")
    }
}

/// Runs an operation over one tensor.
pub(super) fn apply1<const A: usize, const D: usize>(a: Tensor<A>, op: impl CpuOp<1>) -> Tensor<D> {
    Tensor::from_dispatch(Dispatch::apply1(a.into_dispatch(), op))
}

/// Runs an operation over two tensors.
pub(super) fn apply2<const A: usize, const B: usize, const D: usize>(
    a: Tensor<A>,
    b: Tensor<B>,
    op: impl CpuOp<2>,
) -> Tensor<D> {
    let (a, b) = (a.into_dispatch(), b.into_dispatch());
    Tensor::from_dispatch(Dispatch::apply2(a, b, op))
}

/// Runs an operation over four tensors.
pub(super) fn apply4<
    const A: usize,
    const B: usize,
    const C: usize,
    const E: usize,
    const D: usize,
>(
    a: Tensor<A>,
    b: Tensor<B>,
    c: Tensor<C>,
    e: Tensor<E>,
    op: impl CpuOp<4>,
) -> Tensor<D> {
    let (a, b) = (a.into_dispatch(), b.into_dispatch());
    let (c, e) = (c.into_dispatch(), e.into_dispatch());
    Tensor::from_dispatch(Dispatch::apply4(a, b, c, e, op))
}

/// Runs an operation over three tensors.
pub(super) fn apply3<const A: usize, const B: usize, const C: usize, const D: usize>(
    a: Tensor<A>,
    b: Tensor<B>,
    c: Tensor<C>,
    op: impl CpuOp<3>,
) -> Tensor<D> {
    let (a, b, c) = (a.into_dispatch(), b.into_dispatch(), c.into_dispatch());
    Tensor::from_dispatch(Dispatch::apply3(a, b, c, op))
}

/// Whether the kernels can run: the tensor is on the CPU device, in f32.
pub(super) fn is_cpu<const D: usize>(t: &Tensor<D>) -> bool {
    t.dtype() == burn::tensor::DType::F32
        && matches!(t.device().inner().as_dispatch(), DispatchDevice::Flex(_))
}

/// A CPU tensor's storage, contiguous, without the graph; not copied if it can be helped.
pub(super) fn storage<const D: usize>(t: Tensor<D>) -> FlexTensor {
    t.inner()
        .try_into_primitive::<Flex>()
        .expect("the caller asked `is_cpu` first")
        .to_contiguous()
}

/// The entries of a contiguous tensor.
pub(super) fn entries(t: &FlexTensor) -> &[f32] {
    t.as_slice::<f32>()
        .expect("tensors given to kernels are contiguous f32")
}

/// The entries of a contiguous tensor, copied first if anything else holds them.
pub(super) fn entries_mut(t: &mut FlexTensor) -> &mut [f32] {
    let (start, end) = t
        .layout()
        .contiguous_offsets()
        .expect("tensors given to kernels are contiguous");
    &mut t.storage_mut::<f32>()[start..end]
}

/// A tensor of these entries.
pub(super) fn tensor<const D: usize>(entries: Vec<f32>, shape: [usize; D]) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(entries, shape))
}

/// A tensor of these entries in the shape of another.
pub(super) fn like(entries: Vec<f32>, other: &FlexTensor) -> FlexTensor {
    let shape = other.layout().shape().clone();
    FlexTensor::from_data(TensorData::new(entries, shape))
}

/// A tensor's sizes.
pub(super) fn sizes<const D: usize>(t: &FlexTensor) -> [usize; D] {
    t.layout().shape().dims()
}
