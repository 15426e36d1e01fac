//! Fused CPU operations over plain slices, each beside its plain reference.
//!
//! Matrices are row-major; outputs are slices of the caller's, who decides where memory comes from.
//! Every kernel is deterministic: the same input on the same number of threads gives the same bits, since work is cut into fixed pieces and sums are taken in a fixed order.
//! This package knows nothing of tensors, graphs or models.

pub mod adamw;
pub mod attention;
pub mod bf16;
pub mod cached;
pub mod embedding;
pub mod encoder_attention;
pub mod gate;
pub mod gelu;
pub mod gemm;
pub mod head;
pub mod layer_norm;
mod math;
pub mod norm;
pub mod panels;
pub mod rows;
mod shared;

/// The instruction set that a kernel runs on; `Arch::new()` is the best that the processor has.
pub use pulp::Arch;

#[cfg(test)]
mod testing;

#[cfg(test)]
mod test {
    use super::Arch;

    /// Every instruction set that this processor has.
    pub(crate) fn archs() -> Vec<Arch> {
        let mut archs = vec![Arch::Scalar, Arch::new()];
        #[cfg(target_arch = "x86_64")]
        archs.extend(pulp::x86::V3::try_new().map(Arch::V3));
        archs
    }

    /// `n` numbers in [-1, 1) that look random and are always the same.
    pub(crate) fn numbers(n: usize, seed: u64) -> Vec<f32> {
        let mut state = seed;
        let mut next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(seed | 1);
            (state >> 40) as f32 / (1 << 23) as f32 - 1.0
        };
        (0..n).map(|_| next()).collect()
    }

    pub(crate) fn assert_near(found: &[f32], expected: &[f32], tolerance: f32) {
        assert_eq!(found.len(), expected.len());
        for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
            assert!(
                (found - expected).abs() <= tolerance,
                "{i}: {found} is not {expected}"
            );
        }
    }
}
