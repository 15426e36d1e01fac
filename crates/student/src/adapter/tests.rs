//! Adapters in PEFT's form: what is read, what is refused, and what is written.

use std::path::Path;

use serde_json::{Value as Json, json};

use stillhouse_core::fs;

use super::*;
use crate::model::{ArchitectureOptions, Model};
use crate::weights;

fn tiny() -> Model {
    let options = ArchitectureOptions {
        hidden_size: 16,
        layers: 2,
        heads: 2,
        kv_heads: 1,
        intermediate_size: 24,
        vocabulary: 259,
        context: 12,
    };
    Model::random(&options, std::iter::once("abc"), 1).unwrap()
}

/// Begins an adapter and says beside which projections of the first layer.
fn begun(options: &LoraOptions) -> Result<(Model, String)> {
    let mut model = tiny();
    let lora = attach(&mut model.network, options, 7)?;
    let names = model.network.parameters().iter().filter_map(|p| {
        let name = p.name.strip_prefix("model.layers.0.")?;
        name.strip_suffix(".lora_A.weight").map(str::to_owned)
    });
    let names: Vec<String> = names.collect();
    model.lora = Some(lora);
    Ok((model, names.join(" ")))
}

#[test]
fn targets_come_from_the_model() {
    let check = |targets: Targets, expected: &str| {
        let options = LoraOptions {
            targets,
            ..Default::default()
        };
        let found = match begun(&options) {
            Ok((_, names)) => names,
            Err(error) => error.to_string(),
        };
        assert_eq!(found, expected);
    };
    check(
        Targets::AllLinear,
        "self_attn.q_proj self_attn.k_proj self_attn.v_proj self_attn.o_proj \
         mlp.gate_proj mlp.up_proj mlp.down_proj",
    );
    check(
        Targets::names(["v_proj", "self_attn.q_proj"]),
        "self_attn.q_proj self_attn.v_proj",
    );
    check(
        Targets::names(["q_proj", "fc1", "lm_head"]),
        "student.train.lora.targets: the model has no `fc1`, `lm_head`; it has q_proj, k_proj, \
         v_proj, o_proj, gate_proj, up_proj, down_proj",
    );
}

#[test]
fn options_that_cannot_work_are_refused_by_their_key() {
    let check = |change: fn(&mut LoraOptions), expected: &str| {
        let mut options = LoraOptions::default();
        change(&mut options);
        assert_eq!(options.check().unwrap_err().to_string(), expected);
    };
    check(
        |o| o.r = 0,
        "student.train.lora.r: 0 directions learn nothing",
    );
    check(
        |o| o.alpha = 0.0,
        "student.train.lora.alpha: 0 is not above 0",
    );
    check(
        |o| o.dropout = 1.0,
        "student.train.lora.dropout: 1 is not from 0 to below 1",
    );
    check(
        |o| o.targets = Targets::Names(vec![]),
        "student.train.lora.targets: none are named",
    );
}

#[test]
fn the_scale_is_pefts() {
    let check = |rslora, expected: f32| {
        let options = LoraOptions {
            r: 16,
            alpha: 8.0,
            rslora,
            ..Default::default()
        };
        assert!((options.scale() - expected).abs() < 1e-7);
    };
    check(false, 0.5);
    check(true, 2.0);
}

/// An adapter folder whose config is changed after saving.
fn saved(at: &Path, options: &LoraOptions, change: impl FnOnce(&mut Json)) -> Model {
    let (mut model, _) = begun(options).unwrap();
    model.set_name("org/tiny");
    model.save_adapter(at).unwrap();
    let path = at.join("adapter_config.json");
    let mut json: Json = fs::read_json(&path).unwrap();
    change(&mut json);
    fs::write_json(&path, &json).unwrap();
    model
}

