//! Tiles in AVX-512, with and without VNNI, and in AVX2.

use std::arch::x86_64::{
    __m256, __m256i, __m512, __m512i, _MM_HINT_T0, _mm_add_ps, _mm_add_ss, _mm_cvtss_f32,
    _mm_loadu_si128, _mm_movehl_ps, _mm_prefetch, _mm_shuffle_ps, _mm256_add_epi32, _mm256_add_ps,
    _mm256_castps256_ps128, _mm256_castsi256_ps, _mm256_cvtepi8_epi16, _mm256_cvtepi32_ps,
    _mm256_cvtepu16_epi32, _mm256_extractf128_ps, _mm256_fmadd_ps, _mm256_loadu_ps,
    _mm256_loadu_si256, _mm256_madd_epi16, _mm256_maskz_loadu_epi8, _mm256_mul_ps, _mm256_set1_ps,
    _mm256_setzero_ps, _mm256_setzero_si256, _mm256_slli_epi32, _mm512_add_epi32, _mm512_add_ps,
    _mm512_castps512_ps256, _mm512_castsi512_ps, _mm512_cvtepi8_epi16, _mm512_cvtepi32_ps,
    _mm512_cvtepu16_epi32, _mm512_dpwssd_epi32, _mm512_extractf32x8_ps, _mm512_fmadd_ps,
    _mm512_loadu_ps, _mm512_loadu_si512, _mm512_madd_epi16, _mm512_mul_ps, _mm512_set1_ps,
    _mm512_setzero_ps, _mm512_setzero_si512, _mm512_slli_epi32,
};

use super::whole::{CHUNK, Lanes};
use super::wide::Vectors;

/// Adds lane `j` of four to lane `j + 4`, and so on.
#[inline(always)]
unsafe fn sum_of_eight(a: __m256) -> f32 {
    // SAFETY: the caller's promise: the processor has the instructions.
    unsafe {
        let four = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
        let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
        _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps::<1>(two, two)))
    }
}

#[inline(always)]
unsafe fn sum_of_sixteen(a: __m512) -> f32 {
    // SAFETY: the caller's promise: the processor has the instructions.
    unsafe {
        let (low, high) = (_mm512_castps512_ps256(a), _mm512_extractf32x8_ps::<1>(a));
        sum_of_eight(_mm256_add_ps(low, high))
    }
}

#[inline(always)]
fn prefetch(at: *const u8) {
    // SAFETY: a hint, which any address may be given to.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) };
}

/// AVX-512; with `VNNI`, products of codes are summed in one instruction.
#[derive(Clone, Copy)]
pub(super) struct Avx512<const VNNI: bool>;

#[derive(Clone, Copy)]
pub(super) struct Avx2;

impl<const VNNI: bool> Vectors for Avx512<VNNI> {
    type F = __m512;
    const LANES: usize = 16;

    #[inline(always)]
    fn zero(self) -> __m512 {
        // SAFETY: only code for this processor makes this value.
        unsafe { _mm512_setzero_ps() }
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe { _mm512_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn load_bf16(self, from: *const u16) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe {
            let bits = _mm512_cvtepu16_epi32(_mm256_loadu_si256(from.cast()));
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(bits))
        }
    }

    #[inline(always)]
    unsafe fn mul_add(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    unsafe fn sum(self, a: __m512) -> f32 {
        // SAFETY: the caller's promise.
        unsafe { sum_of_sixteen(a) }
    }

    #[inline(always)]
    fn prefetch(self, at: *const u8) {
        prefetch(at);
    }
}

impl<const VNNI: bool> Lanes for Avx512<VNNI> {
    type W = __m512i;
    type I = __m512i;
    type F = __m512;

    #[inline(always)]
    fn zero(self) -> __m512 {
        // SAFETY: only code for this processor makes this value.
        unsafe { _mm512_setzero_ps() }
    }

    #[inline(always)]
    fn none(self) -> __m512i {
        // SAFETY: only code for this processor makes this value.
        unsafe { _mm512_setzero_si512() }
    }

    #[inline(always)]
    fn no_codes(self) -> __m512i {
        // SAFETY: only code for this processor makes this value.
        unsafe { _mm512_setzero_si512() }
    }

    #[inline(always)]
    unsafe fn load(self, from: *const i8) -> __m512i {
        // SAFETY: the caller's promise.
        unsafe { _mm512_cvtepi8_epi16(_mm256_loadu_si256(from.cast())) }
    }

    #[inline(always)]
    unsafe fn load_part(self, from: *const i8, n: usize) -> __m512i {
        // SAFETY: the caller's promise; the mask keeps to what is there.
        unsafe { _mm512_cvtepi8_epi16(_mm256_maskz_loadu_epi8((1 << n) - 1, from)) }
    }

