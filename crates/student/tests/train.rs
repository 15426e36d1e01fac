//! What a user may rely on when a student is trained, stopped, saved and asked.

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
fn lora_changes_the_adapter_alone_and_is_saved_in_pefts_form() {
    let folder = tempfile::tempdir().unwrap();
    let lora = LoraOptions {
        r: 8,
        alpha: 16.0,
        ..Default::default()
    };
    let options = TrainOptions {
        method: Method::Lora,
        lora,
        steps: Some(60),
        batch_size: 8,
        learning_rate: 2e-2,
        ..options()
    };
    let trained = trained(folder.path(), &options).unwrap();
    assert!(trained.validation_loss.unwrap() < 0.95 * trained.first_validation_loss.unwrap());
    assert!(!folder.path().join("model").exists());
    let again = tiny(1)
        .with_adapter(&folder.path().join("adapter"))
        .unwrap();
    let prompts: Vec<String> = facts().into_iter().map(|item| item.prompt).collect();
    let options = GenerateOptions {
        max_new_tokens: 20,
        ..Default::default()
    };
    assert_eq!(
        texts(&again, &prompts, &options),
        texts(&trained.model, &prompts, &options)
    );
}

#[test]
fn dropout_changes_training_but_not_what_a_student_says() {
    let losses = |dropout| {
        let folder = tempfile::tempdir().unwrap();
        let lora = LoraOptions {
            dropout,
            ..Default::default()
        };
        let options = TrainOptions {
            method: Method::Lora,
            lora,
            ..options()
        };
        let trained = trained(folder.path(), &options).unwrap();
        let steps: Vec<record::Step> = jsonl::read(&folder.path().join("steps.jsonl")).unwrap();
        (trained, steps)
    };
    let ((without, plain), (with, dropped)) = (losses(0.0), losses(0.3));
    assert_eq!(without.first_validation_loss, with.first_validation_loss);
    // B is zero in the first step, and so is what the branch adds.
    assert_eq!(plain[0].loss.to_bits(), dropped[0].loss.to_bits());
    assert_ne!(plain[0].gradient_norm, dropped[0].gradient_norm);
    assert_ne!(plain[5].loss, dropped[5].loss);
    let perplexity = || {
        let found = log_likelihood(&with.model, "Claim:", FACTS[0].1).unwrap();
        found.perplexity().unwrap().to_bits()
    };
    assert_eq!(perplexity(), perplexity());
}

#[test]
fn training_goes_on_from_an_adapter() {
    let folder = tempfile::tempdir().unwrap();
    let lora = LoraOptions {
        r: 4,
        targets: Targets::names(["q_proj", "down_proj"]),
        ..Default::default()
    };
    let options = TrainOptions {
        method: Method::Lora,
        lora,
        ..options()
    };
    let first = trained(folder.path(), &options).unwrap();
    let adapter = folder.path().join("adapter");
    let begun = tiny(1).with_adapter(&adapter).unwrap();
    let second = folder.path().join("second");
    let mut said = String::new();
    let mut listen = |event: Event| {
        if let Event::Note { text } = event {
            said += &text;
        }
        ControlFlow::Continue(())
    };
    // Its own size is what counts.
    let others = TrainOptions {
        lora: LoraOptions::default(),
        ..options
    };
    let trained = train(
        begun,
        &facts(),
        &facts()[..3],
        &others,
        7,
        &second,
        &|| 0.0,
        &mut listen,
    )
    .unwrap();
    assert!(
        said.contains("goes on with the model's own adapter: r 4, alpha 32"),
        "{said}"
    );
    assert_eq!(trained.first_validation_loss, first.validation_loss);
    assert!(trained.validation_loss < first.validation_loss);
    tiny(1).with_adapter(&second.join("adapter")).unwrap();
}

