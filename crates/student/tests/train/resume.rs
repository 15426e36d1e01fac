//! Trainings that are stopped or killed, and go on.

use super::*;

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
