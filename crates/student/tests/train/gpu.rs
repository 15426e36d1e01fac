//! Training on a GPU against the processor; a program built for GPUs must find one here, such as Mesa's lavapipe.

use super::*;
use stillhouse_student::train::Precision;
use stillhouse_student::{Device, Place, StudentOptions};

fn gpu() -> Place {
    Device::Gpu.open().expect("a GPU, such as Mesa's lavapipe")
}

/// Trains LoRA branches of a model, stopped after a step where one is named.
fn run(
    model: Model,
    options: &TrainOptions,
    place: &Place,
    folder: &Path,
    stop_at: usize,
) -> Result<Trained> {
    let mut listen = |event: Event| match event {
        Event::Step { step, .. } if step == stop_at => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    };
    let (learn, watch) = (facts(), &facts()[..3]);
    let model = model.on(place);
    train(
        model,
        &learn,
        watch,
        options,
        7,
        folder,
        &|| 0.0,
        &mut listen,
    )
}

fn lora() -> TrainOptions {
    TrainOptions {
        method: Method::Lora,
        steps: Some(6),
        precision: Precision::F32,
        ..options()
    }
}

fn losses(folder: &Path) -> Vec<f64> {
    let steps: Vec<record::Step> = jsonl::read(&folder.join("steps.jsonl")).unwrap();
    steps.iter().map(|step| step.loss).collect()
}

#[track_caller]
fn assert_same(found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!(
            (found - expected).abs() < 1e-4 * expected,
            "{found}, expected {expected}"
        );
    }
}

#[test]
fn a_training_on_a_gpu_goes_as_on_the_processor_and_what_it_saves_is_loaded_there() {
    for dropout in [0.0, 0.2] {
        let mut options = lora();
        options.lora.dropout = dropout;
        let folder = tempfile::tempdir().unwrap();
        let [here, there] = ["cpu", "gpu"].map(|name| folder.path().join(name));
        let expected = run(tiny(1), &options, &Place::cpu(), &here, 0).unwrap();
        let found = run(tiny(1), &options, &gpu(), &there, 0).unwrap();
        assert_same(&losses(&there), &losses(&here));
        assert_same(
            &[found.validation_loss.unwrap()],
            &[expected.validation_loss.unwrap()],
        );
        assert_eq!(found.precision, "f32");
        let prompts: Vec<String> = facts().into_iter().map(|item| item.prompt).collect();
        let plain = GenerateOptions {
            max_new_tokens: 12,
            ..Default::default()
        };
        let said = texts(&expected.model, &prompts, &plain);
        assert_eq!(texts(&found.model, &prompts, &plain), said);
        let again = tiny(1).with_adapter(&there.join("adapter")).unwrap();
        assert_eq!(texts(&again, &prompts, &plain), said);
    }
}

#[test]
fn a_checkpoint_of_one_device_goes_on_on_the_other() {
    for base in [Base::F32, Base::Nf4] {
        let options = TrainOptions { base, ..lora() };
        let folder = tempfile::tempdir().unwrap();
        let whole = folder.path().join("base");
        tiny(1).save(&whole).unwrap();
        let model = || Model::load_at_rest(&whole, options.at_rest()).unwrap();
        let undisturbed = folder.path().join("undisturbed");
        run(model(), &options, &Place::cpu(), &undisturbed, 0).unwrap();
        for (name, first, second) in [
            ("there", Place::cpu(), gpu()),
            ("back", gpu(), Place::cpu()),
        ] {
            let at = folder.path().join(name);
            run(model(), &options, &first, &at, 3).unwrap_err();
            let begun = losses(&at);
            run(model(), &options, &second, &at, 0).unwrap();
            assert_eq!(losses(&at)[..3], begun, "{name}: it starts over");
            assert_same(&losses(&at), &losses(&undisturbed));
        }
    }
}

#[test]
fn full_training_layer_by_layer_goes_as_on_the_processor() {
    let options = TrainOptions {
        recompute: true,
        method: Method::Full,
        ..lora()
    };
    let folder = tempfile::tempdir().unwrap();
    let [here, there] = ["cpu", "gpu"].map(|name| folder.path().join(name));
    run(tiny(1), &options, &Place::cpu(), &here, 0).unwrap();
    run(tiny(1), &options, &gpu(), &there, 0).unwrap();
    assert_same(&losses(&there), &losses(&here));
}

#[test]
fn products_in_bf16_are_refused_on_a_gpu_before_anything_begins() {
    let mut student = StudentOptions {
        device: Device::Gpu,
        ..Default::default()
    };
    student.place().unwrap();
    student.train.precision = Precision::Bf16;
    let error = student.place().unwrap_err().to_string();
    assert!(error.starts_with("student.train.precision: \"bf16\" is the processor's"));
}
