//! The tables of rotary position embedding.

use std::sync::Arc;

use stillhouse_kernels::attention::Tables;

/// Cosine and sine of each position's angle at each frequency, `[positions, half]`.
///
/// Feature `j` of a head is rotated together with feature `j + half`, as Hugging Face's Llama does; features past `2 * half` stay as they are.
#[derive(Clone, Debug)]
pub struct Rope {
    cos: Arc<[f32]>,
    sin: Arc<[f32]>,
    half: usize,
}

impl Rope {
    /// The tables of positions `0..positions`.
    ///
    /// The inverse frequencies are the caller's, so every way of scaling them is too.
    /// Angles are computed in f32, as the reference implementation does.
    #[must_use]
    pub fn new(inverse_frequencies: &[f32], positions: usize) -> Self {
        Self::scaled(inverse_frequencies, positions, 1.0)
    }

    /// The same, with what is turned multiplied by `magnitude`, as some ways of stretching contexts do.
    #[must_use]
    pub fn scaled(inverse_frequencies: &[f32], positions: usize, magnitude: f32) -> Self {
        let angles = || {
            (0..positions).flat_map(|position| {
                let position = position as f32;
                inverse_frequencies
                    .iter()
                    .map(move |frequency| position * frequency)
            })
        };
        Self {
            cos: angles().map(|angle| angle.cos() * magnitude).collect(),
            sin: angles().map(|angle| angle.sin() * magnitude).collect(),
            half: inverse_frequencies.len(),
        }
    }

    /// How many pairs of features are rotated.
    #[must_use]
    pub fn half(&self) -> usize {
        self.half
    }

    /// How many positions the tables hold.
    #[must_use]
    pub fn positions(&self) -> usize {
        self.cos.len() / self.half.max(1)
    }

    /// Cosines, `[positions, half]`.
    #[must_use]
    pub fn cos(&self) -> &[f32] {
        &self.cos
    }

    /// Sines, `[positions, half]`.
    #[must_use]
    pub fn sin(&self) -> &[f32] {
        &self.sin
    }

    pub(super) fn tables(&self) -> Tables<'_> {
        Tables {
            cos: &self.cos,
            sin: &self.sin,
        }
    }
}
