//! Weights that are not trained, at rest in few bytes.
//!
//! A [`Frozen`] weight `[out, in]` is made once, from f32, and read in pieces: whole it never exists in f32 again.
//! NF4 is bitsandbytes': its code book, blocks of [`nf4::BLOCK`] along the flattened weight, two codes a byte with the first in the high half, double quantisation of the blocks' sizes.
//! 8-bit codes have one size a row, as bitsandbytes' `int8_vectorwise_quant` makes them.

mod dynamic;
mod nf4;

use std::ops::Range;

use crate::bf16;
use crate::gemm::{Matrix, MatrixMut, Precision, Put, multiply_in};
use crate::rows;

pub use nf4::BLOCK;
use nf4::{Nf4, Sizes};

/// How a weight lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtRest {
    /// 4 bytes an entry.
    F32,
    /// 2 bytes an entry, rounded to the nearest.
    Bf16,
    /// 1 byte an entry and 4 a row: `round(127 w / absmax of the row)`.
    Int8,
    /// Half a byte an entry and 4 for every 64.
    Nf4 {
        /// The blocks' sizes are 8-bit codes too: 1 byte for every 64 entries and 4 for every 16,384.
        is_double: bool,
    },
}

/// A weight `[out, in]` that is not trained.
#[derive(Clone, Debug)]
pub struct Frozen {
    size_out: usize,
    size_in: usize,
    entries: Entries,
}

#[derive(Clone, Debug)]
enum Entries {
    F32(Vec<f32>),
    Bf16(Vec<u16>),
    Int8 { codes: Vec<i8>, absmax: Vec<f32> },
    Nf4(Nf4),
}

impl Frozen {
    /// Brings a weight to rest.
    ///
    /// # Panics
    /// If it does not have `size_out` rows of `size_in`.
    #[must_use]
    pub fn new(weight: &[f32], [size_out, size_in]: [usize; 2], at_rest: AtRest) -> Self {
        let mut freezing = Freezing::new([size_out, size_in], at_rest);
        freezing.push(weight);
        freezing.finish()
    }

    /// Rows and columns, `[out, in]`.
    #[must_use]
    pub fn shape(&self) -> [usize; 2] {
        [self.size_out, self.size_in]
    }

    /// How it lies in memory.
    #[must_use]
    pub fn at_rest(&self) -> AtRest {
        match &self.entries {
            Entries::F32(_) => AtRest::F32,
            Entries::Bf16(_) => AtRest::Bf16,
            Entries::Int8 { .. } => AtRest::Int8,
            Entries::Nf4(nf4) => AtRest::Nf4 {
                is_double: nf4.sizes.is_double(),
            },
        }
    }

