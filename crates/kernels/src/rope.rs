//! Rotary positions: rows of one head turned by their positions' angles.

use crate::attention::Shape;
use crate::gemm::Matrix;
use crate::vectorised::vectorised;

/// The angles of rotary positions.
#[derive(Clone, Copy, Debug)]
pub struct Tables<'a> {
    /// Cosines, `[positions, half]`.
    pub cos: &'a [f32],
    /// Sines, `[positions, half]`.
    pub sin: &'a [f32],
}

impl Tables<'_> {
    /// The tables from a later position on.
    pub(crate) fn skip(self, positions: usize, half: usize) -> Self {
        let first = positions * half;
        Self {
            cos: &self.cos[first..],
            sin: &self.sin[first..],
        }
    }
}

/// Rows of one head within packed rows of all heads.
#[derive(Clone, Copy)]
pub(crate) struct Strided<'a> {
    pub(crate) entries: &'a [f32],
    pub(crate) first: usize,
    pub(crate) step: usize,
}

impl<'a> Strided<'a> {
    /// Rows of this size, one after the other.
    pub(crate) fn new(entries: &'a [f32], size: usize) -> Self {
        Self {
            entries,
            first: 0,
            step: size,
        }
    }

    pub(crate) fn matrix(&self, rows: usize, size: usize) -> Matrix<'a> {
        Matrix::with_step(&self.entries[self.first..], rows, size, self.step)
    }

    pub(crate) fn skip(self, rows: usize) -> Self {
        Self {
            first: self.first + rows * self.step,
            ..self
        }
    }
}

vectorised! {
    /// Turns the first `rows` rows of one head by their positions' angles, forwards (1) or back (-1).
    pub(crate) fn rotate(
        tables: Tables<'_>,
        shape: Shape,
        x: Strided<'_>,
        rows: usize,
        y: &mut [f32],
        y_step: usize,
        direction: f32,
    ) {
        let (half, size) = (shape.half, shape.head_size);
        for i in 0..rows {
            let x = &x.entries[x.first + i * x.step..][..size];
            let y = &mut y[i * y_step..][..size];
            let cos = &tables.cos[i * half..][..half];
            let sin = &tables.sin[i * half..][..half];
            let (x_low, x_high) = x.split_at(half);
            let (y_low, y_high) = y.split_at_mut(half);
            let (x_high, x_rest) = x_high.split_at(half);
            let (y_high, y_rest) = y_high.split_at_mut(half);
            for j in 0..half {
                let s = direction * sin[j];
                y_low[j] = x_low[j] * cos[j] - x_high[j] * s;
                y_high[j] = x_high[j] * cos[j] + x_low[j] * s;
            }
            y_rest.copy_from_slice(x_rest);
        }
    }
}
