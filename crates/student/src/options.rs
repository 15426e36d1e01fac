//! The options of training; their doc comments are the reference.

use std::path::PathBuf;

use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use crate::adapter::LoraOptions;
use crate::batch::{LossOn, Order};
use crate::device::is_host;
use crate::error::{Error, Result};
use crate::objective::Objectives;
use crate::ops::{self, AtRest};
use crate::optimizer::{Schedule, Warmup};

/// What training changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Every weight.
    #[default]
    Full,
    /// Low-rank branches beside frozen weights.
    Lora,
}

/// How weights that are not trained rest in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Base {
    /// 4 bytes a weight, exact.
    #[default]
    F32,
    /// 2 bytes a weight; exact where the folder holds bf16.
    Bf16,
    /// 1 byte a weight, with one size a row.
    Int8,
    /// Half a byte a weight, in blocks of 64 with a size each (Dettmers et al. 2023, arXiv
    /// 2305.14314).
    Nf4,
}

impl Base {
    /// The form; `is_double` is for the sizes of 4-bit blocks.
    pub(crate) fn at_rest(self, is_double: bool) -> AtRest {
        match self {
            Self::F32 => AtRest::F32,
            Self::Bf16 => AtRest::Bf16,
            Self::Int8 => AtRest::Int8,
            Self::Nf4 => AtRest::Nf4 { is_double },
        }
    }
}

/// How exact the products with weights are while training; sums, weights and updates stay in f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// bf16 where the processor is known to multiply it faster (AMD with AVX512-BF16), else f32.
    #[default]
    Fastest,
    /// As exact as the weights.
    F32,
    /// Factors rounded to bf16, where the processor can multiply those.
    Bf16,
}

impl Precision {
    /// What it means on a device; complains of bf16 where that is not the processor.
    pub(crate) fn on(self, device: &Device) -> Result<ops::Precision> {
        match (self, is_host(device)) {
            (Self::F32, _) | (Self::Fastest, false) => Ok(ops::Precision::F32),
            (Self::Fastest, true) => Ok(ops::fastest_precision()),
            (Self::Bf16, true) => Ok(ops::Precision::Bf16),
            (Self::Bf16, false) => Err(Error::option(
                "student.train.precision",
                "\"bf16\" is the processor's alone; on a GPU set \"fastest\" or \"f32\"",
            )),
        }
    }
}

/// By what the best checkpoint is chosen, always on the validation split.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Criterion {
    /// The lowest mean loss.
    #[default]
    Loss,
    /// The highest mean CEC between explanations that the student generates and the selected
    /// rationales.
    Cec,
}

/// How a student is trained.
#[expect(clippy::struct_excessive_bools, reason = "each is a key of the config")]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainOptions {
    /// What training changes: every weight ("full") or low-rank branches beside them ("lora").
    pub method: Method,
    /// The size of the branches where the method is "lora".
    pub lora: LoraOptions,
    /// How the projections rest in memory where the method is "lora": as "f32", "bf16", "int8" or
    /// "nf4". Embeddings, output head, norms and biases rest in f32.
    pub base: Base,
    /// With "nf4", the sizes of blocks are 8-bit codes too: 0.516 bytes a weight instead of 0.563.
    pub double_quantisation: bool,
    /// With "lora", save the merged model too, and tell its validation loss beside the adapter's.
    pub merge: bool,
    /// Passes over the training items; a fraction is allowed.
    pub epochs: f64,
    /// Updates in all; where given, `epochs` does not count.
    pub steps: Option<usize>,
    /// Items per update.
    pub batch_size: usize,
    /// In what order items are learnt: drawn for each epoch, one by one ("items") or prompt by
    /// prompt ("prompts": all that follows one prompt stays together and shares its computation),
    /// or as they come ("given").
    pub order: Order,
    /// Tokens that go through the model at once; more items of an update follow in further passes.
    pub micro_batch_tokens: usize,
    /// Compute activations again in the backward pass instead of keeping them: a third more work,
    /// and the memory of one layer instead of all.
    pub recompute: bool,
    /// Items that go through the model at once and begin alike, such as several completions of one
    /// prompt, share that beginning's computation; loss and gradients stay the same within
    /// rounding. With dropout nothing is shared.
    pub share_prompts: bool,
    /// How exact products with weights are: "f32", "bf16", or the "fastest" of them on this
    /// processor. Validation and generation are always in f32.
    pub precision: Precision,
    /// Highest learning rate.
    pub learning_rate: f64,
    /// How the rate rises at first: over a share of all steps or over a number of steps.
    pub warmup: Warmup,
    /// How the rate falls afterwards: "constant", "linear" or "cosine", the last two down to a floor.
    pub schedule: Schedule,
    /// Decay of weights, decoupled from the gradient; norms and biases do not decay.
    pub weight_decay: f64,
    /// How much of the running mean of gradients, and of their squares, is kept at each step.
    pub betas: [f64; 2],
    /// Largest norm of the whole gradient; a longer one is shortened to it. `false` is off.
    #[serde(with = "stillhouse_core::off")]
    pub clip: Option<f64>,
    /// Which tokens carry loss: those of the completion, or all.
    pub loss_on: LossOn,
    /// What is learnt, each with its weight; cross-entropy alone by default.
    pub objectives: Objectives,
    /// How often the validation split is measured in an epoch.
    pub validate_per_epoch: usize,
    /// Steps between measurements of the validation split; where given, `validate_per_epoch` does
    /// not count.
    pub validate_every: Option<usize>,
    /// By what the best checkpoint is chosen on the validation split: "loss" or "cec".
    pub choose_by: Criterion,
    /// Stop after this many validations without a better one.
    pub patience: Option<usize>,
    /// A file of plain text; how likely the student finds it is measured before and after.
    pub general_text: Option<PathBuf>,
    /// Seconds between checkpoints.
    pub checkpoint_seconds: f64,
}

