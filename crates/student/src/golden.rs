//! The decoder against `PyTorch`, family by family: logits, losses, every gradient by name, three
//! steps of `AdamW`, greedy text, for full training and for `LoRA`.
//!
//! Both sides compute in f32 and sum in other orders. On these sizes that leaves differences near
//! 1e-6 of a tensor's largest entry; the bounds are some ten times that.
//! Random cases of `fixtures/decoders/fuzz.py` are checked too, with wider bounds, where the
//! environment names their folder in `STILLHOUSE_DECODER_CASES`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value as Json;

use stillhouse_core::fs;

use crate::batch::{self, Item, LossOn, Packed, Reading, Sequence};
use crate::device::{self, Place};
use crate::generate::{GenerateOptions, generate};
use crate::loss;
use crate::model::Model;
use crate::ops::{self, AdamwStep};
use crate::optimizer::{Gradient, Optimizer, trained};
use crate::score::log_likelihood;
use crate::weights::{self, Array};

const CASES: [&str; 11] = [
    "tied", "untied", "older", "mistral", "qwen2", "qwen3", "phi", "phi3", "gemma", "gemma2",
    "gemma3",
];

pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) folder: PathBuf,
    /// By how much the bounds are wider than for the fixtures, whose sizes are known.
    pub(crate) slack: f64,
    pub(crate) model: Model,
    pub(crate) json: Json,
    pub(crate) tensors: BTreeMap<String, Array>,
}

fn case(name: &str) -> Case {
    case_in("decoders", name)
}

/// One checkpoint of a folder of fixtures, with what `PyTorch` says of it.
pub(crate) fn case_in(topic: &str, name: &str) -> Case {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fixtures")
        .join(topic)
        .join(name);
    let json = fs::read_json(&folder.join("golden.json")).unwrap();
    let (tensors, _) = weights::load_file(&folder.join("golden.safetensors")).unwrap();
    Case {
        name: name.to_owned(),
        model: Model::load(&folder).unwrap(),
        slack: if name.contains('/') { 10.0 } else { 1.0 },
        folder,
        json,
        tensors,
    }
}

fn each_case(check: impl Fn(Case)) {
    each_case_in(
        "decoders",
        &CASES,
        option_env!("STILLHOUSE_DECODER_CASES"),
        check,
    );
}

