//! Products with a weight, trained or frozen, with or without a branch of low rank.

use burn::backend::flex::FlexTensor;
use burn::tensor::Tensor;
use stillhouse_kernels::gemm::{self, Matrix, MatrixMut, Put, sum_rows};
use stillhouse_kernels::lora::{self, Lora};
use stillhouse_kernels::memory;

use super::bridge::{CpuOp, apply2, apply3, entries, is_cpu, like, sizes, storage, tensor};
use super::frozen::{Held, Weight};
use super::{Dropout, composed, precision};

/// A trained branch of low rank beside a frozen weight.
#[derive(Clone, Copy, Debug)]
pub struct Branch<'a> {
    /// `[rank, in]`
    pub a: &'a Tensor<2>,
    /// `[out, rank]`
    pub b: &'a Tensor<2>,
    /// What the branch is multiplied by.
    pub scale: f32,
    /// What is dropped of the branch's input; the frozen weight reads all of it.
    pub dropout: Option<Dropout>,
}

/// `x W' + bias`: `[n, in]` -> `[n, out]`.
#[must_use]
pub fn linear(x: Tensor<2>, weight: &Tensor<2>, bias: Option<&Tensor<1>>) -> Tensor<2> {
    if !is_cpu(&x) {
        return composed::linear(x, weight, bias);
    }
    match bias {
        Some(bias) => apply3(x, weight.clone(), bias.clone(), Linear),
        None => apply2(x, weight.clone(), Linear),
    }
}

/// A frozen linear with a trained branch of low rank: `x W' + bias + scale (dropped(x) A') B'`.
///
/// `weight [out, in]` and `bias [out]` get no gradient.
#[must_use]
pub fn lora_linear(
    x: Tensor<2>,
    weight: Weight<'_>,
    bias: Option<&Tensor<1>>,
    branch: Branch<'_>,
) -> Tensor<2> {
    if !is_cpu(&x) {
        return composed::lora_linear(x, weight, bias, branch);
    }
    let op = LoraLinear {
        weight: Held::of(weight),
        bias: bias.map(|bias| storage(bias.clone())),
        scale: branch.scale,
        dropout: branch.dropout,
    };
    apply3(x, branch.a.clone(), branch.b.clone(), op)
}

/// `x W' + bias` into fresh memory.
pub(super) fn product(x: &FlexTensor, weight: &FlexTensor, bias: Option<&FlexTensor>) -> Vec<f32> {
    let ([n, size_in], [size_out, _]) = (sizes(x), sizes(weight));
    let mut y = memory::any(n * size_out);
    let put = match bias {
        Some(bias) => {
            for row in y.chunks_exact_mut(size_out) {
                row.copy_from_slice(entries(bias));
            }
            Put::Onto
        }
        None => Put::Over,
    };
    multiply(
        MatrixMut::new(&mut y, n, size_out),
        Matrix::new(entries(x), n, size_in),
        Matrix::new(entries(weight), size_out, size_in).t(),
        1.0,
        put,
    );
    y
}

/// `scale a b`, in the precision that holds now.
pub(super) fn multiply(c: MatrixMut<'_>, a: Matrix<'_>, b: Matrix<'_>, scale: f32, put: Put) {
    gemm::multiply_in(precision::current(), c, a, b, scale, put);
}

/// `scale a b` into fresh memory.
fn fresh(a: Matrix<'_>, b: Matrix<'_>, [rows, cols]: [usize; 2], scale: f32) -> Vec<f32> {
    let mut y = memory::any(rows * cols);
    let out = MatrixMut::new(&mut y, rows, cols);
    multiply(out, a, b, scale, Put::Over);
    y
}

#[derive(Clone)]
struct Linear;

impl Linear {
    fn gradients(
        x: &FlexTensor,
        weight: &FlexTensor,
        grad: &FlexTensor,
        needed: [bool; 2],
    ) -> [Option<FlexTensor>; 2] {
        let ([n, size_in], [size_out, _]) = (sizes(x), sizes(weight));
        let g = Matrix::new(entries(grad), n, size_out);
        let dx = needed[0].then(|| {
            let weight = Matrix::new(entries(weight), size_out, size_in);
            like(fresh(g, weight, [n, size_in], 1.0), x)
        });
        let d_weight = needed[1].then(|| {
            let x = Matrix::new(entries(x), n, size_in);
            like(fresh(g.t(), x, [size_out, size_in], 1.0), weight)
        });
        [dx, d_weight]
    }
}

impl CpuOp<2> for Linear {
    type Saved = ();

