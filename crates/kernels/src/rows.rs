//! Products of a few rows with a weight, each row as if it were alone.
//!
//! A matrix product chooses its blocks, and so the order of its sums, by the number of rows.
//! Here each entry is one inner product whose order depends on nothing but its length, so that a text that is generated does not depend on those beside it.
//! The weight is read once for all rows, which is what decoding is bound by.

use std::ops::Range;

use pulp::Arch;
use rayon::prelude::*;

use crate::math::{LANES, sum};

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
        Arch::new().dispatch(|| {
            let weight = weight[rows.start * size_in..].chunks_exact(size_in);
            for (y, w) in y.chunks_exact_mut(n).zip(weight) {
                row_of_weight(x, w, y);
            }
        });
    })
}

/// As [`multiply`], with a weight whose rows are written out one at a time by `write_row`.
///
/// # Panics
/// If `x` holds no whole rows.
pub(crate) fn multiply_with(
    x: &[f32],
    size_in: usize,
    size_out: usize,
    write_row: impl Fn(usize, &mut [f32]) + Sync,
) -> Vec<f32> {
    by_rows(x, size_in, size_out, |rows, y, n| {
        let mut weight = vec![0.0; size_in];
        for (row, y) in rows.zip(y.chunks_exact_mut(n)) {
            write_row(row, &mut weight);
            Arch::new().dispatch(|| row_of_weight(x, &weight, y));
        }
    })
}

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

/// One row of the weight with every row of `x`.
#[inline(always)]
fn row_of_weight(x: &[f32], w: &[f32], y: &mut [f32]) {
    let size_in = w.len();
    for (y, x) in y.chunks_mut(BLOCK).zip(x.chunks(BLOCK * size_in)) {
        if let Ok(y) = <&mut [f32; BLOCK]>::try_from(&mut *y) {
            *y = inner_products(x, w);
        } else {
            for (y, x) in y.iter_mut().zip(x.chunks_exact(size_in)) {
                [*y] = inner_products(x, w);
            }
        }
    }
}

/// The inner products of `R` rows of `x` with `w`; the sums of a row are the same for every `R`.
#[inline(always)]
fn inner_products<const R: usize>(x: &[f32], w: &[f32]) -> [f32; R] {
    let size = w.len();
    let rows: [&[f32]; R] = std::array::from_fn(|r| &x[r * size..][..size]);
    let mut lanes = [[0.0; LANES]; R];
    let whole = size / LANES * LANES;
    for start in (0..whole).step_by(LANES) {
        let w = &w[start..][..LANES];
        for (lanes, row) in lanes.iter_mut().zip(rows) {
            let row = &row[start..][..LANES];
            for j in 0..LANES {
                lanes[j] += row[j] * w[j];
            }
        }
    }
    std::array::from_fn(|r| {
        for i in whole..size {
            lanes[r][i - whole] += rows[r][i] * w[i];
        }
        sum(LANES, |j| lanes[r][j])
    })
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
