//! `stillhouse score`: prompts and completions in, log-probabilities and ranks out.

use serde_json::Value;

use crate::common::{expect, root, stillhouse};

const TEXTS: &str = "fixtures/scores/texts.jsonl";

fn score(args: &[&str]) -> (String, String) {
    score_with(args, None)
}

fn score_with(args: &[&str], cpu: Option<&str>) -> (String, String) {
    let mut all = vec!["score"];
    all.extend(args);
    let mut command = stillhouse(&all);
    if let Some(cpu) = cpu {
        command.env("STILLHOUSE_CPU", cpu);
    }
    let output = command.output().unwrap();
    let said = expect(&output, 0);
    (String::from_utf8(output.stdout).unwrap(), said)
}

#[test]
fn the_numbers_are_those_of_pytorch_whatever_the_processor_has() {
    for cpu in ["avx512", "avx2", "plain"] {
        check_numbers(cpu);
    }
    let args = ["score", "fixtures/decoders/tied", TEXTS];
    let output = stillhouse(&args).env("STILLHOUSE_CPU", "mmx").output();
    let said = expect(&output.unwrap(), 2);
    assert!(
        said.contains("`mmx`; expected avx512, avx2 or plain"),
        "{said}"
    );
}

fn check_numbers(cpu: &str) {
    let golden = std::fs::read_to_string(root().join("fixtures/scores/golden.json")).unwrap();
    let golden: Value = serde_json::from_str(&golden).unwrap();
    let (lines, _) = score_with(&["fixtures/decoders/tied", TEXTS, "--json"], Some(cpu));
    let expected = golden["tied"].as_array().unwrap();
    assert_eq!(lines.lines().count(), expected.len());
    for (line, expected) in lines.lines().zip(expected) {
        let found: Value = serde_json::from_str(line).unwrap();
        for key in ["id", "token_ids", "ranks"] {
            assert_eq!(found[key], expected[key], "{key}");
        }
        let numbers = |row: &Value| {
            let mut all: Vec<f64> = serde_json::from_value(row["logprobs"].clone()).unwrap();
            all.push(row["perplexity"].as_f64().unwrap().ln());
            all
        };
        for (a, b) in numbers(&found).iter().zip(numbers(expected)) {
            assert!((a - b).abs() < 1e-4, "{a}, expected {b}: {line}");
        }
    }
}

#[test]
fn a_table_ends_with_the_mean_perplexity_and_an_adapter_changes_it() {
    let (plain, _) = score(&["fixtures/decoders/tied", TEXTS]);
    let mut lines = plain.lines();
    assert_eq!(
        lines.next().unwrap().split_whitespace().collect::<Vec<_>>(),
        ["id", "tokens", "log-likelihood", "perplexity"]
    );
    let last = lines.last().unwrap();
    assert!(
        last.starts_with("mean perplexity of 6 completions: "),
        "{plain}"
    );
    let adapter = "fixtures/decoders/tied/adapter";
    let (adapted, _) = score(&["fixtures/decoders/tied", TEXTS, "--adapter", adapter]);
    assert_ne!(plain, adapted);
}

#[test]
fn a_text_that_cannot_be_scored_is_named_and_the_others_are_scored() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("texts.csv");
    let long = "x".repeat(200);
    std::fs::write(
        &path,
        format!("id,prompt,completion\n1,Ice,\n2,Ice, floats\n3,{long},yes\n"),
    )
    .unwrap();
    let path = path.to_str().unwrap();
    let (lines, said) = score(&["fixtures/decoders/tied", path, "--json"]);
    let lines: Vec<Value> = lines
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    assert_eq!(lines[0]["error"], "the completion has no token to score");
    assert_eq!(lines[1]["token_ids"].as_array().unwrap().len(), 7);
    assert_eq!(lines[2]["error"], "has 203 tokens, the context is 128");
    assert!(
        said.contains("warning: `3` is not scored: has 203 tokens"),
        "{said}"
    );
}

#[test]
fn a_bad_row_is_an_error_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("texts.jsonl");
    let check = |text: &str, expected: &str| {
        std::fs::write(&path, text).unwrap();
        let args = ["score", "fixtures/decoders/tied", path.to_str().unwrap()];
        let said = expect(&stillhouse(&args).output().unwrap(), 1);
        assert!(said.contains(expected), "{said}");
    };
    let good = r#"{"id": 1, "prompt": "a", "completion": "b"}"#;
    check(
        &format!("{good}\n{{\"id\": 2, \"prompt\": \"a\"}}\n"),
        "texts.jsonl:2: has no `completion`; each row needs id, prompt and completion",
    );
    check(
        r#"{"id": 1, "prompt": ["a"], "completion": "b"}"#,
        "texts.jsonl:1: `prompt` is not a text",
    );
    check("", "holds no row; each needs id, prompt and completion");
}
