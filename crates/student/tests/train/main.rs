//! What a user may rely on when a student is trained, stopped, saved and asked.

#[cfg(feature = "wgpu")]
mod gpu;
mod lora;
mod resume;

use std::ops::ControlFlow;
use std::path::Path;

use stillhouse_core::event::Event;
use stillhouse_core::{fs, jsonl, record};
use stillhouse_student::adapter::{LoraOptions, Targets};
use stillhouse_student::generate::{Completion, generate};
use stillhouse_student::optimizer::{Schedule, Warmup};
use stillhouse_student::score::log_likelihood;
use stillhouse_student::train::{Base, Method, TrainOptions, Trained, train};
use stillhouse_student::{ArchitectureOptions, Error, GenerateOptions, Item, Model, Result};

const FACTS: [(&str, &str); 8] = [
    ("Ice floats.", " supported. Ice is lighter than water."),
    ("Iron floats.", " refuted. Iron is heavier than water."),
    ("The Moon shines.", " refuted. It only reflects sunlight."),
    ("Plants need light.", " supported. Light feeds them."),
    (
        "Salt melts ice.",
        " supported. Brine freezes at lower temperatures.",
    ),
    ("Bats are birds.", " refuted. Bats nurse their young."),
    (
        "Cats like rain.",
        " not enough info. Nobody asked the cats.",
    ),
    ("Sound needs air.", " supported. A vacuum is silent."),
];

fn facts() -> Vec<Item> {
    let item = |(claim, completion): &(&str, &str)| Item {
        id: (*claim).to_owned(),
        prompt: format!("Claim: {claim}\nVerdict:"),
        completion: (*completion).to_owned(),
        weight: 1.0,
    };
    FACTS.iter().map(item).collect()
}

fn tiny(seed: u64) -> Model {
    let options = ArchitectureOptions {
        hidden_size: 48,
        layers: 2,
        heads: 4,
        kv_heads: 2,
        intermediate_size: 96,
        vocabulary: 320,
        context: 128,
    };
    let items = facts();
    let texts = items
        .iter()
        .flat_map(|item| [item.prompt.as_str(), item.completion.as_str()]);
    Model::random(&options, texts, seed).expect("the options are sound")
}

fn options() -> TrainOptions {
    TrainOptions {
        steps: Some(10),
        batch_size: 3,
        learning_rate: 5e-3,
        warmup: Warmup::Steps(2),
        ..Default::default()
    }
}

fn go_on(_: Event) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn trained(folder: &Path, options: &TrainOptions) -> Result<Trained> {
    train(
        tiny(1),
        &facts(),
        &facts()[..3],
        options,
        7,
        folder,
        &|| 0.0,
        &mut go_on,
    )
}

fn texts(model: &Model, prompts: &[String], options: &GenerateOptions) -> Vec<Completion> {
    let mut found = vec![None; prompts.len()];
    let mut keep = |index: usize, completion| {
        found[index] = Some(completion);
        Ok(())
    };
    generate(model, prompts, options, 3, &mut go_on, &mut keep).expect("the prompts are short");
    found
        .into_iter()
        .map(|completion| completion.expect("each prompt is answered"))
        .collect()
}

#[test]
fn a_random_student_knows_nothing() {
    let model = tiny(1);
    let found = log_likelihood(&model, "Claim:", FACTS[0].1).unwrap();
    let (loss, nothing) = (
        found.perplexity().unwrap().ln(),
        (model.interface().vocabulary as f64).ln(),
    );
    assert!((loss - nothing).abs() < 0.1, "{loss}, expected {nothing}");
}

#[test]
fn a_tiny_student_memorises_eight_examples() {
    let folder = tempfile::tempdir().unwrap();
    let options = TrainOptions {
        steps: Some(150),
        batch_size: 8,
        ..options()
    };
    let trained = train(
        tiny(1),
        &facts(),
        &[],
        &options,
        7,
        folder.path(),
        &|| 0.0,
        &mut go_on,
    )
    .unwrap();
    let prompts: Vec<String> = facts().into_iter().map(|item| item.prompt).collect();
    let plain = GenerateOptions {
        repetition_penalty: 1.0,
        no_repeat_ngram: None,
        ..Default::default()
    };
    let said = texts(&trained.model, &prompts, &plain);
    for (item, completion) in facts().iter().zip(&said) {
        assert_eq!(completion.text, item.completion);
        assert!(!completion.is_truncated);
    }
    let again = Model::load(&folder.path().join("model")).unwrap();
    assert_eq!(
        texts(&again, &prompts, &plain),
        said,
        "what was saved speaks as what was trained"
    );
}

#[test]
fn the_best_student_by_validation_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let options = TrainOptions {
        steps: Some(40),
        learning_rate: 0.05,
        schedule: Schedule::Constant {},
        validate_per_epoch: 3,
        ..options()
    };
    let other = [Item {
        completion: " refuted. Wood floats, and so do boats.".to_owned(),
        ..facts()[0].clone()
    }];
    let mut best = (0, f64::MAX);
    let mut last = 0.0;
    let mut listen = |event: Event| {
        if let Event::Validated {
            step,
            loss,
            is_best,
            ..
        } = event
        {
            assert_eq!(is_best, loss < best.1);
            last = loss;
            if is_best {
                best = (step, loss);
            }
        }
        ControlFlow::Continue(())
    };
    let trained = train(
        tiny(1),
        &facts(),
        &other,
        &options,
        7,
        folder.path(),
        &|| 0.0,
        &mut listen,
    )
    .unwrap();
    assert_eq!(
        (trained.best_step, trained.validation_loss),
        (best.0, Some(best.1))
    );
    assert!(last > best.1, "the test needs a training that overfits");
    let patient = TrainOptions {
        patience: Some(2),
        ..options
    };
    let stopped = train(
        tiny(1),
        &facts(),
        &other,
        &patient,
        7,
        &folder.path().join("patient"),
        &|| 0.0,
        &mut go_on,
    )
    .unwrap();
    assert!(stopped.steps < trained.steps);
}

