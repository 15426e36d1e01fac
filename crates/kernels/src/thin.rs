//! Products whose result has few rows: `c = a' b` for `a [n, few]` and `b [n, many]`.
//!
//! Gradients of a branch of low rank are of this kind.
//! Sums are in registers while `a` and `b` are read as they lie; packing them would cost as much as the product.
//! Each entry is one sum in the order of the rows, whatever the number of threads.

use std::ops::Range;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use crate::level::arch;
use crate::shared::Shared;

/// Rows of `b` that are read before the sums are put down: few enough that what is read of them stays in the fastest cache.
const ROWS: usize = 64;

/// Vectors of columns that are summed at one time.
const VECTORS: usize = 3;

/// `c [few, many] = a' b`, on all threads of rayon's current pool.
///
/// # Panics
/// If the slices do not hold the same whole rows.
pub fn multiply(a: &[f32], b: &[f32], [few, many]: [usize; 2], c: &mut [f32]) {
    assert_eq!(c.len(), few * many, "an entry for each pair of columns");
    if c.is_empty() {
        return;
    }
    let n = a.len() / few;
    assert_eq!(
        [a.len(), b.len()],
        [n * few, n * many],
        "the same whole rows"
    );
    if n == 0 {
        return c.fill(0.0);
    }
    let c = Shared::new(c);
    let width = arch().dispatch(Lanes) * VECTORS;
    // Neighbouring columns stay together, for each thread a few tasks.
    let share = many
        .div_ceil(width)
        .div_ceil(2 * rayon::current_num_threads())
        * width;
    let tasks = (0..many).into_par_iter().step_by(share);
    tasks.for_each(|first| {
        arch().dispatch(Strips {
            a,
            b,
            few,
            many,
            cols: first..many.min(first + share),
            c,
        });
    });
}

/// The plain reference of [`multiply`].
#[must_use]
pub fn multiply_plain(a: &[f32], b: &[f32], [few, many]: [usize; 2]) -> Vec<f32> {
    let mut c = vec![0.0; few * many];
    for (a, b) in a.chunks_exact(few).zip(b.chunks_exact(many)) {
        for (c, a) in c.chunks_exact_mut(many).zip(a) {
            for (c, b) in c.iter_mut().zip(b) {
                *c += a * b;
            }
        }
    }
    c
}

struct Lanes;

impl WithSimd for Lanes {
    type Output = usize;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> usize {
        S::F32_LANES
    }
}

/// Some neighbouring columns of the result.
struct Strips<'a> {
    a: &'a [f32],
    b: &'a [f32],
    few: usize,
    many: usize,
    cols: Range<usize>,
    c: Shared<'a>,
}

impl WithSimd for Strips<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let width = VECTORS * S::F32_LANES;
        let (a, b) = (
            self.a.chunks(ROWS * self.few),
            self.b.chunks(ROWS * self.many),
        );
        for (i, (a, b)) in a.zip(b).enumerate() {
            for first in self.cols.clone().step_by(width) {
                let cols = first..self.cols.end.min(first + width);
                if cols.len() == width {
                    self.strip::<S, true>(simd, a, b, cols, i == 0);
                } else {
                    self.strip::<S, false>(simd, a, b, cols, i == 0);
                }
            }
        }
    }
}

impl Strips<'_> {
    /// Some rows onto at most `VECTORS` vectors of columns; `WHOLE` where each vector is.
    #[inline(always)]
    fn strip<S: Simd, const WHOLE: bool>(
        &self,
        simd: S,
        a: &[f32],
        b: &[f32],
        cols: Range<usize>,
        is_first: bool,
    ) {
        let mut at = 0;
        while at < self.few {
            let cols = cols.clone();
            // As many sums as there are registers for.
            at += match self.few - at {
                8.. if S::F32_LANES >= 16 => {
                    self.block::<S, 8, WHOLE>(simd, a, b, at, cols, is_first)
                }
                4.. => self.block::<S, 4, WHOLE>(simd, a, b, at, cols, is_first),
                _ => self.block::<S, 1, WHOLE>(simd, a, b, at, cols, is_first),
            };
        }
    }

    /// Rows `at..at + R` of the result; returns how many.
    #[inline(always)]
    fn block<S: Simd, const R: usize, const WHOLE: bool>(
        &self,
        simd: S,
        a: &[f32],
        b: &[f32],
        at: usize,
        cols: Range<usize>,
        is_first: bool,
    ) -> usize {
        let Self { few, many, .. } = *self;
        // SAFETY: these columns are this task's alone, and one row of them is borrowed at a time.
        let line = |r: usize| unsafe { self.c.part((at + r) * many + cols.start, cols.len()) };
        let read = |line: &[f32]| -> [S::f32s; VECTORS] {
            if WHOLE {
                let vectors = S::as_simd_f32s(line).0;
                return std::array::from_fn(|v| vectors[v]);
            }
            std::array::from_fn(|v| simd.partial_load_f32s(&line[lanes::<S>(v, line.len())]))
        };
        let mut sums = [[simd.splat_f32s(0.0); VECTORS]; R];
        if !is_first {
            for (r, sums) in sums.iter_mut().enumerate() {
                *sums = read(line(r));
            }
        }
        for (a, b) in a.chunks_exact(few).zip(b.chunks_exact(many)) {
            let b = read(&b[cols.clone()]);
            let a = &a[at..at + R];
            for r in 0..R {
                let a = simd.splat_f32s(a[r]);
                for v in 0..VECTORS {
                    sums[r][v] = simd.mul_add_e_f32s(a, b[v], sums[r][v]);
                }
            }
        }
        for (r, sums) in sums.iter().enumerate() {
            let line = line(r);
            if WHOLE {
                S::as_mut_simd_f32s(line).0.copy_from_slice(sums);
                continue;
            }
            for (v, sum) in sums.iter().enumerate() {
                let lanes = lanes::<S>(v, line.len());
                simd.partial_store_f32s(&mut line[lanes], *sum);
            }
        }
        R
    }
}

/// The entries of vector `v`, of which the last may lack some.
#[inline(always)]
fn lanes<S: Simd>(v: usize, len: usize) -> Range<usize> {
    let start = (v * S::F32_LANES).min(len);
    start..(start + S::F32_LANES).min(len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, values};

    #[test]
    fn products_of_few_rows_are_those_of_the_plain_reference() {
        for (n, few, many) in [
            (1, 1, 1),
            (5, 3, 17),
            (70, 16, 100),
            (130, 8, 48),
            (200, 21, 97),
            (64, 4, 576),
            (0, 2, 3),
        ] {
            let (a, b) = (values(n * few, 1), values(n * many, 2));
            let mut c = vec![9.0; few * many];
            multiply(&a, &b, [few, many], &mut c);
            assert_close(&c, &multiply_plain(&a, &b, [few, many]), 3e-6);
        }
    }
}
