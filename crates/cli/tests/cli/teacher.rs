//! A teacher that is asked: what it would cost, what it costs, and what is not asked again.

use std::path::Path;

use serde_json::Value;

use crate::common::{expect, small_config, stillhouse};
use crate::server::{Behaviour, Server};

const CANARY: &str = "sk-canary-0123456789";

/// The arguments of a run whose teacher is at `url`.
fn args(folder: &Path, url: &str, more: &[&str]) -> Vec<String> {
    let config = small_config(folder);
    let mut args = vec!["run".to_owned(), config.to_str().unwrap().to_owned()];
    let base_url = format!("teacher.base_url={url}");
    for set in [
        "teacher.kind=http",
        "teacher.model=large",
        &base_url,
        "teacher.samples=2",
    ] {
        args.extend(["--set".to_owned(), set.to_owned()]);
    }
    args.extend(more.iter().map(|arg| (*arg).to_owned()));
    args
}

fn run(args: &[String], code: i32) -> (String, String) {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let output = stillhouse(&args)
        .env("OPENAI_API_KEY", CANARY)
        .output()
        .unwrap();
    (
        String::from_utf8_lossy(&output.stdout).into_owned(),
        expect(&output, code),
    )
}

#[test]
fn a_teacher_is_asked_once_and_its_key_is_written_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(Behaviour {
        key: Some(CANARY.into()),
        ..Behaviour::default()
    });
    let dry = args(
        folder.path(),
        &server.url,
        &["--to", "teacher", "--dry-run"],
    );
    let (plan, _) = run(&dry, 0);
    assert!(
        plan.contains("0 in the ledger") && plan.contains("requests to send"),
        "{plan}"
    );
    assert!(plan.contains("cost       0.00 to 0.00 USD"), "{plan}");
    assert_eq!(server.seen().requests, 0);
    assert!(
        !folder.path().join("ledger.sqlite").exists(),
        "a dry run writes nothing"
    );

    let ask = args(folder.path(), &server.url, &["--to", "select"]);
    let (_, said) = run(&ask, 0);
    let rationales = std::fs::read_to_string(folder.path().join("out/rationales.jsonl")).unwrap();
    let first: Value = serde_json::from_str(rationales.lines().next().unwrap()).unwrap();
    assert_eq!(first["outcome"], "ok");
    assert_eq!(first["prompt"].as_str().unwrap().len(), 64);
    assert_eq!(first["label_was_shown"], false);
    let n = server.seen().requests;
    assert_eq!(n as usize, rationales.lines().count());
    assert!(
        said.contains(&format!("{n} rationales: 0 from the ledger, {n} asked now")),
        "{said}"
    );

    // Another run directory shares the ledger: everything is there.
    let elsewhere = folder.path().join("elsewhere");
    let other = args(
        folder.path(),
        &server.url,
        &["--to", "teacher", "--out", elsewhere.to_str().unwrap()],
    );
    let (_, said) = run(&other, 0);
    assert!(
        said.contains(&format!("{n} from the ledger, 0 asked now")),
        "{said}"
    );
    // Faster or slower is the same stage; another number of samples is not.
    let faster = args(
        folder.path(),
        &server.url,
        &["--to", "teacher", "--set", "teacher.concurrency=2"],
    );
    assert!(run(&faster, 0).1.contains("teacher   unchanged, skipped"));
    let more = args(
        folder.path(),
        &server.url,
        &[
            "--to",
            "teacher",
            "--set",
            "teacher.samples=3",
            "--dry-run",
            "--redo",
        ],
    );
    let (plan, _) = run(&more, 0);
    assert!(
        plan.contains(&format!("{n} in the ledger, {} requests to send", n / 2)),
        "{plan}"
    );
    assert_eq!(server.seen().requests, n);

    let mut open = vec![folder.path().to_owned()];
    while let Some(path) = open.pop() {
        for entry in std::fs::read_dir(path).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
                continue;
            }
            let bytes = std::fs::read(&path).unwrap();
            let found = bytes
                .windows(CANARY.len())
                .any(|window| window == CANARY.as_bytes());
            assert!(!found, "{} holds the key", path.display());
        }
    }
}

#[test]
fn a_teacher_that_cannot_be_asked_is_one_clear_error() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(Behaviour {
        key: Some("another".into()),
        ..Behaviour::default()
    });
    let check = |more: &[&str], code, expected: &str| {
        let (shown, said) = run(&args(folder.path(), &server.url, more), code);
        assert!(said.contains(expected), "expected `{expected}` in: {said}");
        assert!(!said.contains(CANARY) && !shown.contains(CANARY), "{said}");
    };
    check(
        &[],
        3,
        "status 401: Incorrect API key provided: Bearer [hidden]",
    );
    check(
        &["--set", "teacher.base_url=ftp://x"],
        2,
        "teacher.base_url: `ftp://x` must begin with",
    );
    check(
        &["--set", "teacher.prompt=nowhere"],
        2,
        "teacher.prompt: `nowhere` is neither a file nor one of",
    );
    check(
        &["--set", "teacher.prompt=few-shot-cot"],
        2,
        "teacher.shots: is not set",
    );
    check(
        &["--set", "teacher.api_key_var=NOT_SET_ANYWHERE"],
        2,
        "NOT_SET_ANYWHERE, which is not set",
    );
    check(&["--set", "teacher.model="], 2, "teacher.model: is not set");
}

