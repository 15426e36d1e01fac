//! A frozen weight with a trained branch of low rank beside it: `y = x W' + bias + scale (x A') B'`.
//!
//! The branch rides along: `x` is packed once for `A` and `W`, and `(x A') B'` is more depth of the product with `W`, so that `y` is written once.
//! Backwards likewise with `g`; the frozen weight has no gradient, and those of the branch are thin products, in f32.

use crate::frozen::Frozen;
use crate::gemm::{Matrix, MatrixMut, Precision, Put};
use crate::packed::{self, Left, Right};
use crate::thin;

/// A weight `[out, in]` that gets no gradient here.
#[derive(Clone, Copy, Debug)]
pub enum Weight<'a> {
    /// In f32.
    Plain(Matrix<'a>),
    /// At rest.
    Frozen(&'a Frozen),
}

impl<'a> Weight<'a> {
    /// `W'`, to be multiplied by `x`.
    #[must_use]
    pub fn transposed(self) -> Right<'a> {
        match self {
            Self::Plain(matrix) => Right::Matrix(matrix.t()),
            Self::Frozen(frozen) => Right::Transposed(frozen),
        }
    }

    /// `W`, to be multiplied by gradients.
    #[must_use]
    pub fn as_it_is(self) -> Right<'a> {
        match self {
            Self::Plain(matrix) => Right::Matrix(matrix),
            Self::Frozen(frozen) => Right::Frozen(frozen),
        }
    }
}

/// The weight and its branch.
#[derive(Clone, Copy, Debug)]
pub struct Lora<'a> {
    /// Rows and columns of the weight.
    pub shape: [usize; 2],
    /// `[out, in]`
    pub weight: Weight<'a>,
    /// `[rank, in]`
    pub a: &'a [f32],
    /// `[out, rank]`
    pub b: &'a [f32],
    /// What the branch is multiplied by.
    pub scale: f32,
    /// How exact the products are.
    pub precision: Precision,
}

/// What a branch reads where some of it is dropped; otherwise it reads `x`.
pub type Dropped<'a> = Option<&'a [f32]>;

impl<'a> Lora<'a> {
    /// Directions of the branch.
    #[must_use]
    pub fn rank(&self) -> usize {
        self.b.len() / self.shape[0].max(1)
    }

    fn factors(&self) -> [Matrix<'a>; 2] {
        let ([size_out, size_in], rank) = (self.shape, self.rank());
        [
            Matrix::new(self.a, rank, size_in),
            Matrix::new(self.b, size_out, rank),
        ]
    }

    /// `y [n, out]` from `x [n, in]`; `low [n, rank]` becomes `scale x A'`, which the backward pass wants.
    ///
    /// # Panics
    /// If the shapes do not fit together.
    pub fn forward(
        &self,
        x: &[f32],
        dropped: Dropped<'_>,
        bias: Option<&[f32]>,
        low: &mut [f32],
        y: &mut [f32],
    ) {
        let ([size_out, size_in], rank) = (self.shape, self.rank());
        let n = y.len() / size_out.max(1);
        let [a, b] = self.factors();
        let mut left = Left::new(self.precision, n, &[size_in, rank]);
        left.pack(0, Matrix::new(x, n, size_in));
        let a = Right::Matrix(a.t());
        let out = MatrixMut::new(low, n, rank);
        match dropped {
            None => left.multiply(out, &[a], self.scale, Put::Over),
            Some(read) => {
                let read = Matrix::new(read, n, size_in);
                packed::multiply(self.precision, out, read, a, self.scale, Put::Over);
            }
        }
        left.pack(1, Matrix::new(low, n, rank));
        let put = bias.map_or(Put::Over, |bias| {
            for row in y.chunks_exact_mut(size_out) {
                row.copy_from_slice(bias);
            }
            Put::Onto
        });
        let rights = [self.weight.transposed(), Right::Matrix(b.t())];
        left.multiply(MatrixMut::new(y, n, size_out), &rights, 1.0, put);
    }

    /// Gradients of `g [n, out]`, each where it is wanted.
    ///
    /// With dropout, `dx` is that of the weight alone, and `d_dropped` that of the branch.
    ///
    /// # Panics
    /// If the shapes do not fit together.
    pub fn backward(
        &self,
        x: &[f32],
        dropped: Dropped<'_>,
        low: &[f32],
        g: &[f32],
        out: Gradients<'_>,
    ) {
        let ([size_out, size_in], rank) = (self.shape, self.rank());
        let n = low.len() / rank.max(1);
        let [a, b] = self.factors();
        let g_matrix = Matrix::new(g, n, size_out);
        let mut low_slopes = vec![0.0; n * rank];
        let mut left = Left::new(self.precision, n, &[size_out, rank]);
        left.pack(0, g_matrix);
        let slopes = MatrixMut::new(&mut low_slopes, n, rank);
        left.multiply(slopes, &[Right::Matrix(b)], self.scale, Put::Over);
        let d_low = Matrix::new(&low_slopes, n, rank);
        if let Some(dx) = out.x {
            let dx = MatrixMut::new(dx, n, size_in);
            let rights = [self.weight.as_it_is(), Right::Matrix(a)];
            if dropped.is_none() {
                left.pack(1, d_low);
                left.multiply(dx, &rights, 1.0, Put::Over);
            } else {
                left.multiply(dx, &rights[..1], 1.0, Put::Over);
            }
        }
        drop(left);
        if let Some(d_dropped) = out.dropped {
            let out = MatrixMut::new(d_dropped, n, size_in);
            let (left, right) = (d_low, Right::Matrix(a));
            packed::multiply(self.precision, out, left, right, 1.0, Put::Over);
        }
        if let Some(da) = out.a {
            thin::multiply(&low_slopes, dropped.unwrap_or(x), [rank, size_in], da);
        }
        if let Some(db) = out.b {
            let mut turned = vec![0.0; rank * size_out];
            thin::multiply(low, g, [rank, size_out], &mut turned);
            for (i, row) in db.chunks_exact_mut(rank.max(1)).enumerate() {
                for (r, value) in row.iter_mut().enumerate() {
                    *value = turned[r * size_out + i];
                }
            }
        }
    }
}

