//! `LoRA`: low-rank branches beside frozen projections, begun, put beside a model and folded in.
//!
//! Which projections there are is the network's to say; their names differ between families.

mod peft;
mod targets;

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use stillhouse_core::random::Random;

use crate::device::host;
use crate::error::{Error, Result};
use crate::network::Network;
use crate::parameter::{Lora, Parameter, Value};
use crate::weights::Array;

pub(crate) use peft::{load, save};
pub use targets::Targets;

/// The size of a `LoRA` adapter and where it goes, in PEFT's words.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LoraOptions {
    /// Rank: how many directions each adapted projection can learn.
    pub r: usize,
    /// The branch is scaled by alpha / r.
    pub alpha: f64,
    /// The share of a branch's input that is dropped while training.
    pub dropout: f64,
    /// The projections that are adapted: "all-linear", or names, in every layer.
    pub targets: Targets,
    /// Scale by alpha / sqrt(r) instead, which keeps high ranks from learning slower (Kalajdzievski
    /// 2023, arXiv 2312.03732).
    pub rslora: bool,
}

impl Default for LoraOptions {
    fn default() -> Self {
        Self {
            r: 16,
            alpha: 32.0,
            dropout: 0.0,
            targets: Targets::AllLinear,
            rslora: false,
        }
    }
}

impl LoraOptions {
    /// Complains of what cannot work with any model.
    pub(crate) fn check(&self) -> Result<()> {
        let wrong = |key: &str, what: String| {
            let key = format!("student.train.lora.{key}");
            Err(Error::option(key, what))
        };
        if self.r == 0 {
            return wrong("r", "0 directions learn nothing".to_owned());
        }
        if !(self.alpha.is_finite() && self.alpha > 0.0) {
            return wrong("alpha", format!("{} is not above 0", self.alpha));
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return wrong(
                "dropout",
                format!("{} is not from 0 to below 1", self.dropout),
            );
        }
        match &self.targets {
            Targets::Names(names) if names.is_empty() => {
                wrong("targets", "none are named".to_owned())
            }
            _ => Ok(()),
        }
    }

    /// What a branch is multiplied by.
    fn scale(&self) -> f32 {
        let r = self.r as f64;
        (self.alpha / if self.rslora { r.sqrt() } else { r }) as f32
    }
}

/// Adds trained branches: A uniform within 1 / sqrt(in), B zero, so that nothing changes at first.
///
/// Gives the options back with the names that the targets mean in this model.
pub(crate) fn attach(
    network: &mut Network,
    options: &LoraOptions,
    seed: u64,
) -> Result<LoraOptions> {
    let paths = paths(network);
    check_targets(&options.targets, &paths)?;
    let names = targets::last_parts(&paths);
    for parameter in network.parameters_mut() {
        parameter.is_trained = false;
    }
    let chosen: Vec<String> = paths
        .into_iter()
        .filter(|path| options.targets.include(path))
        .collect();
    add(network, options, &chosen, |name, [rows, columns]| {
        let n = rows * columns;
        if !name.ends_with("lora_A.weight") {
            return vec![0.0; n];
        }
        // Kaiming's uniform with a = sqrt(5), as PEFT draws it.
        let (bound, mut random) = ((columns as f64).sqrt().recip(), Random::new(seed, name));
        (0..n)
            .map(|_| ((random.next_f64() * 2.0 - 1.0) * bound) as f32)
            .collect()
    });
    let targets = match &options.targets {
        Targets::AllLinear => Targets::Names(names),
        other => other.clone(),
    };
    Ok(LoraOptions {
        targets,
        ..options.clone()
    })
}

/// Complains of names that mean none of the projections with these paths.
pub(crate) fn check_targets(targets: &Targets, paths: &[String]) -> Result<()> {
    let unknown = targets.unknown(paths);
    if unknown.is_empty() {
        return Ok(());
    }
    let what = format!(
        "the model has no `{}`; it has {}",
        unknown.join("`, `"),
        targets::last_parts(paths).join(", ")
    );
    Err(Error::option("student.train.lora.targets", what))
}

/// The paths of all projections, such as `model.layers.0.self_attn.q_proj`.
fn paths(network: &mut Network) -> Vec<String> {
    let weights: Vec<usize> = network.linears_mut().map(|linear| linear.weight).collect();
    let path = |at: usize| network.parameters()[at].path().to_owned();
    weights.into_iter().map(path).collect()
}

/// Puts branches beside the projections with these paths; `values` gives A and B by name and shape.
fn add(
    network: &mut Network,
    options: &LoraOptions,
    chosen: &[String],
    mut values: impl FnMut(&str, [usize; 2]) -> Vec<f32>,
) {
    let device = network.device();
    let mut parameters = std::mem::take(network.parameters_mut());
    for linear in network.linears_mut() {
        let path = parameters[linear.weight].path().to_owned();
        if !chosen.contains(&path) {
            continue;
        }
        let [out, input] = parameters[linear.weight].value.shape()[..] else {
            unreachable!("a projection is a matrix")
        };
        let mut put = |letter: char, shape: [usize; 2]| -> usize {
            let name = format!("{path}.lora_{letter}.weight");
            let array = Array {
                shape: shape.to_vec(),
                values: values(&name, shape),
            };
            parameters.push(Parameter {
                name,
                value: Value::new(array, &device),
                is_trained: true,
            });
            parameters.len() - 1
        };
        linear.lora = Some(Lora {
            a: put('A', [options.r, input]),
            b: put('B', [out, options.r]),
            scale: options.scale(),
            dropout: None,
        });
    }
    *network.parameters_mut() = parameters;
}

/// Folds every branch into its projection: `W + scale B A`, in f32.
pub(crate) fn merge(network: &Network) -> Network {
    let (mut merged, branches) = take_off(network);
    for (weight, lora) in branches {
        let folded = folded(network, weight, lora).to_device(&network.device());
        merged.parameters_mut()[weight].value = Value::Matrix(folded);
    }
    merged
}

/// `W + scale B A` of one projection, on the processor: the same wherever the network is. A weight at rest is written out first.
pub(crate) fn folded(network: &Network, weight: usize, lora: Lora) -> Tensor<2> {
    let host = host();
    let matrix = |at: usize| {
        let weight = network.parameters()[at].weight();
        weight.to_tensor(&host).inner().to_device(&host)
    };
    matrix(weight) + matrix(lora.b).matmul(matrix(lora.a)) * lora.scale
}

/// The network without its branches, and where they were.
pub(crate) fn take_off(network: &Network) -> (Network, Vec<(usize, Lora)>) {
    let mut bare = network.plain();
    let mut branches = Vec::new();
    for linear in bare.linears_mut() {
        if let Some(lora) = linear.lora.take() {
            branches.push((linear.weight, lora));
        }
    }
    // Branches stand after all parameters of the base.
    let firsts = branches.iter().map(|(_, lora)| lora.a);
    let n_base = firsts.min().unwrap_or(bare.parameters().len());
    bare.parameters_mut().truncate(n_base);
    (bare, branches)
}

#[cfg(test)]
mod tests;
