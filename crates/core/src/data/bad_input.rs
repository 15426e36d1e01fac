//! What a user's data can get wrong: each complaint names file, line, field, what was found and
//! what was expected.

use serde_json::{Value, json};

use super::{AnswerKind, AnswerOptions, Data, DataOptions, Dataset, Fields, Gold, load};
use crate::error::Result;
use crate::fs;

fn record(id: usize) -> Value {
    json!({"id": id, "claim": format!("claim number {id}"), "label": "SUPPORTS", "answer": "so #### 7",
           "options": ["A)one", "B)two", "C)six"], "correct": "B", "scores": {"yes": 1, "no": 0}})
}

fn dataset(answer: AnswerOptions, label: &str) -> Dataset {
    let mut dataset = Dataset {
        name: "test".into(),
        fields: Fields {
            id: "id".into(),
            claim: "claim".into(),
            label: label.into(),
            ..Fields::default()
        },
        prompt: "{{ claim }}".into(),
        ..Dataset::default()
    };
    if answer.kind == AnswerKind::Label {
        let names = ["supported", "refuted"].map(|name| (name.to_owned(), vec![]));
        dataset.labels = names.into();
        let spellings = dataset.labels.get_mut("supported").unwrap();
        spellings.push("SUPPORTS".into());
    }
    if answer.kind == AnswerKind::Option {
        dataset.fields.options = Some("options".into());
    }
    dataset.answer = answer;
    dataset
}

fn read(dataset: &Dataset, name: &str, text: &str) -> Result<Data> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, text).unwrap();
    let options = DataOptions {
        path,
        ..DataOptions::default()
    };
    load(dataset, &options, 7)
}

/// Record 731 of 800 is changed; the complaint must say so.
fn check(dataset: &Dataset, change: impl Fn(&mut Value), expected: &str) {
    let mut records: Vec<Value> = (1..=800).map(record).collect();
    change(&mut records[730]);
    let lines: Vec<String> = records.iter().map(Value::to_string).collect();
    let error = read(dataset, "claims.jsonl", &lines.join("\n"))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains(&format!("claims.jsonl:731: {expected}")),
        "{error}"
    );
    let list = serde_json::to_string_pretty(&records).unwrap();
    let error = read(dataset, "claims.json", &list).unwrap_err().to_string();
    assert!(
        error.contains(&format!(": record 731: {expected}")),
        "{error}"
    );
}

fn of(kind: AnswerKind, gold: Gold) -> AnswerOptions {
    AnswerOptions {
        kind,
        gold,
        marks: vec!["####".into()],
        ..AnswerOptions::default()
    }
}

#[test]
fn a_wrong_field_names_what_is_there() {
    let mut wrong = dataset(AnswerOptions::default(), "label");
    wrong.fields.claim = "/clam".into();
    let lines: Vec<String> = (1..9).map(|id| record(id).to_string()).collect();
    let error = read(&wrong, "claims.jsonl", &lines.join("\n"))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains(
            "claims.jsonl:1: `/clam` is missing; the fields there: `id`, `claim`, `label`, \
             `answer`, `options`, `correct`, `scores`"
        ),
        "{error}"
    );
}

#[test]
fn what_is_wrong_in_one_record_of_many_is_found_there() {
    let labels = dataset(AnswerOptions::default(), "label");
    check(
        &labels,
        |r| r["claim"] = json!({"text": "x"}),
        "`claim` is an object, expected a text",
    );
    check(
        &labels,
        |r| r["label"] = json!("MAYBE"),
        "label `MAYBE` is not one of: refuted, SUPPORTS",
    );
    let numbers = dataset(of(AnswerKind::Number, Gold::Text), "answer");
    check(
        &numbers,
        |r| r["answer"] = json!("#### 7 or rather #### 8"),
        "`answer` states two answers, `7` and `8`, expected one",
    );
    check(
        &numbers,
        |r| r["answer"] = json!("who knows"),
        "`answer` states no answer, expected a number",
    );
    let whole = dataset(of(AnswerKind::Number, Gold::Field), "answer");
    let lines = record(1).to_string();
    let error = read(&whole, "claims.jsonl", &lines)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("claims.jsonl:1: `answer` is `so #### 7`, expected a number"),
        "{error}"
    );
    let options = dataset(of(AnswerKind::Option, Gold::Field), "correct");
    check(
        &options,
        |r| r["correct"] = json!("D"),
        "`correct` is option `D`, which does not exist; expected A to C",
    );
    check(
        &options,
        |r| r["correct"] = json!("seven"),
        "`correct` is `seven`, expected an option's letter or text",
    );
    check(
        &options,
        |r| r["options"] = json!(["one"]),
        "`options` has 1 options, expected 2 to 26",
    );
    let best = dataset(of(AnswerKind::YesNo, Gold::BestKey), "scores");
    check(
        &best,
        |r| r["scores"] = json!({"yes": 1, "no": 1}),
        "`scores` gives its best score to two answers, expected one",
    );
    check(
        &best,
        |r| r["scores"] = json!({"yes": "1"}),
        "`scores/yes` is a text, expected a number",
    );
}

