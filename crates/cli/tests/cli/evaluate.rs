//! `stillhouse evaluate`: files in, tables out.

use std::path::{Path, PathBuf};

use crate::common::{expect, stillhouse};

const LEXICAL: &str = r#"metrics=["bleu", "rouge", "meteor", "chrf"]"#;

fn file(folder: &Path, name: &str, text: &str) -> String {
    let path: PathBuf = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_string_lossy().into_owned()
}

fn evaluate(args: &[&str]) -> String {
    let mut all = vec!["evaluate"];
    all.extend(args);
    all.extend(["--set", LEXICAL, "--set", "resamples=200", "--seed", "7"]);
    let output = stillhouse(&all).output().unwrap();
    expect(&output, 0);
    String::from_utf8(output.stdout).unwrap()
}

fn systems(folder: &Path) -> (String, String) {
    let a = "id,out,gold\n1,Ice melts in the sun.,Ice melts in the sun.\n2,Water rises fast.,The water rises.\n3,,It is cold.\n";
    let b = r#"[{"id": 1, "out": "Sun melts it.", "gold": "Ice melts in the sun."},
                {"id": 2, "out": "The water rises.", "gold": "The water rises."},
                {"id": 3, "out": "It is cold here.", "gold": "It is cold."}]"#;
    (file(folder, "a.csv", a), file(folder, "b.json", b))
}

const COLUMNS: [&str; 4] = ["--column", "prediction=out", "--column", "reference=gold"];

#[test]
fn several_files_are_systems_with_paired_tests() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = systems(folder.path());
    let mut args = vec![a.as_str(), "--also", &b, "--json"];
    args.extend(COLUMNS);
    let all: serde_json::Value = serde_json::from_str(&evaluate(&args)).unwrap();
    let names: Vec<&str> = all["systems"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s["system"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["a", "b", "other-reference"]);
    let first = &all["systems"][0];
    assert_eq!(
        (
            &first["metrics"]["meteor"]["n"],
            &first["outcomes"]["empty"]
        ),
        (&3.into(), &1.into())
    );
    let difference = all["differences"]
        .as_array()
        .unwrap()
        .iter()
        .find(|d| d["metric"] == "rougeL" && d["minus"] == "b");
    assert!(difference.unwrap()["tests"]["permutation"]["p"].is_number());
}

#[test]
fn tables_come_in_four_forms() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = systems(folder.path());
    let table = |form: &[&str]| {
        let mut args = vec![a.as_str(), "--also", &b];
        args.extend(COLUMNS);
        args.extend(form);
        evaluate(&args)
    };
    assert!(table(&[]).contains("rougeL"));
    assert!(table(&["--markdown"]).contains("| rougeL |"));
    assert!(table(&["--latex"]).contains("\\toprule"));
    let csv = table(&["--csv"]);
    assert!(csv.lines().any(|line| line.starts_with("rougeL,")), "{csv}");
    let both = stillhouse(&["evaluate", &a, "--csv", "--latex"])
        .output()
        .unwrap();
    expect(&both, 2);
}

#[test]
fn ratings_of_people_are_joined() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = systems(folder.path());
    let ratings = "id,system,rating\n1,a,3\n1,b,1\n2,a,1\n2,b,3\n2,b,2\n3,b,NaN\n";
    let ratings = file(folder.path(), "ratings.csv", ratings);
    let mut args = vec![a.as_str(), "--also", &b, "--human", &ratings, "--json"];
    args.extend(COLUMNS);
    let all: serde_json::Value = serde_json::from_str(&evaluate(&args)).unwrap();
    let metrics = all["agreement"]["metrics"].as_array().unwrap();
    let rouge = metrics.iter().find(|m| m["metric"] == "rougeL").unwrap();
    assert_eq!(
        (&rouge["n"], &rouge["pair_accuracy"]["value"]),
        (&4.into(), &1.0.into())
    );
}

#[test]
fn a_judge_s_judgements_are_ratings_too() {
    let folder = tempfile::tempdir().unwrap();
    let lines = |of: &dyn Fn(usize) -> String| (0..4).map(of).collect::<String>();
    let texts = lines(&|n| {
        let words = "water ".repeat(n + 1);
        format!("{{\"id\": \"e/{n}\", \"text\": \"{words}\", \"reference\": \"water falls\"}}\n")
    });
    let texts = file(folder.path(), "rationales.jsonl", &texts);
    let judged = lines(&|n| {
        let ratings = if n == 3 {
            String::new()
        } else {
            format!("\"faithful\": {}, \"causal\": 9", 8 - n)
        };
        format!("{{\"rationale\": \"e/{n}\", \"ratings\": {{{ratings}}}}}\n")
    });
    let judged = file(folder.path(), "judgements.jsonl", &judged);
    let args = [
        texts.as_str(),
        "--column",
        "prediction=text",
        "--human",
        &judged,
        "--json",
    ];
    let all: serde_json::Value = serde_json::from_str(&evaluate(&args)).unwrap();
    let found = &all["agreement"];
    assert_eq!(
        (
            &found["n"],
            &found["unscored_ratings"]["the rating is empty"]
        ),
        (&3.into(), &1.into())
    );
}

#[test]
fn a_stress_table_says_how_metrics_react() {
    let folder = tempfile::tempdir().unwrap();
    let texts = r#"{"id": 1, "reference": "The field flooded because the dam broke. It cost 300 pounds."}
{"id": 2, "reference": "Crops failed because of the drought. Prices rose by 20 percent."}"#;
    let texts = file(folder.path(), "texts.jsonl", texts);
    let shown = evaluate(&[&texts, "--stress"]);
    for word in ["identical", "reverse", "numbers", "rouge1", "AUC"] {
        assert!(shown.contains(word), "{word} is missing:\n{shown}");
    }
}

#[test]
fn what_is_wrong_with_a_file_is_said_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let check = |name: &str, text: &str, args: &[&str], code: i32, what: &str| {
        let path = file(folder.path(), name, text);
        let mut all = vec!["evaluate", &path, "--set", LEXICAL];
        all.extend(args);
        let said = expect(&stillhouse(&all).output().unwrap(), code);
        assert!(said.contains(what), "{said}");
    };
    check(
        "a.jsonl",
        "{\"id\": 1, \"prediction\": \"x\"}\n",
        &[],
        1,
        "holds no reference",
    );
    check(
        "b.csv",
        "id,prediction,reference\n1,a,b\n1,a,b\n",
        &[],
        1,
        "b.csv:3: id `1` of system `student` stands twice",
    );
    check(
        "c.csv",
        "id,answer,reference\n1,a,b\n",
        &[],
        1,
        "c.csv:2: `prediction` is missing; the row has id, answer, reference",
    );
    check(
        "d.csv",
        "id,prediction,reference\n1,a,b\n",
        &["--column", "output=x"],
        1,
        "names no field",
    );
    check("e.xyz", "1", &[], 1, "its extension names no form");
}
