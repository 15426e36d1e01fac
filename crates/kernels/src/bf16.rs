//! Rounding to bf16, and whether the processor multiplies it.
//!
//! Processors with AVX512-BF16 multiply two pairs of bf16 per lane at once; on AMD (Zen 4 and later) that doubles the speed of f32, on Intel without AMX it does not.

#[cfg(target_arch = "x86_64")]
use crate::level::{self, Level};

/// Whether products of bf16 can be computed here.
#[must_use]
pub fn is_available() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        level::level() == Level::Avx512 && is_x86_feature_detected!("avx512bf16")
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        false
    }
}

/// Whether products of bf16 are known to be faster than f32 here: available, and the processor is AMD's.
#[must_use]
pub fn is_faster() -> bool {
    is_available() && is_amd()
}

#[cfg(target_arch = "x86_64")]
fn is_amd() -> bool {
    let leaf = std::arch::x86_64::__cpuid(0);
    [leaf.ebx, leaf.edx, leaf.ecx]
        .map(u32::to_le_bytes)
        .concat()
        == b"AuthenticAMD"
}

#[cfg(not(target_arch = "x86_64"))]
fn is_amd() -> bool {
    false
}

/// `x` rounded to the nearest bf16, ties to even, as f32.
#[must_use]
#[inline(always)]
pub fn round(x: f32) -> f32 {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) & 0xffff_0000;
    f32::from_bits(if x.is_nan() { bits } else { rounded })
}

/// The bits of `x` rounded to the nearest bf16.
#[must_use]
#[inline(always)]
pub fn narrow(x: f32) -> u16 {
    (round(x).to_bits() >> 16) as u16
}

/// The f32 of these bits of a bf16.
#[must_use]
#[inline(always)]
pub fn widen(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}
