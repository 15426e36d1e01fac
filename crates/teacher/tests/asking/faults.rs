//! Whatever goes wrong, each sample is answered or counted, and none is paid twice.

use std::collections::BTreeSet;

use stillhouse_core::record::Outcome;
use stillhouse_teacher::By;

use crate::server::{ALL, Behaviour, Fault, Server};
use crate::world::{examples, options, run, spent};

/// How many requests the long tests make.
pub(crate) fn n_requests() -> usize {
    std::env::var("STILLHOUSE_REQUESTS").map_or(300, |n| n.parse().unwrap())
}

fn behaviour(faults: &[Fault], share: f64) -> Behaviour {
    Behaviour {
        faults: faults.to_vec(),
        share,
        ..Behaviour::default()
    }
}

#[test]
fn every_fault_at_once_loses_nothing_and_pays_nothing_twice() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = folder.path().join("ledger.sqlite");
    let n = n_requests() / 4;
    let server = Server::start(behaviour(&ALL, 0.1));
    let examples = examples(n);
    let mut options = options(&server.url, 4);
    options.timeouts.answer_seconds = 1.0;
    options.timeouts.first_byte_seconds = 1.0;
    let outcome = run(&ledger, &examples, &options, &[], |_| false);
    let asked = outcome.asked.unwrap();
    assert_eq!(
        (asked.wanted, asked.from_ledger, asked.failed.len()),
        (4 * n, 0, 0)
    );

    // Each answer stands at the question that it answers, and no response came in twice.
    let mut seen = BTreeSet::new();
    for rationale in &outcome.rationales {
        match rationale.outcome {
            Outcome::Ok => {
                let number = rationale.example.trim_start_matches('e');
                let about = format!("<claim {number}>");
                assert!(
                    rationale.text.contains(&about),
                    "{} has {}",
                    rationale.id,
                    rationale.text
                );
                assert!(
                    seen.insert(rationale.text.clone()),
                    "twice: {}",
                    rationale.text
                );
            }
            Outcome::Truncated | Outcome::Refused | Outcome::Empty => {}
            other => panic!("{} is {other:?}", rationale.id),
        }
    }
    let (served, spent) = (server.seen(), spent(&ledger));
    let lost: u64 = spent.losses.values().sum();
    assert_eq!(spent.answers, 4 * n as u64);
    assert_eq!(
        served.whole, spent.answers,
        "each whole answer is in the ledger, once"
    );
    assert!(served.paid <= spent.answers + lost, "{served:?} {spent:?}");
    assert_eq!(served.requests, spent.requests);
    if n > 1000 {
        println!(
            "{} in {:.1} s; server {:?}; spent {spent:?}",
            4 * n,
            outcome.seconds,
            (served.requests, served.by_fault)
        );
    }

    // Everything is there now: no request is made, and the records are the same.
    let again = run(&ledger, &examples, &options, &[], |_| false);
    assert_eq!(again.asked.unwrap().from_ledger, 4 * n);
    assert_eq!(again.rationales, outcome.rationales);
    assert_eq!(server.seen().requests, served.requests);
}

#[test]
fn each_fault_alone_is_got_over() {
    for fault in ALL {
        let folder = tempfile::tempdir().unwrap();
        let ledger = folder.path().join("ledger.sqlite");
        let server = Server::start(behaviour(&[fault], 0.3));
        let mut options = options(&server.url, 1);
        options.timeouts.answer_seconds = 0.5;
        let outcome = run(&ledger, &examples(20), &options, &[], |_| false);
        assert_eq!(outcome.asked.unwrap().failed, [], "{fault:?}");
        assert_eq!(server.seen().whole, 20, "{fault:?}");
    }
}

#[test]
fn what_never_comes_is_counted_and_may_stop_the_stage() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = folder.path().join("ledger.sqlite");
    let server = Server::start(behaviour(&[Fault::Rejected], 0.2));
    let mut options = options(&server.url, 1);
    let error = run(&ledger, &examples(60), &options, &[], |_| false)
        .asked
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("of 60 answers did not come")
            && error.contains("status 400: something is wrong"),
        "{error}"
    );
    options.retry.max_failed = 0.5;
    let outcome = run(&ledger, &examples(60), &options, &[], |_| false);
    let asked = outcome.asked.unwrap();
    let failed = outcome
        .rationales
        .iter()
        .filter(|r| r.outcome == Outcome::Failed)
        .count();
    assert_eq!(failed, asked.failed.len());
    assert_eq!(outcome.rationales.len(), 60);
}