/// All that a finished training leaves behind, by name.
fn remains(folder: &Path) -> Vec<(&'static str, Vec<u8>)> {
    assert!(
        !folder.join("checkpoint").exists(),
        "a finished training has no checkpoint"
    );
    let names = [
        "steps.jsonl",
        "model/model.safetensors",
        "model/config.json",
        "model/tokenizer.json",
        "model/generation_config.json",
        "adapter/adapter_model.safetensors",
        "adapter/adapter_config.json",
    ];
    let found = names.map(|name| (name, fs::read(&folder.join(name)).unwrap_or_default()));
    assert!(found[1].1.is_empty() != found[5].1.is_empty());
    found.to_vec()
}

#[test]
fn a_training_that_was_stopped_ends_as_if_it_had_not_been() {
    for (method, dropout) in [
        (Method::Full, 0.0),
        (Method::Lora, 0.0),
        (Method::Lora, 0.2),
    ] {
        let lora = LoraOptions {
            dropout,
            ..Default::default()
        };
        // One item a pass, so that each has its own dropout.
        let options = TrainOptions {
            method,
            lora,
            micro_batch_tokens: 1,
            ..options()
        };
        let undisturbed = tempfile::tempdir().unwrap();
        trained(undisturbed.path(), &options).unwrap();
        for stop_at in [0, 1, 4, 10] {
            let folder = tempfile::tempdir().unwrap();
            let mut stop = |event: Event| match event {
                Event::Note { .. } if stop_at == 0 => ControlFlow::Break(()),
                Event::Step { step, .. } if step == stop_at => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            };
            let (learn, watch) = (facts(), &facts()[..3]);
            let at = folder.path();
            let stopped = train(tiny(1), &learn, watch, &options, 7, at, &|| 0.0, &mut stop);
            assert!(matches!(
                stopped,
                Err(Error::Core(stillhouse_core::Error::Stopped))
            ));
            assert!(!at.join("model").exists() && !at.join("adapter").exists());
            trained(at, &options).unwrap();
            assert!(
                remains(at) == remains(undisturbed.path()),
                "{method:?} with dropout {dropout} stopped after step {stop_at}"
            );
        }
    }
}

#[test]
fn a_training_that_was_killed_goes_on_from_its_last_checkpoint() {
    let undisturbed = tempfile::tempdir().unwrap();
    trained(undisturbed.path(), &options()).unwrap();

    // A kill after step 7 finds the checkpoint of step 4 and a log of seven lines and a half.
    let folder = tempfile::tempdir().unwrap();
    let kept = folder.path().join("kept");
    let checkpoint = folder.path().join("checkpoint");
    let options = TrainOptions {
        checkpoint_seconds: 0.0,
        ..options()
    };
    let mut stop = |event: Event| {
        if event == (Event::Saved { step: 4 }) {
            std::fs::create_dir(&kept).unwrap();
            for file in std::fs::read_dir(&checkpoint).unwrap() {
                let file = file.unwrap();
                std::fs::copy(file.path(), kept.join(file.file_name())).unwrap();
            }
        }
        if event == (Event::Saved { step: 7 }) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    };
    train(
        tiny(1),
        &facts(),
        &facts()[..3],
        &options,
        7,
        folder.path(),
        &|| 0.0,
        &mut stop,
    )
    .unwrap_err();
    fs::rename(&kept, &checkpoint).unwrap();
    let log = folder.path().join("steps.jsonl");
    let mut bytes = fs::read(&log).unwrap();
    bytes.extend(b"{\"step\":8,\"epo");
    fs::write(&log, bytes).unwrap();
    // What was being written when it died.
    fs::write(&checkpoint.join("state-8.safetensors"), b"half").unwrap();

    let mut resumed = String::new();
    let mut listen = |event: Event| {
        if let Event::Resumed { what } = event {
            resumed = what;
        }
        ControlFlow::Continue(())
    };
    train(
        tiny(1),
        &facts(),
        &facts()[..3],
        &options,
        7,
        folder.path(),
        &|| 0.0,
        &mut listen,
    )
    .unwrap();
    assert_eq!(resumed, "step 4 of 10");
    assert!(remains(folder.path()) == remains(undisturbed.path()));
}

