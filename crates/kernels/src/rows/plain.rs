//! Tiles in plain Rust: the specification of the others, and the path of any processor.

use super::whole::{CHUNK, LANES, Lanes};
use super::wide::Vectors;
use crate::bf16;

#[derive(Clone, Copy)]
pub(super) struct Plain;

/// Values in a vector.
const WIDTH: usize = 8;

impl Vectors for Plain {
    type F = [f32; WIDTH];
    const LANES: usize = WIDTH;

    #[inline(always)]
    fn zero(self) -> Self::F {
        [0.0; WIDTH]
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> Self::F {
        // SAFETY: the caller's promise.
        unsafe { from.cast::<Self::F>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn load_bf16(self, from: *const u16) -> Self::F {
        // SAFETY: the caller's promise.
        unsafe { from.cast::<[u16; WIDTH]>().read_unaligned() }.map(bf16::widen)
    }

    #[inline(always)]
    unsafe fn mul_add(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        std::array::from_fn(|i| a[i] * b[i] + c[i])
    }

    #[inline(always)]
    unsafe fn sum(self, a: Self::F) -> f32 {
        a.iter().sum()
    }

    #[inline(always)]
    fn prefetch(self, _: *const u8) {}
}

impl Lanes for Plain {
    type W = [i8; CHUNK];
    type I = [i32; LANES];
    type F = [f32; LANES];

    #[inline(always)]
    fn zero(self) -> Self::F {
        [0.0; LANES]
    }

    #[inline(always)]
    fn none(self) -> Self::I {
        [0; LANES]
    }

    #[inline(always)]
    fn no_codes(self) -> Self::W {
        [0; CHUNK]
    }

    #[inline(always)]
    unsafe fn load(self, from: *const i8) -> Self::W {
        // SAFETY: the caller's promise.
        unsafe { from.cast::<Self::W>().read() }
    }

    #[inline(always)]
    unsafe fn load_part(self, from: *const i8, n: usize) -> Self::W {
        // SAFETY: the caller's promise.
        std::array::from_fn(|i| if i < n { unsafe { *from.add(i) } } else { 0 })
    }

    #[inline(always)]
    unsafe fn add_products(self, sums: Self::I, x: *const i16, w: Self::W) -> Self::I {
        // SAFETY: the caller's promise.
        let x = unsafe { x.cast::<[i16; CHUNK]>().read_unaligned() };
        let product = |k: usize| i32::from(x[k]) * i32::from(w[k]);
        std::array::from_fn(|j| sums[j] + product(2 * j) + product(2 * j + 1))
    }

    #[inline(always)]
    unsafe fn join(self, total: Self::F, sums: Self::I, size: f32) -> Self::F {
        std::array::from_fn(|j| total[j] + sums[j] as f32 * size)
    }

    #[inline(always)]
    unsafe fn sum(self, mut total: Self::F) -> f32 {
        for width in [8, 4, 2, 1] {
            for j in 0..width {
                total[j] += total[j + width];
            }
        }
        total[0]
    }

    #[inline(always)]
    fn prefetch(self, _: *const u8) {}
}
