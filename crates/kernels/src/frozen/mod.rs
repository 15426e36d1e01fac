//! Weights that are not trained, at rest in few bytes.
//!
//! A [`Frozen`] weight `[out, in]` is made once, from f32, and read in pieces: whole it never exists in f32 again.
//! NF4 is bitsandbytes': its code book, blocks of [`nf4::BLOCK`] along the flattened weight, two codes a byte with the first in the high half, double quantisation of the blocks' sizes.
//! 8-bit codes have one size a row, as bitsandbytes' `int8_vectorwise_quant` makes them.

mod dynamic;
mod nf4;
mod widen;

use std::ops::Range;

use crate::bf16;
use crate::gemm::{Matrix, MatrixMut, Precision, Put};
use crate::packed::{self, Right};
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

    /// The bits of bf16, row-major, if it rests in them.
    pub(crate) fn narrow(&self) -> Option<&[u16]> {
        match &self.entries {
            Entries::Bf16(entries) => Some(entries),
            _ => None,
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
        let mut at = first;
        let mut rest = out;
        while !rest.is_empty() {
            let n = (self.size_in - at % self.size_in).min(rest.len());
            let (here, after) = rest.split_at_mut(n);
            self.widen(at / self.size_in, at, here);
            (at, rest) = (at + n, after);
        }
    }

    /// A rectangle in f32, its rows `step` apart in `out`.
    ///
    /// # Panics
    /// If it does not lie within the weight, or `out` is too short.
    pub(crate) fn dequantise_part(
        &self,
        rows: Range<usize>,
        cols: Range<usize>,
        out: &mut [f32],
        step: usize,
    ) {
        assert!(
            rows.end <= self.size_out && cols.end <= self.size_in && cols.len() <= step,
            "a part lies within the weight"
        );
        for (row, out) in rows.zip(out.chunks_mut(step)) {
            self.widen(row, row * self.size_in + cols.start, &mut out[..cols.len()]);
        }
    }

    /// Entries of one row from `first` on, counted along the flattened weight.
    #[inline]
    fn widen(&self, row: usize, first: usize, out: &mut [f32]) {
        let range = first..first + out.len();
        match &self.entries {
            Entries::F32(entries) => out.copy_from_slice(&entries[range]),
            Entries::Bf16(entries) => widen::from_bf16(&entries[range], out),
            Entries::Int8 { codes, absmax } => {
                widen::from_int8(&codes[range], absmax[row] / 127.0, out);
            }
            Entries::Nf4(nf4) => widen::from_nf4(nf4, first, out),
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
        let y = MatrixMut::new(y, n, self.size_out);
        let x = Matrix::new(x, n, self.size_in);
        packed::multiply(precision, y, x, Right::Transposed(self), 1.0, put);
    }

    /// `dx = g W` or `dx += g W`: `g` is `[n, out]`, `dx` `[n, in]`.
    ///
    /// # Panics
    /// If the shapes do not fit together.
    pub fn product_back(&self, precision: Precision, g: &[f32], dx: &mut [f32], put: Put) {
        let n = self.rows_of(g, self.size_out);
        assert_eq!(dx.len(), n * self.size_in, "a row of dx for each of g");
        let dx = MatrixMut::new(dx, n, self.size_in);
        let g = Matrix::new(g, n, self.size_out);
        packed::multiply(precision, dx, g, Right::Frozen(self), 1.0, put);
    }

    /// `x W'` for the few rows of decoding, as [`rows::multiply`] does it: the bits of a row do not depend on the rows beside it.
    /// With 8-bit codes, `x` is rounded to 16 bits ([`rows::multiply_int8`]).
    ///
    /// # Panics
    /// If `x` has no whole rows.
    #[must_use]
    pub fn few_rows(&self, x: &[f32]) -> Vec<f32> {
        match &self.entries {
            Entries::F32(entries) => rows::multiply(x, entries, self.size_in),
            Entries::Bf16(entries) => rows::multiply_bf16(x, entries, self.size_in),
            Entries::Int8 { codes, absmax } => rows::multiply_int8(x, codes, absmax, self.size_in),
            Entries::Nf4(_) => rows::multiply_with(x, self.size_in, self.size_out, |rows, out| {
                self.dequantise_part(rows, 0..self.size_in, out, self.size_in);
            }),
        }
    }

    fn rows_of(&self, x: &[f32], size: usize) -> usize {
        assert_eq!(x.len() % size.max(1), 0, "whole rows");
        x.len() / size.max(1)
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
mod tests;
