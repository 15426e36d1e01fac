//! Products of a few rows, for generation: each row as if it were alone.

use burn::backend::Flex;
use burn::tensor::Tensor;
use stillhouse_kernels::rows;

use super::bridge::{entries, is_cpu, sizes, storage, tensor};
use super::composed;

/// `x W' + bias` as [`linear`](super::linear()), without gradient; on the CPU the bits of a row do not depend on the rows beside it.
///
/// Meant for few rows: many are faster in one matrix product.
#[must_use]
pub fn linear_rows(x: Tensor<2>, weight: &Tensor<2>, bias: Option<&Tensor<1>>) -> Tensor<2> {
    if !is_cpu(&x) {
        return composed::linear(x, weight, bias);
    }
    let (x, weight) = (storage(x), storage(weight.clone()));
    let ([n, size_in], [size_out, _]) = (sizes(&x), sizes(&weight));
    let y = rows::multiply(entries(&x), entries(&weight), size_in);
    let y = Tensor::<2>::from_primitive::<Flex>(tensor(y, [n, size_out]));
    match bias {
        Some(bias) => y + bias.clone().inner().unsqueeze(),
        None => y,
    }
}
