//! Memory of tensors that are done, kept for those to come.
//!
//! A training step asks for the same few sizes again and again.
//! Fresh memory costs a page fault every 4 KB and a pass of zeros; reused memory costs neither.

use std::cell::RefCell;

use burn::backend::flex::FlexTensor;

/// Entries from which on a buffer is worth keeping.
const WORTH: usize = 1 << 12;

thread_local! {
    static POOL: RefCell<Pool> = const { RefCell::new(Pool::new()) };
}

/// Buffers that wait, the one that came last at the end.
///
/// Sizes differ from pass to pass, and what waits for the one must not stand beside what the other
/// needs: lent and waiting entries together are never more than were once lent at a time.
/// Buffers that others made come too; they count as returned, at most down to nothing lent.
struct Pool {
    waiting: Vec<Vec<f32>>,
    n_waiting: usize,
    n_lent: usize,
    most_lent: usize,
}

impl Pool {
    const fn new() -> Self {
        Self {
            waiting: Vec::new(),
            n_waiting: 0,
            n_lent: 0,
            most_lent: 0,
        }
    }

    fn take(&mut self, n: usize) -> Vec<f32> {
        let fits = |buffer: &Vec<f32>| (n..=n + n / 2).contains(&buffer.capacity());
        let best = (0..self.waiting.len())
            .rev()
            .filter(|&i| fits(&self.waiting[i]))
            .min_by_key(|&i| self.waiting[i].capacity());
        let found = best.map(|i| self.waiting.remove(i));
        let size = found.as_ref().map_or(n, Vec::capacity);
        if found.is_some() {
            self.n_waiting -= size;
        }
        self.n_lent += size;
        self.most_lent = self.most_lent.max(self.n_lent);
        self.free_oldest();
        match found {
            Some(mut buffer) => {
                buffer.resize(n, 0.0);
                buffer
            }
            None => vec![0.0; n],
        }
    }

    fn keep(&mut self, buffer: Vec<f32>) {
        self.n_lent = self.n_lent.saturating_sub(buffer.capacity());
        self.n_waiting += buffer.capacity();
        self.waiting.push(buffer);
        self.free_oldest();
    }

    fn free_oldest(&mut self) {
        let most = self.most_lent - self.n_lent;
        let mut n = 0;
        while self.n_waiting > most {
            self.n_waiting -= self.waiting[n].capacity();
            n += 1;
        }
        self.waiting.drain(..n);
    }
}

/// Memory of `n` entries that hold anything, to be overwritten.
pub(super) fn take(n: usize) -> Vec<f32> {
    if n < WORTH {
        return vec![0.0; n];
    }
    POOL.with_borrow_mut(|pool| pool.take(n))
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
        POOL.with_borrow_mut(|pool| pool.keep(buffer));
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
        let buffer = take(5000);
        let place = buffer.as_ptr();
        let kept = tensor(buffer, [50, 100]);
        keep_tensor(kept.clone());
        let other = take(5000);
        assert_ne!(other.as_ptr(), place);
        keep_tensor(kept);
        let again = take(4900);
        assert_eq!((again.as_ptr(), again.len()), (place, 4900));
    }

    #[test]
    fn what_waits_gives_way_to_what_is_needed() {
        let mut pool = Pool::new();
        for n in [8000, 20_000, 5000, 20_000, 8000] {
            let buffers: Vec<Vec<f32>> = (0..40_000 / n).map(|_| pool.take(n)).collect();
            assert!(pool.n_lent + pool.n_waiting <= 40_000);
            buffers.into_iter().for_each(|buffer| pool.keep(buffer));
            let held: usize = pool.waiting.iter().map(Vec::capacity).sum();
            assert_eq!((held, pool.n_lent), (pool.n_waiting, 0));
        }
        // Buffers from elsewhere do not add up either.
        for _ in 0..9 {
            pool.keep(vec![0.0; 8000]);
        }
        assert!(pool.n_waiting <= 40_000);
    }
}
