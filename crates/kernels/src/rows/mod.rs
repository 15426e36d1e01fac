//! Products of a few rows with a weight, each row as if it were alone.
//!
//! A matrix product chooses its blocks, and so the order of its sums, by the number of rows.
//! Here each entry is one inner product whose order depends on nothing but its length, so that a text that is generated does not depend on those beside it.
//! The weight is read once for all rows, which is what decoding is bound by: `wide` makes f32 of it in registers, `whole` multiplies 8-bit codes as they are.

mod plain;
#[cfg(test)]
mod tests;
mod whole;
mod wide;
#[cfg(target_arch = "x86_64")]
mod x86;

use std::cell::RefCell;
use std::ops::Range;

use rayon::prelude::*;

use crate::level::{Level, level};
use crate::shared::Shared;
use plain::Plain;
use whole::Codes;
use wide::Entry;

/// Entries of the weight that one task takes, about.
const TASK: usize = 1 << 14;

/// `x W'`: `x` is `[n, size_in]`, `weight` `[size_out, size_in]`; returns `[n, size_out]`.
///
/// # Panics
/// If the slices hold no whole rows.
#[must_use]
pub fn multiply(x: &[f32], weight: &[f32], size_in: usize) -> Vec<f32> {
    multiply_wide(x, weight, size_in)
}

/// As [`multiply`], with a weight in bf16.
///
/// # Panics
/// If the slices hold no whole rows.
#[must_use]
pub fn multiply_bf16(x: &[f32], weight: &[u16], size_in: usize) -> Vec<f32> {
    multiply_wide(x, weight, size_in)
}

fn multiply_wide<E: Entry>(x: &[f32], weight: &[E], size_in: usize) -> Vec<f32> {
    assert_eq!(weight.len() % size_in, 0, "whole rows of the weight");
    by_rows(x, size_in, weight.len() / size_in, |rows, y| {
        let weight = &weight[rows.start * size_in..rows.end * size_in];
        wide_rows(level(), x, weight, size_in, y);
    })
}

/// As [`multiply`], with a weight in 8-bit codes, each row of them times `absmax / 127`.
///
/// `x` is rounded to 16-bit codes with a size for every 256 entries of a row, so an entry of it is off by at most `absmax / 65534` of its block; all else is exact but for the rounding of a sum for each block.
///
/// # Panics
/// If the slices hold no whole rows.
#[must_use]
pub fn multiply_int8(x: &[f32], codes: &[i8], absmax: &[f32], size_in: usize) -> Vec<f32> {
    assert_eq!(
        codes.len(),
        absmax.len() * size_in,
        "whole rows of the weight"
    );
    let coded = Codes::of(x, size_in);
    by_rows(x, size_in, absmax.len(), |rows, y| {
        let codes = &codes[rows.start * size_in..rows.end * size_in];
        whole_rows(level(), &coded, codes, &absmax[rows], size_in, y);
    })
}

/// As [`multiply`], with a weight of which some rows at a time are written out by `write_rows`.
///
/// # Panics
/// If `x` holds no whole rows.
pub(crate) fn multiply_with(
    x: &[f32],
    size_in: usize,
    size_out: usize,
    write_rows: impl Fn(Range<usize>, &mut [f32]) + Sync,
) -> Vec<f32> {
    by_rows(x, size_in, size_out, |rows, y| {
        WEIGHT.with_borrow_mut(|weight| {
            // As many as stay in the fastest cache.
            let together = (WRITTEN / size_in).max(1);
            weight.resize(weight.len().max(together * size_in), 0.0);
            for first in rows.clone().step_by(together) {
                let end = rows.end.min(first + together);
                let weight = &mut weight[..(end - first) * size_in];
                write_rows(first..end, weight);
                wide_rows(level(), x, weight, size_in, y.skip(first - rows.start));
            }
        });
    })
}

