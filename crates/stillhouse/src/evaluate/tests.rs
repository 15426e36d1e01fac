use std::path::Path;

use stillhouse_core::Result;

use super::read::{Columns, Gathered, Source};

/// Reads files of these contents; the last one is of references where there are two.
fn read(files: &[(&str, &str)], columns: &[&str]) -> Result<Gathered> {
    let folder = tempfile::tempdir().unwrap();
    let mut paths = Vec::new();
    for (name, content) in files {
        let path = folder.path().join(name);
        stillhouse_core::fs::write(&path, content).unwrap();
        paths.push(path);
    }
    let source = Source {
        path: paths[0].clone(),
        system: None,
    };
    let columns: Vec<String> = columns.iter().map(|c| (*c).to_owned()).collect();
    let references = paths.get(1).map(|path| path as &Path);
    Gathered::read(&[source], references, &Columns::new(&columns)?)
}

#[track_caller]
fn check(files: &[(&str, &str)], columns: &[&str], expected: &[(&str, &str, &str, &str)]) {
    let gathered = read(files, columns).unwrap();
    let input = gathered.input();
    let found: Vec<(&str, &str, &str, &str)> = input
        .predictions
        .iter()
        .map(|p| {
            let reference = input.references.get(&p.id).map_or("-", |r| r[0].as_str());
            (
                p.system.as_str(),
                p.id.as_str(),
                p.explanation.as_str(),
                reference,
            )
        })
        .collect();
    assert_eq!(found, expected);
}

#[track_caller]
fn check_error(files: &[(&str, &str)], columns: &[&str], expected: &str) {
    let error = read(files, columns).unwrap_err().to_string();
    assert!(error.ends_with(expected), "{error}");
}

#[test]
fn every_form_gives_the_same_pairs() {
    let expected = [
        ("student", "1", "It melts.", "Ice melts."),
        ("student", "2", "", "It floats."),
    ];
    let jsonl = r#"{"id": 1, "prediction": "It melts.", "reference": "Ice melts."}
{"id": "2", "prediction": "", "references": ["It floats.", "Ice floats."]}"#;
    check(&[("p.jsonl", jsonl)], &[], &expected);
    let csv = "id,prediction,references\n1,It melts.,Ice melts.\n2,,\"[\"\"It floats.\"\", \"\"b\"\"]\"\n";
    check(&[("p.csv", csv)], &[], &expected);
    check(
        &[
            ("p.txt", "It melts.\n\n"),
            ("r.txt", "Ice melts.\nIt floats.\n"),
        ],
        &[],
        &expected,
    );
}

#[test]
fn columns_are_mapped_and_several_predictions_are_systems() {
    let line = r#"{"key": 7, "out": {"a": "A.", "b": "B."}, "c": "C.", "gold": "G."}"#;
    check(
        &[("p.jsonl", line)],
        &["id=key", "prediction=/out/a,c", "reference=gold"],
        &[("/out/a", "7", "A.", "G."), ("c", "7", "C.", "G.")],
    );
}

#[test]
fn references_of_their_own_are_joined_by_id() {
    let predictions = r#"{"id": "b", "prediction": "B.", "system": "x"}
{"id": "a", "prediction": null, "system": "x"}"#;
    let references = "id,reference\na,RA\nb,RB\n";
    let files = [("p.jsonl", predictions), ("r.csv", references)];
    check(&files, &[], &[("x", "b", "B.", "RB")]);
    assert_eq!(read(&files, &[]).unwrap().input().examples.len(), 2);
}

#[test]
fn what_cannot_be_read_is_named_with_its_place() {
    let row = r#"{"id": 1, "prediction": "x", "reference": "y"}"#;
    check_error(
        &[("p.jsonl", r#"{"prediction": "x"}"#)],
        &[],
        "p.jsonl:1: `id` is missing; map it with --column id=NAME",
    );
    check_error(
        &[("p.jsonl", r#"{"id": 1, "output": "x"}"#)],
        &[],
        "p.jsonl:1: `prediction` is missing; the row has id, output. Map it with --column prediction=NAME",
    );
    check_error(
        &[("p.jsonl", &format!("{row}\n{row}"))],
        &[],
        "p.jsonl:2: id `1` of system `student` stands twice; ids must be unique in a system",
    );
    check_error(
        &[("p.txt", "a\nb\n"), ("r.txt", "a\n")],
        &[],
        "r.txt: has 1 lines, the predictions have 2",
    );
    check_error(
        &[("p.jsonl", r#"{"id": 1, "prediction": ["x"]}"#)],
        &[],
        r#"p.jsonl:1: `prediction` is ["x"], expected a text"#,
    );
    check_error(
        &[(
            "p.jsonl",
            r#"{"id": 1, "prediction": "x", "references": [1]}"#,
        )],
        &[],
        "p.jsonl:1: `references` is 1, expected a list of texts",
    );
    check_error(&[("p.jsonl", row)], &["output=x"], "reference_sentences");
}
