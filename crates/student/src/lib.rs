//! Trains, scores and generates with small open models.
//!
//! A [`Model`] is loaded from a Hugging Face folder or begun from random weights; [`train`](train::train)
//! fine-tunes it on [`Item`]s, [`generate`](generate::generate) continues prompts, and
//! [`score`] says how likely a given completion is.
//! This crate knows nothing of claims, evidence and labels: it sees prompts and completions.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub mod adapter;
mod again;
pub mod batch;
mod checkpoint;
pub mod config;
pub mod count;
pub mod cpu;
mod decoder;
pub mod device;
pub mod encoder;
pub mod error;
pub mod generate;
#[cfg(test)]
mod golden;
pub mod interface;
pub mod language;
mod loss;
pub mod memory;
mod model;
mod network;
pub mod objective;
pub mod ops;
pub mod optimizer;
mod options;
mod parameter;
#[cfg(test)]
mod quantised;
mod recompute;
mod rotary;
pub mod score;
mod seq2seq;
mod shared;
pub mod tokenizer;
pub mod train;
pub mod weights;

pub use again::AgainOptions;
pub use batch::{Item, Order};
pub use device::{Device, Place};
pub use error::{Error, Result};
pub use generate::GenerateOptions;
pub use interface::Interface;
pub use model::{ArchitectureOptions, Model};
pub use stillhouse_kernels::memory::Blocks;
pub use train::TrainOptions;

/// Where the student starts from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Init {
    /// From the weights of a model folder.
    #[default]
    Pretrained,
    /// From random weights and a tokenizer trained on the training split.
    Random,
}

/// The student: what it starts from, how it is trained, and how it speaks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StudentOptions {
    /// A model folder in Hugging Face form, or the name of a model on the hub.
    pub model: String,
    /// A folder with an adapter in PEFT's form that the student has from the beginning; training
    /// with the method "lora" goes on from it.
    pub adapter: Option<PathBuf>,
    /// Start from the model's weights ("pretrained") or from nothing ("random").
    pub init: Init,
    /// What it computes on, here and now: the processor ("cpu"), a GPU ("gpu"; needs a program built
    /// with the cargo feature `wgpu`), or a real GPU where there is one ("auto"). A GPU holds
    /// all weights in f32. No stage is done again because of it.
    pub device: Device,
    /// The shape of a student that starts from nothing.
    pub architecture: ArchitectureOptions,
    /// Longest sequence in tokens, where less than the model takes is wanted.
    pub context_tokens: Option<usize>,
    /// How it is trained.
    pub train: TrainOptions,
    /// How it speaks.
    pub generate: GenerateOptions,
    /// How it answers the test again.
    pub again: AgainOptions,
}

impl StudentOptions {
    /// Opens the device, and complains of what is wanted and cannot be had there.
    pub fn place(&self) -> Result<Place> {
        let place = self.device.open()?;
        self.train.precision.on(place.tensors())?;
        Ok(place)
    }
}

impl Default for StudentOptions {
    fn default() -> Self {
        Self {
            model: "examples/quickstart/base".to_owned(),
            adapter: None,
            init: Init::default(),
            device: Device::default(),
            architecture: ArchitectureOptions::default(),
            context_tokens: None,
            train: TrainOptions::default(),
            generate: GenerateOptions::default(),
            again: AgainOptions::default(),
        }
    }
}