thread_local! {
    /// Rows of a weight that is at rest, in f32.
    static WEIGHT: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Entries that are written out at one time, about.
const WRITTEN: usize = 1 << 12;

/// Some columns of the output, which nobody else writes.
#[derive(Clone, Copy)]
struct Out {
    first: *mut f32,
    /// From row to row.
    step: usize,
    /// Rows and columns.
    shape: [usize; 2],
}

impl Out {
    /// Writes one entry.
    ///
    /// # Safety
    /// Nobody else has these columns, and the memory is there.
    #[inline(always)]
    unsafe fn put(self, row: usize, col: usize, value: f32) {
        debug_assert!(row < self.shape[0] && col < self.shape[1]);
        // SAFETY: the caller's promise.
        unsafe { *self.first.add(row * self.step + col) = value };
    }

    /// The columns from `n` on.
    fn skip(self, n: usize) -> Self {
        let [rows, cols] = self.shape;
        assert!(n <= cols, "columns within the output");
        Self {
            first: self.first.wrapping_add(n),
            shape: [rows, cols - n],
            ..self
        }
    }
}

/// Cuts the weight's rows into tasks, each of which fills those columns of the output.
fn by_rows(
    x: &[f32],
    size_in: usize,
    size_out: usize,
    work: impl Fn(Range<usize>, Out) + Sync,
) -> Vec<f32> {
    assert_eq!(x.len() % size_in, 0, "whole rows of x");
    let n = x.len() / size_in;
    let mut y = vec![0.0; n * size_out];
    if y.is_empty() {
        return y;
    }
    // Whole cache lines, so that no two tasks write to one, and whole tiles.
    let rows = (TASK / size_in).next_multiple_of(3 * LINE);
    let whole = Shared::new(&mut y);
    let tasks = (0..size_out.div_ceil(rows)).into_par_iter();
    let fewest = ALONE.div_ceil(rows * size_in * n);
    tasks.with_min_len(fewest).for_each(|task| {
        let columns = task * rows..size_out.min((task + 1) * rows);
        // SAFETY: of this part, which all tasks hold, each touches its own columns alone.
        let first = unsafe { whole.start() };
        let out = Out {
            first: first.wrapping_add(columns.start),
            step: size_out,
            shape: [n, columns.len()],
        };
        work(columns, out);
    });
    y
}

/// Products of entries that are done before a second thread has begun.
const ALONE: usize = 1 << 17;

/// f32 in a cache line.
const LINE: usize = 16;

/// Rows of a weight with every row of `x`, in f32.
fn wide_rows<E: Entry>(level: Level, x: &[f32], weight: &[E], size: usize, y: Out) {
    let product = wide::Product { x, weight, size, y };
    product.check();
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
        fn avx512<E: Entry>(product: wide::Product<'_, E>) {
            // SAFETY: the product was checked; the processor is the caller's promise.
            unsafe { product.by_tiles::<_, 2, 4, 4, 8>(x86::Avx512::<false>) };
        }

        #[target_feature(enable = "avx2,fma")]
        fn avx2<E: Entry>(product: wide::Product<'_, E>) {
            // SAFETY: as above.
            unsafe { product.by_tiles::<_, 0, 2, 4, 8>(x86::Avx2) };
        }

        match level {
            // SAFETY: the processor has what its level says.
            Level::Avx512 => return unsafe { avx512(product) },
            // SAFETY: as above.
            Level::Avx2 => return unsafe { avx2(product) },
            Level::Plain => {}
        }
    }
    let _ = level;
    // SAFETY: the product was checked; any processor has what this takes.
    unsafe { product.by_tiles::<_, 0, 1, 2, 4>(Plain) };
}

/// Rows of a weight in codes with every row of `x`.
fn whole_rows(level: Level, x: &Codes, codes: &[i8], absmax: &[f32], size: usize, y: Out) {
    let product = whole::Product {
        x,
        codes,
        absmax,
        size,
        y,
    };
    product.check();
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")]
        fn vnni(product: whole::Product<'_>) {
            // SAFETY: the product was checked; the processor is the caller's promise.
            unsafe { product.by_tiles::<_, 3, 4, 8>(x86::Avx512::<true>) };
        }

        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
        fn avx512(product: whole::Product<'_>) {
            // SAFETY: as above.
            unsafe { product.by_tiles::<_, 3, 4, 8>(x86::Avx512::<false>) };
        }

        #[target_feature(enable = "avx2,fma")]
        fn avx2(product: whole::Product<'_>) {
            // SAFETY: as above.
            unsafe { product.by_tiles::<_, 0, 1, 2>(x86::Avx2) };
        }

        match level {
            Level::Avx512 if is_x86_feature_detected!("avx512vnni") => {
                // SAFETY: the processor has what its level says, and what was just asked for.
                return unsafe { vnni(product) };
            }
            // SAFETY: as above.
            Level::Avx512 => return unsafe { avx512(product) },
            // SAFETY: as above.
            Level::Avx2 => return unsafe { avx2(product) },
            Level::Plain => {}
        }
    }
    let _ = level;
    // SAFETY: the product was checked; any processor has what this takes.
    unsafe { product.by_tiles::<_, 0, 1, 1>(Plain) };
}
