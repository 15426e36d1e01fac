//! Memory of tensors that are done, kept for those to come.
//!
//! A training step asks for the same few sizes again and again.
//! Fresh memory costs a page fault every 4 KB and a pass of zeros; reused memory costs neither.

use std::cell::RefCell;

use burn::backend::flex::FlexTensor;

/// Buffers that may wait; beyond them the one that waited longest is freed.
const WAITING: usize = 96;

/// Entries from which on a buffer is worth keeping.
const WORTH: usize = 1 << 12;

thread_local! {
    static FREE: RefCell<Vec<Vec<f32>>> = const { RefCell::new(Vec::new()) };
}

/// Memory of `n` entries that hold anything, to be overwritten.
pub(super) fn take(n: usize) -> Vec<f32> {
    if n < WORTH {
        return vec![0.0; n];
    }
    let found = FREE.with_borrow_mut(|free| {
        let fits = |buffer: &Vec<f32>| (n..=n + n / 2).contains(&buffer.capacity());
        let best = (0..free.len())
            .filter(|&i| fits(&free[i]))
            .min_by_key(|&i| free[i].capacity())?;
        Some(free.remove(best))
    });
    let mut buffer = found.unwrap_or_default();
    buffer.resize(n, 0.0);
    buffer
}

/// Memory of `n` zeros.
pub(super) fn zeros(n: usize) -> Vec<f32> {
    let mut buffer = take(n);
    buffer.fill(0.0);
    buffer
}

/// Keeps a buffer that is no longer needed.
pub(super) fn keep(buffer: Vec<f32>) {
    if buffer.capacity() >= WORTH {
        FREE.with_borrow_mut(|free| {
            if free.len() == WAITING {
                free.remove(0);
            }
            free.push(buffer);
        });
    }
}

/// Keeps a tensor's memory, if nothing else holds it.
pub(super) fn keep_tensor(tensor: FlexTensor) {
    let is_worth_it = tensor.is_unique() && tensor.layout().num_elements() >= WORTH;
    if is_worth_it && let Ok(buffer) = tensor.into_data().try_into_vec::<f32>() {
        keep(buffer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::bridge::tensor;

    #[test]
    fn memory_of_a_tensor_comes_back_unless_it_is_shared() {
        let buffer = vec![1.0; 5000];
        let place = buffer.as_ptr();
        let kept = tensor(buffer, [50, 100]);
        keep_tensor(kept.clone());
        let other = take(5000);
        assert_ne!(other.as_ptr(), place);
        keep_tensor(kept);
        let again = take(4900);
        assert_eq!((again.as_ptr(), again.len()), (place, 4900));
    }
}
