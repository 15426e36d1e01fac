//! Few-row products with a weight in 8-bit codes, summed in whole numbers.
//!
//! Each row of `x` is brought into codes of 16 bits, with a size for every [`BLOCK`] of them.
//! The products of codes within a block are summed exactly, so that they are the same in any order; blocks follow each other in 16 lanes of f32, on every processor with the same bits.

use super::Out;
use crate::vectorised::vectorised;

/// Entries of a row that share a size; the sums of so many products of codes fit into 32 bits.
pub(super) const BLOCK: usize = 256;

/// Codes that are multiplied at one time; rows of codes are filled up to whole ones with zeros.
pub(super) const CHUNK: usize = 32;

/// Lanes in which blocks are summed: a pair of codes each.
pub(super) const LANES: usize = CHUNK / 2;

/// The largest code.
const MOST: f32 = 32_767.0;

/// Rows in 16-bit codes.
pub(super) struct Codes {
    /// `[n, padded]`
    pub(super) codes: Vec<i16>,
    /// `[n, blocks]`
    pub(super) sizes: Vec<f32>,
    /// Codes of a row, with the zeros behind them.
    pub(super) padded: usize,
    /// Blocks of a row.
    pub(super) blocks: usize,
}

impl Codes {
    /// Codes of the rows of `x [n, size]`: `round(32767 x / absmax of the block)`.
    pub(super) fn of(x: &[f32], size: usize) -> Self {
        let (padded, blocks) = Self::shape(size);
        let n = x.len() / size;
        let mut codes = vec![0; n * padded];
        let mut sizes = vec![0.0; n * blocks];
        encode(x, size, padded, &mut codes, &mut sizes);
        Self {
            codes,
            sizes,
            padded,
            blocks,
        }
    }

    /// Codes and blocks of a row.
    fn shape(size: usize) -> (usize, usize) {
        (size.next_multiple_of(CHUNK), size.div_ceil(BLOCK))
    }
}

vectorised! {
    fn encode(x: &[f32], size: usize, padded: usize, codes: &mut [i16], sizes: &mut [f32]) {
        let mut sizes = sizes.iter_mut();
        for (x, codes) in x.chunks_exact(size).zip(codes.chunks_exact_mut(padded)) {
            for (x, codes) in x.chunks(BLOCK).zip(codes.chunks_mut(BLOCK)) {
                let size = sizes.next().expect("a size for each block");
                *size = encode_block(x, codes);
            }
        }
    }
}

/// Writes a block's codes and returns what they are to be multiplied by.
#[inline(always)]
fn encode_block(x: &[f32], codes: &mut [i16]) -> f32 {
    // Adding 1.5 * 2^23 leaves the nearest whole number in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let mut tops = [0.0f32; LANES];
    // What is not finite must not become a code: it makes the whole block NaN.
    let mut poison = [0.0f32; LANES];
    let mut look = |x: &[f32]| {
        for ((top, poison), x) in tops.iter_mut().zip(&mut poison).zip(x) {
            *top = if x.abs() > *top { x.abs() } else { *top };
            *poison += x * 0.0;
        }
    };
    let (chunks, rest) = x.as_chunks::<LANES>();
    chunks.iter().for_each(|chunk| look(chunk));
    look(rest);
    let (mut absmax, mut not_finite) = (0.0f32, 0.0);
    for (top, poison) in tops.into_iter().zip(poison) {
        absmax = absmax.max(top);
        not_finite += poison;
    }
    // A block so near to zero that the inverse is not finite counts as zeros.
    let inverse = MOST / absmax;
    let inverse = if inverse.is_finite() { inverse } else { 0.0 };
    for (code, x) in codes.iter_mut().zip(x) {
        *code = (x * inverse + ROUND)
            .to_bits()
            .wrapping_sub(ROUND.to_bits()) as i16;
    }
    absmax / MOST + not_finite
}

/// 16 lanes in one instruction set.
pub(super) trait Lanes: Copy {
    /// [`CHUNK`] codes of the weight.
    type W: Copy;
    /// Whole numbers.
    type I: Copy;
    /// f32
    type F: Copy;

    /// Zeros.
    fn zero(self) -> Self::F;

    /// Zeros.
    fn none(self) -> Self::I;

    /// Zeros.
    fn no_codes(self) -> Self::W;

    /// [`CHUNK`] codes of a weight.
    ///
    /// # Safety
    /// They are readable, and the processor has the instructions.
    unsafe fn load(self, from: *const i8) -> Self::W;

    /// So many codes of a weight, fewer than [`CHUNK`], and zeros.
    ///
    /// # Safety
    /// As [`Self::load`].
    unsafe fn load_part(self, from: *const i8, n: usize) -> Self::W;

    /// Adds the products of [`CHUNK`] codes of `x` with as many of the weight: the sum of the pair at `2 j` goes to lane `j`.
    ///
    /// # Safety
    /// As [`Self::load`].
    unsafe fn add_products(self, sums: Self::I, x: *const i16, w: Self::W) -> Self::I;

    /// `total + size * sums`, rounded after each of the two.
    ///
    /// # Safety
    /// The processor has the instructions.
    unsafe fn join(self, total: Self::F, sums: Self::I, size: f32) -> Self::F;

