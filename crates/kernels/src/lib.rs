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
pub mod gate;
pub mod gemm;
pub mod head;
mod math;
pub mod norm;
mod rope;
mod shared;
mod vectorised;

#[cfg(test)]
mod testing;