    #[inline(always)]
    unsafe fn add_products(self, sums: __m512i, x: *const i16, w: __m512i) -> __m512i {
        // SAFETY: the caller's promise.
        unsafe {
            let x = _mm512_loadu_si512(x.cast());
            if VNNI {
                _mm512_dpwssd_epi32(sums, w, x)
            } else {
                _mm512_add_epi32(sums, _mm512_madd_epi16(w, x))
            }
        }
    }

    #[inline(always)]
    unsafe fn join(self, total: __m512, sums: __m512i, size: f32) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe {
            let sums = _mm512_mul_ps(_mm512_cvtepi32_ps(sums), _mm512_set1_ps(size));
            _mm512_add_ps(total, sums)
        }
    }

    #[inline(always)]
    unsafe fn sum(self, total: __m512) -> f32 {
        // SAFETY: the caller's promise.
        unsafe { sum_of_sixteen(total) }
    }

    #[inline(always)]
    fn prefetch(self, at: *const u8) {
        prefetch(at);
    }
}

impl Vectors for Avx2 {
    type F = __m256;
    const LANES: usize = 8;

    #[inline(always)]
    fn zero(self) -> __m256 {
        // SAFETY: only code for this processor makes this value.
        unsafe { _mm256_setzero_ps() }
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> __m256 {
        // SAFETY: the caller's promise.
        unsafe { _mm256_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn load_bf16(self, from: *const u16) -> __m256 {
        // SAFETY: the caller's promise.
        unsafe {
            let bits = _mm256_cvtepu16_epi32(_mm_loadu_si128(from.cast()));
            _mm256_castsi256_ps(_mm256_slli_epi32::<16>(bits))
        }
    }

    #[inline(always)]
    unsafe fn mul_add(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        // SAFETY: the caller's promise.
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    unsafe fn sum(self, a: __m256) -> f32 {
        // SAFETY: the caller's promise.
        unsafe { sum_of_eight(a) }
    }

    #[inline(always)]
    fn prefetch(self, at: *const u8) {
        prefetch(at);
    }
}

/// Two vectors make 16 lanes.
impl Lanes for Avx2 {
    type W = [__m256i; 2];
    type I = [__m256i; 2];
    type F = [__m256; 2];

    #[inline(always)]
    fn zero(self) -> Self::F {
        // SAFETY: only code for this processor makes this value.
        [unsafe { _mm256_setzero_ps() }; 2]
    }

    #[inline(always)]
    fn none(self) -> Self::I {
        // SAFETY: only code for this processor makes this value.
        [unsafe { _mm256_setzero_si256() }; 2]
    }

    #[inline(always)]
    fn no_codes(self) -> Self::W {
        // SAFETY: only code for this processor makes this value.
        [unsafe { _mm256_setzero_si256() }; 2]
    }

    #[inline(always)]
    unsafe fn load(self, from: *const i8) -> Self::W {
        // SAFETY: the caller's promise.
        unsafe {
            [
                _mm256_cvtepi8_epi16(_mm_loadu_si128(from.cast())),
                _mm256_cvtepi8_epi16(_mm_loadu_si128(from.add(16).cast())),
            ]
        }
    }

    #[inline(always)]
    unsafe fn load_part(self, from: *const i8, n: usize) -> Self::W {
        let mut part = [0; CHUNK];
        // SAFETY: the caller's promise; `part` has room for fewer than `CHUNK`.
        unsafe {
            std::ptr::copy_nonoverlapping(from, part.as_mut_ptr(), n);
            Lanes::load(self, part.as_ptr())
        }
    }

    #[inline(always)]
    unsafe fn add_products(self, sums: Self::I, x: *const i16, w: Self::W) -> Self::I {
        let mut sums = sums;
        for (half, sum) in sums.iter_mut().enumerate() {
            // SAFETY: the caller's promise.
            unsafe {
                let x = _mm256_loadu_si256(x.add(16 * half).cast());
                *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(w[half], x));
            }
        }
        sums
    }

    #[inline(always)]
    unsafe fn join(self, total: Self::F, sums: Self::I, size: f32) -> Self::F {
        let mut total = total;
        for (total, sums) in total.iter_mut().zip(sums) {
            // SAFETY: the caller's promise.
            unsafe {
                let sums = _mm256_mul_ps(_mm256_cvtepi32_ps(sums), _mm256_set1_ps(size));
                *total = _mm256_add_ps(*total, sums);
            }
        }
        total
    }

    #[inline(always)]
    unsafe fn sum(self, total: Self::F) -> f32 {
        // SAFETY: the caller's promise.
        unsafe { sum_of_eight(_mm256_add_ps(total[0], total[1])) }
    }

    #[inline(always)]
    fn prefetch(self, at: *const u8) {
        prefetch(at);
    }
}
