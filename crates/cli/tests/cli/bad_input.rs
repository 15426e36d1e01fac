//! What goes wrong is one clear error with its place and its exit code, and nothing is lost.

use std::path::Path;

use crate::common::{expect, small_config, stillhouse};

/// Runs a small config with `sets` over it and holds the error against `expected`.
fn check(sets: &[&str], code: i32, expected: &str) {
    let folder = tempfile::tempdir().unwrap();
    let config = small_config(folder.path());
    let mut args = vec!["run", "--quiet", config.to_str().unwrap()];
    for set in sets {
        args.extend(["--set", set]);
    }
    let said = expect(&stillhouse(&args).output().unwrap(), code);
    assert!(said.contains(expected), "expected `{expected}` in: {said}");
    let errors = said.lines().filter(|line| line.starts_with("error: "));
    assert_eq!(errors.count(), 1, "{said}");
}

fn write(folder: &Path, name: &str, bytes: impl AsRef<[u8]>) -> String {
    let path = folder.join(name);
    std::fs::write(&path, bytes).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let good =
        std::fs::read_to_string(crate::common::root().join("examples/quickstart/claims.jsonl"))
            .unwrap();
    let data =
        |name: &str, bytes: &[u8]| format!("data.path={}", write(folder.path(), name, bytes));
    check(
        &["data.path=nowhere.jsonl"],
        2,
        "nowhere.jsonl: No such file",
    );
    check(
        &["data.dataset=nowhere.toml"],
        2,
        "nowhere.toml: No such file",
    );
    check(
        &["data.path=examples"],
        1,
        "examples: is a folder, expected a file",
    );
    check(
        &[&data("empty.jsonl", b"")],
        1,
        "empty.jsonl: holds no usable record",
    );
    check(
        &[&data("cut.jsonl", &good.as_bytes()[..good.len() / 2])],
        1,
        "was it cut?",
    );
    check(
        &[&data("latin.jsonl", b"{\"id\": \"caf\xe9\"}\n")],
        1,
        "latin.jsonl:1: not valid UTF-8",
    );
    check(
        &[&data(
            "long.jsonl",
            format!("\"{}\"\n", "x".repeat(50 << 20)).as_bytes(),
        )],
        1,
        "long.jsonl:1: the line is longer than 16 MiB",
    );
    let first = good.lines().next().unwrap();
    check(
        &[&data(
            "twice.jsonl",
            format!("{first}\n{first}\n").as_bytes(),
        )],
        1,
        "twice.jsonl:2: id `A-001` was already used in line 1",
    );
    let label = first.replace(
        "\"label\": \"supported\", \"rationales\"",
        "\"label\": \"perhaps\", \"rationales\"",
    );
    check(
        &[&data("label.jsonl", label.as_bytes())],
        1,
        "label.jsonl:1: label `perhaps` is not one of",
    );
    let wrong = write(folder.path(), "wrong.toml", "name = \"x\"\nfields = 3\n");
    check(&[&format!("data.dataset={wrong}")], 2, "line 2, column");
}

#[test]
fn options_that_cannot_work_are_named() {
    check(&["student.train.epohs=2"], 2, "unknown field `epohs`");
    check(
        &["student.train.learning_rate=0"],
        2,
        "student.train.learning_rate",
    );
    check(&["select.method.keep=0"], 2, "select.method.keep: is 0");
    check(&["data.split.test=1.5"], 2, "data.split.test: is 1.5");
    check(
        &["student.init=pretrained", "student.model=no/such-model"],
        3,
        "no/such-model",
    );
    check(
        &["student.init=pretrained", "student.model=datasets"],
        1,
        "datasets",
    );
}

#[test]
fn what_does_not_fit_the_context_is_counted_or_named() {
    check(
        &["student.context_tokens=40"],
        1,
        "no rationale is left for the training split",
    );
    check(
        &["student.generate.max_new_tokens=510"],
        1,
        "lower student.generate.max_new_tokens",
    );
}

#[test]
fn a_bad_record_can_be_left_out_and_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let config = small_config(folder.path());
    let good =
        std::fs::read_to_string(crate::common::root().join("examples/quickstart/claims.jsonl"))
            .unwrap();
    let claims = write(
        folder.path(),
        "claims.jsonl",
        format!("{good}{{\"id\": \"bare\"}}\n"),
    );
    let set = format!("data.path={claims}");
    let args = [
        "run",
        config.to_str().unwrap(),
        "--to",
        "select",
        "--set",
        &set,
        "--set",
        "data.skip_bad=true",
    ];
    let said = expect(&stillhouse(&args).output().unwrap(), 0);
    assert!(
        said.contains("records left out: 1 x missing or wrong field; first: line 271"),
        "{said}"
    );
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    check(&["out=/sys/no-folder"], 3, "/sys/no-folder");
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), "file", "");
    check(&[&format!("out={file}")], 3, "file");
}

#[test]
fn a_disk_that_takes_no_more_is_an_error_and_no_half_file_stays() {
    let folder = tempfile::tempdir().unwrap();
    let config = small_config(folder.path());
    let out = folder.path().join("out");
    // No file may grow beyond 300 blocks of 1 KiB: the third record file of the data stage is larger.
    let shell = "trap '' XFSZ; ulimit -f 300; exec \"$@\"";
    let limited = |stage| {
        let command = stillhouse(&["run", "--quiet", config.to_str().unwrap(), "--to", stage]);
        let mut limited = std::process::Command::new("bash");
        limited
            .args(["-c", shell, "bash"])
            .arg(command.get_program())
            .args(command.get_args())
            .current_dir(crate::common::root());
        limited.output().unwrap()
    };
    let said = expect(&limited("data"), 3);
    assert!(said.contains("references.jsonl: File too large"), "{said}");
    assert!(!out.join("examples.jsonl").exists() && !out.join("references.jsonl").exists());
    expect(
        &stillhouse(&["run", "--quiet", config.to_str().unwrap(), "--to", "data"])
            .output()
            .unwrap(),
        0,
    );
    assert!(out.join("references.jsonl").exists());
}
