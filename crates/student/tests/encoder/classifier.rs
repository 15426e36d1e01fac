//! Classifiers of every family against `PyTorch`.

use stillhouse_core::fs;
use stillhouse_student::encoder::{Classifier, NliLabels};

use crate::golden::{Golden, assert_near, fixture, go_on};

#[test]
fn probabilities_of_every_family_equal_those_of_pytorch() {
    let pairs: Vec<(String, String)> = fs::read_json(&fixture("encoders/pairs.json")).unwrap();
    let pairs: Vec<(&str, &str)> = pairs
        .iter()
        .map(|(a, b)| (a.as_str(), b.as_str()))
        .collect();
    for family in ["bert-nli", "roberta-nli", "mpnet-nli"] {
        let classifier = Classifier::load(&fixture("encoders").join(family), family).unwrap();
        let golden = Golden::at(&format!("encoders/{family}.golden.safetensors"));
        let found = classifier.classify(&pairs, &mut go_on).unwrap();
        for (i, found) in found.iter().enumerate() {
            assert_near(found, &golden.numbers(&i.to_string()));
        }
    }
}

#[test]
fn labels_are_the_folders_and_nli_is_found_among_them() {
    let classifier = Classifier::load(&fixture("encoders/bert-nli"), "hub/bert-nli").unwrap();
    assert!(
        classifier.name().starts_with("bert-nli@"),
        "{}",
        classifier.name()
    );
    assert_eq!(
        classifier.labels(),
        ["CONTRADICTION", "neutral", "Entailment"]
    );
    let expected = NliLabels {
        entailment: 2,
        neutral: 1,
        contradiction: 0,
    };
    assert_eq!(classifier.nli().unwrap(), expected);
    assert_eq!(classifier.max_tokens(), 40);
}

#[test]
fn a_folder_without_a_usable_head_is_refused() {
    check(
        r#""0": "a", "1": "b", "2": "c""#,
        "expected entailment, neutral and contradiction",
    );
    check(r#""0": "a", "2": "b""#, "does not number its labels");
    check(r#""0": "a""#, "names 1 labels");
    let error = Classifier::load(&fixture("encoders/bert"), "bert").unwrap_err();
    assert!(
        error.to_string().contains("id2label names 0 labels"),
        "{error}"
    );
}

/// A copy of a classifier with other labels: it fails at loading, or where NLI is asked for.
fn check(labels: &str, expected: &str) {
    let folder = tempfile::tempdir().unwrap();
    let from = fixture("encoders/bert-nli");
    for (name, _) in fs::list(&from).unwrap() {
        fs::write(
            &folder.path().join(&name),
            fs::read(&from.join(&name)).unwrap(),
        )
        .unwrap();
    }
    let path = folder.path().join("config.json");
    let mut config: serde_json::Value = fs::read_json(&path).unwrap();
    config["id2label"] = serde_json::from_str(&format!("{{{labels}}}")).unwrap();
    fs::write_json(&path, &config).unwrap();
    let error = Classifier::load(folder.path(), "x")
        .and_then(|c| c.nli())
        .unwrap_err();
    assert!(error.to_string().contains(expected), "{error}");
}
