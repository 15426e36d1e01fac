//! A model at rest in few bytes: against `PyTorch`, and against the same model written out.

use std::path::{Path, PathBuf};

use serde_json::Value as Json;

use stillhouse_core::fs;

use crate::batch::{self, Item, LossOn, Packed, Reading};
use crate::generate::{GenerateOptions, generate};
use crate::loss;
use crate::model::Model;
use crate::ops::{self, AtRest};
use crate::optimizer::trained;
use crate::parameter::Value;
use crate::score::log_likelihood;
use crate::weights::{self, Array};

const ALL: [AtRest; 4] = [
    AtRest::Bf16,
    AtRest::Int8,
    AtRest::Nf4 { is_double: false },
    AtRest::Nf4 { is_double: true },
];

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures")
}

fn base() -> PathBuf {
    fixtures().join("decoders/untied")
}

fn items() -> Vec<Item> {
    let json: Json = fs::read_json(&base().join("golden.json")).unwrap();
    let text = |json: &Json| json.as_str().unwrap().to_owned();
    let pairs = json["items"].as_array().unwrap().iter();
    pairs
        .map(|pair| Item {
            id: text(&pair[0]),
            prompt: text(&pair[0]),
            completion: text(&pair[1]),
            weight: 1.0,
        })
        .collect()
}

fn adapted(at_rest: AtRest) -> Model {
    let model = Model::load_at_rest(&base(), at_rest).unwrap();
    model.with_adapter(&base().join("adapter")).unwrap()
}

fn logits(model: &Model, tokens: &[u32]) -> Array {
    let states = model.network.states(&Packed::alone(Reading {
        source: Vec::new(),
        tokens: tokens.to_vec(),
    }));
    Array::of(&ops::head_logits(states, model.network.head()))
}

/// The largest difference, as a share of the largest expected entry.
fn difference(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let largest = expected.iter().fold(0f32, |m, v| m.max(v.abs()));
    let pairs = found.iter().zip(expected);
    pairs.fold(0f32, |m, (a, b)| m.max((a - b).abs())) / largest
}

#[test]
fn logits_over_every_code_and_loss_and_gradients_over_nf4_agree_with_pytorch() {
    let path = fixtures().join("quantised-lora/golden.safetensors");
    let (golden, _) = weights::load_file(&path).unwrap();
    let mut model = adapted(AtRest::Nf4 { is_double: false });
    let (sequences, refused) = batch::sequences(&model, &items(), LossOn::Completion).unwrap();
    assert!(refused.is_empty());
    for (at_rest, name) in [
        (AtRest::Nf4 { is_double: false }, "logits"),
        (AtRest::Nf4 { is_double: true }, "double.logits"),
        (AtRest::Int8, "int8.logits"),
    ] {
        let mut tokens = sequences[0].tokens.clone();
        tokens.push(2);
        let found = logits(&adapted(at_rest), &tokens);
        let rows = found.values.chunks_exact(found.shape[1]);
        let kept: Vec<f32> = rows
            .flat_map(|row| row.iter().step_by(7).copied())
            .collect();
        // Sums in another order, on tensors of this size: as for the weights in f32.
        let worst = difference(&kept, &golden[name].values);
        assert!(worst < 1e-5, "{name}: {worst:e}");
    }

    model.network = model.network.tracked();
    let packed = batch::pack(&sequences, 4096);
    let (found, gradient) = loss::loss_and_gradient(&model.network, &packed, None);
    let expected = f64::from(golden["loss"].values[0]);
    assert!(
        (found - expected).abs() < 1e-5 * expected,
        "{found} {expected}"
    );
    let named = trained(model.network.parameters()).zip(gradient.values());
    let mut n = 0;
    for (parameter, value) in named {
        let found = value.as_ref().expect("a gradient arrives").to_array();
        let expected = &golden[&format!("gradient.{}", parameter.name)];
        let worst = difference(&found.values, &expected.values);
        assert!(worst < 2e-5, "{}: {worst:e}", parameter.name);
        n += 1;
    }
    assert_eq!(
        n,
        golden.len() - 4,
        "as many trained tensors as PyTorch has"
    );
}