    /// The sum of the lanes: of lane `j` with `j + 8`, of those with `j + 4`, and so on.
    ///
    /// # Safety
    /// The processor has the instructions.
    unsafe fn sum(self, total: Self::F) -> f32;

    /// Asks for the memory that will be read soon; any address will do.
    fn prefetch(self, at: *const u8);
}

/// Rows of a weight with every row of `x`.
#[derive(Clone, Copy)]
pub(super) struct Product<'a> {
    pub(super) x: &'a Codes,
    /// `[columns, size]`
    pub(super) codes: &'a [i8],
    /// 127 times what the codes of each row are multiplied by.
    pub(super) absmax: &'a [f32],
    pub(super) size: usize,
    /// At least as many columns as the weight has rows.
    pub(super) y: Out,
}

impl Product<'_> {
    /// Complains of shapes that do not fit together.
    pub(super) fn check(&self) {
        let [rows, cols] = self.y.shape;
        let Codes { padded, blocks, .. } = *self.x;
        assert!(
            self.x.sizes.len() == rows * blocks
                && self.x.codes.len() == rows * padded
                && (padded, blocks) == Codes::shape(self.size)
                && self.absmax.len() <= cols
                && self.codes.len() == self.absmax.len() * self.size,
            "a place for each product"
        );
    }

    /// By tiles of 4, 2 and 1 rows of `x`, each by so many rows of the weight; 0 leaves a size out.
    ///
    /// # Safety
    /// The shapes were checked, and the processor has the instructions.
    #[inline(always)]
    pub(super) unsafe fn by_tiles<
        L: Lanes,
        const OF_4: usize,
        const OF_2: usize,
        const OF_1: usize,
    >(
        self,
        l: L,
    ) {
        let mut row = 0;
        // SAFETY: the caller's promise.
        unsafe {
            self.rows::<L, 4, OF_4>(l, &mut row);
            self.rows::<L, 2, OF_2>(l, &mut row);
            self.rows::<L, 1, OF_1>(l, &mut row);
        }
    }

    /// As many times `R` rows of `x` as there are, from `row` on.
    #[inline(always)]
    unsafe fn rows<L: Lanes, const R: usize, const C: usize>(self, l: L, row: &mut usize) {
        let cols = self.absmax.len();
        while C > 0 && self.y.shape[0] - *row >= R {
            let mut col = 0;
            // SAFETY: rows and columns lie within the product.
            unsafe {
                while cols - col >= C {
                    self.tile::<L, R, C>(l, *row, col);
                    col += C;
                }
                while col < cols {
                    self.tile::<L, R, 1>(l, *row, col);
                    col += 1;
                }
            }
            *row += R;
        }
    }

    /// `R` rows of `x` times `C` rows of the weight.
    #[inline(always)]
    unsafe fn tile<L: Lanes, const R: usize, const C: usize>(self, l: L, row: usize, col: usize) {
        let Codes { padded, blocks, .. } = *self.x;
        let size = self.size;
        let sizes = &self.x.sizes[row * blocks..][..R * blocks];
        let x = self.x.codes[row * padded..][..R * padded].as_ptr();
        let codes = self.codes[col * size..][..C * size].as_ptr();
        let absmax = &self.absmax[col..][..C];
        let mut totals = [[l.zero(); C]; R];
        // SAFETY: all places lie within the slices above, or within the output, as was checked.
        unsafe {
            for block in 0..blocks {
                let mut k = block * BLOCK;
                let end = size.min(k + BLOCK);
                let mut sums = [[l.none(); C]; R];
                while k + CHUNK <= end {
                    let mut w = [l.no_codes(); C];
                    for (c, w) in w.iter_mut().enumerate() {
                        let at = codes.add(c * size + k);
                        // The same place in the rows that the next tile reads.
                        l.prefetch(at.wrapping_add(C * size).cast());
                        *w = l.load(at);
                    }
                    add_products(l, &mut sums, x.add(k), padded, w);
                    k += CHUNK;
                }
                if k < end {
                    let mut w = [l.no_codes(); C];
                    for (c, w) in w.iter_mut().enumerate() {
                        *w = l.load_part(codes.add(c * size + k), end - k);
                    }
                    add_products(l, &mut sums, x.add(k), padded, w);
                }
                for (r, (totals, sums)) in totals.iter_mut().zip(sums).enumerate() {
                    let size = sizes[r * blocks + block];
                    for (total, sum) in totals.iter_mut().zip(sums) {
                        *total = l.join(*total, sum, size);
                    }
                }
            }
            for (r, totals) in totals.iter().enumerate() {
                for (c, (total, absmax)) in totals.iter().zip(absmax).enumerate() {
                    let y = l.sum(*total) * (absmax / 127.0);
                    self.y.put(row + r, col + c, y);
                }
            }
        }
    }
}

/// # Safety
/// See [`Lanes::add_products`]; rows of `x` are `step` apart.
#[inline(always)]
unsafe fn add_products<L: Lanes, const R: usize, const C: usize>(
    l: L,
    sums: &mut [[L::I; C]; R],
    x: *const i16,
    step: usize,
    w: [L::W; C],
) {
    for (r, sums) in sums.iter_mut().enumerate() {
        for (sum, w) in sums.iter_mut().zip(w) {
            // SAFETY: the caller's promise.
            *sum = unsafe { l.add_products(*sum, x.add(r * step), w) };
        }
    }
}