    fn forward(&self, [x, weight]: [&FlexTensor; 2]) -> (FlexTensor, ()) {
        let shape = [sizes::<2>(x)[0], sizes::<2>(weight)[0]];
        (tensor(product(x, weight, None), shape), ())
    }

    fn backward(
        &self,
        [x, weight]: [&FlexTensor; 2],
        (): (),
        grad: &FlexTensor,
        needed: [bool; 2],
    ) -> [Option<FlexTensor>; 2] {
        Self::gradients(x, weight, grad, needed)
    }
}

impl CpuOp<3> for Linear {
    type Saved = ();

    fn forward(&self, [x, weight, bias]: [&FlexTensor; 3]) -> (FlexTensor, ()) {
        let shape = [sizes::<2>(x)[0], sizes::<2>(weight)[0]];
        (tensor(product(x, weight, Some(bias)), shape), ())
    }

    fn backward(
        &self,
        [x, weight, bias]: [&FlexTensor; 3],
        (): (),
        grad: &FlexTensor,
        needed: [bool; 3],
    ) -> [Option<FlexTensor>; 3] {
        let [dx, d_weight] = Self::gradients(x, weight, grad, [needed[0], needed[1]]);
        let d_bias = needed[2].then(|| {
            let mut sums = vec![0.0; sizes::<1>(bias)[0]];
            sum_rows(entries(grad), &mut sums);
            like(sums, bias)
        });
        [dx, d_weight, d_bias]
    }
}

#[derive(Clone)]
struct LoraLinear {
    weight: Held,
    bias: Option<FlexTensor>,
    scale: f32,
    dropout: Option<Dropout>,
}

impl LoraLinear {
    fn lora<'a>(&'a self, a: &'a FlexTensor, b: &'a FlexTensor) -> Lora<'a> {
        Lora {
            shape: self.weight.shape(),
            weight: self.weight.borrow(),
            a: entries(a),
            b: entries(b),
            scale: self.scale,
            precision: precision::current(),
        }
    }

    /// What the branch reads of `x`, where some of it is dropped.
    fn dropped(&self, x: &FlexTensor) -> Option<Vec<f32>> {
        let dropout = self.dropout?;
        let [n, size_in] = sizes(x);
        let mut dropped = memory::any(n * size_in);
        dropped.copy_from_slice(entries(x));
        dropout.apply(&mut dropped, size_in);
        Some(dropped)
    }
}

impl CpuOp<3> for LoraLinear {
    /// `scale dropped(x) A'`, `[n, rank]`
    type Saved = Vec<f32>;

    fn forward(&self, [x, a, b]: [&FlexTensor; 3]) -> (FlexTensor, Vec<f32>) {
        let ([n, _], [size_out, rank]) = (sizes::<2>(x), sizes::<2>(b));
        let (mut low, mut y) = (memory::any(n * rank), memory::any(n * size_out));
        let dropped = self.dropped(x);
        let bias = self.bias.as_ref().map(entries);
        let lora = self.lora(a, b);
        lora.forward(entries(x), dropped.as_deref(), bias, &mut low, &mut y);
        (tensor(y, [n, size_out]), low)
    }

    fn backward(
        &self,
        [x, a, b]: [&FlexTensor; 3],
        low: Vec<f32>,
        grad: &FlexTensor,
        needed: [bool; 3],
    ) -> [Option<FlexTensor>; 3] {
        let [n, size_in] = sizes(x);
        let of = |wanted: bool, n: usize| wanted.then(|| memory::any(n));
        let mut dx = of(needed[0], n * size_in);
        let mut d_dropped = of(needed[0] && self.dropout.is_some(), n * size_in);
        let mut da = of(needed[1], entries(a).len());
        let mut db = of(needed[2], entries(b).len());
        let dropped = self.dropped(x);
        let out = lora::Gradients {
            x: dx.as_deref_mut(),
            dropped: d_dropped.as_deref_mut(),
            a: da.as_deref_mut(),
            b: db.as_deref_mut(),
        };
        let lora = self.lora(a, b);
        lora.backward(entries(x), dropped.as_deref(), &low, entries(grad), out);
        if let (Some(dx), Some(mut more), Some(dropout)) = (&mut dx, d_dropped, self.dropout) {
            dropout.apply(&mut more, size_in);
            for (dx, more) in dx.iter_mut().zip(&more) {
                *dx += more;
            }
        }
        [
            dx.map(|dx| like(dx, x)),
            da.map(|da| like(da, a)),
            db.map(|db| like(db, b)),
        ]
    }
}
