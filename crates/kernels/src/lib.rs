//! Fused CPU operations over plain slices, each beside its plain reference.
//!
//! Every kernel is deterministic: the same input on the same number of threads gives the same bits, since work is cut into fixed pieces and sums are taken in a fixed order.
//! This package knows nothing of tensors, graphs or models; matrices are row-major slices.

pub mod cached;
