//! The encoder-decoder against `PyTorch`, as the decoder is in [`crate::golden`], with its bounds.

use std::path::Path;

use serde_json::Value as Json;

use stillhouse_core::fs;

use crate::batch::{LossOn, Packed};
use crate::generate::{Completion, GenerateOptions, generate};
use crate::golden::{
    Case, assert_close, case_in, check_greedy, check_training, difference, each_case_in, items,
    numbers, sequences,
};
use crate::loss::mean_loss;
use crate::model::Model;
use crate::ops::{self, Buckets};
use crate::score::log_likelihood;
use crate::train::{TrainOptions, train};
use crate::weights::Array;

const CASES: [&str; 2] = ["original", "flan"];

/// Checks every case, and those of a folder made by `fixtures/t5-tiny/shapes.py`, if one is named.
fn each_case(check: impl Fn(Case)) {
    each_case_in(
        "t5-tiny",
        &CASES,
        option_env!("STILLHOUSE_SEQ2SEQ_CASES"),
        check,
    );
}

#[test]
fn tokens_and_logits_agree() {
    each_case(|case| {
        let name = case.name.clone();
        let sequences = sequences(&case, LossOn::Completion);
        for (index, sequence) in sequences.iter().enumerate() {
            let targets: Vec<u32> = sequence.targets.iter().flatten().copied().collect();
            assert_eq!(
                serde_json::json!(sequence.source),
                case.json["sources"][index],
                "{name}"
            );
            assert_eq!(
                serde_json::json!(targets),
                case.json["targets"][index],
                "{name}"
            );
            assert_eq!(sequence.tokens[0], 0, "the start token begins a completion");
        }
        let packed = crate::batch::pack(&sequences, usize::MAX).remove(0);
        let network = &case.model.network;
        let logits = Array::of(&ops::head_logits(network.states(&packed), network.head()));
        let n = sequences[0].tokens.len() * logits.shape[1];
        let worst = difference(&logits.values[..n], &numbers(&case.json["logits"]));
        assert!(worst < 1e-5 * case.slack as f32, "{name}: {worst:e}");
    });
}

#[test]
fn losses_agree_and_the_prompt_is_never_learnt() {
    each_case(|case| {
        let name = case.name.clone();
        for loss_on in [LossOn::Completion, LossOn::All] {
            let sequences = sequences(&case, loss_on);
            let loss = mean_loss(&case.model.network, &sequences, 4096).unwrap();
            assert_close(
                loss,
                &case.json["full"]["losses"][0],
                1e-6 * case.slack,
                &name,
            );
        }
    });
}

#[test]
fn every_gradient_and_three_steps_of_full_training_agree() {
    each_case(|mut case| {
        let parameters = case.model.network.parameters_mut();
        for parameter in parameters {
            parameter.is_trained = true;
        }
        check_training(&mut case, "full", 4096);
    });
}

#[test]
fn every_gradient_and_three_steps_of_lora_agree() {
    each_case(|mut case| {
        let adapter = case.folder.join("adapter");
        case.model = case.model.with_adapter(&adapter).unwrap();
        check_training(&mut case, "lora", 1);
    });
}

#[test]
fn greedy_text_agrees_token_by_token() {
    each_case(|case| {
        check_greedy(&case, "plain", 1.0, None);
        check_greedy(&case, "penalised", 1.3, None);
        check_greedy(&case, "both", 1.3, Some(2));
    });
}

#[test]
fn the_likelihood_of_a_completion_is_its_loss() {
    let case = case_in("t5-tiny", "original");
    let mut sequences = sequences(&case, LossOn::Completion);
    for (item, sequence) in items(&case.json).iter().zip(&mut sequences) {
        let found = log_likelihood(&case.model, &item.prompt, &item.completion).unwrap();
        *sequence.targets.last_mut().unwrap() = None;
        let loss = mean_loss(&case.model.network, std::slice::from_ref(sequence), 4096).unwrap();
        assert!((found.perplexity().unwrap().ln() - loss).abs() < 1e-6);
    }
}