/// Where gradients go, each overwritten.
#[derive(Debug, Default)]
pub struct Gradients<'a> {
    /// `[n, in]`
    pub x: Option<&'a mut [f32]>,
    /// `[n, in]`, where there is dropout.
    pub dropped: Option<&'a mut [f32]>,
    /// `[rank, in]`
    pub a: Option<&'a mut [f32]>,
    /// `[out, rank]`
    pub b: Option<&'a mut [f32]>,
}

/// The plain reference of [`Lora::forward`], of a weight in f32: `y`.
#[must_use]
pub fn forward_plain(lora: &Lora<'_>, weight: &[f32], x: &[f32], read: &[f32]) -> Vec<f32> {
    let ([size_out, size_in], rank) = (lora.shape, lora.rank());
    let rows = x.chunks_exact(size_in).zip(read.chunks_exact(size_in));
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    let row = |(x, read): (&[f32], &[f32])| -> Vec<f32> {
        let low: Vec<f32> = lora.a.chunks(size_in).map(|a| dot(read, a)).collect();
        let rows = weight.chunks(size_in).zip(lora.b.chunks(rank));
        rows.map(|(w, b)| dot(x, w) + lora.scale * dot(&low, b))
            .collect()
    };
    let y: Vec<f32> = rows.flat_map(row).collect();
    assert_eq!(y.len() % size_out, 0, "whole rows");
    y
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frozen::AtRest;
    use crate::gemm::multiply_plain;
    use crate::testing::{assert_close, values};

    #[test]
    fn forward_and_backward_are_those_of_two_products() {
        let ([size_out, size_in], rank, n) = ([70, 50], 16, 33);
        let weight = values(size_out * size_in, 1);
        let frozen = Frozen::new(
            &weight,
            [size_out, size_in],
            AtRest::Nf4 { is_double: true },
        );
        let wide = frozen.rows(0..size_out);
        let (a, b) = (values(rank * size_in, 2), values(size_out * rank, 3));
        let (x, g) = (values(n * size_in, 4), values(n * size_out, 5));
        let mask: Vec<f32> = (0..n * size_in).map(|i| (i % 3) as f32).collect();
        let dropped: Vec<f32> = x.iter().zip(&mask).map(|(x, m)| x * m).collect();
        for weight in [
            Weight::Plain(Matrix::new(&wide, size_out, size_in)),
            Weight::Frozen(&frozen),
        ] {
            for read in [None, Some(&dropped[..])] {
                let lora = Lora {
                    shape: [size_out, size_in],
                    weight,
                    a: &a,
                    b: &b,
                    scale: 2.0,
                    precision: Precision::F32,
                };
                let (mut low, mut y) = (vec![0.0; n * rank], vec![0.0; n * size_out]);
                lora.forward(&x, read, None, &mut low, &mut y);
                let expected = forward_plain(&lora, &wide, &x, read.unwrap_or(&x));
                assert_close(&y, &expected, 2e-6);
                let bias = values(size_out, 6);
                lora.forward(&x, read, Some(&bias), &mut low, &mut y);
                for (y, expected) in y.chunks(size_out).zip(expected.chunks(size_out)) {
                    let expected: Vec<f32> =
                        expected.iter().zip(&bias).map(|(e, b)| e + b).collect();
                    assert_close(y, &expected, 2e-6);
                }

                let product = |a: Matrix<'_>, b: Matrix<'_>, scale| {
                    let mut c = vec![0.0; a.rows * b.cols];
                    let out = MatrixMut::new(&mut c, a.rows, b.cols);
                    multiply_plain(out, a, b, scale, Put::Over);
                    c
                };
                let g_matrix = Matrix::new(&g, n, size_out);
                let d_low = product(g_matrix, Matrix::new(&b, size_out, rank), 2.0);
                let d_low = Matrix::new(&d_low, n, rank);
                let through_branch = product(d_low, Matrix::new(&a, rank, size_in), 1.0);
                let mut dx = product(g_matrix, Matrix::new(&wide, size_out, size_in), 1.0);
                if read.is_none() {
                    for (dx, more) in dx.iter_mut().zip(&through_branch) {
                        *dx += more;
                    }
                }
                let read_matrix = Matrix::new(read.unwrap_or(&x), n, size_in);
                let da = product(d_low.t(), read_matrix, 1.0);
                let db = product(g_matrix.t(), Matrix::new(&low, n, rank), 1.0);

                let mut found = [&dx, &dx, &a, &b].map(|like| vec![9.0; like.len()]);
                let [x_slopes, dropped_slopes, a_slopes, b_slopes] = &mut found;
                let out = Gradients {
                    x: Some(x_slopes),
                    dropped: read.is_some().then_some(&mut dropped_slopes[..]),
                    a: Some(a_slopes),
                    b: Some(b_slopes),
                };
                lora.backward(&x, read, &low, &g, out);
                assert_close(&found[0], &dx, 3e-6);
                if read.is_some() {
                    assert_close(&found[1], &through_branch, 3e-6);
                }
                assert_close(&found[2], &da, 3e-6);
                assert_close(&found[3], &db, 3e-6);
            }
        }
    }
}
