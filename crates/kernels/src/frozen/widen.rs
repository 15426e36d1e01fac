//! Entries at rest become f32, as fast as the processor can.

use super::nf4::{BLOCK, CODES, Nf4};
use crate::bf16;
#[cfg(target_arch = "x86_64")]
use crate::level::{Level, level};
use crate::vectorised::vectorised;

vectorised! {
    /// bf16 to f32.
    pub(super) fn from_bf16(bits: &[u16], out: &mut [f32]) {
        for (out, bits) in out.iter_mut().zip(bits) {
            *out = bf16::widen(*bits);
        }
    }
}

vectorised! {
    /// 8-bit codes times a size.
    pub(super) fn from_int8(codes: &[i8], scale: f32, out: &mut [f32]) {
        for (out, code) in out.iter_mut().zip(codes) {
            *out = f32::from(*code) * scale;
        }
    }
}

/// 4-bit codes from entry `first` on.
pub(super) fn from_nf4(weight: &Nf4, first: usize, out: &mut [f32]) {
    // The vectors read whole bytes, 8 or 16 codes at a time.
    #[cfg(target_arch = "x86_64")]
    if first.is_multiple_of(2) {
        match level() {
            // SAFETY: the processor has what its level says.
            Level::Avx512 => return unsafe { x86::from_nf4_avx512(weight, first, out) },
            // SAFETY: as above.
            Level::Avx2 => return unsafe { x86::from_nf4_avx2(weight, first, out) },
            Level::Plain => {}
        }
    }
    from_nf4_plain(weight, first, out);
}

/// The plain reference of [`from_nf4`].
pub(super) fn from_nf4_plain(weight: &Nf4, first: usize, out: &mut [f32]) {
    each_block(first, out, |at, out| {
        let size = weight.sizes.get(at / BLOCK);
        for (i, out) in (at..).zip(out) {
            let byte = weight.codes[i / 2];
            let code = if i % 2 == 0 { byte >> 4 } else { byte & 15 };
            *out = CODES[usize::from(code)] * size;
        }
    });
}

/// Cuts the entries from `first` on where blocks begin.
#[inline(always)]
fn each_block(first: usize, out: &mut [f32], mut widen: impl FnMut(usize, &mut [f32])) {
    let mut at = first;
    let mut rest = out;
    while !rest.is_empty() {
        let n = (BLOCK - at % BLOCK).min(rest.len());
        let (here, after) = rest.split_at_mut(n);
        widen(at, here);
        (at, rest) = (at + n, after);
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        _mm_cvtsi32_si128, _mm_cvtsi64_si128, _mm256_blendv_ps, _mm256_castsi256_ps,
        _mm256_cvtepu8_epi64, _mm256_loadu_ps, _mm256_mul_ps, _mm256_or_si256,
        _mm256_permutevar8x32_ps, _mm256_set1_ps, _mm256_slli_epi32, _mm256_slli_epi64,
        _mm256_srli_epi64, _mm256_storeu_ps, _mm512_cvtepu8_epi64, _mm512_loadu_ps, _mm512_mul_ps,
        _mm512_or_si512, _mm512_permutexvar_ps, _mm512_set1_ps, _mm512_slli_epi64,
        _mm512_srli_epi64, _mm512_storeu_ps,
    };

    use super::{BLOCK, CODES, Nf4, each_block, from_nf4_plain};

    /// # Safety
    /// The processor has the features; `first` is even.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
    pub(super) unsafe fn from_nf4_avx512(weight: &Nf4, first: usize, out: &mut [f32]) {
        // SAFETY: sixteen values.
        let table = unsafe { _mm512_loadu_ps(CODES.as_ptr()) };
        each_block(first, out, |at, out| {
            let size = _mm512_set1_ps(weight.sizes.get(at / BLOCK));
            let (chunks, rest) = out.as_chunks_mut::<16>();
            let rest_at = at + chunks.len() * 16;
            let eights = weight.codes[at / 2..].as_chunks::<8>().0;
            for (out, bytes) in chunks.iter_mut().zip(eights) {
                // A byte in each 64 bits; its first code goes to the lower half, its second to the upper, of which four bits count.
                let bytes = _mm512_cvtepu8_epi64(_mm_cvtsi64_si128(i64::from_le_bytes(*bytes)));
                let codes = _mm512_or_si512(
                    _mm512_srli_epi64::<4>(bytes),
                    _mm512_slli_epi64::<32>(bytes),
                );
                let values = _mm512_mul_ps(_mm512_permutexvar_ps(codes, table), size);
                // SAFETY: sixteen values.
                unsafe { _mm512_storeu_ps(out.as_mut_ptr(), values) };
            }
            if !rest.is_empty() {
                from_nf4_plain(weight, rest_at, rest);
            }
        });
    }

    /// # Safety
    /// The processor has the features; `first` is even.
    #[target_feature(enable = "avx2,fma")]
    pub(super) unsafe fn from_nf4_avx2(weight: &Nf4, first: usize, out: &mut [f32]) {
        // SAFETY: sixteen values.
        let (low, high) = unsafe {
            (
                _mm256_loadu_ps(CODES.as_ptr()),
                _mm256_loadu_ps(CODES.as_ptr().add(8)),
            )
        };
        each_block(first, out, |at, out| {
            let size = _mm256_set1_ps(weight.sizes.get(at / BLOCK));
            let (chunks, rest) = out.as_chunks_mut::<8>();
            let rest_at = at + chunks.len() * 8;
            let fours = weight.codes[at / 2..].as_chunks::<4>().0;
            for (out, bytes) in chunks.iter_mut().zip(fours) {
                let bytes = _mm256_cvtepu8_epi64(_mm_cvtsi32_si128(i32::from_le_bytes(*bytes)));
                let codes = _mm256_or_si256(
                    _mm256_srli_epi64::<4>(bytes),
                    _mm256_slli_epi64::<32>(bytes),
                );
                // Bit 3 says which half of the table.
                let is_high = _mm256_castsi256_ps(_mm256_slli_epi32::<28>(codes));
                let values = _mm256_blendv_ps(
                    _mm256_permutevar8x32_ps(low, codes),
                    _mm256_permutevar8x32_ps(high, codes),
                    is_high,
                );
                // SAFETY: eight values.
                unsafe { _mm256_storeu_ps(out.as_mut_ptr(), _mm256_mul_ps(values, size)) };
            }
            if !rest.is_empty() {
                from_nf4_plain(weight, rest_at, rest);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frozen::{AtRest, Entries, Frozen};
    use crate::testing::values;

    #[test]
    fn every_way_to_widen_gives_the_same_bits() {
        let weight = Frozen::new(&values(1000, 1), [10, 100], AtRest::Nf4 { is_double: true });
        let Entries::Nf4(nf4) = &weight.entries else {
            unreachable!()
        };
        for (first, n) in [(0, 1000), (0, 64), (1, 99), (30, 70), (62, 131), (998, 2)] {
            let mut expected = vec![0.0; n];
            from_nf4_plain(nf4, first, &mut expected);
            let mut found = vec![0.0; n];
            from_nf4(nf4, first, &mut found);
            assert_eq!(found, expected);
            #[cfg(target_arch = "x86_64")]
            if first.is_multiple_of(2) && level() >= Level::Avx2 {
                let mut found = vec![0.0; n];
                // SAFETY: the processor has what its level says.
                unsafe { x86::from_nf4_avx2(nf4, first, &mut found) };
                assert_eq!(found, expected);
            }
        }
    }
}
