//! Memory of tensors that are done, kept for those to come.
//!
//! A training step asks for the same few sizes again and again.
//! Fresh memory costs a page fault every 4 KB and a pass of zeros; reused memory costs neither.

use std::sync::{Mutex, MutexGuard, PoisonError};

use burn::backend::flex::FlexTensor;

/// Entries from which on a buffer is worth keeping.
const WORTH: usize = 1 << 12;

/// What waits is never more than was made, whatever is brought here; what is made anew, while something waits, takes its place.
struct Pool {
    /// Those that wait, the longest first.
    free: Vec<Vec<f32>>,
    /// Entries of all that wait.
    waiting: usize,
    /// Entries that were made here and not freed here.
    made: usize,
    /// Entries made anew for which nothing that waited was freed yet.
    owed: usize,
}

/// One for all threads, since a step may run on any of them.
static POOL: Mutex<Pool> = Mutex::new(Pool {
    free: Vec::new(),
    waiting: 0,
    made: 0,
    owed: 0,
});

/// The pool, whatever became of a thread that held it: it is whole between its lines.
fn pool() -> MutexGuard<'static, Pool> {
    POOL.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pool {
    fn take(&mut self, n: usize) -> Vec<f32> {
        let fits = |buffer: &Vec<f32>| (n..=n + n / 2).contains(&buffer.len());
        let best = (0..self.free.len())
            .filter(|&i| fits(&self.free[i]))
            .min_by_key(|&i| self.free[i].len());
        if let Some(best) = best {
            let mut buffer = self.free.remove(best);
            self.waiting -= buffer.len();
            buffer.truncate(n);
            return buffer;
        }
        self.made += n;
        self.owed += n;
        while let Some(oldest) = self.free.first()
            && oldest.len() <= self.owed
        {
            let freed = self.free.remove(0).len();
            self.owed -= freed;
            self.waiting -= freed;
            self.made = self.made.saturating_sub(freed);
        }
        if self.free.is_empty() {
            self.owed = 0;
        }
        vec![0.0; n]
    }

    fn keep(&mut self, buffer: Vec<f32>) {
        if self.waiting + buffer.len() <= self.made {
            self.waiting += buffer.len();
            self.free.push(buffer);
        }
    }
}

/// Memory of `n` entries that hold anything, to be overwritten.
pub(super) fn take(n: usize) -> Vec<f32> {
    if n < WORTH {
        return vec![0.0; n];
    }
    pool().take(n)
}

/// Memory of `n` zeros.
pub(super) fn zeros(n: usize) -> Vec<f32> {
    let mut buffer = take(n);
    buffer.fill(0.0);
    buffer
}

/// Keeps a buffer that is no longer needed.
pub(super) fn keep(buffer: Vec<f32>) {
    if buffer.len() >= WORTH {
        pool().keep(buffer);
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

    const EMPTY: Pool = Pool {
        free: Vec::new(),
        waiting: 0,
        made: 0,
        owed: 0,
    };

    #[test]
    fn memory_comes_back_where_it_fits() {
        let mut pool = EMPTY;
        let buffer = pool.take(5000);
        let place = buffer.as_ptr();
        pool.keep(buffer);
        let other = pool.take(3000);
        assert_ne!(other.as_ptr(), place);
        let again = pool.take(4900);
        assert_eq!((again.as_ptr(), again.len()), (place, 4900));
    }

    #[test]
    fn what_waits_is_never_more_than_was_made_and_makes_way() {
        let mut pool = EMPTY;
        let buffer = pool.take(5000);
        pool.keep(vec![0.0; 6000]);
        assert_eq!(pool.waiting, 0);
        pool.keep(buffer);
        assert_eq!(pool.waiting, 5000);
        pool.take(2500);
        assert_eq!(pool.waiting, 5000);
        pool.take(2500);
        assert_eq!((pool.waiting, pool.made, pool.owed), (0, 5000, 0));
    }
}
