//! `LoRA`: low-rank branches beside frozen projections, saved and read in PEFT's form.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use stillhouse_core::fs;
use stillhouse_core::random::Random;

use crate::error::{Error, Result};
use crate::network::Network;
use crate::parameter::{Lora, Parameter, Value, device};
use crate::weights::{self, Array};

/// The size of a `LoRA` adapter and where it goes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LoraOptions {
    /// Rank: how many directions each adapted projection can learn.
    pub r: usize,
    /// The branch is scaled by alpha / r.
    pub alpha: f64,
    /// Names of the projections that are adapted, in every layer.
    pub targets: Vec<String>,
}

/// The projections of a layer, as most families name them.
const PROJECTIONS: [&str; 7] = [
    "q_proj",
    "k_proj",
    "v_proj",
    "o_proj",
    "gate_proj",
    "up_proj",
    "down_proj",
];

/// What other families have in their place.
const OTHERS: [&str; 13] = [
    "dense",
    "fc1",
    "fc2",
    "qkv_proj",
    "gate_up_proj",
    "q",
    "k",
    "v",
    "o",
    "wi",
    "wi_0",
    "wi_1",
    "wo",
];

impl Default for LoraOptions {
    fn default() -> Self {
        Self {
            r: 16,
            alpha: 32.0,
            targets: PROJECTIONS.map(str::to_owned).to_vec(),
        }
    }
}

impl LoraOptions {
    /// Complains of what cannot work.
    pub(crate) fn check(&self) -> Result<()> {
        if self.r == 0 {
            return Err(Error::option(
                "student.train.lora.r",
                "0 directions learn nothing",
            ));
        }
        if !(self.alpha.is_finite() && self.alpha > 0.0) {
            return Err(Error::option(
                "student.train.lora.alpha",
                format!("{} is not above 0", self.alpha),
            ));
        }
        if self.targets.is_empty() {
            return Err(Error::option(
                "student.train.lora.targets",
                "none are named",
            ));
        }
        match self.targets.iter().find(|name| {
            let known = PROJECTIONS.iter().chain(&OTHERS);
            !known.into_iter().any(|known| known == name)
        }) {
            Some(odd) => Err(Error::option(
                "student.train.lora.targets",
                format!(
                    "`{odd}` is not one of {}, {}",
                    PROJECTIONS.join(", "),
                    OTHERS.join(", ")
                ),
            )),
            None => Ok(()),
        }
    }
}

const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";
const PREFIX: &str = "base_model.model.";

/// Adds trained branches: A uniform within 1 / sqrt(in), B zero, so that nothing changes at first.
pub(crate) fn attach(network: &mut Network, options: &LoraOptions, seed: u64) {
    for parameter in network.parameters_mut() {
        parameter.is_trained = false;
    }
    add(network, options, |name, [rows, columns]| {
        let n = rows * columns;
        let values = if name.ends_with("lora_A.weight") {
            // Kaiming's uniform with a = sqrt(5), as PEFT draws it.
            let (bound, mut random) = ((columns as f64).sqrt().recip(), Random::new(seed, name));
            (0..n)
                .map(|_| ((random.next_f64() * 2.0 - 1.0) * bound) as f32)
                .collect()
        } else {
            vec![0.0; n]
        };
        Ok::<_, std::convert::Infallible>(values)
    })
    .unwrap_or_else(|never| match never {});
}

fn add<E>(
    network: &mut Network,
    options: &LoraOptions,
    mut values: impl FnMut(&str, [usize; 2]) -> Result<Vec<f32>, E>,
) -> Result<(), E> {
    let scale = (options.alpha / options.r as f64) as f32;
    let mut parameters = std::mem::take(network.parameters_mut());
    let mut outcome = Ok(());
    for linear in network.linears_mut() {
        let weight = &parameters[linear.weight];
        let path = weight.name.trim_end_matches(".weight").to_owned();
        if outcome.is_err()
            || !options
                .targets
                .iter()
                .any(|target| path.ends_with(&format!(".{target}")))
        {
            continue;
        }
        let [out, input] = weight.value.shape()[..] else {
            unreachable!("a projection is a matrix")
        };
        let mut put = |letter: char, shape: [usize; 2]| -> Result<usize, E> {
            let name = format!("{path}.lora_{letter}.weight");
            let array = Array {
                shape: shape.to_vec(),
                values: values(&name, shape)?,
            };
            parameters.push(Parameter {
                name,
                value: Value::new(array, &device()),
                is_trained: true,
            });
            Ok(parameters.len() - 1)
        };
        match put('A', [options.r, input]).and_then(|a| Ok((a, put('B', [out, options.r])?))) {
            Ok((a, b)) => linear.lora = Some(Lora { a, b, scale }),
            Err(error) => outcome = Err(error),
        }
    }
    *network.parameters_mut() = parameters;
    outcome
}

