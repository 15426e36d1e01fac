//! Matrix products of row-major or transposed f32 matrices.

use gemm::Parallelism;

use crate::packed::{self, Right};
use crate::vectorised::vectorised;

/// A matrix to read: rows and columns at fixed steps within a slice.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    entries: &'a [f32],
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    pub(crate) row_step: usize,
    pub(crate) col_step: usize,
}

impl<'a> Matrix<'a> {
    /// A row-major matrix without gaps.
    ///
    /// # Panics
    /// If the slice is too short.
    #[must_use]
    pub fn new(entries: &'a [f32], rows: usize, cols: usize) -> Self {
        Self::with_step(entries, rows, cols, cols)
    }

    /// A row-major matrix whose rows begin `row_step` entries apart.
    ///
    /// # Panics
    /// If the slice is too short.
    #[must_use]
    pub fn with_step(entries: &'a [f32], rows: usize, cols: usize, row_step: usize) -> Self {
        assert!(
            fits(entries.len(), rows, cols, row_step),
            "a matrix lies within its slice"
        );
        Self {
            entries,
            rows,
            cols,
            row_step,
            col_step: 1,
        }
    }

    /// The transpose, without moving anything.
    #[must_use]
    pub fn t(self) -> Self {
        Self {
            rows: self.cols,
            cols: self.rows,
            row_step: self.col_step,
            col_step: self.row_step,
            ..self
        }
    }

    /// Where the part begins whose first row and column these are; never read where the part is empty.
    pub(crate) fn first(&self, row: usize, col: usize) -> *const f32 {
        self.entries
            .as_ptr()
            .wrapping_add(row * self.row_step + col * self.col_step)
    }

    fn at(&self, row: usize, col: usize) -> f32 {
        self.entries[row * self.row_step + col * self.col_step]
    }
}

/// A row-major matrix to write, whose rows begin `row_step` entries apart.
#[derive(Debug)]
pub struct MatrixMut<'a> {
    pub(crate) entries: &'a mut [f32],
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    pub(crate) row_step: usize,
}

impl<'a> MatrixMut<'a> {
    /// A matrix without gaps.
    ///
    /// # Panics
    /// If the slice is too short.
    #[must_use]
    pub fn new(entries: &'a mut [f32], rows: usize, cols: usize) -> Self {
        Self::with_step(entries, rows, cols, cols)
    }

    /// A matrix whose rows begin `row_step` entries apart; what lies between stays.
    ///
    /// # Panics
    /// If the slice is too short or rows overlap.
    #[must_use]
    pub fn with_step(entries: &'a mut [f32], rows: usize, cols: usize, row_step: usize) -> Self {
        assert!(
            fits(entries.len(), rows, cols, row_step),
            "a matrix lies within its slice"
        );
        assert!(row_step >= cols, "rows do not overlap");
        Self {
            entries,
            rows,
            cols,
            row_step,
        }
    }
}

fn fits(len: usize, rows: usize, cols: usize, row_step: usize) -> bool {
    rows == 0 || cols == 0 || (rows - 1) * row_step + cols <= len
}

/// What becomes of what the output held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// It is overwritten, unread.
    Over,
    /// The product is added to it.
    Onto,
}

/// Who computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threads {
    /// The calling thread alone.
    One,
    /// All threads of rayon's current pool.
    All,
}

/// `c = scale * a b`, or `c += scale * a b`.
///
/// # Panics
/// If the shapes do not fit together.
pub fn multiply(
    c: MatrixMut<'_>,
    a: Matrix<'_>,
    b: Matrix<'_>,
    scale: f32,
    put: Put,
    threads: Threads,
) {
    assert_eq!(
        (c.rows, c.cols, a.cols),
        (a.rows, b.cols, b.rows),
        "shapes of a product"
    );
    let parallelism = match threads {
        Threads::One => Parallelism::None,
        Threads::All => Parallelism::Rayon(0),
    };
    // SAFETY: all three matrices lie within their slices (checked when they were made), `c` is borrowed exclusively and its rows do not overlap.
    unsafe {
        gemm::gemm(
            c.rows,
            c.cols,
            a.cols,
            c.entries.as_mut_ptr(),
            1,
            c.row_step as isize,
            put == Put::Onto,
            a.entries.as_ptr(),
            a.col_step as isize,
            a.row_step as isize,
            b.entries.as_ptr(),
            b.col_step as isize,
            b.row_step as isize,
            1.0,
            scale,
            false,
            false,
            false,
            parallelism,
        );
    }
}

