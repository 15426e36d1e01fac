//! Trains, scores and generates with small open models.

pub mod cpu;
pub mod encoder;
