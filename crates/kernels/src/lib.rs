//! Fused CPU operations over plain slices, each beside its plain reference.
//!
//! Matrices are row-major; outputs are slices of the caller's, who decides where memory comes from.
//! Every kernel is deterministic: the same input on the same number of threads gives the same bits, since work is cut into fixed pieces and sums are taken in a fixed order.
//! This package knows nothing of tensors, graphs or models.

pub mod activation;
pub mod adamw;
pub mod attention;
pub mod bf16;
pub mod cached;
pub mod divergence;
pub mod embedding;
pub mod encoder_attention;
pub mod frozen;
pub mod gate;
pub mod gemm;
pub mod head;
pub mod layer_norm;
pub mod level;
mod lines;
pub mod lora;
mod math;
pub mod memory;
pub mod norm;
pub mod packed;
pub mod panels;
pub mod relative;
mod rope;
pub mod rows;
mod shared;
pub mod thin;
mod vectorised;

/// The instruction set that a kernel runs on; [`level::arch`] is the best that may be used.
pub use pulp::Arch;

#[cfg(test)]
mod testing;
