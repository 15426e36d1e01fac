//! Matrix products with a right-hand side that is packed once.
//!
//! Every element of a product is one sum in the order of the depth, whatever stands beside it:
//! a row's result does not depend on how many rows there are, bit for bit.
//! The depth is not split, so it should stay in the low thousands.

use pulp::{Arch, Simd, WithSimd};

use crate::activation::Activation;

/// Columns of one panel: two AVX-512, four AVX2 or eight NEON registers.
pub const WIDTH: usize = 32;

/// A matrix `[depth, columns]`, stored as panels of [`WIDTH`] columns, padded with zeros.
#[derive(Clone, Debug, Default)]
pub struct Panels {
    data: Vec<f32>,
    depth: usize,
    columns: usize,
}

impl Panels {
    /// Packs the transpose of `rows`, as the weights of a linear layer stand in a file:
    /// `[columns, depth]`, each row `stride` values after the one before it.
    pub fn from_rows(rows: &[f32], stride: usize, columns: usize, depth: usize) -> Self {
        let mut panels = Self::default();
        panels.pack_rows(rows, stride, columns, depth);
        panels
    }

    /// Like [`Panels::from_rows`], into the memory that is there.
    pub fn pack_rows(&mut self, rows: &[f32], stride: usize, columns: usize, depth: usize) {
        self.shape(columns, depth);
        if depth == 0 {
            return;
        }
        let row = |column: usize| &rows[column * stride..][..depth];
        for (panel, data) in self.data.chunks_exact_mut(WIDTH * depth).enumerate() {
            let first = panel * WIDTH;
            interleave(data, WIDTH, WIDTH.min(columns - first), |c| row(first + c));
        }
    }

    /// Packs a matrix as it is: `[depth, columns]`, each row `stride` values after the one
    /// before it.
    pub fn pack_columns(&mut self, rows: &[f32], stride: usize, columns: usize, depth: usize) {
        self.shape(columns, depth);
        for row in 0..depth {
            let values = &rows[row * stride..][..columns];
            for (panel, values) in values.chunks(WIDTH).enumerate() {
                let at = (panel * depth + row) * WIDTH;
                self.data[at..at + values.len()].copy_from_slice(values);
            }
        }
    }

    /// Columns of the matrix.
    pub fn columns(&self) -> usize {
        self.columns
    }

    fn shape(&mut self, columns: usize, depth: usize) {
        (self.columns, self.depth) = (columns, depth);
        self.data.clear();
        self.data
            .resize(columns.div_ceil(WIDTH) * WIDTH * depth, 0.0);
    }
}

/// A product `left x right`, written or added into rows of `out`, with all that is done to it while
/// it is still in the cache.
#[derive(Debug)]
pub struct Product<'a> {
    /// `[rows, depth]`, each row `left_stride` values after the one before it.
    pub left: &'a [f32],
    /// From one row of `left` to the next.
    pub left_stride: usize,
    /// How many rows.
    pub rows: usize,
    /// `[depth, columns]`.
    pub right: &'a Panels,
    /// Added to each row: `[columns]`.
    pub bias: Option<&'a [f32]>,
    /// Whether the product is added to what `out` holds.
    pub is_added: bool,
    /// Applied last, to what `out` then holds.
    pub activation: Option<Activation>,
    /// `[rows, columns]`, each row `out_stride` values after the one before it.
    pub out: &'a mut [f32],
    /// From one row of `out` to the next.
    pub out_stride: usize,
    /// Memory for the packed left side, kept by the caller from product to product.
    pub buffer: &'a mut Vec<f32>,
}

impl Product<'_> {
    /// Carries the product out.
    ///
    /// # Panics
    ///
    /// When a slice is shorter than its shape says.
    pub fn compute(self, arch: Arch) {
        assert!(
            self.bias
                .is_none_or(|bias| bias.len() == self.right.columns),
            "bias: [columns]"
        );
        arch.dispatch(self);
    }
}

impl WithSimd for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // Accumulators fill three quarters of the registers: 24 of 32, or 12 of 16.
        match S::F32_LANES {
            16 => self.by_blocks::<S, 2, 12>(simd),
            8 => self.by_blocks::<S, 4, 3>(simd),
            4 => self.by_blocks::<S, 8, 3>(simd),
            1 => self.by_blocks::<S, 32, 3>(simd),
            lanes => unreachable!("no processor of ours has {lanes} lanes"),
        }
    }
}

