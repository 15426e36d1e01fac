//! Few-row products in f32, where the entries of the weight become f32 in registers.
//!
//! A tile of rows of `x` by rows of the weight is summed in registers along the whole length, one vector of partial sums an entry of the output, so the order of an entry's sums depends on nothing but the length and the processor.

use super::Out;
use crate::bf16;

/// Entries of a weight in a form that becomes f32 by itself.
pub(super) trait Entry: Copy + Sync {
    /// As f32.
    fn widen(self) -> f32;

    /// A vector of entries.
    ///
    /// # Safety
    /// As [`Vectors::load`].
    unsafe fn vector<V: Vectors>(v: V, from: *const Self) -> V::F;
}

impl Entry for f32 {
    #[inline(always)]
    fn widen(self) -> f32 {
        self
    }

    #[inline(always)]
    unsafe fn vector<V: Vectors>(v: V, from: *const Self) -> V::F {
        // SAFETY: the caller's promise.
        unsafe { v.load(from) }
    }
}

/// The bits of a bf16.
impl Entry for u16 {
    #[inline(always)]
    fn widen(self) -> f32 {
        bf16::widen(self)
    }

    #[inline(always)]
    unsafe fn vector<V: Vectors>(v: V, from: *const Self) -> V::F {
        // SAFETY: the caller's promise.
        unsafe { v.load_bf16(from) }
    }
}

/// Vectors of f32 in one instruction set.
pub(super) trait Vectors: Copy {
    type F: Copy;
    const LANES: usize;

    /// Zeros.
    fn zero(self) -> Self::F;

    /// [`Self::LANES`] values.
    ///
    /// # Safety
    /// They are readable, and the processor has the instructions.
    unsafe fn load(self, from: *const f32) -> Self::F;

    /// [`Self::LANES`] values in bf16.
    ///
    /// # Safety
    /// As [`Self::load`].
    unsafe fn load_bf16(self, from: *const u16) -> Self::F;

    /// `a b + c`
    ///
    /// # Safety
    /// The processor has the instructions.
    unsafe fn mul_add(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;

    /// The sum of the lanes.
    ///
    /// # Safety
    /// The processor has the instructions.
    unsafe fn sum(self, a: Self::F) -> f32;

    /// Asks for the memory that will be read soon; any address will do.
    fn prefetch(self, at: *const u8);
}

/// Rows of a weight with every row of `x`.
#[derive(Clone, Copy)]
pub(super) struct Product<'a, E> {
    /// `[n, size]`
    pub(super) x: &'a [f32],
    /// `[columns, size]`
    pub(super) weight: &'a [E],
    pub(super) size: usize,
    /// At least as many columns as the weight has rows.
    pub(super) y: Out,
}

impl<E: Entry> Product<'_, E> {
    /// Complains of shapes that do not fit together.
    pub(super) fn check(&self) {
        let [rows, cols] = self.y.shape;
        assert!(
            self.x.len() == rows * self.size && self.weight.len() <= cols * self.size,
            "a place for each product"
        );
    }

    /// By tiles of 8, 4, 2 and 1 rows of `x`, each by so many rows of the weight; 0 leaves a size out.
    ///
    /// # Safety
    /// The shapes were checked, and the processor has the instructions.
    #[inline(always)]
    pub(super) unsafe fn by_tiles<
        V: Vectors,
        const OF_8: usize,
        const OF_4: usize,
        const OF_2: usize,
        const OF_1: usize,
    >(
        self,
        v: V,
    ) {
        let mut row = 0;
        // SAFETY: the caller's promise.
        unsafe {
            self.rows::<V, 8, OF_8>(v, &mut row);
            self.rows::<V, 4, OF_4>(v, &mut row);
            self.rows::<V, 2, OF_2>(v, &mut row);
            self.rows::<V, 1, OF_1>(v, &mut row);
        }
    }

    /// As many times `R` rows of `x` as there are, from `row` on.
    #[inline(always)]
    unsafe fn rows<V: Vectors, const R: usize, const C: usize>(self, v: V, row: &mut usize) {
        let cols = self.weight.len() / self.size;
        while C > 0 && self.y.shape[0] - *row >= R {
            let mut col = 0;
            // SAFETY: rows and columns lie within the product.
            unsafe {
                while cols - col >= C {
                    self.tile::<V, R, C>(v, *row, col);
                    col += C;
                }
                while col < cols {
                    self.tile::<V, R, 1>(v, *row, col);
                    col += 1;
                }
            }
            *row += R;
        }
    }

    /// `R` rows of `x` times `C` rows of the weight.
    #[inline(always)]
    unsafe fn tile<V: Vectors, const R: usize, const C: usize>(self, v: V, row: usize, col: usize) {
        let size = self.size;
        let x = self.x[row * size..][..R * size].as_ptr();
        let weight = self.weight[col * size..][..C * size].as_ptr();
        let mut sums = [[v.zero(); C]; R];
        let whole = size / V::LANES * V::LANES;
        let mut k = 0;
        // SAFETY: all places lie within the slices above, or within the output, as was checked.
        unsafe {
            while k < whole {
                let mut w = [v.zero(); C];
                for (c, w) in w.iter_mut().enumerate() {
                    let at = weight.add(c * size + k);
                    // The same place in the rows that the next tile reads.
                    v.prefetch(at.wrapping_add(C * size).cast());
                    *w = E::vector(v, at);
                }
                for (r, sums) in sums.iter_mut().enumerate() {
                    let x = v.load(x.add(r * size + k));
                    for (sum, w) in sums.iter_mut().zip(w) {
                        *sum = v.mul_add(x, w, *sum);
                    }
                }
                k += V::LANES;
            }
            for (r, sums) in sums.iter().enumerate() {
                for (c, sum) in sums.iter().enumerate() {
                    let mut total = v.sum(*sum);
                    for k in whole..size {
                        total += *x.add(r * size + k) * (*weight.add(c * size + k)).widen();
                    }
                    self.y.put(row + r, col + c, total);
                }
            }
        }
    }
}