#[test]
fn projections_alone_rest_in_few_bytes() {
    let model = adapted(AtRest::Nf4 { is_double: false });
    for parameter in model.network.parameters() {
        let is_frozen = matches!(parameter.value, Value::Frozen(_));
        let is_projection = parameter.name.contains("_proj.weight");
        assert_eq!(is_frozen, is_projection, "{}", parameter.name);
    }
}

#[test]
fn a_model_at_rest_speaks_and_scores_as_the_same_model_written_out() {
    let item = &items()[0];
    for at_rest in ALL {
        let resting = adapted(at_rest);
        let folder = tempfile::tempdir().unwrap();
        resting.save(folder.path()).unwrap();
        let merged = Model::load(folder.path()).unwrap();
        let tokens = merged.tokenizer().prompt(&item.prompt);
        let found = logits(&resting, &tokens);
        let worst = difference(&found.values, &logits(&merged, &tokens).values);
        assert!(
            worst < 1e-5,
            "base + branch = merged: {at_rest:?} {worst:e}"
        );
        assert_eq!(
            logits(&resting.merged(), &tokens),
            logits(&merged, &tokens),
            "what is saved is what is merged"
        );
        let score = |model: &Model| {
            let found = log_likelihood(model, &item.prompt, &item.completion).unwrap();
            found.perplexity().unwrap().ln()
        };
        let (resting_score, merged_score) = (score(&resting), score(&merged));
        assert!((resting_score - merged_score).abs() < 1e-5, "{at_rest:?}");
        assert_eq!(said(&resting), said(&merged), "{at_rest:?}");
    }
}

fn said(model: &Model) -> Vec<Vec<u32>> {
    let prompts: Vec<String> = items().into_iter().map(|item| item.prompt).collect();
    let options = GenerateOptions {
        max_new_tokens: 16,
        ..Default::default()
    };
    let mut found = vec![Vec::new(); prompts.len()];
    let mut keep = |index: usize, completion: crate::generate::Completion| {
        found[index] = completion.tokens;
        Ok(())
    };
    let mut silent = |_| std::ops::ControlFlow::Continue(());
    generate(model, &prompts, &options, 0, &mut silent, &mut keep).unwrap();
    found
}

#[test]
fn a_folder_in_bf16_stays_exact() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    for name in ["config.json", "tokenizer.json", "generation_config.json"] {
        std::fs::copy(base().join(name), at.join(name)).unwrap();
    }
    let (arrays, _) = weights::load_file(&base().join("model.safetensors")).unwrap();
    let narrow: Vec<(String, Vec<usize>, Vec<u8>)> = arrays
        .iter()
        .map(|(name, array)| {
            let bits = array.values.iter().map(|v| half::bf16::from_f32(*v));
            let bytes = bits.flat_map(half::bf16::to_le_bytes).collect();
            (name.clone(), array.shape.clone(), bytes)
        })
        .collect();
    let views = narrow.iter().map(|(name, shape, bytes)| {
        let view =
            safetensors::tensor::TensorView::new(safetensors::Dtype::BF16, shape.clone(), bytes);
        (name, view.unwrap())
    });
    let file = safetensors::serialize(views, None).unwrap();
    fs::write(&at.join("model.safetensors"), file).unwrap();
    let wide = Model::load(at).unwrap();
    let resting = Model::load_at_rest(at, AtRest::Bf16).unwrap();
    for (wide, resting) in wide
        .network
        .parameters()
        .iter()
        .zip(resting.network.parameters())
    {
        assert_eq!(wide.value.to_array(), resting.value.to_array());
        let expected = &arrays[&wide.name].values;
        let rounded = expected.iter().map(|v| half::bf16::from_f32(*v).to_f32());
        assert!(rounded.eq(wide.value.to_array().values), "{}", wide.name);
    }
}
