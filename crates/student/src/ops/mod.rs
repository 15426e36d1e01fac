//! The operations that a decoder is made of, each with its gradient.
//!
//! Activations are packed: `x` is `[tokens, features]`, several sequences one after the other without padding, and a [`Layout`] tells where each begins.
//! Weights are `[out, in]`, as in Hugging Face's files.
//! A tensor is trained if it is tracked by burn's autodiff; for all others no gradient is computed.
//!
//! On the CPU each operation is one fused kernel with its own backward; on other devices it is the composition in [`composed`].
//! This module knows nothing of models, files or batches of examples.

mod adamw;
mod attention;
mod bridge;
mod cache;
pub mod composed;
mod divergence;
mod dropout;
mod embedding;
mod frozen;
mod gate;
mod head;
mod layout;
mod linear;
mod norm;
mod precision;
mod relative;
mod rope;
mod rows;
mod source_cache;

pub use adamw::{AdamwStep, Moments, adamw, squared_norm, squared_norms};
pub use attention::{Attention, attention};
pub use cache::{KvCache, attend_cached};
pub use divergence::{Divergence, Known, States, head_divergence, head_known, head_likelihoods};
pub use dropout::Dropout;
pub use embedding::embedding;
pub use frozen::{AtRest, Freezing, Frozen, Weight, through, through_rows};
pub use gate::{Activation, activate, gated};
pub use head::{Head, Loss, Scored, head_logits, head_loss, head_rows, head_scores};
pub use layout::{Heads, Layout};
pub use linear::{Branch, linear, lora_linear};
pub use norm::{layer_norm, rms_norm};
pub use precision::{Precision, fastest_precision, in_pool, with_precision};
pub use relative::{Buckets, Pairs, RelativeBias, relative_attention};
pub use rope::Rope;
pub use rows::linear_rows;
pub use source_cache::SourceCache;