#[test]
fn an_end_point_that_cannot_work_ends_the_stage_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = folder.path().join("ledger.sqlite");
    let check = |options: &stillhouse_teacher::TeacherOptions, expected: &str| {
        let error = run(&ledger, &examples(50), options, &[], |_| false)
            .asked
            .unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    };
    // Nobody listens on this port: it was ours a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let mut nobody = options(&format!("http://127.0.0.1:{port}/v1"), 1);
    nobody.retry.tries = 3;
    check(&nobody, "does not answer: 3 tries");
    let rejecting = Server::start(behaviour(&[Fault::Rejected], 1.0));
    check(
        &options(&rejecting.url, 1),
        "status 400: something is wrong",
    );
    assert!(rejecting.seen().requests < 50);
    let keyed = Server::start(Behaviour {
        key: Some("sk-right".into()),
        ..Behaviour::default()
    });
    check(&options(&keyed.url, 1), "status 401");
    let waiting = Server::start(Behaviour {
        headers: vec![
            ("x-ratelimit-remaining-requests".into(), "0".into()),
            ("x-ratelimit-reset-requests".into(), "24h0m0s".into()),
        ],
        ..Behaviour::default()
    });
    check(
        &options(&waiting.url, 1),
        "asks to be left alone for 86400 s",
    );
}

#[test]
fn samples_share_a_request_where_the_end_point_gives_n() {
    for (gives_n, requests) in [(true, 10), (false, 10 + 70)] {
        let folder = tempfile::tempdir().unwrap();
        let ledger = folder.path().join("ledger.sqlite");
        let server = Server::start(Behaviour {
            gives_n,
            ..Behaviour::default()
        });
        let mut options = options(&server.url, 8);
        options.sampling.by = By::N;
        let outcome = run(&ledger, &examples(10), &options, &[], |_| false);
        assert_eq!(outcome.asked.unwrap().failed, []);
        assert_eq!(outcome.rationales.len(), 80);
        assert_eq!(server.seen().requests, requests);
        // More samples of the same question: only the new ones are asked for.
        options.samples = Some(10);
        let outcome = run(&ledger, &examples(10), &options, &[], |_| false);
        assert_eq!(outcome.asked.unwrap().from_ledger, 80);
        assert_eq!(outcome.rationales.len(), 100);
    }
}

#[test]
fn several_end_points_share_the_requests_by_their_weights() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = folder.path().join("ledger.sqlite");
    let (one, three) = (
        Server::start(Behaviour::default()),
        Server::start(Behaviour::default()),
    );
    let mut options = options(&one.url, 4);
    options.end_points = vec![stillhouse_teacher::EndPointOptions {
        base_url: three.url.clone(),
        model: Some("large-there".into()),
        api_key_var: None,
        weight: 3.0,
    }];
    let outcome = run(&ledger, &examples(100), &options, &[], |_| false);
    outcome.asked.unwrap();
    let (few, many) = (one.seen(), three.seen());
    assert_eq!(few.requests + many.requests, 400);
    assert!((60..140).contains(&few.requests), "{}", few.requests);
    assert!(many.bodies[0].contains("\"model\":\"large-there\""));
}

#[test]
fn a_changed_prompt_asks_only_what_is_new() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = folder.path().join("ledger.sqlite");
    let server = Server::start(Behaviour::default());
    let options = options(&server.url, 2);
    let mut examples = examples(20);
    run(&ledger, &examples, &options, &[], |_| false)
        .asked
        .unwrap();
    examples[3].evidence.push("The ice is thin.".into());
    let asked = run(&ledger, &examples, &options, &[], |_| false)
        .asked
        .unwrap();
    assert_eq!((asked.wanted, asked.from_ledger), (40, 38));
}
