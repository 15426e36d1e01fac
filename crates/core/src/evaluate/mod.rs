//! Metrics over predictions: pure functions over records; what embeds comes in through [`Embed`].

use crate::error::Result;
use crate::event::Observer;

/// Turns texts into unit vectors; implemented by the student package's encoder.
pub trait Embed {
    /// Name and revision for signatures: "all-MiniLM-L6-v2@53aa5117".
    fn name(&self) -> &str;

    /// One unit vector a text, in the order of the texts.
    fn embed(&mut self, texts: &[&str], observe: &mut Observer<'_>) -> Result<Vec<Vec<f32>>>;
}