#[test]
fn an_adapter_is_saved_as_peft_saves_it() {
    let folder = tempfile::tempdir().unwrap();
    let options = LoraOptions {
        dropout: 0.1,
        rslora: true,
        targets: Targets::names(["q_proj", "v_proj"]),
        ..Default::default()
    };
    saved(folder.path(), &options, |_| ());
    let config = fs::read_text(&folder.path().join("adapter_config.json")).unwrap();
    let json: Json = serde_json::from_str(&config).unwrap();
    assert_eq!(json["use_rslora"], true);
    assert_eq!(json["target_modules"], json!(["q_proj", "v_proj"]));
    assert_eq!(json["base_model_name_or_path"], "org/tiny");
    assert!(config.contains("\n  \"lora_alpha\": 32,\n  \"lora_dropout\": 0.1,\n"));
    let keys: Vec<&String> = json.as_object().unwrap().keys().collect();
    assert!(keys.is_sorted(), "{keys:?}");
    let card = fs::read_text(&folder.path().join("README.md")).unwrap();
    assert!(
        card.starts_with("---\nbase_model: \"org/tiny\"\nlibrary_name: peft\n"),
        "{card}"
    );
    let (arrays, metadata) =
        weights::load_file(&folder.path().join("adapter_model.safetensors")).unwrap();
    assert_eq!(metadata["format"], "pt");
    let a = &arrays["base_model.model.model.layers.1.self_attn.v_proj.lora_A.weight"];
    assert_eq!(a.shape, [16, 16]);
    assert_eq!(arrays.len(), 8);
}

#[test]
fn what_peft_writes_is_read_back() {
    let check = |change: fn(&mut Json), expected: &str| {
        let folder = tempfile::tempdir().unwrap();
        let options = LoraOptions {
            targets: Targets::names(["q_proj", "v_proj"]),
            ..Default::default()
        };
        saved(folder.path(), &options, change);
        let found = match tiny().with_adapter(folder.path()) {
            Ok(model) => format!("{:?}", model.lora.unwrap().targets),
            Err(error) => error.to_string(),
        };
        assert!(found.contains(expected), "{found}\n{expected}");
    };
    check(|_| (), "Names([\"q_proj\", \"v_proj\"])");
    check(
        |j| j["target_modules"] = json!(".*\\.(q|v)_proj"),
        "Pattern(\".*\\\\.(q|v)_proj\")",
    );
    check(
        |j| j["target_modules"] = json!("all-linear"),
        "model.layers.0.self_attn.k_proj.lora_A.weight is missing; ",
    );
    check(
        |j| j["target_modules"] = json!(["q_proj", "v_proj", "fc1"]),
        "was it made for another one? the model has no `fc1`",
    );
    check(
        |j| j["target_modules"] = json!(["q_proj"]),
        "model.layers.0.self_attn.v_proj.lora_A.weight belongs to no adapted projection",
    );
    check(
        |j| j["r"] = json!(8),
        "q_proj.lora_A.weight has shape [16, 16], expected [8, 16]",
    );
    check(
        |j| j["modules_to_save"] = json!(["lm_head"]),
        "`modules_to_save` is [\"lm_head\"]; supported: nothing",
    );
    check(
        |j| j["use_dora"] = json!(true),
        "`use_dora` is true; supported: nothing",
    );
    check(
        |j| j["init_lora_weights"] = json!("pissa_niter_4"),
        "`init_lora_weights` is \"pissa_niter_4\"; supported: those that leave",
    );
    check(
        |j| j["bias"] = json!("all"),
        "`bias` is \"all\"; supported: \"none\"",
    );
    check(
        |j| j["peft_type"] = json!("IA3"),
        "`peft_type` is \"IA3\"; supported: \"LORA\"",
    );
}

#[test]
fn an_adapter_taken_off_leaves_the_base() {
    let folder = tempfile::tempdir().unwrap();
    saved(folder.path(), &LoraOptions::default(), |_| ());
    let adapted = tiny().with_adapter(folder.path()).unwrap();
    let bare = adapted.without_adapter();
    let of = |model: &Model| -> Vec<_> {
        let parameters = model.network.parameters().iter();
        parameters
            .map(|p| (p.name.clone(), p.value.to_array()))
            .collect()
    };
    assert_eq!(of(&bare), of(&tiny()));
    assert!(
        adapted.with_adapter(folder.path()).is_err(),
        "one at a time"
    );
}