#[test]
fn completions_of_one_prompt_read_it_once() {
    let case = case_in("t5-tiny", "flan");
    let mut sequences = sequences(&case, LossOn::Completion);
    sequences[1].source = sequences[0].source.clone();
    let packed = crate::batch::pack(&sequences, usize::MAX).remove(0);
    let source = packed.source.as_ref().unwrap();
    assert_eq!(
        (source.tokens.len(), &source.of[..]),
        (sequences[0].source.len(), &[0, 0][..])
    );
    let apart = mean_loss(&case.model.network, &sequences, 1).unwrap();
    let together = mean_loss(&case.model.network, &sequences, usize::MAX).unwrap();
    assert!((apart - together).abs() < 1e-5, "{apart} {together}");
}

#[test]
fn a_model_survives_saving_and_merging() {
    each_case(|case| {
        let loaded_bound = if case.is_on_cpu() { 0.0 } else { 1e-4 };
        let adapted = case
            .model
            .clone()
            .with_adapter(&case.folder.join("adapter"))
            .unwrap();
        let folder = tempfile::tempdir().unwrap();
        adapted.save_adapter(folder.path()).unwrap();
        let config: Json = fs::read_json(&folder.path().join("adapter_config.json")).unwrap();
        assert_eq!(config["task_type"], "SEQ_2_SEQ_LM");
        let again = case.model.with_adapter(folder.path()).unwrap();
        assert_eq!(logits(&again), logits(&adapted));
        let worst = difference(&logits(&adapted.merged()), &logits(&adapted));
        assert!(
            worst < 1e-5 * case.slack as f32,
            "base + branch = merged: {worst:e}"
        );
        let whole = folder.path().join("whole");
        adapted.save(&whole).unwrap();
        let worst = difference(
            &logits(&Model::load(&whole).unwrap()),
            &logits(&adapted.merged()),
        );
        assert!(worst <= loaded_bound, "{worst:e}");
    });
}

fn logits(model: &Model) -> Vec<f32> {
    let mut reading = model.reading("claim: ice floats.");
    reading.tokens.extend([5, 9, 20]);
    let states = model.network.states(&Packed::alone(reading));
    Array::of(&ops::head_logits(states, model.network.head())).values
}

#[test]
fn every_distance_falls_into_the_bucket_that_transformers_gives_it() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/t5-tiny/buckets.json");
    let cases: Vec<Json> = fs::read_json(&path).unwrap();
    for case in cases {
        let buckets = Buckets {
            n: case["n"].as_u64().unwrap() as usize,
            max_distance: case["max_distance"].as_u64().unwrap() as usize,
            is_bidirectional: case["is_bidirectional"].as_bool().unwrap(),
        };
        let runs: Vec<(usize, usize)> = serde_json::from_value(case["runs"].clone()).unwrap();
        let expected = runs
            .into_iter()
            .flat_map(|(bucket, n)| std::iter::repeat_n(bucket, n));
        for (distance, expected) in (-600..).zip(expected) {
            assert_eq!(buckets.of(distance), expected, "{buckets:?} at {distance}");
        }
    }
}

#[test]
fn an_encoder_decoder_learns_its_items_by_heart() {
    let case = case_in("t5-tiny", "flan");
    let items = items(&case.json);
    let options = TrainOptions {
        epochs: 150.0,
        learning_rate: 2e-2,
        ..TrainOptions::default()
    };
    let folder = tempfile::tempdir().unwrap();
    let mut silent = |_| std::ops::ControlFlow::Continue(());
    let clock = || 0.0;
    let trained = train(
        case.model,
        &items,
        &items,
        &options,
        3,
        folder.path(),
        &clock,
        &mut silent,
    );
    let trained = trained.unwrap();
    assert!(
        trained.validation_loss.unwrap() < 0.05,
        "{:?}",
        trained.validation_loss
    );
    let again = Model::load(&folder.path().join("model")).unwrap();
    let prompts: Vec<String> = items.iter().map(|item| item.prompt.clone()).collect();
    let options = GenerateOptions {
        repetition_penalty: 1.0,
        no_repeat_ngram: None,
        ..GenerateOptions::default()
    };
    let mut keep = |index: usize, completion: Completion| {
        assert_eq!(completion.text, items[index].completion);
        Ok(())
    };
    generate(&again, &prompts, &options, 0, &mut silent, &mut keep).unwrap();
}