/// How exact a product's factors are; sums are always in f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// As they come.
    #[default]
    F32,
    /// Rounded to bf16 where the processor multiplies those ([`crate::bf16::is_available`]), as they come elsewhere.
    Bf16,
}

/// [`multiply`] on all threads, in this precision.
///
/// # Panics
/// If the shapes do not fit together.
pub fn multiply_in(
    precision: Precision,
    c: MatrixMut<'_>,
    a: Matrix<'_>,
    b: Matrix<'_>,
    scale: f32,
    put: Put,
) {
    packed::multiply(precision, c, a, Right::Matrix(b), scale, put);
}

/// The plain reference of [`multiply`].
///
/// # Panics
/// If the shapes do not fit together.
pub fn multiply_plain(c: MatrixMut<'_>, a: Matrix<'_>, b: Matrix<'_>, scale: f32, put: Put) {
    assert_eq!(
        (c.rows, c.cols, a.cols),
        (a.rows, b.cols, b.rows),
        "shapes of a product"
    );
    for i in 0..c.rows {
        for j in 0..c.cols {
            let product: f32 = (0..a.cols).map(|k| a.at(i, k) * b.at(k, j)).sum();
            let entry = &mut c.entries[i * c.row_step + j];
            let before = if put == Put::Onto { *entry } else { 0.0 };
            *entry = before + scale * product;
        }
    }
}

vectorised! {
    /// Adds up the rows of `x [rows, cols]`: the gradient of a bias.
    ///
    /// # Panics
    /// If `sums` is not as long as a row.
    pub fn sum_rows(x: &[f32], sums: &mut [f32]) {
        let cols = sums.len();
        assert_eq!(x.len() % cols.max(1), 0, "whole rows");
        sums.fill(0.0);
        for row in x.chunks_exact(cols) {
            for (sum, v) in sums.iter_mut().zip(row) {
                *sum += v;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, values};

    #[test]
    fn products_agree_with_the_plain_reference_in_every_layout() {
        for [m, k, n] in [
            [1, 1, 1],
            [3, 5, 7],
            [17, 64, 33],
            [65, 70, 129],
            [64, 0, 3],
            [200, 300, 150],
        ] {
            let (a, b) = (values(m * k, 1), values(k * n, 2));
            for layout in 0..4 {
                for put in [Put::Over, Put::Onto] {
                    let a = if layout & 1 == 0 {
                        Matrix::new(&a, m, k)
                    } else {
                        Matrix::new(&a, k, m).t()
                    };
                    let b = if layout & 2 == 0 {
                        Matrix::new(&b, k, n)
                    } else {
                        Matrix::new(&b, n, k).t()
                    };
                    let step = n + 3;
                    let (mut got, mut expected) = (values(m * step, 3), values(m * step, 3));
                    multiply(
                        MatrixMut::with_step(&mut got, m, n, step),
                        a,
                        b,
                        0.5,
                        put,
                        Threads::All,
                    );
                    multiply_plain(
                        MatrixMut::with_step(&mut expected, m, n, step),
                        a,
                        b,
                        0.5,
                        put,
                    );
                    // Sums of up to 300 products in another order.
                    assert_close(&got, &expected, 2e-6);
                }
            }
        }
    }

    #[test]
    fn products_repeat_bit_for_bit() {
        let (a, b) = (values(300 * 700, 1), values(700 * 500, 2));
        let product = || {
            let mut c = vec![0.0; 300 * 500];
            multiply(
                MatrixMut::new(&mut c, 300, 500),
                Matrix::new(&a, 300, 700),
                Matrix::new(&b, 700, 500),
                1.0,
                Put::Over,
                Threads::All,
            );
            c
        };
        let first = product();
        assert!((0..10).all(|_| product() == first));
    }

    #[test]
    fn rows_add_up() {
        let mut sums = [9.0; 3];
        sum_rows(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &mut sums);
        assert_eq!(sums, [5.0, 7.0, 9.0]);
    }
}