impl Product<'_> {
    /// Packs the left side in blocks of at most `HEIGHT` rows and sends each through every panel.
    #[inline(always)]
    fn by_blocks<S: Simd, const VECTORS: usize, const HEIGHT: usize>(mut self, simd: S) {
        let depth = self.right.depth;
        if depth == 0 || self.rows == 0 {
            return;
        }
        let mut buffer = std::mem::take(self.buffer);
        pack_left(
            &mut buffer,
            self.left,
            self.left_stride,
            self.rows,
            depth,
            HEIGHT,
        );
        let mut sums = [[simd.splat_f32s(0.0); VECTORS]; HEIGHT];
        for (panel, data) in self.right.data.chunks_exact(depth * WIDTH).enumerate() {
            for (block, left) in buffer.chunks(depth * HEIGHT).enumerate() {
                let height = left.len() / depth;
                macro_rules! tiles {
                    ($($height:literal)*) => {
                        match height {
                            $($height if $height <= HEIGHT => {
                                let found = tile::<S, VECTORS, $height>(simd, left, data);
                                sums[..$height].copy_from_slice(&found);
                            })*
                            _ => unreachable!("a block has at most HEIGHT rows"),
                        }
                    };
                }
                tiles!(1 2 3 4 5 6 7 8 9 10 11 12);
                self.store(simd, block * HEIGHT, panel * WIDTH, &sums[..height]);
            }
        }
        *self.buffer = buffer;
    }

    /// Puts a tile in its place, row by row, with all that is done to it.
    #[inline(always)]
    fn store<S: Simd, const VECTORS: usize>(
        &mut self,
        simd: S,
        first_row: usize,
        first: usize,
        sums: &[[S::f32s; VECTORS]],
    ) {
        let n = WIDTH.min(self.right.columns - first);
        let mut bias = [0.0; WIDTH];
        if let Some(all) = self.bias {
            bias[..n].copy_from_slice(&all[first..][..n]);
        }
        let bias = S::as_simd_f32s(&bias).0;
        let out = &mut self.out[first_row * self.out_stride + first..];
        for (sums, out) in sums.iter().zip(out.chunks_mut(self.out_stride)) {
            let out = &mut out[..n];
            let mut padded = [0.0; WIDTH];
            let place = match out.first_chunk_mut::<WIDTH>() {
                Some(place) => place,
                None => {
                    padded[..n].copy_from_slice(out);
                    &mut padded
                }
            };
            let place = S::as_mut_simd_f32s(place).0;
            for ((place, sum), bias) in place.iter_mut().zip(sums).zip(bias) {
                let sum = simd.add_f32s(*sum, *bias);
                *place = if self.is_added {
                    simd.add_f32s(sum, *place)
                } else {
                    sum
                };
            }
            if let Some(activation) = self.activation {
                activation.apply_simd(simd, place);
            }
            if n < WIDTH {
                out.copy_from_slice(&padded[..n]);
            }
        }
    }
}

/// Interleaves rows, so that a tile reads `height` values a step: `[blocks][depth][height]`.
/// The last block is as high as there are rows left.
#[inline(always)]
fn pack_left(
    buffer: &mut Vec<f32>,
    left: &[f32],
    stride: usize,
    rows: usize,
    depth: usize,
    height: usize,
) {
    buffer.resize(rows * depth, 0.0);
    for (block, packed) in buffer.chunks_mut(height * depth).enumerate() {
        let height_here = packed.len() / depth;
        let row = |row: usize| &left[(block * height + row) * stride..][..depth];
        interleave(packed, height_here, height_here, row);
    }
}

/// Puts value `d` of row `r` at `d * height + r`, for `n` rows.
#[inline(always)]
fn interleave<'a>(packed: &mut [f32], height: usize, n: usize, row: impl Fn(usize) -> &'a [f32]) {
    let in_fours = n / 4 * 4;
    for first in (0..in_fours).step_by(4) {
        let rows = [row(first), row(first + 1), row(first + 2), row(first + 3)];
        interleave_four(&mut packed[first..], height, rows);
    }
    for first in in_fours..n {
        let places = packed[first..].iter_mut().step_by(height);
        for (place, value) in places.zip(row(first)) {
            *place = *value;
        }
    }
}

/// Four rows at once, which compilers turn into shuffles of whole registers.
#[inline(always)]
fn interleave_four(packed: &mut [f32], height: usize, rows: [&[f32]; 4]) {
    let [a, b, c, d] = rows.map(|row| row.as_chunks::<4>());
    let fours = a.0.iter().zip(b.0).zip(c.0).zip(d.0);
    let mut at = 0;
    for (((a, b), c), d) in fours {
        for i in 0..4 {
            packed[at..][..4].copy_from_slice(&[a[i], b[i], c[i], d[i]]);
            at += height;
        }
    }
    for i in 0..a.1.len() {
        packed[at..][..4].copy_from_slice(&[a.1[i], b.1[i], c.1[i], d.1[i]]);
        at += height;
    }
}

/// `HEIGHT` rows times one panel; the sums stay in registers over the whole depth.
#[inline(always)]
fn tile<S: Simd, const VECTORS: usize, const HEIGHT: usize>(
    simd: S,
    left: &[f32],
    panel: &[f32],
) -> [[S::f32s; VECTORS]; HEIGHT] {
    let mut sums = [[simd.splat_f32s(0.0); VECTORS]; HEIGHT];
    let left = left.as_chunks::<HEIGHT>().0;
    let panel = S::as_simd_f32s(panel).0.as_chunks::<VECTORS>().0;
    for (left, panel) in left.iter().zip(panel) {
        for (sums, left) in sums.iter_mut().zip(left) {
            let left = simd.splat_f32s(*left);
            for (sum, right) in sums.iter_mut().zip(panel) {
                *sum = simd.mul_add_e_f32s(left, *right, *sum);
            }
        }
    }
    sums
}