/// Checks every case on every device, also those of the folder that a variable names, and names all
/// that fail.
pub(crate) fn each_case_in(topic: &str, cases: &[&str], more: Option<&str>, check: impl Fn(Case)) {
    let mut names: Vec<String> = cases.iter().map(|name| (*name).to_owned()).collect();
    if let Some(folder) = more {
        let entries = std::fs::read_dir(folder).unwrap();
        names.extend(entries.map(|entry| entry.unwrap().path().display().to_string()));
    }
    let mut failed = Vec::new();
    for place in device::all() {
        for name in &names {
            let case = || case_in(topic, name).on(&place);
            let checked = std::panic::AssertUnwindSafe(|| check(case()));
            if std::panic::catch_unwind(checked).is_err() {
                failed.push(format!("{name} on {}", place.name()));
            }
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

impl Case {
    /// On a device; GPUs have their own roots, tangents and logarithms.
    fn on(mut self, place: &Place) -> Self {
        if !place.is_cpu() {
            self.model = self.model.on(place);
            self.slack *= 10.0;
        }
        self
    }

    /// Whether its model is on the processor, which alone keeps the bits of a row whatever stands beside it.
    pub(crate) fn is_on_cpu(&self) -> bool {
        device::is_host(&self.model.network.device())
    }
}

pub(crate) fn items(json: &Json) -> Vec<Item> {
    let pairs = json["items"].as_array().unwrap().iter();
    let text = |json: &Json| json.as_str().unwrap().to_owned();
    pairs
        .map(|pair| Item {
            id: text(&pair[0]),
            prompt: text(&pair[0]),
            completion: text(&pair[1]),
            weight: 1.0,
        })
        .collect()
}

pub(crate) fn numbers(json: &Json) -> Vec<f32> {
    json.as_array()
        .unwrap()
        .iter()
        .map(|v| v.as_f64().unwrap() as f32)
        .collect()
}

pub(crate) fn sequences(case: &Case, loss_on: LossOn) -> Vec<Sequence> {
    let (sequences, refused) = batch::sequences(&case.model, &items(&case.json), loss_on).unwrap();
    assert!(refused.is_empty());
    sequences
}

/// The largest difference, as a share of the largest expected entry.
pub(crate) fn difference(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let largest = expected.iter().fold(0f32, |m, v| m.max(v.abs()));
    found
        .iter()
        .zip(expected)
        .fold(0f32, |m, (a, b)| m.max((a - b).abs()))
        / largest
}

pub(crate) fn assert_close(found: f64, expected: &Json, tolerance: f64, what: &str) {
    let expected = expected.as_f64().unwrap();
    assert!(
        (found - expected).abs() < tolerance * expected.abs(),
        "{what}: {found}, expected {expected}"
    );
}

#[test]
fn tokens_and_logits_agree() {
    each_case(|case| {
        let name = &case.name;
        let sequences = sequences(&case, LossOn::Completion);
        for (sequence, expected) in sequences
            .iter()
            .zip(case.json["tokens"].as_array().unwrap())
        {
            let mut tokens = sequence.tokens.clone();
            tokens.push(2);
            assert_eq!(serde_json::json!(tokens), *expected, "{name}");
        }
        let mut tokens = sequences[0].tokens.clone();
        tokens.push(2);
        let states = case.model.network.states(&Packed::alone(Reading {
            source: Vec::new(),
            tokens,
        }));
        let logits = Array::of(&ops::head_logits(states, case.model.network.head()));
        let every = case.json["logits_every"].as_u64().unwrap() as usize;
        let kept = logits
            .values
            .chunks_exact(logits.shape[1])
            .flat_map(|row| row.iter().step_by(every).copied());
        let kept: Vec<f32> = kept.collect();
        let worst = difference(&kept, &case.tensors["logits"].values);
        assert!(f64::from(worst) < 1e-5 * case.slack, "{name}: {worst:e}");
    });
}

#[test]
fn losses_agree() {
    each_case(|case| {
        let loss = |loss_on| {
            loss::mean_loss(&case.model.network, &sequences(&case, loss_on), 4096).unwrap()
        };
        let first = &case.json["full"]["losses"][0];
        let bound = 1e-6 * case.slack;
        assert_close(loss(LossOn::Completion), first, bound, &case.name);
        let all = &case.json["loss_on_all"];
        assert_close(loss(LossOn::All), all, bound, &case.name);
    });
}

#[test]
fn every_gradient_and_three_steps_of_full_training_agree() {
    each_case(|mut case| {
        let parameters = case.model.network.parameters_mut().iter_mut();
        parameters.for_each(|p| p.is_trained = true);
        check_training(&mut case, "full", 4096);
    });
}

#[test]
fn every_gradient_and_three_steps_of_lora_agree() {
    each_case(|mut case| {
        let adapter = case.folder.join("adapter");
        case.model = case.model.with_adapter(&adapter).unwrap();
        check_training(&mut case, "lora", 4096);
    });
}

#[test]
fn micro_batches_add_up_to_the_same_update() {
    let mut case = case("tied");
    case.model
        .network
        .parameters_mut()
        .iter_mut()
        .for_each(|p| p.is_trained = true);
    check_training(&mut case, "full", 1);
}

pub(crate) fn check_training(case: &mut Case, method: &str, micro_batch_tokens: usize) {
    let sequences = sequences(case, LossOn::Completion);
    let packed = batch::pack(&sequences, micro_batch_tokens);
    let (slack, network) = (case.slack, &mut case.model.network);
    *network = network.tracked();
    let mut optimizer = Optimizer::new(network.parameters());
    for step in 0..3 {
        let (loss, gradient) = loss::loss_and_gradient(network, &packed, None);
        let golden = &case.json[method];
        assert_close(loss, &golden["losses"][step], 1e-5 * slack, method);
        if step == 0 {
            check_gradients(&gradient, network, &case.tensors, method, 2e-5 * slack);
        }
        let norm = gradient
            .squared_norms()
            .iter()
            .flatten()
            .sum::<f64>()
            .sqrt();
        assert_close(norm, &golden["norms"][step], 1e-4 * slack, method);
        let adamw = AdamwStep {
            number: step as u32 + 1,
            learning_rate: 1e-2,
            beta1: 0.9,
            beta2: 0.99,
            weight_decay: 0.1,
            grad_scale: (1.0 / (norm + 1e-6)).min(1.0) as f32,
            ..AdamwStep::default()
        };
        optimizer.update(network.parameters_mut(), gradient, &adamw);
    }
    for parameter in trained(network.parameters()) {
        let Some(expected) = case
            .tensors
            .get(&format!("{method}.after.{}", parameter.name))
        else {
            continue;
        };
        // AdamW divides by the gradient's size: where a gradient is near its rounding error, so is
        // the update's, hence the wider bound.
        let worst = difference(&parameter.value.to_array().values, &expected.values);
        let worst = f64::from(worst);
        assert!(
            worst < 1e-3 * slack,
            "{method} {}: {worst:e}",
            parameter.name
        );
    }
}

fn check_gradients(
    gradient: &Gradient,
    network: &crate::network::Network,
    tensors: &BTreeMap<String, Array>,
    method: &str,
    bound: f64,
) {
    let expected = tensors
        .keys()
        .filter(|name| name.starts_with(&format!("{method}.gradient.")))
        .count();
    assert_eq!(
        gradient.values().len(),
        expected,
        "as many trained tensors as `PyTorch` has"
    );
    for (parameter, value) in trained(network.parameters()).zip(gradient.values()) {
        let found = value.as_ref().expect("a gradient arrives").to_array();
        let expected = &tensors[&format!("{method}.gradient.{}", parameter.name)];
        assert_eq!(found.shape, expected.shape, "{}", parameter.name);
        let worst = difference(&found.values, &expected.values);
        assert!(
            f64::from(worst) < bound,
            "{method} {}: {worst:e}",
            parameter.name
        );
    }
}

#[test]
fn greedy_text_agrees_token_by_token() {
    each_case(|case| {
        check_greedy(&case, "plain", 1.0, None);
        check_greedy(&case, "penalised", 1.3, None);
        check_greedy(&case, "both", 1.3, Some(2));
    });
}

pub(crate) fn check_greedy(
    case: &Case,
    label: &str,
    repetition_penalty: f64,
    no_repeat_ngram: Option<usize>,
) {
    let prompts: Vec<String> = items(&case.json)
        .into_iter()
        .map(|item| item.prompt)
        .collect();
    let options = GenerateOptions {
        max_new_tokens: 32,
        repetition_penalty,
        no_repeat_ngram,
        penalise_prompt: true,
        ..Default::default()
    };
    let mut found = vec![Vec::new(); prompts.len()];
    let mut keep = |index: usize, completion: crate::generate::Completion| {
        found[index] = completion.tokens;
        Ok(())
    };
    let mut silent = |_| std::ops::ControlFlow::Continue(());
    generate(&case.model, &prompts, &options, 0, &mut silent, &mut keep).unwrap();
    let expected: Vec<Vec<u32>> =
        serde_json::from_value(case.json["greedy"][label].clone()).unwrap();
    let ends = case.model.interface().eos;
    let until_end = |tokens: &Vec<u32>| {
        tokens
            .iter()
            .copied()
            .take_while(|t| !ends.contains(t))
            .collect::<Vec<u32>>()
    };
    assert_eq!(
        found,
        expected.iter().map(until_end).collect::<Vec<_>>(),
        "{}: {label}",
        case.name
    );
}

#[test]
fn a_row_has_the_same_bits_whatever_stands_beside_it() {
    each_case(|case| {
        if !case.is_on_cpu() {
            return;
        }
        let network = &case.model.network;
        let prompt = Reading {
            source: Vec::new(),
            tokens: (20..27).collect(),
        };
        let rows = |n: usize| {
            let mut cache = network.cache(n);
            let slots: Vec<usize> = (0..n).collect();
            for slot in &slots {
                let _ = network.begin(&[&prompt], &[*slot], &mut cache);
            }
            let states = network.advance(&vec![30; n], &slots, &mut cache);
            let logits = Array::of(&ops::head_rows(states, network.head(), None));
            let rows = logits.values.chunks_exact(logits.shape[1]);
            rows.map(|row| row.iter().map(|v| v.to_bits()).collect::<Vec<_>>())
                .collect::<Vec<_>>()
        };
        let alone = rows(1);
        for n in [2, 3, 5, 8] {
            let found = rows(n);
            assert!(found.iter().all(|row| *row == alone[0]), "{}", case.name);
        }
    });
}

#[test]
fn the_likelihood_of_a_completion_is_its_loss() {
    each_case(|case| check_likelihood(&case));
}

fn check_likelihood(case: &Case) {
    for (item, sequence) in items(&case.json)
        .iter()
        .zip(sequences(case, LossOn::Completion))
    {
        let found = log_likelihood(&case.model, &item.prompt, &item.completion).unwrap();
        assert_eq!(
            found.tokens.len() + 1,
            sequence.n_supervised(),
            "all but the end token"
        );
        let mut sequence = sequence;
        *sequence.targets.last_mut().unwrap() = None;
        let loss = loss::mean_loss(&case.model.network, &[sequence], 4096).unwrap();
        assert!((found.perplexity().unwrap().ln() - loss).abs() < 1e-6 * case.slack);
    }
}

#[test]
fn an_adapter_survives_saving_and_merging() {
    for name in ["qwen2", "phi", "phi3", "gemma2"] {
        check_saving(case(name));
    }
}

fn check_saving(case: Case) {
    let adapted = case
        .model
        .clone()
        .with_adapter(&case.folder.join("adapter"))
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    adapted.save_adapter(folder.path()).unwrap();
    let again = case.model.with_adapter(folder.path()).unwrap();
    assert_eq!(again.lora, adapted.lora);
    let logits = |model: &Model| {
        let reading = model.reading("Claim: ice floats.");
        let states = model.network.states(&Packed::alone(reading));
        Array::of(&ops::head_logits(states, model.network.head())).values
    };
    assert_eq!(logits(&again), logits(&adapted));
    let worst = difference(&logits(&adapted.merged()), &logits(&adapted));
    assert!(worst < 1e-5, "base + branch = merged: {worst:e}");
    let whole = folder.path().join("whole");
    adapted.save(&whole).unwrap();
    assert_eq!(
        logits(&Model::load(&whole).unwrap()),
        logits(&adapted.merged())
    );
}
