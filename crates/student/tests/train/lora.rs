//! Training of branches beside weights that rest.

use super::*;

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
    assert!(plain[0].gradient_norm.to_bits() != dropped[0].gradient_norm.to_bits());
    assert!(plain[5].loss.to_bits() != dropped[5].loss.to_bits());
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
