//! A training that cannot fit is refused before anything is done, with what would help.

use std::ops::ControlFlow;
use std::path::Path;

use stillhouse::config::Config;
use stillhouse::{HubOptions, Request, Stage, World};

fn begun(available: Option<u64>, sets: &[&str]) -> Result<(), String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let set = |key: &str, path: &Path| format!("{key}={:?}", path.display().to_string());
    let mut all = vec![
        set("out", &folder.path().join("out")),
        set("student.model", &root.join("examples/quickstart/base")),
        set("data.dataset", &root.join("datasets/quickstart.toml")),
        set("data.path", Path::new("no-such-file.jsonl")),
    ];
    all.extend(sets.iter().map(|set| (*set).to_owned()));
    let config = Config::load(&root.join("examples/quickstart/run.toml"), &all)
        .expect("the quickstart is a sound config");
    let world = World {
        clock: &|| 0.0,
        hub: &HubOptions::from_vars(|_| None),
        vars: &|_| None,
        available_memory: available,
    };
    let request = Request {
        to: Some(Stage::Train),
        ..Request::default()
    };
    let run = stillhouse::run(&config, request, &world, &mut |_| ControlFlow::Continue(()));
    run.map(|_| ()).map_err(|error| error.to_string())
}

#[test]
fn what_cannot_fit_is_refused_with_advice() {
    let error = begun(Some(80_000_000), &[]).expect_err("80 MB are too few");
    assert!(
        error.starts_with("train: student.train: training takes about "),
        "{error}"
    );
    assert!(error.contains("; 80 MB are free; "), "{error}");
    assert!(error.contains("method = \"lora\""), "{error}");
    assert!(error.contains("micro_batch_tokens = 256 saves "), "{error}");
    for available in [None, Some(1 << 40)] {
        let error = begun(available, &[]).expect_err("the data are missing");
        assert!(error.contains("no-such-file.jsonl"), "{error}");
    }
}

#[test]
fn a_target_that_the_model_does_not_have_is_told_before_anything_is_done() {
    let sets = [
        "student.train.method=\"lora\"",
        "student.train.lora.targets=[\"fc1\"]",
    ];
    let error = begun(None, &sets).expect_err("a Llama has no fc1");
    assert!(
        error.contains("the model has no `fc1`; it has q_proj, k_proj, "),
        "{error}"
    );
}
