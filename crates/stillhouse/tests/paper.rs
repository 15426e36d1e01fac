//! The paper's three runs on Climate-FEVER differ in the student alone.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use stillhouse::config::{Config, RunConfig};
use stillhouse::{HubOptions, Request, Stage, World};
use stillhouse_core::{fs, jsonl, record::Example};
use stillhouse_student::train::{Base, Method};

const RUNS: [(&str, &str); 3] = [
    ("tinyllama", "TinyLlama/TinyLlama-1.1B-Chat-v1.0"),
    ("phi-2", "microsoft/phi-2"),
    ("gemma-2-2b", "google/gemma-2-2b"),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn load(name: &str, sets: &[String]) -> Config {
    let path = root().join(format!("examples/climate-fever/{name}.toml"));
    Config::load(&path, sets).expect("the example is a sound config")
}

#[test]
fn they_train_as_the_paper_says() {
    for (name, model) in RUNS {
        let run = load(name, &[]).run;
        let train = &run.student.train;
        assert_eq!(run.student.model, model);
        assert_eq!((train.method, train.base), (Method::Lora, Base::Nf4));
        assert!((train.epochs - 10.0).abs() < 1e-9 && train.steps.is_none());
        assert!((train.learning_rate - 2e-5).abs() < 1e-12);
        assert_eq!(train.batch_size, 8);
        assert_eq!(
            run.student.context_tokens, None,
            "as long as the model reads"
        );
        train.check().expect("the options are sound");
    }
}

#[test]
fn nothing_but_the_student_differs() {
    let same = |name: &str| {
        let run = load(name, &[]).run;
        RunConfig {
            out: PathBuf::new(),
            student: stillhouse_student::StudentOptions {
                model: String::new(),
                ..run.student
            },
            ..run
        }
    };
    let first = same(RUNS[0].0);
    for (name, _) in RUNS {
        assert_eq!(same(name), first, "{name}");
    }
}

#[test]
fn they_see_the_same_examples_in_the_same_splits() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let records: Vec<String> = (0..60).map(record).collect();
    let claims = folder.path().join("claims.jsonl");
    fs::write(&claims, records.join("\n")).expect("it can be written");
    let splits = |name: &str| -> Vec<String> {
        let out = folder.path().join(name);
        let set = |key: &str, path: &Path| format!("{key}={:?}", path.display().to_string());
        let sets = [
            set("out", &out),
            set("data.path", &claims),
            set("data.dataset", &root().join("datasets/climate-fever.toml")),
        ];
        let request = Request {
            to: Some(Stage::Data),
            ..Request::default()
        };
        let world = World {
            clock: &|| 0.0,
            hub: &HubOptions::from_vars(|_| None),
            vars: &|_| None,
            available_memory: None,
        };
        let config = load(name, &sets);
        stillhouse::run(&config, request, &world, &mut |_| ControlFlow::Continue(()))
            .expect("the data can be read");
        let examples: Vec<Example> =
            jsonl::read(&out.join("examples.jsonl")).expect("the stage wrote them");
        let said = examples.iter();
        said.map(|e| format!("{} {:?}", e.id, e.split)).collect()
    };
    let first = splits(RUNS[0].0);
    assert_eq!(first.len(), 60);
    for (name, _) in RUNS {
        assert_eq!(splits(name), first, "{name}");
    }
}

/// A record in the form of Climate-FEVER, of words made up here.
fn record(number: usize) -> String {
    let label = ["SUPPORTS", "REFUTES", "NOT_ENOUGH_INFO", "DISPUTED"][number % 4];
    let claim = format!(
        "Valley {number} has {} frosty nights each winter.",
        number * 7
    );
    let evidence = format!("Nights below zero were counted in valley {number}.");
    format!(
        r#"{{"claim_id": "{number}", "claim": "{claim}", "claim_label": "{label}", "evidences": [{{"evidence_id": "V:{number}", "evidence": "{evidence}"}}]}}"#
    )
}
