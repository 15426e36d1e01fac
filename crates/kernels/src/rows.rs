//! Products of a few rows with a weight, each row as if it were alone.
//!
//! A matrix product chooses its blocks, and so the order of its sums, by the number of rows.
//! Here each entry is one inner product whose order depends on nothing but its length, so that a text that is generated does not depend on those beside it.
//! The weight is read once for all rows, which is what decoding is bound by.

use std::cell::RefCell;
use std::ops::Range;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use crate::level::arch;

/// Rows that share one reading of the weight.
const BLOCK: usize = 4;

/// Rows of the weight that one task takes.
const TASK: usize = 64;

/// `x W'`: `x` is `[n, size_in]`, `weight` `[size_out, size_in]`; returns `[n, size_out]`.
///
/// # Panics
/// If the slices hold no whole rows.
#[must_use]
pub fn multiply(x: &[f32], weight: &[f32], size_in: usize) -> Vec<f32> {
    assert_eq!(weight.len() % size_in, 0, "whole rows of the weight");
    by_rows(x, size_in, weight.len() / size_in, |rows, y, n| {
        let weight = &weight[rows.start * size_in..][..rows.len() * size_in];
        arch().dispatch(Products {
            x,
            weight,
            size_in,
            n,
            y,
        });
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
    by_rows(x, size_in, size_out, |rows, y, n| {
        WEIGHT.with_borrow_mut(|weight| {
            // As many as stay in the fastest cache.
            let together = (WRITTEN / size_in).clamp(1, TASK);
            weight.resize(weight.len().max(together * size_in), 0.0);
            let mut first = rows.start;
            for y in y.chunks_mut(together * n) {
                let weight = &mut weight[..y.len() / n * size_in];
                write_rows(first..first + y.len() / n, weight);
                first += together;
                arch().dispatch(Products {
                    x,
                    weight,
                    size_in,
                    n,
                    y,
                });
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

/// Cuts the weight's rows into tasks, each of which fills `[rows of the weight, n]`.
fn by_rows(
    x: &[f32],
    size_in: usize,
    size_out: usize,
    work: impl Fn(Range<usize>, &mut [f32], usize) + Sync,
) -> Vec<f32> {
    assert_eq!(x.len() % size_in, 0, "whole rows of x");
    let n = x.len() / size_in;
    if n == 0 {
        return Vec::new();
    }
    let mut columns = vec![0.0; n * size_out];
    let tasks = columns.par_chunks_mut(TASK * n).enumerate();
    tasks.for_each(|(task, y)| {
        let start = task * TASK;
        work(start..start + y.len() / n, y, n);
    });
    if n == 1 {
        return columns;
    }
    let mut y = vec![0.0; n * size_out];
    for (out, column) in columns.chunks_exact(n).enumerate() {
        for (row, value) in column.iter().enumerate() {
            y[row * size_out + out] = *value;
        }
    }
    y
}

/// Some rows of the weight with every row of `x`.
struct Products<'a> {
    /// `[n, size_in]`
    x: &'a [f32],
    /// `[rows, size_in]`
    weight: &'a [f32],
    size_in: usize,
    n: usize,
    /// `[rows, n]`
    y: &'a mut [f32],
}

impl WithSimd for Products<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self {
            x,
            weight,
            size_in,
            n,
            y,
        } = self;
        for (y, w) in y.chunks_exact_mut(n).zip(weight.chunks_exact(size_in)) {
            for (y, x) in y.chunks_mut(BLOCK).zip(x.chunks(BLOCK * size_in)) {
                if let Ok(y) = <&mut [f32; BLOCK]>::try_from(&mut *y) {
                    *y = inner_products(simd, x, w);
                } else {
                    for (y, x) in y.iter_mut().zip(x.chunks_exact(size_in)) {
                        [*y] = inner_products(simd, x, w);
                    }
                }
            }
        }
    }
}

/// The inner products of `R` rows of `x` with `w`; the sums of a row are the same for every `R`.
#[inline(always)]
fn inner_products<S: Simd, const R: usize>(simd: S, x: &[f32], w: &[f32]) -> [f32; R] {
    match S::F32_LANES {
        16 => by_vectors::<S, R, 2>(simd, x, w),
        8 => by_vectors::<S, R, 4>(simd, x, w),
        4 => by_vectors::<S, R, 8>(simd, x, w),
        1 => by_vectors::<S, R, WIDE>(simd, x, w),
        lanes => unreachable!("no processor of ours has {lanes} lanes"),
    }
}

/// Partial sums of an inner product.
const WIDE: usize = 32;

/// With partial sums in `V` vectors, which make [`WIDE`] values together.
#[inline(always)]
fn by_vectors<S: Simd, const R: usize, const V: usize>(simd: S, x: &[f32], w: &[f32]) -> [f32; R] {
    let size = w.len();
    let whole = size / WIDE * WIDE;
    let rows: [&[f32]; R] = std::array::from_fn(|r| &x[r * size..][..size]);
    let w_vectors = S::as_simd_f32s(&w[..whole]).0.as_chunks::<V>().0;
    // Of the same length, so that no place in them needs to be checked.
    let n = w_vectors.len();
    let row_vectors = rows.map(|row| &S::as_simd_f32s(&row[..whole]).0.as_chunks::<V>().0[..n]);
    let mut sums = [[simd.splat_f32s(0.0); V]; R];
    for i in 0..n {
        for r in 0..R {
            for v in 0..V {
                sums[r][v] = simd.mul_add_e_f32s(row_vectors[r][i][v], w_vectors[i][v], sums[r][v]);
            }
        }
    }
    // Loops with known bounds throughout, so that the sums stay in registers.
    let mut totals = [0.0; R];
    for r in 0..R {
        let mut total = sums[r][0];
        for sum in &sums[r][1..] {
            total = simd.add_f32s(total, *sum);
        }
        totals[r] = simd.reduce_sum_f32s(total);
        for i in whole..size {
            totals[r] += rows[r][i] * w[i];
        }
    }
    totals
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(n: usize, seed: usize) -> Vec<f32> {
        (0..n)
            .map(|i| ((i * 37 + seed * 11) % 101) as f32 / 50.0 - 1.0)
            .collect()
    }

    #[test]
    fn each_entry_is_an_inner_product() {
        for (n, size_out, size_in) in [(1, 3, 5), (5, 130, 48), (9, 70, 17), (4, 64, 16)] {
            let (x, w) = (values(n * size_in, 1), values(size_out * size_in, 2));
            let y = multiply(&x, &w, size_in);
            for (i, y) in y.iter().enumerate() {
                let (x, w) = (
                    &x[i / size_out * size_in..][..size_in],
                    &w[i % size_out * size_in..][..size_in],
                );
                let expected: f64 = x
                    .iter()
                    .zip(w)
                    .map(|(a, b)| f64::from(*a) * f64::from(*b))
                    .sum();
                assert!(
                    (f64::from(*y) - expected).abs() < 1e-5,
                    "{y}, expected {expected}"
                );
            }
        }
    }

    #[test]
    fn a_row_has_the_same_bits_whatever_stands_beside_it() {
        let (size_in, size_out) = (83, 70);
        let (x, w) = (values(11 * size_in, 3), values(size_out * size_in, 4));
        let together = multiply(&x, &w, size_in);
        for (row, expected) in x.chunks(size_in).zip(together.chunks(size_out)) {
            let alone = multiply(row, &w, size_in);
            assert!(
                alone
                    .iter()
                    .zip(expected)
                    .all(|(a, b)| a.to_bits() == b.to_bits())
            );
        }
    }
}
