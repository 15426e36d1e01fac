//! Sums over rows of logits that would not fit into memory all at once.

use burn::tensor::{Gradients, Tensor};

use super::{Head, index};

/// How many logits are there at once: 64 MB of them.
pub(super) const LOGITS: usize = 1 << 24;

/// The sum over `rows` of `x` of what `of` makes of some rows' states, the head, and which rows they are.
///
/// Where not all logits may be there at once (`most`), each portion's gradient is computed at once and kept in place of its logits.
pub(super) fn sum(
    x: Tensor<2>,
    head: Head<'_>,
    rows: &[usize],
    most: usize,
    of: impl Fn(Tensor<2>, Head<'_>, &[usize]) -> Tensor<1>,
) -> Tensor<1> {
    let at_once = (most / head.weight.dims()[0]).max(1);
    let device = x.device();
    let states = x.select(0, index(rows.iter().copied(), &device));
    if rows.len() <= at_once {
        return of(states, head, rows);
    }
    let tracked = [
        states.is_tracked(),
        head.weight.is_tracked(),
        head.bias.is_some_and(Tensor::is_tracked),
    ];
    let mut total: Option<Tensor<1>> = None;
    let mut slopes = Slopes::default();
    for (number, rows) in rows.chunks(at_once).enumerate() {
        let part = states.clone().narrow(0, number * at_once, rows.len());
        let part = leaf(part, tracked[0]);
        let weight = leaf(head.weight.clone(), tracked[1]);
        let bias = head.bias.map(|bias| leaf(bias.clone(), tracked[2]));
        let own = Head {
            weight: &weight,
            bias: bias.as_ref(),
            ..head
        };
        let value = of(part.clone(), own, rows);
        if value.is_tracked() {
            let mut gradients = value.backward();
            slopes.states.extend(part.grad_remove(&mut gradients));
            add(&mut slopes.weight, &weight, &mut gradients);
            if let Some(bias) = &bias {
                add(&mut slopes.bias, bias, &mut gradients);
            }
        }
        let value = value.inner();
        total = Some(match total {
            None => value,
            Some(sum) => sum + value,
        });
    }
    let total = total.expect("there are more rows than fit at once");
    if !tracked.contains(&true) {
        return if device.is_autodiff() {
            total.autodiff()
        } else {
            total
        };
    }
    // Zero, with the slopes that were found.
    let mut zero = Vec::new();
    if !slopes.states.is_empty() {
        zero.push(hung(&states, Tensor::cat(slopes.states, 0)));
    }
    zero.extend(slopes.weight.map(|slope| hung(head.weight, slope)));
    if let (Some(bias), Some(slope)) = (head.bias, slopes.bias) {
        zero.push(hung(bias, slope));
    }
    zero.into_iter()
        .fold(total.autodiff(), |sum, zero| sum + zero)
}

/// What the portions' backward passes found.
#[derive(Default)]
struct Slopes {
    /// One a portion.
    states: Vec<Tensor<2>>,
    weight: Option<Tensor<2>>,
    bias: Option<Tensor<1>>,
}

/// The same values at the end of the graph.
fn leaf<const D: usize>(tensor: Tensor<D>, is_tracked: bool) -> Tensor<D> {
    let is_autodiff = tensor.is_autodiff();
    let tensor = tensor.inner();
    match (is_autodiff, is_tracked) {
        (true, true) => tensor.autodiff().require_grad(),
        (true, false) => tensor.autodiff(),
        (false, _) => tensor,
    }
}

fn add<const D: usize>(sum: &mut Option<Tensor<D>>, of: &Tensor<D>, gradients: &mut Gradients) {
    let found = of.grad_remove(gradients);
    *sum = match (sum.take(), found) {
        (Some(sum), Some(found)) => Some(sum + found),
        (sum, found) => sum.or(found),
    };
}

/// Zero, whose gradient for `tensor` is `slope`.
fn hung<const D: usize>(tensor: &Tensor<D>, slope: Tensor<D>) -> Tensor<1> {
    let along = (tensor.clone() * slope.autodiff()).sum();
    along.clone() - along.detach()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device;

    /// The value, and the gradients of states, weight and bias, with so many logits at once.
    fn found(most: usize, device: &burn::tensor::Device) -> Vec<Vec<f32>> {
        let made = |n: usize, step: f32| {
            let entries: Vec<f32> = (0..n).map(|i| (i as f32 * step).sin()).collect();
            Tensor::<1>::from_data(entries.as_slice(), device)
        };
        let matrix =
            |rows: usize, step| leaf(made(rows * 3, step).reshape([rows, 3]).autodiff(), true);
        let (x, weight, bias) = (matrix(7, 0.7), matrix(5, 1.3), made(5, 0.4));
        let bias = leaf(bias.autodiff(), true);
        let head = Head {
            bias: Some(&bias),
            ..Head::new(&weight)
        };
        let value = sum(x.clone(), head, &[0, 2, 3, 6], most, |x, head, rows| {
            super::super::head_logits(x, head).square().sum() * rows.len() as f32
        });
        let mut gradients = value.backward();
        let mut of = |t: &Tensor<2>| t.grad_remove(&mut gradients).unwrap().into_data();
        let found = [of(&x), of(&weight)];
        let bias = bias.grad_remove(&mut gradients).unwrap().into_data();
        let all = [value.into_data()].into_iter().chain(found).chain([bias]);
        all.map(|data| data.iter::<f32>().collect()).collect()
    }

    #[test]
    fn portions_sum_to_the_whole_and_so_do_their_gradients() {
        for place in device::all() {
            // Each row counts as often as there are rows at once: four times, and twice.
            let whole = found(usize::MAX, place.tensors());
            let parts = found(10, place.tensors());
            assert_eq!(whole.len(), 4);
            for (whole, parts) in whole.iter().zip(&parts) {
                for (whole, part) in whole.iter().zip(parts) {
                    assert!((whole - 2.0 * part).abs() < 1e-4, "{whole} {part}");
                }
            }
        }
    }
}