#[test]
fn a_judge_rates_rationales_and_explanations_and_stands_in_the_report() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(Behaviour {
        text: Some(r#"{"faithful": 8, "complete": 6, "causal": 9}"#.into()),
        ..Behaviour::default()
    });
    let config = small_config(folder.path());
    let base_url = format!("teacher.base_url={}", server.url);
    let mut args = vec!["run".to_owned(), config.to_str().unwrap().to_owned()];
    for set in [
        &*base_url,
        "teacher.judge.model=strict",
        "evaluate.metrics=[\"accuracy\", \"judge\"]",
        "student.again.samples=2",
        "student.again.changes=[\"reordered\", \"repunctuated\"]",
    ] {
        args.extend(["--set".to_owned(), set.to_owned()]);
    }
    run(&args, 0);
    let out = folder.path().join("out");
    let read = |name: &str| std::fs::read_to_string(out.join(name)).unwrap();
    let judged = read("judgements.jsonl");
    assert_eq!(
        judged.lines().count(),
        read("rationales.jsonl").lines().count()
    );
    let first: Value = serde_json::from_str(judged.lines().next().unwrap()).unwrap();
    assert_eq!(first["source"], "strict");
    let metrics: Value = serde_json::from_str(&read("metrics.json")).unwrap();
    let system = |name: &str| {
        let all = metrics["systems"].as_array().unwrap();
        all.iter().find(|s| s["system"] == name).unwrap().clone()
    };
    assert!(system("student")["metrics"]["accuracy"]["n"].as_u64() > Some(0));
    assert!(system("student-vote")["metrics"]["accuracy"]["n"].as_u64() > Some(0));
    // A student of twelve steps may say nothing that could be judged.
    assert!(system("student")["metrics"]["judge"].is_object());
    let tests = read("examples.jsonl")
        .lines()
        .filter(|l| l.contains("\"test\""))
        .count();
    assert_eq!(read("samples.jsonl").lines().count(), 2 * tests);
    assert_eq!(read("changed.jsonl").lines().count(), 2 * tests);
    let page = read("report.md");
    for expected in [
        "## The judge's view of the rationales",
        "strict rates from 1 to 10",
        "## Consistency",
        "evidence in another order",
        "The vote is over 2 samples of each example",
        "Student, vote of samples",
    ] {
        assert!(page.contains(expected), "`{expected}` in: {page}");
    }
    // Everything is in the ledger and the run directory now.
    let n = server.seen().requests;
    assert!(run(&args, 0).1.contains("evaluate  unchanged, skipped"));
    assert_eq!(server.seen().requests, n);

    let dry = self::args(
        folder.path(),
        &server.url,
        &[
            "--set",
            "teacher.judge.max_tokens=64",
            "--dry-run",
            "--out",
            "nowhere",
        ],
    );
    let (plan, _) = run(&dry, 0);
    assert!(
        plan.contains("a judge of each usable answer, at most:"),
        "{plan}"
    );
}

#[test]
fn a_model_of_this_machine_can_be_the_teacher() {
    let folder = tempfile::tempdir().unwrap();
    let config = small_config(folder.path());
    let ask = |out: &str| {
        let out = folder.path().join(out);
        let mut args = vec!["run", config.to_str().unwrap(), "--to", "teacher"];
        args.extend(["--out", out.to_str().unwrap()]);
        for set in [
            "teacher.kind=model",
            "teacher.model=examples/quickstart/base",
            "teacher.samples=2",
            "teacher.splits=[\"validation\"]",
            "teacher.sampling.max_tokens=6",
        ] {
            args.extend(["--set", set]);
        }
        let args: Vec<String> = args.into_iter().map(str::to_owned).collect();
        let (_, said) = run(&args, 0);
        (
            std::fs::read_to_string(out.join("rationales.jsonl")).unwrap(),
            said,
        )
    };
    let (first, said) = ask("one");
    let n = first.lines().count();
    assert!(n > 20, "{said}");
    assert!(
        said.contains(&format!("{n} rationales: 0 from the ledger, {n} asked now")),
        "{said}"
    );
    let record: Value = serde_json::from_str(first.lines().next().unwrap()).unwrap();
    assert_eq!(record["source"], "examples/quickstart/base");
    assert_eq!(record["usage"]["completion_tokens"], 6);
    // The ledger knows its answers; another run writes the same records from them.
    let (second, said) = ask("two");
    assert!(
        said.contains(&format!("{n} from the ledger, 0 asked now")),
        "{said}"
    );
    assert_eq!(first, second);
}