#[test]
fn a_broken_line_is_found_in_every_form() {
    let labels = dataset(AnswerOptions::default(), "label");
    let error = |name: &str, text: &str| read(&labels, name, text).unwrap_err().to_string();
    let mut lines: Vec<String> = (1..=800).map(|id| record(id).to_string()).collect();
    lines[730].pop();
    let found = error("claims.jsonl", &lines.join("\n"));
    assert!(
        found.contains("claims.jsonl:731: EOF while parsing"),
        "{found}"
    );

    let mut rows: Vec<String> = (1..=800)
        .map(|id| format!("{id},claim {id},SUPPORTS"))
        .collect();
    rows.insert(0, "id,claim,label".into());
    rows[730] = "730,claim 730".into();
    let found = error("claims.csv", &rows.join("\n"));
    let expected =
        "claims.csv:731: has 2 fields, expected the 3 of the header: `id`, `claim`, `label`";
    assert!(found.contains(expected), "{found}");
    rows[730] = "730,claim 730,MAYBE".into();
    let found = error("claims.csv", &rows.join("\n"));
    assert!(
        found.contains("claims.csv:731: label `MAYBE` is not one of"),
        "{found}"
    );
}

#[test]
fn values_that_should_stay_together_or_be_held_out_do() {
    let labels = dataset(AnswerOptions::default(), "label");
    let lines: Vec<String> = (0..90)
        .map(|id| json!({"id": id, "claim": format!("c{id}"), "label": "SUPPORTS", "article": format!("a{}", id % 30), "field": (["x", "y", "z"][id % 3])}).to_string())
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("claims.jsonl");
    fs::write(&path, lines.join("\n")).unwrap();
    let mut options = DataOptions {
        path,
        ..DataOptions::default()
    };
    options.split.group = vec!["article".into()];
    let data = load(&labels, &options, 7).unwrap();
    for example in &data.examples {
        let id: usize = example.id.parse().unwrap();
        assert_eq!(example.split, data.examples[id % 30].split, "{id}");
    }

    options.split.hold_out = Some(super::HoldOut {
        field: "field".into(),
        values: vec!["y".into()],
    });
    options.split.group = vec![];
    let data = load(&labels, &options, 7).unwrap();
    for example in &data.examples {
        let id: usize = example.id.parse().unwrap();
        assert_eq!(example.split == crate::record::Split::Test, id % 3 == 1);
    }
    options.split.hold_out.as_mut().unwrap().values = vec!["w".into()];
    let error = load(&labels, &options, 7).unwrap_err().to_string();
    assert!(
        error.starts_with("data.split.hold_out: no record has"),
        "{error}"
    );

    options.split.hold_out = None;
    let ids = folder.path().join("split.json");
    fs::write(
        &ids,
        r#"{"train": [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11], "test": ["20", 21]}"#,
    )
    .unwrap();
    options.split.ids = Some(ids.clone());
    let data = load(&labels, &options, 7).unwrap();
    assert_eq!(data.examples.len(), 14);
    assert_eq!(data.summary.skipped["in no list of data.split.ids"], 76);
    let test: Vec<&str> = data
        .examples
        .iter()
        .filter(|e| e.split == crate::record::Split::Test)
        .map(|e| e.id.as_str())
        .collect();
    assert_eq!(test, ["20", "21"]);
    fs::write(&ids, r#"{"train": [0, 0]}"#).unwrap();
    let error = load(&labels, &options, 7).unwrap_err().to_string();
    assert!(error.contains("split.json: names 0 twice"), "{error}");
}

#[test]
fn a_conversation_gives_claim_label_and_explanation() {
    let mut dataset = dataset(of(AnswerKind::Label, Gold::Text), "completion");
    dataset.shape = Some(super::Shape::Messages);
    dataset.fields.id = String::new();
    dataset.fields.claim = "prompt".into();
    dataset.fields.explanations = vec!["completion".into()];
    let turns = |n: usize| {
        let verdict = ["supported", "REFUTED"][n % 2];
        json!({"messages": [{"role": "user", "content": format!("Is it {n}?")},
                            {"role": "assistant", "content": format!("{verdict}: since {n}.")}]})
    };
    let lines: Vec<String> = (0..40).map(|n| turns(n).to_string()).collect();
    let data = read(&dataset, "chat.jsonl", &lines.join("\n")).unwrap();
    let example = &data.examples[3];
    assert_eq!(
        (example.claim.as_str(), example.label.as_str()),
        ("Is it 3?", "refuted")
    );
    assert_eq!(data.references[3].explanations, ["since 3."]);
}