    /// The memory it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match &self.entries {
            Entries::F32(entries) => 4 * entries.len(),
            Entries::Bf16(entries) => 2 * entries.len(),
            Entries::Int8 { codes, absmax } => codes.len() + 4 * absmax.len(),
            Entries::Nf4(nf4) => nf4.codes.len() + nf4.sizes.bytes(),
        }
    }

    /// Entries from `first` on, along the flattened weight, in f32.
    ///
    /// # Panics
    /// If there are not so many.
    pub fn dequantise(&self, first: usize, out: &mut [f32]) {
        assert!(
            first + out.len() <= self.size_out * self.size_in,
            "entries within the weight"
        );
        let range = first..first + out.len();
        match &self.entries {
            Entries::F32(entries) => out.copy_from_slice(&entries[range]),
            Entries::Bf16(entries) => {
                for (out, bits) in out.iter_mut().zip(&entries[range]) {
                    *out = bf16::widen(*bits);
                }
            }
            Entries::Int8 { codes, absmax } => {
                let mut at = first;
                let mut rest = out;
                while !rest.is_empty() {
                    let row = at / self.size_in;
                    let n = ((row + 1) * self.size_in - at).min(rest.len());
                    let (here, after) = rest.split_at_mut(n);
                    let scale = absmax[row] / 127.0;
                    for (out, code) in here.iter_mut().zip(&codes[at..]) {
                        *out = f32::from(*code) * scale;
                    }
                    (at, rest) = (at + n, after);
                }
            }
            Entries::Nf4(nf4) => nf4.dequantise(first, out),
        }
    }

    /// Whole rows in f32.
    ///
    /// # Panics
    /// If there are no such rows.
    #[must_use]
    pub fn rows(&self, rows: Range<usize>) -> Vec<f32> {
        let mut out = vec![0.0; rows.len() * self.size_in];
        self.dequantise(rows.start * self.size_in, &mut out);
        out
    }

    /// `y = x W' + bias`: `x` is `[n, in]`, `y` `[n, out]`.
    ///
    /// # Panics
    /// If the shapes do not fit together.
    pub fn product(&self, precision: Precision, x: &[f32], bias: Option<&[f32]>, y: &mut [f32]) {
        let n = self.rows_of(x, self.size_in);
        assert_eq!(y.len(), n * self.size_out, "a row of y for each of x");
        let put = bias.map_or(Put::Over, |bias| {
            for row in y.chunks_exact_mut(self.size_out.max(1)) {
                row.copy_from_slice(bias);
            }
            Put::Onto
        });
        self.by_pieces(|rows, weight| {
            let entries = &mut y[rows.start..];
            let y = MatrixMut::with_step(entries, n, rows.len(), self.size_out);
            let x = Matrix::new(x, n, self.size_in);
            let weight = Matrix::new(weight, rows.len(), self.size_in);
            multiply_in(precision, y, x, weight.t(), 1.0, put);
        });
    }

    /// `dx = g W` or `dx += g W`: `g` is `[n, out]`, `dx` `[n, in]`.
    ///
    /// # Panics
    /// If the shapes do not fit together.
    pub fn product_back(&self, precision: Precision, g: &[f32], dx: &mut [f32], put: Put) {
        let n = self.rows_of(g, self.size_out);
        assert_eq!(dx.len(), n * self.size_in, "a row of dx for each of g");
        let mut put = put;
        self.by_pieces(|rows, weight| {
            let g = Matrix::with_step(&g[rows.start..], n, rows.len(), self.size_out);
            let weight = Matrix::new(weight, rows.len(), self.size_in);
            let dx = MatrixMut::new(dx, n, self.size_in);
            multiply_in(precision, dx, g, weight, 1.0, put);
            put = Put::Onto;
        });
    }

    /// `x W'` for the few rows of decoding, as [`rows::multiply`] does it: the bits of a row do not depend on the rows beside it.
    ///
    /// # Panics
    /// If `x` has no whole rows.
    #[must_use]
    pub fn few_rows(&self, x: &[f32]) -> Vec<f32> {
        match &self.entries {
            Entries::F32(entries) => rows::multiply(x, entries, self.size_in),
            _ => rows::multiply_with(x, self.size_in, self.size_out, |row, out| {
                self.dequantise(row * self.size_in, out);
            }),
        }
    }

    fn rows_of(&self, x: &[f32], size: usize) -> usize {
        assert_eq!(x.len() % size.max(1), 0, "whole rows");
        x.len() / size.max(1)
    }

    /// A few rows of the weight at a time, in f32.
    fn by_pieces(&self, mut work: impl FnMut(Range<usize>, &[f32])) {
        const ROWS: usize = 256;
        let mut piece = vec![0.0; ROWS.min(self.size_out) * self.size_in];
        for start in (0..self.size_out).step_by(ROWS) {
            let rows = start..self.size_out.min(start + ROWS);
            let piece = &mut piece[..rows.len() * self.size_in];
            self.dequantise(start * self.size_in, piece);
            work(rows, piece);
        }
    }
}

/// A weight on its way to rest: its entries come in order, in any portions.
#[derive(Debug)]
pub struct Freezing {
    shape: [usize; 2],
    entries: Entries,
    /// Those of a row or block that is not whole yet.
    waiting: Vec<f32>,
    is_double: bool,
}

impl Freezing {
    /// A weight `[out, in]` of which nothing is there yet.
    #[must_use]
    pub fn new(shape: [usize; 2], at_rest: AtRest) -> Self {
        let [size_out, size_in] = shape;
        let n = size_out * size_in;
        let entries = match at_rest {
            AtRest::F32 => Entries::F32(Vec::with_capacity(n)),
            AtRest::Bf16 => Entries::Bf16(Vec::with_capacity(n)),
            AtRest::Int8 => Entries::Int8 {
                codes: Vec::with_capacity(n),
                absmax: Vec::with_capacity(size_out),
            },
            AtRest::Nf4 { .. } => Entries::Nf4(Nf4 {
                codes: Vec::with_capacity(n.div_ceil(2)),
                sizes: Sizes::Plain(Vec::with_capacity(n.div_ceil(BLOCK))),
            }),
        };
        Self {
            shape,
            entries,
            waiting: Vec::new(),
            is_double: at_rest == AtRest::Nf4 { is_double: true },
        }
    }

    /// Takes the next entries, row-major: whole rows or any part.
    pub fn push(&mut self, weight: &[f32]) {
        let unit = match &mut self.entries {
            Entries::F32(entries) => return entries.extend_from_slice(weight),
            Entries::Bf16(entries) => {
                return entries.extend(weight.iter().map(|w| bf16::narrow(*w)));
            }
            Entries::Int8 { .. } => self.shape[1].max(1),
            Entries::Nf4(_) => BLOCK,
        };
        let mut rest = weight;
        if !self.waiting.is_empty() {
            let n = rest.len().min(unit - self.waiting.len());
            self.waiting.extend_from_slice(&rest[..n]);
            rest = &rest[n..];
            if self.waiting.len() == unit {
                let block = std::mem::take(&mut self.waiting);
                self.entries.quantise(&block);
            }
        }
        let mut blocks = rest.chunks_exact(unit);
        blocks
            .by_ref()
            .for_each(|block| self.entries.quantise(block));
        self.waiting.extend_from_slice(blocks.remainder());
    }

