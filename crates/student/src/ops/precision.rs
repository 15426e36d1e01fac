//! How exact products are.

use std::cell::Cell;

use stillhouse_kernels::bf16;
pub use stillhouse_kernels::gemm::Precision;

thread_local! {
    static CURRENT: Cell<Precision> = const { Cell::new(Precision::F32) };
}

/// Does `work` with the factors of all products, with weights and in packed attention, rounded as `precision` says, on the CPU.
///
/// It holds for this thread; a backward pass belongs inside too.
/// Weights, activations, sums and updates stay in f32, as in mixed precision elsewhere.
pub fn with_precision<R>(precision: Precision, work: impl FnOnce() -> R) -> R {
    struct Restore(Precision);
    impl Drop for Restore {
        fn drop(&mut self) {
            CURRENT.set(self.0);
        }
    }
    let _restore = Restore(CURRENT.replace(precision));
    work()
}

/// Does `work` on a thread of rayon's pool, in the precision that holds here; there it never waits for another thread to take up what it could do itself.
///
/// A thread that waits within its own work may take up this one: hence the precision is set anew.
pub fn in_pool<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    let precision = current();
    rayon::scope(|_| with_precision(precision, work))
}

/// What is fastest on this processor: bf16 on those of AMD that multiply it, f32 on all others.
#[must_use]
pub fn fastest_precision() -> Precision {
    if bf16::is_faster() {
        Precision::Bf16
    } else {
        Precision::F32
    }
}

/// What holds now.
pub(super) fn current() -> Precision {
    CURRENT.get()
}