#[test]
fn a_checkpoint_of_another_training_is_not_taken() {
    let folder = tempfile::tempdir().unwrap();
    let mut stop = |event: Event| match event {
        Event::Step { step: 4, .. } => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    };
    train(
        tiny(1),
        &facts(),
        &[],
        &options(),
        7,
        folder.path(),
        &|| 0.0,
        &mut stop,
    )
    .unwrap_err();
    let mut warnings = Vec::new();
    let mut listen = |event: Event| {
        if let Event::Warning { text } = event {
            warnings.push(text);
        }
        ControlFlow::Continue(())
    };
    let trained = train(
        tiny(1),
        &facts(),
        &[],
        &options(),
        8,
        folder.path(),
        &|| 0.0,
        &mut listen,
    )
    .unwrap();
    assert_eq!(trained.steps, 10);
    assert!(
        warnings[0].contains("other data, options, seed or weights; training starts over"),
        "{warnings:?}"
    );
    assert_eq!(
        jsonl::read::<record::Step>(&folder.path().join("steps.jsonl"))
            .unwrap()
            .len(),
        10
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
    says("no tokenizer: none of tokenizer.json");
}

#[test]
fn a_student_over_nf4_codes_learns_resumes_and_is_merged() {
    let folder = tempfile::tempdir().unwrap();
    let base = folder.path().join("base");
    tiny(1).save(&base).unwrap();
    let options = TrainOptions {
        method: Method::Lora,
        base: Base::Nf4,
        merge: true,
        steps: Some(20),
        learning_rate: 2e-2,
        ..options()
    };
    let mut said = String::new();
    let mut run = |at: &Path, stop_at: usize| {
        let mut listen = |event: Event| match event {
            Event::Step { step, .. } if step == stop_at => ControlFlow::Break(()),
            Event::Note { text } => {
                said += &(text + "\n");
                ControlFlow::Continue(())
            }
            _ => ControlFlow::Continue(()),
        };
        let model = Model::load_at_rest(&base, options.at_rest()).unwrap();
        let (learn, watch) = (facts(), &facts()[..3]);
        train(model, &learn, watch, &options, 7, at, &|| 0.0, &mut listen)
    };
    let whole = folder.path().join("whole");
    let trained = run(&whole, 0).unwrap();
    assert!(trained.validation_loss.unwrap() < 0.97 * trained.first_validation_loss.unwrap());
    let halved = folder.path().join("halved");
    run(&halved, 7).unwrap_err();
    run(&halved, 0).unwrap();
    for name in [
        "steps.jsonl",
        "adapter/adapter_model.safetensors",
        "model/model.safetensors",
    ] {
        let read = |at: &Path| fs::read(&at.join(name)).unwrap();
        assert!(read(&whole) == read(&halved), "{name}");
    }
    assert!(said.contains(" weights rest in 0.0 MB, 0.5"), "{said}");
    let merged = format!(
        "validation loss {:.4} before merging",
        trained.validation_loss.unwrap()
    );
    assert!(said.contains(&merged), "{said}");
    let score = |model: &Model| {
        let found = log_likelihood(model, "Claim:", FACTS[0].1).unwrap();
        found.perplexity().unwrap()
    };
    let merged = Model::load(&whole.join("model")).unwrap();
    assert!((score(&merged) - score(&trained.model)).abs() < 1e-3 * score(&merged));
}

#[test]
fn weights_that_are_trained_do_not_rest_in_few_bytes() {
    let options = TrainOptions {
        base: Base::Nf4,
        ..options()
    };
    assert_eq!(
        options.check().unwrap_err().to_string(),
        "student.train.base: weights that are trained rest in f32; set student.train.method to \"lora\""
    );
    let folder = tempfile::tempdir().unwrap();
    tiny(1).save(folder.path()).unwrap();
    let model = Model::load_at_rest(folder.path(), options.at_rest()).unwrap();
    let options = TrainOptions {
        base: Base::F32,
        ..options
    };
    let at = folder.path().join("run");
    let error = train(model, &facts(), &[], &options, 7, &at, &|| 0.0, &mut go_on).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("rests in few bytes and cannot be trained"),
        "{error}"
    );
}
