//! What is learnt and how much each of it counts: `[student.train.objectives]`.

use serde::{Deserialize, Serialize};
use stillhouse_core::evaluate::causal::Perturbation;

use crate::error::{Error, Result};
use crate::ops::Divergence;

/// The objectives; those that are not given are off.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Objectives {
    /// Weight of the cross-entropy on the completions' tokens.
    pub cross_entropy: f64,
    /// How label and rationale share the cross-entropy, where each has a prompt of its own.
    pub two_prompts: Option<TwoPrompts>,
    /// Learning what follows from wrong rationales.
    pub counterfactual: Option<Counterfactual>,
    /// Learning a local teacher's whole distribution.
    pub teacher: Option<TeacherOptions>,
    /// Learning an asked teacher's likeliest tokens.
    pub top_k: Option<TopKOptions>,
    /// Saying the same answer after two different rationales.
    pub consistency: Option<ConsistencyOptions>,
    /// Preferring a rationale to a perturbed one.
    pub contrast: Option<ContrastOptions>,
    /// Meaning what the reference means.
    pub semantic: Option<SemanticOptions>,
}

impl Default for Objectives {
    fn default() -> Self {
        Self {
            cross_entropy: 1.0,
            two_prompts: None,
            counterfactual: None,
            teacher: None,
            top_k: None,
            consistency: None,
            contrast: None,
            semantic: None,
        }
    }
}

/// Distilling Step-by-Step's weights of its two tasks.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TwoPrompts {
    /// The label's share; the rationale has the rest.
    pub alpha: f64,
}

impl Default for TwoPrompts {
    fn default() -> Self {
        Self { alpha: 0.5 }
    }
}

/// SCOTT's weights of factual and counterfactual examples.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Counterfactual {
    /// The share of the counterfactual examples; the factual ones have the rest.
    pub share: f64,
}

impl Default for Counterfactual {
    fn default() -> Self {
        Self { share: 0.5 }
    }
}

/// Distillation of a local teacher's distribution.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TeacherOptions {
    /// A model folder, or the name of a model on the hub; its tokenizer must be the student's.
    pub model: String,
    /// How far the student's distribution is from the teacher's.
    pub divergence: Divergence,
    /// Both models' logits are divided by it.
    pub temperature: f64,
    /// Weight in the loss.
    pub weight: f64,
}

impl Default for TeacherOptions {
    fn default() -> Self {
        Self {
            model: String::new(),
            divergence: Divergence::default(),
            temperature: 1.0,
            weight: 1.0,
        }
    }
}

/// Distillation of an asked teacher's likeliest tokens.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TopKOptions {
    /// Weight in the loss.
    pub weight: f64,
}

impl Default for TopKOptions {
    fn default() -> Self {
        Self { weight: 1.0 }
    }
}

/// Consistency of the answer after two rationales.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConsistencyOptions {
    /// Weight in the loss.
    pub weight: f64,
    /// Logits are divided by it.
    pub temperature: f64,
}

impl Default for ConsistencyOptions {
    fn default() -> Self {
        Self {
            weight: 0.1,
            temperature: 1.0,
        }
    }
}

/// A margin between a rationale and perturbed versions of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ContrastOptions {
    /// Weight in the loss.
    pub weight: f64,
    /// By how many nats a token the rationale should be likelier.
    pub margin: f64,
    /// What is done to the rationale; where it cannot be done, nothing is learnt.
    pub perturbations: Vec<Perturbation>,
}

impl Default for ContrastOptions {
    fn default() -> Self {
        Self {
            weight: 0.1,
            margin: 0.5,
            perturbations: vec![Perturbation::Reverse, Perturbation::Drop],
        }
    }
}

/// The distance between what the student's states mean and the reference's embedding.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SemanticOptions {
    /// Weight in the loss.
    pub weight: f64,
}

impl Default for SemanticOptions {
    fn default() -> Self {
        Self { weight: 0.1 }
    }
}

impl Objectives {
    /// Complains of values that cannot work, by their keys.
    pub fn check(&self) -> Result<()> {
        let weight = |key: &str, value: f64| {
            complain_unless(value.is_finite() && value > 0.0, key, value, "above 0")
        };
        let share = |key: &str, value: f64| {
            complain_unless((0.0..=1.0).contains(&value), key, value, "from 0 to 1")
        };
        let is_sum = self.cross_entropy.is_finite() && self.cross_entropy >= 0.0;
        complain_unless(is_sum, "cross_entropy", self.cross_entropy, "at least 0")?;
        if self.cross_entropy == 0.0 && self.teacher.is_none() && self.top_k.is_none() {
            let what = "0 leaves nothing that teaches what to say; give `teacher` or `top_k`";
            return Err(Error::option(
                "student.train.objectives.cross_entropy",
                what,
            ));
        }
        if let Some(TwoPrompts { alpha }) = self.two_prompts {
            share("two_prompts.alpha", alpha)?;
        }
        if let Some(Counterfactual { share: value }) = self.counterfactual {
            share("counterfactual.share", value)?;
        }
        if self.two_prompts.is_some() && self.counterfactual.is_some() {
            let what =
                "label and rationale have a prompt each, so there is no answer after a rationale";
            return Err(Error::option(
                "student.train.objectives.counterfactual",
                what,
            ));
        }
        if let Some(teacher) = &self.teacher {
            if teacher.model.is_empty() {
                let what = "is missing: the folder or name of the teacher's model";
                return Err(Error::option(
                    "student.train.objectives.teacher.model",
                    what,
                ));
            }
            weight("teacher.weight", teacher.weight)?;
            weight("teacher.temperature", teacher.temperature)?;
            match teacher.divergence {
                Divergence::Jsd { beta } => share("teacher.divergence.beta", beta.into())?,
                Divergence::SkewKl { alpha } | Divergence::SkewReverseKl { alpha } => {
                    share("teacher.divergence.alpha", alpha.into())?;
                }
                Divergence::ForwardKl {} | Divergence::ReverseKl {} => {}
            }
        }
        if let Some(TopKOptions { weight: value }) = self.top_k {
            weight("top_k.weight", value)?;
        }
        if let Some(options) = self.consistency {
            weight("consistency.weight", options.weight)?;
            weight("consistency.temperature", options.temperature)?;
        }
        if let Some(options) = &self.contrast {
            weight("contrast.weight", options.weight)?;
            weight("contrast.margin", options.margin)?;
        }
        if let Some(SemanticOptions { weight: value }) = self.semantic {
            weight("semantic.weight", value)?;
        }
        Ok(())
    }
}

fn complain_unless(is_sound: bool, key: &str, value: f64, expected: &str) -> Result<()> {
    if is_sound {
        return Ok(());
    }
    let key = format!("student.train.objectives.{key}");
    Err(Error::option(key, format!("{value} is not {expected}")))
}