/// The product by its definition: `left [rows, depth]` times the transpose of
/// `right [columns, depth]`.
pub fn reference(left: &[f32], right: &[f32], columns: usize, depth: usize) -> Vec<f32> {
    let dot = |a: &[f32], b: &[f32]| {
        a.iter()
            .zip(b)
            .map(|(a, b)| f64::from(*a) * f64::from(*b))
            .sum::<f64>() as f32
    };
    left.chunks(depth)
        .flat_map(|row| (0..columns).map(move |c| dot(row, &right[c * depth..][..depth])))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{archs, values};

    #[test]
    fn a_product_equals_its_definition_for_every_shape_and_instruction_set() {
        for arch in archs() {
            for (rows, columns, depth) in [
                (1, 1, 1),
                (2, 31, 7),
                (5, 32, 16),
                (13, 33, 40),
                (25, 100, 64),
                (40, 8, 300),
            ] {
                check(arch, rows, columns, depth);
            }
        }
    }

    fn check(arch: Arch, rows: usize, columns: usize, depth: usize) {
        let (left, right) = (values(rows * depth, 1), values(columns * depth, 2));
        let bias = values(columns, 3);
        let panels = Panels::from_rows(&right, depth, columns, depth);
        let mut out = vec![1.0; rows * (columns + 3)];
        let product = |bias, is_added, out: &mut [f32]| {
            Product {
                left: &left,
                left_stride: depth,
                rows,
                right: &panels,
                bias,
                is_added,
                activation: None,
                out,
                out_stride: columns + 3,
                buffer: &mut Vec::new(),
            }
            .compute(arch);
        };
        let expected = reference(&left, &right, columns, depth);
        let near = |out: &[f32], times: f32, biases: f32| {
            for (row, expected) in out.chunks(columns + 3).zip(expected.chunks(columns)) {
                for (column, (found, expected)) in row.iter().zip(expected).enumerate() {
                    let expected = expected * times + bias[column] * biases;
                    assert!(
                        (found - expected).abs() < 1e-4,
                        "{arch:?} {rows} {columns} {depth}"
                    );
                }
            }
        };
        product(None, false, &mut out);
        near(&out, 1.0, 0.0);
        product(Some(&bias), true, &mut out);
        near(&out, 2.0, 1.0);
        product(None, true, &mut out);
        near(&out, 3.0, 1.0);
        product(Some(&bias), false, &mut out);
        near(&out, 1.0, 1.0);
    }

    #[test]
    fn an_activation_is_applied_to_what_stands_there_in_the_end() {
        let (rows, columns, depth) = (14, 45, 20);
        let (left, right) = (values(rows * depth, 1), values(columns * depth, 2));
        let panels = Panels::from_rows(&right, depth, columns, depth);
        for arch in archs() {
            let compute = |activation| {
                let mut out = values(rows * columns, 3);
                Product {
                    left: &left,
                    left_stride: depth,
                    rows,
                    right: &panels,
                    bias: Some(&values(columns, 4)),
                    is_added: true,
                    activation,
                    out: &mut out,
                    out_stride: columns,
                    buffer: &mut Vec::new(),
                }
                .compute(arch);
                out
            };
            let mut expected = compute(None);
            Activation::Gelu.apply(arch, &mut expected);
            assert_eq!(compute(Some(Activation::Gelu)), expected, "{arch:?}");
        }
    }

    #[test]
    fn a_row_does_not_depend_on_the_rows_beside_it() {
        let (rows, columns, depth) = (29, 70, 130);
        let (left, right) = (values(rows * depth, 1), values(columns * depth, 2));
        let panels = Panels::from_rows(&right, depth, columns, depth);
        for arch in archs() {
            let compute = |left: &[f32]| {
                let rows = left.len() / depth;
                let mut out = vec![0.0; rows * columns];
                Product {
                    left,
                    left_stride: depth,
                    rows,
                    right: &panels,
                    bias: None,
                    is_added: false,
                    activation: None,
                    out: &mut out,
                    out_stride: columns,
                    buffer: &mut Vec::new(),
                }
                .compute(arch);
                out
            };
            let all = compute(&left);
            for n in 1..rows {
                assert_eq!(compute(&left[..n * depth]), all[..n * columns], "{arch:?}");
                assert_eq!(compute(&left[n * depth..]), all[n * columns..], "{arch:?}");
            }
        }
    }

    #[test]
    fn packing_columns_is_packing_the_rows_of_the_transpose() {
        let (columns, depth) = (45, 7);
        let rows = values(columns * depth, 1);
        let transposed: Vec<f32> = (0..columns * depth)
            .map(|i| rows[i % columns * depth + i / columns])
            .collect();
        let mut panels = Panels::default();
        panels.pack_columns(&transposed, columns, columns, depth);
        assert_eq!(
            panels.data,
            Panels::from_rows(&rows, depth, columns, depth).data
        );
    }
}