/// Folds every branch into its projection: `W + scale B A`, in f32.
pub(crate) fn merge(network: &Network) -> Network {
    let mut merged = network.plain();
    let mut n_base = merged.parameters().len();
    let mut folded = Vec::new();
    for linear in merged.linears_mut() {
        if let Some(lora) = linear.lora.take() {
            n_base = n_base.min(lora.a);
            folded.push((linear.weight, lora));
        }
    }
    for (weight, Lora { a, b, scale }) in folded {
        let matrix = |at: usize| merged.parameters()[at].matrix().clone();
        let folded = matrix(weight) + matrix(b).matmul(matrix(a)) * scale;
        merged.parameters_mut()[weight].value = Value::Matrix(folded);
    }
    // Branches stand after all parameters of the base.
    merged.parameters_mut().truncate(n_base);
    merged
}

/// Writes the trained branches as a PEFT adapter folder.
pub(crate) fn save(
    network: &Network,
    options: &LoraOptions,
    base: &str,
    folder: &Path,
) -> Result<()> {
    fs::create_folder(folder)?;
    let branches: Vec<&Parameter> = network
        .parameters()
        .iter()
        .filter(|p| p.name.contains(".lora_"))
        .collect();
    let plan: Vec<_> = branches
        .iter()
        .map(|p| (format!("{PREFIX}{}", p.name), p.value.shape()))
        .collect();
    weights::save_file(&folder.join(WEIGHTS), &plan, |i| {
        branches[i].value.to_array()
    })?;
    let task = match network.interface().is_encoder_decoder() {
        true => "SEQ_2_SEQ_LM",
        false => "CAUSAL_LM",
    };
    // PEFT writes its keys sorted.
    let config = json!({
        "alpha_pattern": {},
        "base_model_name_or_path": base,
        "bias": "none",
        "fan_in_fan_out": false,
        "inference_mode": true,
        "init_lora_weights": true,
        "layers_pattern": null,
        "layers_to_transform": null,
        "lora_alpha": options.alpha,
        "lora_dropout": 0.0,
        "modules_to_save": null,
        "peft_type": "LORA",
        "r": options.r,
        "rank_pattern": {},
        "revision": null,
        "target_modules": options.targets,
        "task_type": task,
        "use_dora": false,
        "use_rslora": false,
    });
    Ok(fs::write_json(&folder.join(CONFIG), &config)?)
}

/// Reads a PEFT adapter folder and adds its branches to their projections.
pub(crate) fn load(network: &mut Network, folder: &Path) -> Result<LoraOptions> {
    let path = folder.join(CONFIG);
    if !path.is_file() {
        return Err(Error::folder(
            folder,
            format!("no {CONFIG}; expected a PEFT adapter folder"),
        ));
    }
    let options = read_config(&path)?;
    let path = folder.join(WEIGHTS);
    let (mut arrays, _) = weights::load_file(&path)?;
    let mut wrong = Vec::new();
    let added = add(network, &options, |name, shape| {
        let found = arrays.remove(&format!("{PREFIX}{name}"));
        match found {
            Some(array) if array.shape == shape => return Ok(array.values),
            Some(array) => wrong.push(format!(
                "{name} has shape {:?}, expected {shape:?}",
                array.shape
            )),
            None => wrong.push(format!("{name} is missing")),
        }
        Ok::<_, std::convert::Infallible>(vec![0.0; shape[0] * shape[1]])
    });
    added.unwrap_or_else(|never| match never {});
    wrong.extend(
        arrays
            .into_keys()
            .map(|name| format!("{name} belongs to no projection")),
    );
    if wrong.is_empty() {
        Ok(options)
    } else {
        Err(Error::folder(path, wrong.join("; ")))
    }
}

fn read_config(path: &Path) -> Result<LoraOptions> {
    let json: Json = fs::read_json(path)?;
    let wrong = |key: &str, supported: &str| {
        Error::folder(
            path,
            format!("`{key}` is {}; supported: {supported}", json[key]),
        )
    };
    if json["peft_type"] != "LORA" {
        return Err(wrong("peft_type", "\"LORA\""));
    }
    for key in ["use_dora", "fan_in_fan_out"] {
        if json[key] == true {
            return Err(wrong(key, "false"));
        }
    }
    for key in [
        "rank_pattern",
        "alpha_pattern",
        "modules_to_save",
        "layers_to_transform",
    ] {
        let value = &json[key];
        let is_empty = value.as_object().is_some_and(serde_json::Map::is_empty)
            || value.as_array().is_some_and(Vec::is_empty);
        if !value.is_null() && !is_empty {
            return Err(wrong(key, "nothing"));
        }
    }
    let r = json["r"]
        .as_u64()
        .filter(|r| *r > 0)
        .ok_or_else(|| wrong("r", "a number above 0"))? as usize;
    let mut alpha = json["lora_alpha"]
        .as_f64()
        .ok_or_else(|| wrong("lora_alpha", "a number"))?;
    if json["use_rslora"] == true {
        // Scaled by alpha / sqrt(r): the same branch with another alpha.
        alpha *= (r as f64).sqrt();
    }
    let names = json["target_modules"]
        .as_array()
        .ok_or_else(|| wrong("target_modules", "a list of names"))?;
    let mut targets: Vec<String> = names
        .iter()
        .filter_map(Json::as_str)
        .map(str::to_owned)
        .collect();
    targets.sort_by_key(|name| PROJECTIONS.iter().position(|p| p == name));
    let options = LoraOptions { r, alpha, targets };
    options.check()?;
    Ok(options)
}