impl Default for TrainOptions {
    fn default() -> Self {
        Self {
            method: Method::default(),
            lora: LoraOptions::default(),
            base: Base::default(),
            double_quantisation: true,
            merge: false,
            epochs: 3.0,
            steps: None,
            batch_size: 8,
            order: Order::default(),
            micro_batch_tokens: 1024,
            recompute: false,
            share_prompts: true,
            precision: Precision::default(),
            learning_rate: 1e-3,
            warmup: Warmup::Ratio(0.05),
            schedule: Schedule::Cosine { floor: 0.0 },
            weight_decay: 0.0,
            betas: [0.9, 0.999],
            clip: Some(1.0),
            loss_on: LossOn::default(),
            objectives: Objectives::default(),
            validate_per_epoch: 2,
            validate_every: None,
            choose_by: Criterion::default(),
            patience: None,
            general_text: None,
            checkpoint_seconds: 30.0,
        }
    }
}

impl TrainOptions {
    /// How the base model's projections rest while its student is trained and asked.
    pub fn at_rest(&self) -> AtRest {
        self.base.at_rest(self.double_quantisation)
    }

    /// Complains of values that cannot work, by their keys.
    pub fn check(&self) -> Result<()> {
        let above_0 = |key: &str, value: f64| {
            if value.is_finite() && value > 0.0 {
                return Ok(());
            }
            let key = format!("student.train.{key}");
            Err(Error::option(key, format!("{value} is not above 0")))
        };
        above_0("epochs", self.epochs)?;
        above_0("steps", self.steps.unwrap_or(1) as f64)?;
        above_0("batch_size", self.batch_size as f64)?;
        above_0("micro_batch_tokens", self.micro_batch_tokens as f64)?;
        above_0("learning_rate", self.learning_rate)?;
        above_0("clip", self.clip.unwrap_or(1.0))?;
        above_0("validate_per_epoch", self.validate_per_epoch as f64)?;
        above_0("validate_every", self.validate_every.unwrap_or(1) as f64)?;
        if !(self.weight_decay.is_finite() && self.weight_decay >= 0.0) {
            return Err(Error::option(
                "student.train.weight_decay",
                format!("{} is below 0", self.weight_decay),
            ));
        }
        if !self.betas.iter().all(|beta| (0.0..1.0).contains(beta)) {
            return Err(Error::option(
                "student.train.betas",
                format!("{:?} are not both from 0 to below 1", self.betas),
            ));
        }
        if self.method == Method::Full && self.base != Base::F32 {
            return Err(Error::option(
                "student.train.base",
                "weights that are trained rest in f32; set student.train.method to \"lora\"",
            ));
        }
        self.warmup.check()?;
        self.schedule.check()?;
        self.objectives.check()?;
        self.lora.check()
    }
}

/// A count that was computed as a number that is not below 0, rounded up.
#[expect(clippy::cast_sign_loss, reason = "options are checked to be above 0")]
pub(crate) fn count(value: f64) -> usize {
    value.ceil() as usize
}