    /// The weight at rest.
    ///
    /// # Panics
    /// If fewer or more entries came than the shape says.
    #[must_use]
    pub fn finish(mut self) -> Frozen {
        let [size_out, size_in] = self.shape;
        let n = size_out * size_in;
        let n_waiting = self.waiting.len();
        let n_found = match &self.entries {
            Entries::F32(entries) => entries.len(),
            Entries::Bf16(entries) => entries.len(),
            Entries::Int8 { codes, .. } => codes.len() + n_waiting,
            Entries::Nf4(nf4) => nf4.codes.len() * 2 + n_waiting,
        };
        assert_eq!(n_found, n, "every entry came once");
        if n_waiting > 0 {
            self.entries.quantise(&self.waiting);
        }
        if let (Entries::Nf4(nf4), true) = (&mut self.entries, self.is_double) {
            nf4.sizes.quantise();
        }
        Frozen {
            size_out,
            size_in,
            entries: self.entries,
        }
    }
}

impl Entries {
    /// Takes one row (8 bits) or block (NF4).
    fn quantise(&mut self, block: &[f32]) {
        match self {
            Self::Int8 { codes, absmax } => {
                let highest = block.iter().fold(0.0f32, |m, w| m.max(w.abs()));
                // A row of zeros has no size to divide by.
                let scale = if highest > 0.0 { 127.0 / highest } else { 0.0 };
                codes.extend(block.iter().map(|w| (w * scale).round_ties_even() as i8));
                absmax.push(highest);
            }
            Self::Nf4(nf4) => nf4.push(block),
            Self::F32(_) | Self::Bf16(_) => unreachable!("taken entry by entry"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gemm::multiply_plain;
    use crate::testing::{assert_close, values};
    use safetensors::{SafeTensors, tensor::TensorView};

    const GOLDEN: &[u8] = include_bytes!("../../../../fixtures/quantised/golden.safetensors");
    const ALL: [AtRest; 5] = [
        AtRest::F32,
        AtRest::Bf16,
        AtRest::Int8,
        AtRest::Nf4 { is_double: false },
        AtRest::Nf4 { is_double: true },
    ];

    fn golden<R>(name: &str, read: impl FnOnce(TensorView<'_>) -> R) -> R {
        let file = SafeTensors::deserialize(GOLDEN).expect("the fixture is whole");
        read(file.tensor(name).expect("the fixture has it"))
    }

    fn floats(name: &str) -> Vec<f32> {
        golden(name, |t| {
            let (fours, _) = t.data().as_chunks::<4>();
            fours.iter().map(|b| f32::from_le_bytes(*b)).collect()
        })
    }

    fn bytes(name: &str) -> Vec<u8> {
        golden(name, |t| t.data().to_vec())
    }

    #[test]
    fn codes_are_those_of_bitsandbytes_block_by_block() {
        assert_eq!(nf4::CODES.to_vec(), floats("nf4"));
        for (name, shape) in [("plain", [6, 64]), ("many", [40, 448]), ("odd", [9, 50])] {
            let weight = floats(&format!("{name}.weight"));
            let single = Frozen::new(&weight, shape, AtRest::Nf4 { is_double: false });
            let Entries::Nf4(Nf4 { codes, sizes }) = &single.entries else {
                unreachable!()
            };
            assert_eq!(*codes, bytes(&format!("{name}.codes")));
            let Sizes::Plain(absmax) = sizes else {
                unreachable!()
            };
            assert_eq!(*absmax, floats(&format!("{name}.absmax")));

            let double = Frozen::new(&weight, shape, AtRest::Nf4 { is_double: true });
            let Entries::Nf4(Nf4 { sizes, .. }) = &double.entries else {
                unreachable!()
            };
            let Sizes::Double {
                codes,
                absmax,
                offset,
            } = sizes
            else {
                unreachable!()
            };
            assert_eq!(*codes, bytes(&format!("{name}.double.codes")));
            // The offset is a mean, which PyTorch sums in f32 in an order of its own: it and what depends on it may be off in the last place.
            assert_close(absmax, &floats(&format!("{name}.double.absmax")), 2.4e-7);
            let expected = floats(&format!("{name}.double.offset"));
            assert_close(&[*offset], &expected, 2.4e-7);
            if name != "many" {
                assert_eq!(single.rows(0..shape[0]), floats(&format!("{name}.value")));
                let value = floats(&format!("{name}.double.value"));
                assert_close(&double.rows(0..shape[0]), &value, 2.4e-7);
            }

            let eight = Frozen::new(&weight, shape, AtRest::Int8);
            let Entries::Int8 { codes, absmax } = &eight.entries else {
                unreachable!()
            };
            let codes: Vec<u8> = codes.iter().map(|c| c.cast_unsigned()).collect();
            assert_eq!(codes, bytes(&format!("{name}.int8.codes")));
            assert_eq!(*absmax, floats(&format!("{name}.int8.absmax")));
        }
    }

    #[test]
    fn portions_do_not_matter() {
        let (weight, shape) = (values(37 * 50, 1), [37, 50]);
        for at_rest in ALL {
            let whole = Frozen::new(&weight, shape, at_rest).rows(0..37);
            let mut freezing = Freezing::new(shape, at_rest);
            weight.chunks(33).for_each(|part| freezing.push(part));
            let frozen = freezing.finish();
            assert_eq!(frozen.rows(0..37), whole);
            assert_eq!(frozen.at_rest(), at_rest);
            // From anywhere to anywhere.
            for (first, n) in [(0, 1), (1, 64), (63, 130), (777, 500), (1849, 1)] {
                let mut part = vec![0.0; n];
                frozen.dequantise(first, &mut part);
                assert_eq!(part, whole[first..first + n]);
            }
        }
    }

    #[test]
    fn what_rests_is_near_what_came_and_takes_few_bytes() {
        // Half the widest gap of each kind of code, and bytes an entry.
        check(AtRest::F32, 0.0, 4.0);
        check(AtRest::Bf16, 0.5 / 256.0, 2.0);
        check(AtRest::Int8, 0.5 / 127.0, 1.016);
        check(AtRest::Nf4 { is_double: false }, 0.153, 0.5625);
        check(AtRest::Nf4 { is_double: true }, 0.155, 0.5160);

        #[track_caller]
        fn check(at_rest: AtRest, difference: f32, bytes: f64) {
            let (weight, shape) = (values(64 * 256, 1), [64, 256]);
            let frozen = Frozen::new(&weight, shape, at_rest);
            let largest = frozen.rows(0..64).into_iter().zip(&weight);
            let largest = largest.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(largest <= difference, "{largest} > {difference}");
            let found = frozen.bytes() as f64 / weight.len() as f64;
            assert!(found < bytes + 1e-3, "{found} bytes an entry");
        }
    }

    #[test]
    fn products_are_those_of_the_dequantised_weight() {
        for ([size_out, size_in], n) in [([5, 7], 3), ([70, 50], 33), ([300, 128], 40)] {
            let weight = values(size_out * size_in, 1);
            let (x, g) = (values(n * size_in, 2), values(n * size_out, 3));
            let bias = values(size_out, 4);
            for at_rest in ALL {
                let frozen = Frozen::new(&weight, [size_out, size_in], at_rest);
                let wide = frozen.rows(0..size_out);
                let wide = Matrix::new(&wide, size_out, size_in);
                let x_matrix = Matrix::new(&x, n, size_in);

                let mut expected = bias.repeat(n);
                let y = MatrixMut::new(&mut expected, n, size_out);
                multiply_plain(y, x_matrix, wide.t(), 1.0, Put::Onto);
                let mut y = vec![9.0; n * size_out];
                frozen.product(Precision::F32, &x, Some(&bias), &mut y);
                assert_close(&y, &expected, 2e-6);
                frozen.product(Precision::Bf16, &x, Some(&bias), &mut y);
                assert_close(&y, &expected, 1e-2);

                let y = MatrixMut::new(&mut expected, n, size_out);
                multiply_plain(y, x_matrix, wide.t(), 1.0, Put::Over);
                assert_close(&frozen.few_rows(&x), &expected, 2e-6);

                let mut expected = x.clone();
                let dx = MatrixMut::new(&mut expected, n, size_in);
                multiply_plain(dx, Matrix::new(&g, n, size_out), wide, 1.0, Put::Onto);
                let mut dx = x.clone();
                frozen.product_back(Precision::F32, &g, &mut dx, Put::Onto);
                assert_close(&dx, &expected, 2e-6);
            }
        }
    }

    #[test]
    fn a_row_has_the_same_bits_whatever_stands_beside_it() {
        let (size_out, size_in, n) = (70, 83, 11);
        let (weight, x) = (values(size_out * size_in, 1), values(n * size_in, 2));
        for at_rest in ALL {
            let frozen = Frozen::new(&weight, [size_out, size_in], at_rest);
            let together = frozen.few_rows(&x);
            for (row, expected) in x.chunks(size_in).zip(together.chunks(size_out)) {
                assert_eq!(frozen.few_rows(row), expected);
            }
        }
    }
}
