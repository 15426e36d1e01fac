//! One ledger, several processes, and files that are no ledger.

use super::*;
use crate::options::Sampling;
use crate::request::Question;

fn request(prompt: &str) -> Request {
    let question = Question {
        id: "1".into(),
        system: None,
        prompt: prompt.into(),
        schema: None,
    };
    Request::new(&question, "m", "http://a", &Sampling::default())
}

fn keep(ledger: &Ledger, request: &Request, sample: u32, text: &str) {
    let answer = Answer {
        text: text.into(),
        prompt_tokens: 5,
        completion_tokens: 7,
        cost: Some(0.5),
        ..Answer::default()
    };
    let kept = Kept {
        answer: &answer,
        end_point: "e",
        currency: Some("USD"),
        seconds: 0.1,
    };
    ledger.begin().unwrap();
    ledger.keep(&request.hash, sample, &kept).unwrap();
    ledger.commit().unwrap();
}

fn claim(ledger: &Ledger, request: &Request, sample: u32) -> Claim {
    ledger.begin().unwrap();
    let claim = ledger
        .claim(request, "rationale", sample, Some(1.0))
        .unwrap();
    ledger.count_sent(1).unwrap();
    ledger.commit().unwrap();
    claim
}

#[test]
fn an_answer_is_kept_once_and_found_by_every_run() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep/ledger.sqlite");
    let (one, two) = (
        Ledger::open(&path, "one").unwrap(),
        Ledger::open(&path, "two").unwrap(),
    );
    let request = request("p");
    assert_eq!(claim(&one, &request, 0), Claim::Ours);
    assert_eq!(claim(&two, &request, 0), Claim::Held);
    assert_eq!(claim(&two, &request, 1), Claim::Ours);
    keep(&one, &request, 0, "first");
    assert_eq!(claim(&two, &request, 0), Claim::Answered);
    keep(&two, &request, 0, "second");
    assert_eq!(two.answer(&request.hash, 0).unwrap().unwrap().text, "first");
    let spent = one.spent().unwrap();
    assert_eq!(
        (spent.answers, spent.requests, spent.prompt_tokens),
        (1, 1, 5)
    );
    assert!((spent.cost - 0.5).abs() < 1e-12);
    assert_eq!(two.spent().unwrap().answers, 0);
}

#[test]
fn what_a_dead_process_had_in_flight_is_counted_and_asked_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.sqlite");
    let request = request("p");
    let dead = Ledger::open(&path, "run").unwrap();
    claim(&dead, &request, 0);
    claim(&dead, &request, 1);
    keep(&dead, &request, 1, "kept");
    let living = Ledger::open(&path, "run").unwrap();
    assert_eq!(claim(&living, &request, 0), Claim::Held);
    // As a kill leaves it: the lock is gone, the row is open.
    let lock = dead.sitting.as_ref().unwrap().lock.clone();
    let mut dead = std::mem::ManuallyDrop::new(dead);
    dead.sitting.take();
    assert!(lock.exists());
    assert_eq!(claim(&living, &request, 0), Claim::Ours);
    assert_eq!(claim(&living, &request, 1), Claim::Answered);
    let spent = living.spent().unwrap();
    assert_eq!(spent.losses, BTreeMap::from([("killed".into(), 1)]));
    assert!((spent.lost_cost - 1.0).abs() < 1e-12);
}

#[test]
fn another_database_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other.sqlite");
    fs::write(
        &path,
        "no database, but long enough for a header of one".repeat(9),
    )
    .unwrap();
    let error = Ledger::open(&path, "run").unwrap_err().to_string();
    assert!(
        error.contains("other.sqlite: is no SQLite database"),
        "{error}"
    );
    let path = folder.path().join("foreign.sqlite");
    Connection::open(&path)
        .unwrap()
        .execute_batch("CREATE TABLE t (x)")
        .unwrap();
    let error = Ledger::open(&path, "run").unwrap_err().to_string();
    assert!(error.contains("is a database of something else"), "{error}");
    let path = folder.path().join("newer.sqlite");
    Connection::open(&path)
        .unwrap()
        .execute_batch("PRAGMA user_version = 9")
        .unwrap();
    let error = Ledger::open(&path, "run").unwrap_err().to_string();
    assert!(error.contains("is of version 9"), "{error}");
}