#[test]
fn training_shows_what_it_learns_and_names_what_it_leaves_out() {
    let folder = tempfile::tempdir().unwrap();
    let mut items = facts();
    items[3].completion = String::new();
    items[4].prompt = "long ".repeat(200);
    let mut said = String::new();
    let mut listen = |event: Event| {
        if let Event::Note { text } | Event::Warning { text } = event {
            said += &(text + "\n");
        }
        ControlFlow::Continue(())
    };
    let options = TrainOptions {
        steps: Some(1),
        ..options()
    };
    train(
        tiny(1),
        &items,
        &[],
        &options,
        7,
        folder.path(),
        &|| 0.0,
        &mut listen,
    )
    .unwrap();
    assert!(
        said.contains(
            "<bos>Claim: Ice floats.\nVerdict:« supported. Ice is lighter than water.<eos>»"
        ),
        "{said}"
    );
    assert!(said.contains("2 of 8 training items are left out: `Plants need light.` has no token to learn; `Salt melts ice.` has"), "{said}");
}

#[test]
fn a_training_that_explodes_says_where() {
    let folder = tempfile::tempdir().unwrap();
    let options = TrainOptions {
        learning_rate: 1e30,
        clip: None,
        schedule: Schedule::Constant {},
        ..options()
    };
    let error = trained(folder.path(), &options).unwrap_err();
    assert!(matches!(error, Error::NotFinite { .. }), "{error}");
    assert!(error.to_string().starts_with("step "), "{error}");
}

#[test]
fn a_text_does_not_depend_on_the_texts_beside_it() {
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/quickstart/base");
    let model = Model::load(&base).unwrap();
    let prompts: Vec<String> = FACTS
        .iter()
        .map(|(claim, _)| format!("Claim: {claim}\nVerdict:"))
        .collect();
    let said = |batch_size| {
        texts(
            &model,
            &prompts,
            &GenerateOptions {
                max_new_tokens: 24,
                batch_size,
                ..Default::default()
            },
        )
    };
    let alone = said(1);
    assert!(alone.iter().all(|completion| !completion.text.is_empty()));
    for batch_size in [2, 3, 8] {
        assert_eq!(said(batch_size), alone, "{batch_size} at once");
    }
}

#[test]
fn a_stop_text_ends_a_completion_and_is_cut_off() {
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/quickstart/base");
    let model = Model::load(&base).unwrap();
    let prompts = ["The heart is".to_owned()];
    let whole = GenerateOptions {
        max_new_tokens: 12,
        ..Default::default()
    };
    let text = texts(&model, &prompts, &whole).remove(0).text;
    let word = text.split_whitespace().nth(2).unwrap();
    let stopped = texts(
        &model,
        &prompts,
        &GenerateOptions {
            stop: vec![word.to_owned()],
            ..whole
        },
    )
    .remove(0);
    assert_eq!(stopped.text, text[..text.find(word).unwrap()]);
    assert!(!stopped.is_truncated);
}

#[test]
fn folders_that_cannot_be_used_say_why() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().join("m");
    let says = |text: &str| {
        let error = Model::load(&at).unwrap_err().to_string();
        assert!(error.contains(text), "{error}");
    };
    says("no such folder");
    tiny(1).save(&at).unwrap();
    Model::load(&at).unwrap();

    let config = at.join("config.json");
    let original = fs::read_text(&config).unwrap();
    fs::write(
        &config,
        original.replace("\"vocab_size\": 3", "\"vocab_size\": 1"),
    )
    .unwrap();
    says("the folder mixes two models");
    fs::write(
        &config,
        original.replace("\"intermediate_size\": 96", "\"intermediate_size\": 64"),
    )
    .unwrap();
    says(
        "6 of 20 tensors do not fit config.json: model.layers.0.mlp.down_proj.weight has shape [48, 96], expected [48, 64]",
    );
    fs::write(
        &config,
        original.replace("LlamaForCausalLM", "MambaForCausalLM"),
    )
    .unwrap();
    says("`MambaForCausalLM` is not supported; supported: LlamaForCausalLM");
    let quantised = "{\"quantization_config\": {\"quant_method\": \"gptq\"},";
    fs::write(&config, original.replacen('{', quantised, 1)).unwrap();
    says("weights quantised by gptq are not read; take the model that they were made from");
    fs::write(&config, &original[..40]).unwrap();
    says("not the expected JSON");
    fs::write(&config, &original).unwrap();

    let weights = at.join("model.safetensors");
    let bytes = fs::read(&weights).unwrap();
    fs::write(&weights, &bytes[..bytes.len() - 9]).unwrap();
    says("not a whole safetensors file");
    fs::remove(&weights).unwrap();
    says("no model.safetensors");
    fs::remove(&at.join("tokenizer.json")).unwrap();
    says("no tokenizer.json, and no tokenizer.model");
}
