//! An adapter folder in PEFT's form: `adapter_config.json`, `adapter_model.safetensors`, `README.md`.

use std::path::Path;

use serde_json::{Value as Json, json};

use stillhouse_core::fs;

use super::targets::Targets;
use super::{LoraOptions, add, paths};
use crate::error::{Error, Result};
use crate::network::Network;
use crate::parameter::Parameter;
use crate::weights;

const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";
const PREFIX: &str = "base_model.model.";

/// Writes the branches of a network; `base` is the base model's name or folder.
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
    fs::write(&folder.join("README.md"), card(network, base))?;
    Ok(fs::write_json(
        &folder.join(CONFIG),
        &config(network, options, base),
    )?)
}

/// The settings under PEFT's keys, sorted as PEFT writes them.
fn config(network: &Network, options: &LoraOptions, base: &str) -> Json {
    let is_encoder_decoder = network.interface().is_encoder_decoder();
    // PEFT takes alpha for a whole number, and any number for it.
    let alpha = options.alpha;
    let alpha = if alpha.fract() == 0.0 && alpha < 1e9 {
        json!(alpha as i64)
    } else {
        json!(alpha)
    };
    json!({
        "alpha_pattern": {},
        "base_model_name_or_path": base,
        "bias": "none",
        "fan_in_fan_out": false,
        "inference_mode": true,
        "init_lora_weights": true,
        "layers_pattern": null,
        "layers_to_transform": null,
        "lora_alpha": alpha,
        "lora_dropout": options.dropout,
        "modules_to_save": null,
        "peft_type": "LORA",
        "r": options.r,
        "rank_pattern": {},
        "revision": null,
        "target_modules": options.targets,
        "task_type": if is_encoder_decoder { "SEQ_2_SEQ_LM" } else { "CAUSAL_LM" },
        "use_dora": false,
        "use_rslora": options.rslora,
    })
}

/// The model card, with the front matter that PEFT writes.
fn card(network: &Network, base: &str) -> String {
    let task = if network.interface().is_encoder_decoder() {
        "text2text-generation"
    } else {
        "text-generation"
    };
    // A JSON text is a YAML text.
    let (tag, base) = (json!(format!("base_model:adapter:{base}")), json!(base));
    format!(
        "---\n\
         base_model: {base}\n\
         library_name: peft\n\
         pipeline_tag: {task}\n\
         tags:\n\
         - {tag}\n\
         - lora\n\
         - transformers\n\
         ---\n\
         \n\
         # A LoRA adapter\n\
         \n\
         Trained by Stillhouse {} on the base model {base}.\n\
         `peft.PeftModel.from_pretrained(base_model, folder)` loads it.\n",
        env!("CARGO_PKG_VERSION")
    )
}

/// Reads a PEFT adapter folder and puts its branches beside their projections.
///
/// The tensors say which projections are adapted; each that the config names must be among them.
/// Everything that does not fit is listed in one error.
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
    if !path.is_file() {
        let pickle = folder.join("adapter_model.bin").is_file();
        let hint = if pickle {
            "; adapter_model.bin is a pickle and is never read: convert it to safetensors"
        } else {
            ""
        };
        return Err(Error::folder(folder, format!("no {WEIGHTS}{hint}")));
    }
    let (mut arrays, _) = weights::load_file(&path)?;
    let paths = paths(network);
    let unknown = options.targets.unknown(&paths);
    let mut wrong: Vec<String> = unknown
        .into_iter()
        .map(|name| format!("the model has no `{name}`"))
        .collect();
    let has = |path: &String| {
        let mut letters = ["A", "B"].into_iter();
        letters.any(|l| arrays.contains_key(&format!("{PREFIX}{path}.lora_{l}.weight")))
    };
    let chosen: Vec<String> = paths
        .into_iter()
        .filter(|path| match &options.targets {
            Targets::Pattern(_) => has(path),
            named => named.include(path),
        })
        .collect();
    add(network, &options, &chosen, |name, shape| {
        match arrays.remove(&format!("{PREFIX}{name}")) {
            Some(array) if array.shape == shape => return array.values,
            Some(array) => wrong.push(format!(
                "{name} has shape {:?}, expected {shape:?}",
                array.shape
            )),
            None => wrong.push(format!("{name} is missing")),
        }
        vec![0.0; shape[0] * shape[1]]
    });
    wrong.extend(
        arrays
            .into_keys()
            .map(|name| format!("{name} belongs to no adapted projection")),
    );
    if wrong.is_empty() {
        return Ok(options);
    }
    let what = format!(
        "the adapter does not fit the model; was it made for another one? {}",
        wrong.join("; ")
    );
    Err(Error::folder(path, what))
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
    for key in UNSUPPORTED {
        if !is_nothing(&json[key]) {
            return Err(wrong(key, "nothing"));
        }
    }
    if !matches!(&json["bias"], Json::Null) && json["bias"] != "none" {
        return Err(wrong("bias", "\"none\""));
    }
    // These begin from the base model's own directions, which they take out of its weights.
    let init = json["init_lora_weights"].as_str().unwrap_or_default();
    if ["pissa", "olora", "corda", "loftq", "lora_ga"]
        .iter()
        .any(|name| init.starts_with(name))
    {
        return Err(wrong(
            "init_lora_weights",
            "those that leave the base model as it is",
        ));
    }
    let r = json["r"]
        .as_u64()
        .filter(|r| *r > 0)
        .ok_or_else(|| wrong("r", "a number above 0"))? as usize;
    let alpha = json["lora_alpha"]
        .as_f64()
        .ok_or_else(|| wrong("lora_alpha", "a number"))?;
    let targets = match &json["target_modules"] {
        Json::String(text) if text.eq_ignore_ascii_case("all-linear") => Targets::AllLinear,
        Json::String(pattern) => Targets::Pattern(pattern.clone()),
        list => serde_json::from_value(list.clone()).map_err(|_| {
            wrong(
                "target_modules",
                "a list of names, \"all-linear\", or a regular expression",
            )
        })?,
    };
    let options = LoraOptions {
        r,
        alpha,
        dropout: json["lora_dropout"].as_f64().unwrap_or(0.0),
        targets,
        rslora: json["use_rslora"] == true,
    };
    options.check()?;
    Ok(options)
}

/// Keys of PEFT's that change what an adapter computes, in ways that are not computed here.
const UNSUPPORTED: [&str; 15] = [
    "alora_invocation_tokens",
    "alpha_pattern",
    "arrow_config",
    "exclude_modules",
    "fan_in_fan_out",
    "layer_replication",
    "layers_to_transform",
    "lora_bias",
    "modules_to_save",
    "rank_pattern",
    "target_parameters",
    "trainable_token_indices",
    "use_bdlora",
    "use_dora",
    "use_qalora",
];

fn is_nothing(value: &Json) -> bool {
    match value {
        Json::Null | Json::Bool(false) => true,
        Json::Array(list) => list.is_empty(),
        Json::Object(map) => map.is_empty(),
        _ => false,
    }
}
