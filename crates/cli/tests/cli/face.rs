//! The command's words: help, config, completions.

use crate::common::{expect, stillhouse};

#[test]
fn help_tells_a_newcomer_what_to_type() {
    let output = stillhouse(&["--help"]).output().unwrap();
    insta::assert_snapshot!(String::from_utf8_lossy(&output.stdout));
}

#[test]
fn help_of_run_tells_how_to_stop_and_go_on() {
    let output = stillhouse(&["run", "--help"]).output().unwrap();
    insta::assert_snapshot!(String::from_utf8_lossy(&output.stdout));
}

#[test]
fn the_printed_defaults_can_be_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let defaults = stillhouse(&["config"]).output().unwrap().stdout;
    let path = folder.path().join("run.toml");
    std::fs::write(&path, &defaults).unwrap();
    let sets = [
        "--set",
        "out=o",
        "--set",
        "data.dataset=d",
        "--set",
        "data.path=p",
    ];
    let resolved = stillhouse(&[&["config", path.to_str().unwrap()], &sets[..]].concat())
        .output()
        .unwrap();
    expect(&resolved, 0);
    assert!(String::from_utf8_lossy(&resolved.stdout).contains("[student.train]"));
}

#[test]
fn arguments_that_are_wrong_end_with_2() {
    expect(&stillhouse(&["run"]).output().unwrap(), 2);
    expect(
        &stillhouse(&["run", "x.toml", "--from", "nowhere"])
            .output()
            .unwrap(),
        2,
    );
    let said = expect(
        &stillhouse(&[
            "run",
            "examples/quickstart/run.toml",
            "--from",
            "report",
            "--to",
            "data",
        ])
        .output()
        .unwrap(),
        2,
    );
    assert!(
        said.contains("stage report comes after --to data"),
        "{said}"
    );
}

#[test]
fn a_stage_cannot_begin_before_its_inputs_are_there() {
    let folder = tempfile::tempdir().unwrap();
    let config = crate::common::small_config(folder.path());
    let args = ["run", config.to_str().unwrap(), "--from", "train"];
    let said = expect(&stillhouse(&args).output().unwrap(), 2);
    assert!(
        said.contains("examples.jsonl is not there") && said.contains("begin earlier"),
        "{said}"
    );
}

#[test]
fn a_dry_run_says_what_it_would_do_and_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let config = crate::common::small_config(folder.path());
    let output = stillhouse(&["run", config.to_str().unwrap(), "--dry-run"])
        .output()
        .unwrap();
    expect(&output, 0);
    assert_eq!(
        String::from_utf8_lossy(&output.stdout)
            .matches("would run")
            .count(),
        7
    );
    assert!(!folder.path().join("out").exists());
}

#[test]
fn completions_know_the_stages() {
    for shell in ["bash", "zsh", "fish", "powershell"] {
        let output = stillhouse(&["completions", shell]).output().unwrap();
        expect(&output, 0);
        assert!(
            String::from_utf8_lossy(&output.stdout).contains("stillhouse"),
            "{shell}"
        );
    }
}

#[test]
fn json_events_are_json_lines_and_quiet_is_quiet() {
    let folder = tempfile::tempdir().unwrap();
    let config = crate::common::small_config(folder.path());
    let path = config.to_str().unwrap();
    let output = stillhouse(&["run", path, "--to", "select", "--json"])
        .output()
        .unwrap();
    expect(&output, 0);
    let text = String::from_utf8_lossy(&output.stdout);
    let events: Vec<serde_json::Value> = text
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    assert!(
        events
            .iter()
            .any(|e| e["event"] == "stage_finished" && e["stage"] == "select")
    );
    let output = stillhouse(&["run", path, "--to", "select", "--quiet"])
        .output()
        .unwrap();
    assert_eq!(expect(&output, 0), "");
    assert!(output.stdout.is_empty());
}
