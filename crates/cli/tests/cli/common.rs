//! A small complete run for tests: the quickstart's claims, a random student of a few thousand
//! parameters, a few steps.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The repository's root, from which the examples' paths count.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap()
}

/// The command, run in the repository's root.
pub(crate) fn stillhouse(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stillhouse"));
    command
        .args(args)
        .current_dir(root())
        .env("HF_HUB_OFFLINE", "1");
    command
}

/// A config for a run that takes seconds, in `folder`.
pub(crate) fn small_config(folder: &Path) -> PathBuf {
    let path = folder.join("run.toml");
    let out = folder.join("out");
    let text = format!(
        r#"
        out = "{}"
        seed = 7
        [data]
        dataset = "datasets/quickstart.toml"
        path = "examples/quickstart/claims.jsonl"
        [select]
        method = {{ kind = "diverse", keep = 1, max_similarity = 0.5 }}
        [student]
        init = "random"
        architecture = {{ hidden_size = 32, layers = 2, heads = 2, kv_heads = 1, intermediate_size = 48, vocabulary = 512, context = 512 }}
        train = {{ steps = 12, batch_size = 4, checkpoint_seconds = 0.0, validate_per_epoch = 5 }}
        generate = {{ max_new_tokens = 12, repetition_penalty = 1.0 }}
        [evaluate]
        resamples = 200
        "#,
        out.display()
    );
    std::fs::write(&path, text).unwrap();
    path
}

/// What a command said on standard error, and that it ended as expected.
pub(crate) fn expect(output: &Output, code: i32) -> String {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    said
}

/// The records of a run that must not depend on how it was carried out.
pub(crate) const RECORDS: [&str; 12] = [
    "examples.jsonl",
    "references.jsonl",
    "candidates.jsonl",
    "data.json",
    "rationales.jsonl",
    "selection.jsonl",
    "steps.jsonl",
    "model/model.safetensors",
    "predictions.jsonl",
    "metrics.json",
    "pairs.jsonl",
    "report.md",
];

/// The contents of all records of a run directory.
pub(crate) fn records(out: &Path) -> Vec<(&'static str, Vec<u8>)> {
    let read = |name: &&'static str| {
        let path = out.join(name);
        (
            *name,
            std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display())),
        )
    };
    RECORDS.iter().map(read).collect()
}
