//! Products with a weight that is not trained, however it rests.

use std::sync::Arc;

use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use burn::tensor::{Device, Tensor, TensorData};
pub use stillhouse_kernels::frozen::{AtRest, Freezing, Frozen};
use stillhouse_kernels::gemm::{Matrix, MatrixMut, Put};
use stillhouse_kernels::lora;
use stillhouse_kernels::memory;

use super::bridge::{CpuOp, apply1, entries, is_cpu, like, sizes, storage, tensor};
use super::linear::{multiply, product};
use super::{composed, linear, linear_rows, precision};

/// A weight `[out, in]` as a product meets it.
#[derive(Clone, Copy, Debug)]
pub enum Weight<'a> {
    /// A tensor, trained or not.
    Tensor(&'a Tensor<2>),
    /// One that rests in few bytes, and is never trained.
    Frozen(&'a Arc<Frozen>),
}

impl Weight<'_> {
    /// As a tensor in f32; one at rest is written out.
    #[must_use]
    pub fn to_tensor(self, device: &Device) -> Tensor<2> {
        match self {
            Self::Tensor(tensor) => tensor.clone(),
            Self::Frozen(frozen) => {
                let [size_out, size_in] = frozen.shape();
                let rows = frozen.rows(0..size_out);
                Tensor::from_data(TensorData::new(rows, [size_out, size_in]), device)
            }
        }
    }
}

/// `x W' + bias` as [`linear`](super::linear()), for a weight that may be at rest: `[n, in]` -> `[n, out]`.
#[must_use]
pub fn through(x: Tensor<2>, weight: Weight<'_>, bias: Option<&Tensor<1>>) -> Tensor<2> {
    let frozen = match weight {
        Weight::Tensor(weight) => return linear(x, weight, bias),
        Weight::Frozen(_) if !is_cpu(&x) => {
            let device = x.device();
            return composed::linear(x, &weight.to_tensor(&device), bias);
        }
        Weight::Frozen(frozen) => frozen,
    };
    let op = FrozenLinear {
        weight: Held::Frozen(Arc::clone(frozen)),
        bias: bias.map(|bias| storage(bias.clone())),
    };
    apply1(x, op)
}

/// `x W' + bias` as [`linear_rows`](super::linear_rows()), for a weight that may be at rest.
#[must_use]
pub fn through_rows(x: Tensor<2>, weight: Weight<'_>, bias: Option<&Tensor<1>>) -> Tensor<2> {
    let frozen = match weight {
        Weight::Tensor(weight) => return linear_rows(x, weight, bias),
        Weight::Frozen(_) if !is_cpu(&x) => return through(x, weight, bias),
        Weight::Frozen(frozen) => frozen,
    };
    let x = storage(x);
    let y = tensor(
        frozen.few_rows(entries(&x)),
        [sizes::<2>(&x)[0], frozen.shape()[0]],
    );
    let y = Tensor::<2>::from_primitive::<Flex>(y);
    match bias {
        Some(bias) => y + bias.clone().inner().unsqueeze(),
        None => y,
    }
}

/// A weight that an operation holds and gives no gradient.
#[derive(Clone)]
pub(super) enum Held {
    Tensor(FlexTensor),
    Frozen(Arc<Frozen>),
}

impl Held {
    pub(super) fn of(weight: Weight<'_>) -> Self {
        match weight {
            Weight::Tensor(tensor) => Self::Tensor(storage(tensor.clone())),
            Weight::Frozen(frozen) => Self::Frozen(Arc::clone(frozen)),
        }
    }

    pub(super) fn shape(&self) -> [usize; 2] {
        match self {
            Self::Tensor(tensor) => sizes(tensor),
            Self::Frozen(frozen) => frozen.shape(),
        }
    }

    /// As the kernels take it.
    pub(super) fn borrow(&self) -> lora::Weight<'_> {
        match self {
            Self::Tensor(weight) => {
                let [size_out, size_in] = sizes(weight);
                lora::Weight::Plain(Matrix::new(entries(weight), size_out, size_in))
            }
            Self::Frozen(weight) => lora::Weight::Frozen(weight),
        }
    }

    /// `x W' + bias` into fresh memory.
    fn product(&self, x: &FlexTensor, bias: Option<&FlexTensor>) -> Vec<f32> {
        match self {
            Self::Tensor(weight) => product(x, weight, bias),
            Self::Frozen(weight) => {
                let mut y = memory::any(sizes::<2>(x)[0] * weight.shape()[0]);
                let bias = bias.map(entries);
                weight.product(precision::current(), entries(x), bias, &mut y);
                y
            }
        }
    }

    /// `dx = g W`, or onto what is there.
    fn product_back(&self, g: &FlexTensor, dx: &mut [f32], put: Put) {
        match self {
            Self::Tensor(weight) => {
                let [size_out, size_in] = sizes(weight);
                let [n, _] = sizes(g);
                multiply(
                    MatrixMut::new(dx, n, size_in),
                    Matrix::new(entries(g), n, size_out),
                    Matrix::new(entries(weight), size_out, size_in),
                    1.0,
                    put,
                );
            }
            Self::Frozen(weight) => {
                weight.product_back(precision::current(), entries(g), dx, put);
            }
        }
    }
}

#[derive(Clone)]
struct FrozenLinear {
    weight: Held,
    bias: Option<FlexTensor>,
}

impl CpuOp<1> for FrozenLinear {
    type Saved = ();

    fn forward(&self, [x]: [&FlexTensor; 1]) -> (FlexTensor, ()) {
        let shape = [sizes::<2>(x)[0], self.weight.shape()[0]];
        (
            tensor(self.weight.product(x, self.bias.as_ref()), shape),
            (),
        )
    }

    fn backward(
        &self,
        [x]: [&FlexTensor; 1],
        (): (),
        grad: &FlexTensor,
        _: [bool; 1],
    ) -> [Option<FlexTensor>; 1] {
        let [n, size_in] = sizes(x);
        let mut dx = memory::any(n * size_in);
        self.weight.product_back(grad, &mut dx, Put::Over);
        [Some(like(dx, x))]
    }
}
